"""A table of named rows that, asked for an unknown row, names the known ones and the file where rows are added."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Generic, TypeVar

from chainrule.errors import ChainruleError

Row = TypeVar("Row")


def nearest(name: str, known: list[str]) -> str:
    """``Did you mean 'relu'? `` with its trailing space, or nothing if no known name is near."""
    close = get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]!r}? " if close else ""


class Table(Mapping[str, Row], Generic[Row]):
    """A read-only mapping from name to row.

    Args:
        kind: What a row is, in the singular: ``"activation"``.
        place: ``__file__`` of the module that holds the rows; printed where a name is unknown.
        rows: The rows, in the order in which they are listed everywhere.

    Raises:
        ChainruleError: E402, by ``table[name]`` for an unknown name.

    Example:
        >>> list(Table("colour", "colours.py", {"red": 1, "blue": 2}))
        ['red', 'blue']
    """

    def __init__(self, kind: str, place: str, rows: dict[str, Row]) -> None:
        self.kind, self.place, self._rows = kind, place, dict(rows)

    def __getitem__(self, name: str) -> Row:
        if name in self._rows:
            return self._rows[name]
        known = list(self._rows)
        place = "/".join(Path(self.place).parts[-3:])
        raise ChainruleError(
            "E402",
            f"{self.kind}={name!r} is not known.",
            f"{nearest(str(name), known)}Known: {', '.join(known)}.",
            f"correct the name; to add one, add a row to {place}",
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows
