"""A sweep for other programs: one row per network as CSV and Parquet, the conditions as JSON."""

import csv
import io
import json
from collections.abc import Mapping
from types import ModuleType

import msgspec

from chainrule.workflows.sweep import Sweep

SQL = {"number": "DOUBLE", "whole": "BIGINT", "truth": "BOOLEAN", "text": "VARCHAR"}
MEMORY = "memory://sweep/"  # DuckDB writes there and not to the disk, whose only door is store/disk.py


def files(found: Sweep) -> dict[str, bytes]:
    """``results.csv`` and ``results.json``, and ``results.parquet`` where DuckDB is installed."""
    table = as_csv(found)
    result = {"results.csv": table, "results.json": as_json(found)}
    library = duckdb()
    if library is not None:
        result["results.parquet"] = as_parquet(found, table, library)
    return result


def without_parquet(contents: Mapping[str, bytes]) -> list[str]:
    """Why there is no Parquet file, if there is none."""
    if "results.parquet" in contents:
        return []
    return [
        "warning W702: results.parquet was not written.\n"
        "  DuckDB, which writes it, is not installed; results.csv has the same rows.\n"
        '  fix: pip install "chainrule[track]", then the same command: nothing is trained again'
    ]


def record(found: Sweep) -> dict[str, object]:
    """The conditions, the choice and its test as plain values; the networks are in the tables."""
    plain: dict[str, object] = msgspec.to_builtins(found)
    return {name: value for name, value in plain.items() if name not in ("columns", "networks")}


def as_json(found: Sweep) -> bytes:
    """``record`` as text."""
    return (json.dumps(record(found), indent=2, ensure_ascii=False) + "\n").encode()


def as_csv(found: Sweep) -> bytes:
    """One row per network: empty where there is no value, ``true`` and ``false``, numbers with all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(name for name, _ in found.columns)
    for row in found.networks:
        writer.writerow(str(value).lower() if isinstance(value, bool) else value for value in row)
    return text.getvalue().encode()


def as_parquet(found: Sweep, table: bytes, library: ModuleType) -> bytes:
    """The rows of a CSV file as Parquet, with the types of the columns.

    Args:
        found: The sweep.
        table: ``as_csv`` of it.
        library: DuckDB.

    Returns:
        The file's contents.
    """
    import fsspec  # torch brings it

    memory = fsspec.filesystem("memory")
    columns = ", ".join(f"'{name}': '{SQL[kind]}'" for name, kind in found.columns)
    memory.pipe(f"{MEMORY}in.csv", table)
    try:
        with library.connect(config={"threads": 1}) as database:
            database.register_filesystem(memory)
            database.execute(
                f"COPY (FROM read_csv('{MEMORY}in.csv', header=true, delim=',', quote='\"', columns={{{columns}}})) "
                f"TO '{MEMORY}out.parquet' (FORMAT parquet)"
            )
        contents: bytes = memory.cat(f"{MEMORY}out.parquet")
    finally:
        memory.rm(MEMORY, recursive=True)
    return contents


def duckdb() -> ModuleType | None:
    """DuckDB, or nothing where it is not installed."""
    try:
        import duckdb as library
    except ImportError:
        return None
    return library  # type: ignore[no-any-return]
