"""Axes of a sweep as the command line writes them: ``lr=0.003..0.3:log9``, ``widths=64,64|208,208``."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chainrule.errors import ChainruleError
from chainrule.experiment.condition import DEFAULTS, Condition
from chainrule.table import nearest

MOST_POINTS = 1_000_000  # of one axis
DIGITS = 6  # of a point between two ends: it can be typed, and mathematical libraries agree on it
RANGE = "a range is a..b:logN (geometric) or a..b:N (equal steps), both ends among its N points"


@dataclass(frozen=True)
class Axis:
    """One field of ``Condition`` and the values that it takes.

    Args:
        name: The field.
        values: Texts as ``train`` takes them. Empty for a range without a number of points, which only a search reads.
        scale: ``"log"`` or ``"linear"`` for a range, else empty.
        low: Lower end of a range.
        high: Upper end of a range.
    """

    name: str
    values: tuple[str, ...]
    scale: str = ""
    low: float = 0.0
    high: float = 0.0

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return bool(self.scale) or len(self.values) > 1

    @property
    def whole(self) -> bool:
        """Whether the field is a whole number."""
        return type(DEFAULTS.get(self.name)) is int

    @property
    def numeric(self) -> bool:
        """Whether the field is a number, so that values have a place on a line."""
        return type(DEFAULTS.get(self.name)) in (int, float)


def read_order(words: Mapping[str, str], seeds: int) -> tuple[str, tuple[Axis, ...], int]:
    """Dataset, axes and number of seeds of a sweep, from ``name=text`` pairs.

    Args:
        words: ``data`` and ``seeds``, both of which may be missing, and axes.
        seeds: The number of seeds if ``words`` has none.

    Returns:
        ``"digits"`` where no dataset is named.

    Raises:
        ChainruleError: E401 for two datasets, E406 for seeds that are no number; as ``read_axes``.
    """
    rest = dict(words)
    data, count = rest.pop("data", "digits"), rest.pop("seeds", str(seeds))
    if "|" in data:
        raise ChainruleError(
            "E401",
            f"data={data!r} names several data sets.",
            "A sweep chooses the lowest validation loss, and those of two data sets cannot be compared.",
            "one sweep for each",
        )
    if not count.isdecimal():
        raise ChainruleError("E406", f"seeds={count!r} cannot be read.", "seeds is a whole number.", "seeds=20")
    return data, read_axes(rest), int(count)


def read_axes(words: Mapping[str, str]) -> tuple[Axis, ...]:
    """Axes from ``name=text`` pairs, in their order.

    Args:
        words: Field of ``Condition`` → a range ``a..b:logN`` (geometric) or ``a..b:N`` (equal steps), alternatives
            ``a|b|c``, or one value. ``data`` has no place among them.

    Returns:
        One axis per field; one with a single value is a fixed setting.

    Raises:
        ChainruleError: E401 for an unknown field or an alternative given twice, E406 for a range that is none.

    Example:
        >>> lr, widths = read_axes({"lr": "0.01..1:log3", "widths": "64,64|8"})
        >>> lr.values, widths.values
        (('0.01', '0.1', '1'), ('64,64', '8'))
    """
    return tuple(read_axis(name, text) for name, text in words.items())


def read_axis(name: str, text: str) -> Axis:
    """One axis; see ``read_axes``."""
    known = list(Condition.__struct_fields__)
    if name not in known:
        raise ChainruleError(
            "E401",
            f"unknown setting {name!r}.",
            f"{nearest(name, known)}Known: {', '.join(known)}.",
            "correct the name; nothing was run",
        )
    if ".." in text:
        return _range(name, text)
    values = tuple(text.split("|"))
    if "" in values:
        raise _refused(name, text, "One of its alternatives is empty.", f"{name}=A|B without a | at an end")
    if len(set(values)) < len(values):
        raise ChainruleError(
            "E401", f"{name}={text!r} has a value twice.", "Each value is one condition.", "keep one of them"
        )
    return Axis(name, values)


def _range(name: str, text: str) -> Axis:
    """``a..b``, ``a..b:N``, ``a..b:linN`` or ``a..b:logN``."""
    axis = Axis(name, ())
    if not axis.numeric:
        raise _refused(name, text, f"{name} is no number, so it has no range.", f"alternatives: {name}=A|B")
    form = re.fullmatch(r"(.+?)\.\.([^:]+)(?::(log|lin)?(\d*))?", text)
    if form is None:
        raise _refused(name, text, f"{RANGE[0].upper()}{RANGE[1:]}.", "for example lr=0.003..0.3:log9")
    low, high = (_end(name, text, part, axis.whole) for part in form.groups()[:2])
    scale = "log" if form[3] == "log" else "linear"
    if not low < high:
        raise _refused(name, text, f"Its ends are {low:g} and {high:g}.", "give the smaller end first")
    if scale == "log" and low <= 0:
        raise _refused(name, text, "A geometric range needs ends above 0.", f"a smallest end above 0, or {name}=a..b:N")
    if not form[4]:
        return Axis(name, (), scale, low, high)
    points = int(form[4])
    if not 2 <= points <= MOST_POINTS:
        raise _refused(name, text, f"A range has 2 to {MOST_POINTS:,} points.", "for example lr=0.003..0.3:log9")
    inner = [_between(low, high, i / (points - 1), scale) for i in range(1, points - 1)]
    if axis.whole:
        values = tuple(str(round(value)) for value in (low, *inner, high))
    else:
        values = (form[1], *(f"{value:.{DIGITS}g}" for value in inner), form[2])
    if len(set(values)) < points:
        kind = "whole numbers" if axis.whole else f"numbers of {DIGITS} digits"
        raise _refused(name, text, f"{points} points fall on {len(set(values))} {kind}.", "give fewer points")
    return Axis(name, values, scale, low, high)


def _between(low: float, high: float, share: float, scale: str) -> float:
    """The point at a share of the way from low to high; ratios are equal on a geometric scale."""
    if scale == "log":
        return math.exp((1 - share) * math.log(low) + share * math.log(high))
    return (1 - share) * low + share * high


def _end(name: str, text: str, part: str, whole: bool) -> float:
    """An end of a range as a number."""
    try:
        value = int(part) if whole else float(part)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        kind = "whole number" if whole else "number"
        raise _refused(name, text, f"{part!r} is no {kind}.", RANGE)
    return float(value)


def _refused(name: str, text: str, why: str, fix: str) -> ChainruleError:
    return ChainruleError("E406", f"{name}={text!r} is no axis.", why, fix)


def combinations(axes: Sequence[Axis]) -> Iterator[dict[str, str]]:
    """Every combination of the axes' values, the last axis fastest.

    Raises:
        ChainruleError: E406 for a range without a number of points.

    Example:
        >>> list(combinations(read_axes({"lr": "1|2", "batch": "8"})))
        [{'lr': '1', 'batch': '8'}, {'lr': '2', 'batch': '8'}]
    """
    for axis in axes:
        if not axis.values:
            text = f"{axis.low:g}..{axis.high:g}"
            raise _refused(
                axis.name, text, "A grid needs to know how many points.", f"{axis.name}={text}:log9, or --search 100"
            )
    names = [axis.name for axis in axes]
    return (dict(zip(names, values, strict=True)) for values in itertools.product(*(axis.values for axis in axes)))
