"""The formulas of theory/ as a calculator: found by walking, called with name=value."""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from chainrule import own_data, sources, theory
from chainrule.calculus.activations import ACTIVATIONS, Activation
from chainrule.errors import ChainruleError
from chainrule.table import Table, nearest


@dataclass(frozen=True)
class Formula:
    """A public function of ``theory/`` whose arguments can be typed on a command line.

    Args:
        name: ``"meanfield.fixed_point_length"``; ``"meanfield"`` for the ``summary`` of a module.
        arguments: ``"weight_std"``, or ``"bias_std=0.0"`` where it has a default.
        summary: First line of its docstring.
        function: What computes it.
    """

    name: str
    arguments: tuple[str, ...]
    summary: str
    function: Callable[..., object]


READERS: dict[object, Callable[[str], object]] = {
    float: float,
    int: int,
    str: str,
    Activation: ACTIVATIONS.__getitem__,
}
LISTS = "numbers joined by commas"
MATRICES = "rows joined by semicolons, their numbers by commas"
ROWS = ("x", "y")  # arguments that a table can give: its features and its target
TABLE = ("csv", "target", "columns")  # and what says which
COLUMNS = Table(
    "columns",
    __file__,
    {
        "as_given": "the numbers of the file; no intercept",
        "centred": "less their means, features and target: as with an intercept that is not penalised",
        "standardised": "centred, and features divided by their standard deviation",
    },
)


def catalogue() -> dict[str, Formula]:
    """Every formula that the calculator can evaluate, by name; the summary of a module comes first, as its name."""
    found = {}
    for info in sorted(pkgutil.iter_modules(theory.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{theory.__name__}.{info.name}")
        functions = {
            name: function
            for name, function in vars(module).items()
            if not name.startswith("_") and inspect.isfunction(function) and function.__module__ == module.__name__
        }
        for name, function in sorted(functions.items(), key=lambda item: item[0] != "summary"):
            parameters = inspect.signature(function, eval_str=True).parameters.values()
            if all(_reader(p) is not None for p in parameters):
                arguments = tuple(
                    p.name if p.default is p.empty else f"{p.name}={_spelt(p.default)}" for p in parameters
                )
                summary = (inspect.getdoc(function) or "").split("\n")[0]
                known = info.name if name == "summary" else f"{info.name}.{name}"
                found[known] = Formula(known, arguments, summary, function)
    return found


def _spelt(default: object) -> str:
    return next((name for name, row in ACTIVATIONS.items() if row is default), str(default))


def _reader(parameter: inspect.Parameter) -> Callable[[str], object] | None:
    """How the text of an argument is read; ``None`` for what cannot be typed, such as a function."""
    annotation = parameter.annotation
    if annotation in READERS:
        return READERS[annotation]
    if annotation == float | None:
        return float
    text = str(annotation)
    if "Sequence[float]" in text or "ndarray" in text:
        return _matrix if len(getattr(annotation, "dim_str", "").split()) > 1 else _vector
    if "Tensor" in text and "Callable" not in text:
        return lambda words: torch.tensor([float(word) for word in words.split(",")], dtype=torch.float64)
    return None


def _vector(words: str) -> np.ndarray:
    """``"1,2,3"`` as an array [3]."""
    return np.array([float(word) for word in words.split(",")])


def _matrix(words: str) -> np.ndarray:
    """``"1,0;0,2"`` as an array [2, 2]; one row without semicolon is a matrix of one row."""
    return np.array([[float(word) for word in row.split(",")] for row in words.split(";")])


def _targets(words: str) -> np.ndarray:
    """``"1,2"`` as targets [2], ``"1,2;3,4"`` as targets of two columns [2, 2]."""
    return _matrix(words) if ";" in words else _vector(words)


def evaluate(name: str, given: Mapping[str, str]) -> object:
    """A formula at the given arguments.

    Args:
        name: ``"module.function"``; the function's name alone where only one module has it; the module's name alone
            for its summary.
        given: Argument → text. Arguments x and y may be given as a table instead: ``csv`` a file, ``target`` its target
            column, ``columns`` a row of ``COLUMNS``.

    Returns:
        A number, a list of numbers, or a dict of them, as JSON can carry it; with a table a dict that also tells its
        features.

    Raises:
        ChainruleError: E402 unknown formula, E401 unknown or missing argument, E406 text that is no number; E302, E307,
            E308 for a table that cannot be used.
    """
    formula = _found(name)
    parameters = inspect.signature(formula.function, eval_str=True).parameters
    allowed = (*parameters, *TABLE) if set(ROWS) <= set(parameters) else tuple(parameters)
    usage = f"chainrule theory {formula.name} {' '.join(a if '=' in a else f'{a}=…' for a in formula.arguments)}"
    for word in given:
        if word not in allowed:
            raise ChainruleError(
                "E401",
                f"unknown argument {word!r}.",
                f"{nearest(word, list(allowed))}{formula.name} takes: {', '.join(allowed)}.",
                usage,
            )
    told, values = _table(given, usage) if set(given) & set(TABLE) else ({}, {})
    for parameter in parameters.values():
        if parameter.name in values:
            continue
        if parameter.name in given:
            values[parameter.name] = _read(parameter, given[parameter.name], usage)
        elif parameter.default is parameter.empty:
            raise ChainruleError("E401", f"{parameter.name} is missing.", f"{formula.name} needs it.", usage)
    value = plain(formula.function(**values))
    return {**told, **(value if isinstance(value, dict) else {"value": value})} if told else value


def _found(name: str) -> Formula:
    """The formula that answers to a name."""
    known = catalogue()
    if name in known:
        return known[name]
    matching = [f for f in known.values() if name == f.name.rpartition(".")[2]]
    if len(matching) != 1:
        raise ChainruleError(
            "E402",
            f"formula={name!r} is not known.",
            f"{nearest(name, list(known))}`chainrule theory` lists them.",
            "chainrule theory MODULE.NAME argument=value",
        )
    return matching[0]


def _read(parameter: inspect.Parameter, words: str, usage: str) -> object:
    """The value of one argument."""
    reader = _targets if parameter.name == "y" else _reader(parameter)
    assert reader is not None  # or it would not be in the catalogue
    try:
        return reader(words)
    except ValueError:
        shape = MATRICES if reader in (_matrix, _targets) else LISTS
        raise ChainruleError(
            "E406",
            f"{parameter.name}={words!r} cannot be read.",
            f"{parameter.name} is a number, or {shape} where it is an array.",
            usage,
        ) from None


def _table(given: Mapping[str, str], usage: str) -> tuple[dict[str, object], dict[str, object]]:
    """What is told about a table, and its x [N, d] and y [N] in float64."""
    for word in TABLE[:2]:
        if word not in given:
            raise ChainruleError("E401", f"{word} is missing.", "A table is csv=FILE target=COLUMN.", usage)
    for word in ROWS:
        if word in given:
            raise ChainruleError("E401", f"{word} is given twice.", f"The table gives {word} too.", f"remove {word}=…")
    way = given.get("columns", "as_given")
    _ = COLUMNS[way]
    features, x, y = _rows(Path(given["csv"]), given["target"])
    told: dict[str, object] = {"features": features, "columns": way}
    if way != "as_given":
        means, x, level = x.mean(0), x - x.mean(0), float(y.mean())
        y = y - level
        told |= {"means": means.tolist(), "mean_of_target": level}
        if way == "standardised":
            scales = np.where(np.ptp(x, axis=0) > 0, x.std(0), 1.0)  # a constant column stays 0
            x, told["scales"] = x / scales, scales.tolist()
    return told, {"x": x, "y": y}


def _rows(path: Path, target: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the features, x [N, d] and y [N] of a table whose cells are all numbers, in float64."""
    header, rows, lines, delimiter = own_data.cells_of(
        path.name, own_data.text_of(path.name, sources.read_given(path)), target
    )
    if target not in header or len(header) < 2:
        raise ChainruleError(
            "E308",
            f"{path.name} has no column {target!r} beside features.",
            f"{nearest(target, header)}Columns: {own_data.listed(header)}.",
            "target=COLUMN",
        )
    spell = own_data.spelling(delimiter)
    numbers = [
        own_data.feature(path.name, name, [spell(row[j]) for row in rows], lines) for j, name in enumerate(header)
    ]
    at = header.index(target)
    names = [target, *(name for name in header if name != target)]
    table = np.column_stack([numbers[at], *(column for j, column in enumerate(numbers) if j != at)])
    table, _, _ = own_data.without_gaps(path.name, names, table, lines, "error")
    return names[1:], table[:, 1:], table[:, 0]


def plain(value: object) -> object:
    """A value as JSON can carry it; what is not finite becomes a word."""
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple) and not hasattr(value, "_asdict"):
        return [plain(item) for item in value]
    if hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value
