"""Datasets: what they are, where they come from, and how their rows are divided.

A dataset is one file of ``chainrule/datasets/``, found by walking. Rows are divided by pure functions of the data and
the replica, and everything that is fitted (means, standard deviations) is fitted on training rows only.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from chainrule import datasets, own_data, sources
from chainrule.catalogue import collect
from chainrule.errors import ChainruleError
from chainrule.randomness import stream
from chainrule.sources import Progress, Source
from chainrule.store import disk
from chainrule.table import nearest

Fractions = tuple[float, float, float]

BLOCK = 4096  # rows per partial sum: 60,000 images never stand in memory as float64


@dataclass(frozen=True)
class Dataset:
    """What a file of ``chainrule/datasets/`` ends with: ``dataset = Dataset(...)``.

    Args:
        title: Name as printed.
        task: ``"classification"`` or ``"regression"``.
        description: Why it is suitable and what to beware of; printed in the report.
        licence: Under which terms it may be used.
        citation: Author, year, title.
        features: Names of the columns of x.
        targets: Names of the columns of y; one name for classification.
        read: Verified content of the sources by name → (x [M, d], y [M] or [M, k]); called only after the hash check.
        sources: Its official files; none, if the rows come with a library or from a formula.
        classes: Names of the classes 0 … K-1; empty for regression.
        units: Unit of the target.
        scaling: ``"columns"`` (each feature by its own mean and std), ``"global"`` (all by one) or ``"none"``.
        logarithmic: Names of features that are positive and spread over decades: what learns from the data sees their
            logarithms, of which mean and standard deviation say more. A fixed map; nothing is fitted.
        shape: Shape of one image, (rows, columns) or (channels, rows, columns); empty otherwise.
        split: Fractions of train, validation and test.
        test_rows: The last so many rows are the official test set, the same for every replica; 0 if there is none.
        folders: Names of folders in which people keep its files, beside its own name.
        stand_in: An embedded dataset for a first run without it.
        hidden: Hidden widths that suit it.
    """

    title: str
    task: str
    description: str
    licence: str
    citation: str
    features: tuple[str, ...]
    targets: tuple[str, ...]
    read: Callable[[Mapping[str, bytes]], tuple[np.ndarray, np.ndarray]]
    sources: tuple[Source, ...] = ()
    classes: tuple[str, ...] = ()
    units: str = ""
    scaling: str = "columns"
    logarithmic: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    split: Fractions = (0.7, 0.15, 0.15)
    test_rows: int = 0
    folders: tuple[str, ...] = ()
    stand_in: str = "digits"
    hidden: tuple[int, ...] = (64, 64)


@dataclass(frozen=True, eq=False)
class Data:
    """Rows in memory, with what the report says about them. The arrays are read-only: every run shares them.

    Args:
        name: The name it was loaded by.
        task: ``"classification"`` or ``"regression"``.
        x: Features; images stay bytes to save memory.
        y: Class indices, or targets in their own unit.
        hash: sha256 of both arrays, their types and shapes.
        test_rows: The last so many rows are the official test set; 0 if there is none.
        fractions: Shares of train, validation and test.
        notes: What was done to the rows before they came here, in full sentences.
    """

    name: str
    task: str
    x: Shaped[np.ndarray, "M d"]
    y: Shaped[np.ndarray, "M ..."]
    hash: str
    test_rows: int
    fractions: Fractions
    title: str
    description: str
    licence: str
    citation: str
    features: tuple[str, ...]
    targets: tuple[str, ...]
    classes: tuple[str, ...]
    units: str
    scaling: str
    shape: tuple[int, ...]
    hidden: tuple[int, ...]
    notes: tuple[str, ...] = ()
    logarithmic: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Split:
    """Row indices, in random order, so that a prefix of ``train`` is a random subset of it."""

    train: Int[np.ndarray, " n"]
    validation: Int[np.ndarray, " v"]
    test: Int[np.ndarray, " t"]


# which datasets there are, and their rows ─────────────────────────────────────────────


def catalogue() -> dict[str, Dataset]:
    """Every dataset that comes with chainrule, by name."""
    found = collect(datasets, "dataset", Dataset)
    return {name: value for name, value in found.items() if isinstance(value, Dataset)}


def known() -> list[str]:
    """All names that ``load`` takes: the catalogue, then the user's own tables."""
    return [*catalogue(), *own_data.names(own_folder())]


def load(name: str) -> Data:
    """The rows of a dataset, verified.

    Args:
        name: A name of the catalogue; the name that ``add_csv`` returned, or its part before the hash.

    Returns:
        The rows; the same object for the same name and folders within one process.

    Raises:
        ChainruleError: E402 for an unknown name, E305 if its files are not here, E306 if they are not the official
            ones, E304 if two tables share the name.
    """
    return load_from(resolved(name), os.environ.get("CHAINRULE_DATA", ""), str(disk.home()))


@lru_cache(maxsize=8)
def load_from(name: str, given: str, home: str) -> Data:
    """``load``, with the folders that it depends on as arguments, so that the cache has them in its key."""
    table = catalogue()
    if name not in table:
        return from_table(name, own_data.load(own_folder() / name))
    dataset = table[name]
    files = sources.read_all(name, dataset.sources, roots(), (name, *dataset.folders), dataset.stand_in)
    x, y = dataset.read(files)
    return Data(
        name=name,
        task=dataset.task,
        x=x,
        y=y,
        hash=sealed(x, y),
        test_rows=dataset.test_rows,
        fractions=dataset.split,
        title=dataset.title,
        description=dataset.description,
        licence=dataset.licence,
        citation=dataset.citation,
        features=dataset.features,
        targets=dataset.targets,
        classes=dataset.classes,
        units=dataset.units,
        scaling=dataset.scaling,
        shape=dataset.shape,
        hidden=dataset.hidden,
        logarithmic=dataset.logarithmic,
    )


def resolved(name: str) -> str:
    """The full name of a dataset; a table of the user's own may be called without its hash while that is unique."""
    own = own_data.names(own_folder())
    if name in catalogue() or name in own:
        return name
    matches = [one for one in own if one.rpartition("-")[0] == name]
    if len(matches) > 1:
        raise ChainruleError(
            "E304",
            f"data={name!r} names {len(matches)} different tables: {', '.join(matches)}.",
            "They have the same file name and different content, target or treatment of missing values.",
            f"write the full name, for example data={matches[0]}",
        )
    if not matches:
        names = known()
        raise ChainruleError(
            "E402",
            f"data={name!r} is not known.",
            f"{nearest(name, names)}Known: {', '.join(names)}.",
            "correct the name; for a table of your own:  --data FILE.csv --target COLUMN",
        )
    return matches[0]


def from_table(name: str, table: own_data.Table) -> Data:
    """The rows of a user's own table with what is known about them."""
    about = table.about
    return Data(
        name=name,
        task=about.task,
        x=table.x,
        y=table.y,
        hash=sealed(table.x, table.y),
        test_rows=0,
        fractions=(0.7, 0.15, 0.15),
        title=about.file,
        description=f"A table of the user's own, {len(table.x)} rows and {len(about.features)} features.",
        licence="the user's own",
        citation="",
        features=about.features,
        targets=(about.target,),
        classes=about.classes,
        units="",
        scaling="columns",
        shape=(),
        hidden=(64, 64),
        notes=about.notes,
    )


def sealed(x: Shaped[np.ndarray, "M d"], y: Shaped[np.ndarray, "M ..."]) -> str:
    """Make both arrays read-only and give the sha256 of their types, shapes and bytes."""
    digest = hashlib.sha256()
    for array in (x, y):
        array.setflags(write=False)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


# how rows are divided ─────────────────────────────────────────────────────────────────


def split(data: Data, replica: int, fractions: tuple[float, ...] = ()) -> Split:
    """Train, validation and test rows: a pure function of (data, replica), stratified by class.

    Args:
        data: The rows.
        replica: Index on the seed axis; each has its own split.
        fractions: Shares of the three; those of the dataset if empty. An official test set stays as it is, then only
            the proportion of the first two counts.

    Returns:
        Disjoint index arrays that cover all rows. Per class, each part is within one row of its share.

    Raises:
        ChainruleError: E303, if fewer than two classes are left in train; E308, if a part would be empty; E401, if
            the fractions are no division.
    """
    shares = np.asarray(fractions or data.fractions)
    if shares.shape != (3,) or not (shares >= 0).all() or not shares[0] or not np.isclose(shares.sum(), 1):
        raise ChainruleError(
            "E401",
            f"fractions={tuple(fractions)!r} do not divide the rows.",
            "Three numbers are needed, train > 0, validation >= 0, test >= 0, with the sum 1.",
            "for example 0.7, 0.15, 0.15",
        )
    free = np.arange(len(data.x) - data.test_rows)
    generator = stream(replica, f"split/{data.hash[:16]}")
    if data.test_rows:
        train, validation = divide(free, strata(data), shares[:2] / shares[:2].sum(), generator)
        parts = Split(train, validation, np.arange(len(free), len(data.x)))
    else:
        parts = Split(*divide(free, strata(data), shares, generator))
    check(data, parts, shares)
    return parts


def k_folds(data: Data, replica: int, k: int) -> list[Split]:
    """Cross-validation: fold i is tested, the next fold validates, the others train.

    The folds are a pure function of (data, replica, k), stratified like ``split``. They divide the rows outside the
    official test set, which no fold touches.

    Args:
        data: The rows.
        replica: Index on the seed axis.
        k: Number of folds, at least 3.

    Raises:
        ChainruleError: E401 for k < 3, and as ``split``.
    """
    if k < 3:
        raise ChainruleError(
            "E401", f"k={k!r} folds are too few.", "One fold tests, one validates, at least one trains.", "k=5"
        )
    free = np.arange(len(data.x) - data.test_rows)
    folds = divide(free, strata(data), np.full(k, 1 / k), stream(replica, f"folds/{k}/{data.hash[:16]}"))
    splits = []
    for i in range(k):
        train = np.concatenate([folds[(i + j) % k] for j in range(2, k)])
        splits.append(Split(train, folds[(i + 1) % k], folds[i]))
        check(data, splits[-1], np.full(3, 1 / k))
    return splits


def strata(data: Data) -> Int[np.ndarray, " M"]:
    """The class of each row; for regression all rows are of one kind."""
    return data.y if data.task == "classification" else np.zeros(len(data.x), dtype=np.int64)


def apportion(total: int, shares: Float[np.ndarray, " p"]) -> Int[np.ndarray, " p"]:
    """Whole numbers with the sum ``total``, each within one of its share (largest remainders).

    Example:
        >>> apportion(10, np.array([0.64, 0.16, 0.2])).tolist()
        [6, 2, 2]
    """
    exact = total * shares
    # 0.1 + 0.2 leaves 5e-17: a share that is a whole number up to rounding must stay that number
    whole = np.floor(exact + 1e-9).astype(np.int64)
    largest = np.argsort(whole - exact, kind="stable")
    whole[largest[: total - whole.sum()]] += 1
    return whole


def divide(
    rows: Int[np.ndarray, " n"],
    labels: Int[np.ndarray, " M"],
    shares: Float[np.ndarray, " p"],
    generator: np.random.Generator,
) -> list[Int[np.ndarray, " _"]]:
    """Divide rows at random into parts of given shares; each class is divided within one row of the same shares.

    Rounding a table of quotas so that rows and columns both have prescribed sums is always possible (controlled
    rounding); choosing the parts with the largest open number first finds such a table (Gale-Ryser).

    Source:
        Bacharach (1966), Matrix rounding problems; Gale (1957), A theorem on flows in networks.
    """
    kinds, kind = np.unique(labels[rows], return_inverse=True)
    sizes = np.bincount(kind, minlength=len(kinds))
    table = np.floor(np.outer(sizes, shares) + 1e-9).astype(np.int64)
    open_places = apportion(len(rows), shares) - table.sum(0)
    for c in generator.permutation(len(kinds)):
        chosen = np.argsort(-open_places, kind="stable")[: sizes[c] - table[c].sum()]
        table[c, chosen] += 1
        open_places[chosen] -= 1
    parts: list[list[Int[np.ndarray, " _"]]] = [[] for _ in shares]
    for c in range(len(kinds)):
        members = generator.permutation(rows[kind == c])
        for part, piece in zip(parts, np.split(members, np.cumsum(table[c])[:-1]), strict=True):
            part.append(piece)
    return [generator.permutation(np.concatenate(part)) for part in parts]


def check(data: Data, parts: Split, shares: Float[np.ndarray, " 3"]) -> None:
    """Refuse a split with which nothing can be learnt or measured."""
    train, validation, test = len(parts.train), len(parts.validation), len(parts.test)
    if any(not count and share for count, share in zip((train, validation, test), shares, strict=True)):
        raise ChainruleError(
            "E308",
            f"{data.title} has {len(data.x)} rows: train {train}, validation {validation}, test {test}.",
            "A part without rows cannot be used.",
            "add rows, or choose larger fractions",
        )
    if data.task == "classification" and len(present := np.unique(data.y[parts.train])) < 2:
        only = data.classes[int(present[0])]
        raise ChainruleError(
            "E303",
            f"{data.title} has 1 class ({own_data.quoted(only)}) after the split; classification needs at least 2.",
            f"Rows: train {train}, validation {validation}, test {test}.",
            f"check the label column ({own_data.quoted(data.targets[0])}), "
            "or use --task regression for a numeric target.",
        )


# standardisation ──────────────────────────────────────────────────────────────────────


def inputs(data: Data) -> Shaped[np.ndarray, "M d"]:
    """Features as networks and baselines see them before standardisation: logarithms where the dataset says so."""
    if not data.logarithmic:
        return data.x
    columns = [data.features.index(name) for name in data.logarithmic]
    x = data.x.copy()
    x[:, columns] = np.log(x[:, columns])
    return x


def scaling(data: Data, rows: Int[np.ndarray, " n"]) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """Mean and standard deviation [feature] by which ``inputs`` are standardised, fitted on the given rows only.

    Args:
        data: The rows; its ``scaling`` says whether each column, all pixels together, or nothing is standardised.
        rows: Training rows.

    Returns:
        (mean, std), so that (x - mean) / std is standardised. A constant column has std 1 and becomes 0.

    Error:
        Two passes in float64: relative error of the std below 1e-13 for 60,000 rows.
    """
    width = data.x.shape[1]
    if data.scaling == "none":
        return np.zeros(width), np.ones(width)
    mean, std = moments(inputs(data), rows, together=data.scaling == "global")
    return np.broadcast_to(mean, width).copy(), np.broadcast_to(std, width).copy()


def target_scaling(data: Data, rows: Int[np.ndarray, " n"]) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Mean and standard deviation [target unit] of the targets of a regression, fitted on the given rows only."""
    return moments(data.y, rows, together=False)


def moments(
    values: Shaped[np.ndarray, "M d"], rows: Int[np.ndarray, " n"], together: bool
) -> tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]:
    """Mean and population standard deviation of columns, or of all numbers together; constant columns get std 1.

    Example:
        >>> mean, std = moments(np.array([[1.0, 7.0], [3.0, 7.0]]), np.array([0, 1]), together=False)
        >>> mean.tolist(), std.tolist()
        ([2.0, 7.0], [1.0, 1.0])
    """
    blocks = [rows[i : i + BLOCK] for i in range(0, len(rows), BLOCK)]
    low, high = (np.stack([edge(values[b], axis=0) for b in blocks]).astype(np.float64) for edge in (np.min, np.max))
    low, high = low.min(0), high.max(0)
    if together:
        low, high = low.min(keepdims=True), high.max(keepdims=True)
    constant = low == high
    # divided by the largest magnitude, squares of 1e200 do not overflow and those of 1e-200 do not vanish
    unit = np.where(constant, 1.0, np.maximum(np.abs(low), np.abs(high)))
    count = len(rows) * (values.shape[1] if together else 1)
    axis = None if together else 0
    mean = sum(np.sum(values[b] / unit, axis=axis) for b in blocks) / count
    square = sum(np.sum((values[b] / unit - mean) ** 2, axis=axis) for b in blocks) / count
    std = np.where(constant, 1.0, np.sqrt(square) * unit)
    return np.where(constant, low, mean * unit), np.where(std > 0, std, 1.0)


# files ────────────────────────────────────────────────────────────────────────────────


def own_folder() -> Path:
    """Where fetched files and canonical copies of the user's own tables lie."""
    return disk.home() / "data"


def roots() -> list[Path]:
    """Where official files are looked for: $CHAINRULE_DATA first, then the store."""
    given = os.environ.get("CHAINRULE_DATA", "")
    return [Path(given), own_folder()] if given else [own_folder()]


def official(name: str) -> Dataset:
    """A dataset of the catalogue, or E402."""
    table = catalogue()
    if name not in table:
        raise ChainruleError(
            "E402",
            f"data={name!r} is not known.",
            f"{nearest(name, list(table))}Known: {', '.join(table)}.",
            "correct the name; chainrule data list  shows what each one is",
        )
    return table[name]


def state(name: str) -> str:
    """``"built in"``, ``"here"`` (files of the right names; their hashes are checked by ``load``) or ``"not here"``."""
    dataset = official(name)
    if not dataset.sources:
        return "built in"
    folders = sources.within(roots(), (name, *dataset.folders))
    return "here" if sources.is_seen(dataset.sources, folders) else "not here"


def fetch(name: str, progress: Progress) -> list[Path]:
    """Download the official files of a dataset that are not here yet, and verify them.

    Args:
        name: A name of the catalogue.
        progress: Called with file name, bytes received, bytes announced (0 if unknown).

    Returns:
        The files written by this call; none, if all were here or the dataset needs none.

    Raises:
        ChainruleError: E402 for an unknown name, E301 if a file could not be had.
    """
    dataset = official(name)
    if not dataset.sources:
        return []
    inside = (name, *dataset.folders)
    return sources.fetch_all(name, dataset.sources, roots(), inside, own_folder() / name, dataset.stand_in, progress)


def add(name: str, file: Path) -> list[Path]:
    """Take over an official file that the user downloaded: plain, packed or an archive. The hash is checked.

    Args:
        name: A name of the catalogue.
        file: The file; its name does not matter, its content does.

    Returns:
        The files written.

    Raises:
        ChainruleError: E402 for an unknown name, E306 if it is not an official file, E307 if it cannot be read.
    """
    dataset = official(name)
    raw = sources.read_given(file)
    if not dataset.sources:
        raise ChainruleError(
            "E306", f"{name} needs no file.", "It comes with chainrule.", f"use it:  chainrule train data={name}"
        )
    single = tuple(one for source in dataset.sources for one in (source, *source.conversions))
    try:
        contents = sources.unpack(raw, single)
    except sources.Refusal as refusal:
        raise ChainruleError(
            "E306",
            f"{file} is not an official file of {name}: {refusal}.",
            f"Expected: {', '.join(one.name for one in dataset.sources)} (plain, .gz, .xz) or the archive. "
            "Nothing was kept.",
            f"download {dataset.sources[0].urls[0] if dataset.sources[0].urls else 'it'} again, then  "
            f"chainrule data add {name} FILE",
        ) from refusal
    return sources.keep(raw, contents, single, own_folder() / name)


def add_csv(path: Path, target: str, task: str = "auto", missing: str = "error") -> str:
    """Take over a user's own table; the same file with the same choices again changes nothing.

    Args:
        path: A CSV file: UTF-8, a line of column names, commas, semicolons or tabs.
        target: The column to predict; all others are features.
        task: ``"classification"``, ``"regression"``, or ``"auto"``: classification if the target is text or has at
            most 20 different whole numbers.
        missing: What happens to missing or non-finite cells: ``"error"``, ``"drop-rows"``, or ``"median"``, which
            fills them with the median of their column.

    Returns:
        The name under which ``load`` finds it: file name and 8 digits of its hash.

    Raises:
        ChainruleError: E302, E303, E307, E308 for a table that cannot be used; E304 if the name is taken.
    """
    raw = sources.read_given(path)
    name = own_data.name_of(path, raw, target, task, missing)
    folder = own_folder() / name
    if own_data.is_kept(folder, raw):
        return name
    table = own_data.parse(path.name, raw, target, task, missing)
    data = from_table(name, table)
    split(data, replica=0)  # a table of one class is refused now, not in the middle of a run
    own_data.keep(folder, table)
    return name
