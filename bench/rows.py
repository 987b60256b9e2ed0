"""What is trained in the benchmark: six networks, their data, and the arithmetic that no program can avoid."""

import itertools
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from chainrule import dataset
from chainrule.dataset import add_csv
from chainrule.errors import ChainruleError
from chainrule.experiment.cohort import assemble
from chainrule.experiment.condition import Condition
from chainrule.randomness import stream

ENDLESS = 10**6  # steps of a condition: the harness decides when a training ends
STAND_INS = {"mnist": "mnist_5k"}  # what is embedded in place of a set whose files are not at hand
TABLE = "eight_columns"  # the stand-in of California: 20,640 rows drawn from a formula


@dataclass(frozen=True)
class Row:
    """One row of the tables.

    Args:
        name: Layer sizes, as printed.
        condition: Network, data, batch size, learning rate: the same for every contender.
        epochs: Passes over the rows in one timed repeat; the same for every contender.
        seeds_epochs: Passes in one repeat of the table of 20 seeds.
        most: Most repeats in the tables that take minutes; 0 for no limit.
    """

    name: str
    condition: Condition
    epochs: int
    seeds_epochs: int
    most: int = 0

    def repeats(self, wanted: int) -> int:
        """Repeats in a long table."""
        return min(wanted, self.most) if self.most else wanted


def mnist(hidden: tuple[int, ...]) -> Condition:
    """A network on 10,000 rows of MNIST."""
    return Condition(widths=(784, *hidden, 10), data="mnist", n_train=10_000, batch=128, lr=0.05, steps=ENDLESS)


# folds=10 trains on 8/10 of the rows: 16,512 of California, 1,437 digits; folds=40 on 3,800 of MNIST-1D
CALIFORNIA = Condition(
    widths=(8, 64, 64, 1), data="california", folds=10, loss="squared_error", lr=0.02, batch=64, steps=ENDLESS
)
ROWS = {
    row.name: row
    for row in (
        Row("8-64-64-1", CALIFORNIA, 5, 2),
        Row("8-208-208-1", msgspec.structs.replace(CALIFORNIA, widths=(8, 208, 208, 1), batch=256), 3, 1),
        Row("64-32-10", Condition(widths=(64, 32, 10), data="digits", folds=10, steps=ENDLESS), 40, 20),
        Row(
            "40-100-100-10",
            Condition(widths=(40, 100, 100, 10), data="mnist1d", folds=40, batch=64, lr=0.05, steps=ENDLESS),
            10,
            5,
        ),
        Row("784-256-128-10", mnist((256, 128)), 2, 1),
        Row("784-1024-1024-10", mnist((1024, 1024)), 1, 1, most=3),
    )
}


def available(row: Row) -> tuple[Row, str]:
    """The row on data that are at hand, and a sentence if these are not the ones it names."""
    wanted = row.condition.data
    try:
        dataset.load(wanted)
        return row, ""
    except ChainruleError as error:
        if error.code != "E305":
            raise
    if wanted == "california":
        name, told = stand_in_table(), f"{TABLE}, {ROWS_OF_TABLE:,} rows drawn from a formula"
        changes: dict[str, object] = {"data": name}
    else:
        name = STAND_INS[wanted]
        # 8/10 of 5,000 images are 4,000 rows
        told, changes = name, {"data": name, "n_train": 0, "folds": 10}
    condition = msgspec.structs.replace(row.condition, **changes)
    sentence = f"{row.name}: the files of {wanted} are not at hand (CHAINRULE_DATA), trained on {told}"
    return replace(row, condition=condition), sentence


ROWS_OF_TABLE = 20_640


def stand_in_table() -> str:
    """A table of California's shape, taken over by the store; its name."""
    draw = stream(0, "bench/eight columns")
    x = draw.standard_normal((ROWS_OF_TABLE, 8))
    y = np.sin(x[:, 0]) + x[:, 1] * x[:, 2] / 2 + np.abs(x[:, 3]) + 0.3 * draw.standard_normal(ROWS_OF_TABLE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{TABLE}.csv"
        header = ",".join([*(f"x{j}" for j in range(8)), "y"])
        np.savetxt(path, np.column_stack([x, y]), delimiter=",", header=header, comments="", fmt="%.6f")
        return add_csv(path, target="y", task="regression")


def has_official_files(name: str) -> bool:
    """Whether the files of a dataset are at hand."""
    try:
        dataset.load(name)
    except ChainruleError as error:
        if error.code != "E305":
            raise
        return False
    return True


# the arithmetic ──────────────────────────────────────────────────────────────────────────


def rows_used(condition: Condition) -> int:
    """Training rows of replica 0 that fill whole batches: an epoch leaves out the rest."""
    cohort = assemble((condition,), (0,))
    return cohort.epoch * cohort.batch


def operations(condition: Condition, rows: int) -> float:
    """Floating-point operations of the matrix products of one epoch.

    Three products per layer: forward, gradient of the weights, gradient of the inputs, the last of which the first
    layer does not need; 2 n_in n_out operations for each row and product.

    Example:
        >>> operations(Condition(widths=(784, 256, 128, 10)), 9984) / 1e9
        10.0...
    """
    sizes = [m * n for m, n in itertools.pairwise(condition.widths)]
    return 2.0 * rows * (3 * sum(sizes) - sizes[0])


def products(condition: Condition) -> set[tuple[int, int, int]]:
    """Sizes (m, k, n) of the matrix products [m, k] @ [k, n] of one step."""
    batch, found = condition.batch, set()
    for n_in, n_out in itertools.pairwise(condition.widths):
        found |= {(batch, n_in, n_out), (n_in, batch, n_out), (batch, n_out, n_in)}
    return found


# from one process to another ─────────────────────────────────────────────────────────────


def spelled(condition: Condition) -> dict[str, object]:
    """A condition as JSON."""
    return dict(msgspec.to_builtins(condition))


def condition_of(record: Mapping[str, object]) -> Condition:
    """The inverse of ``spelled``."""
    return msgspec.convert(record, Condition)
