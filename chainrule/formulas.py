"""The formulas of theory/ as a calculator: found by walking, called with name=value."""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from chainrule import theory
from chainrule.calculus.activations import ACTIVATIONS, Activation
from chainrule.errors import ChainruleError
from chainrule.table import nearest


@dataclass(frozen=True)
class Formula:
    """A public function of ``theory/`` whose arguments can be typed on a command line.

    Args:
        name: ``"meanfield.fixed_point_length"``.
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


def catalogue() -> dict[str, Formula]:
    """Every formula that the calculator can evaluate, by name."""
    found = {}
    for info in sorted(pkgutil.iter_modules(theory.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{theory.__name__}.{info.name}")
        for name, function in vars(module).items():
            if name.startswith("_") or not inspect.isfunction(function) or function.__module__ != module.__name__:
                continue
            parameters = inspect.signature(function, eval_str=True).parameters.values()
            if all(_reader(p) is not None for p in parameters):
                arguments = tuple(
                    p.name if p.default is p.empty else f"{p.name}={_spelt(p.default)}" for p in parameters
                )
                summary = (inspect.getdoc(function) or "").split("\n")[0]
                found[f"{info.name}.{name}"] = Formula(f"{info.name}.{name}", arguments, summary, function)
    return found


def _spelt(default: object) -> str:
    return next((name for name, row in ACTIVATIONS.items() if row is default), str(default))


def _reader(parameter: inspect.Parameter) -> Callable[[str], object] | None:
    """How the text of an argument is read; ``None`` for what cannot be typed, such as a function."""
    annotation = parameter.annotation
    if annotation in READERS:
        return READERS[annotation]
    text = str(annotation)
    if "Sequence[float]" in text or "ndarray" in text:
        return lambda words: np.array([float(word) for word in words.split(",")])
    if "Tensor" in text and "Callable" not in text:
        return lambda words: torch.tensor([float(word) for word in words.split(",")], dtype=torch.float64)
    return None


def evaluate(name: str, given: Mapping[str, str]) -> object:
    """A formula at the given arguments.

    Args:
        name: ``"module.function"``; the function's name alone where only one module has it.
        given: Argument → text.

    Returns:
        A number, a list of numbers, or a dict of them, as JSON can carry it.

    Raises:
        ChainruleError: E402 unknown formula, E401 unknown or missing argument, E406 text that is no number.
    """
    known = catalogue()
    matching = [f for f in known.values() if name in (f.name, f.name.split(".")[1])]
    if len(matching) != 1:
        raise ChainruleError(
            "E402",
            f"formula={name!r} is not known.",
            f"{nearest(name, list(known))}`chainrule theory` lists them.",
            "chainrule theory MODULE.NAME argument=value",
        )
    (formula,) = matching
    parameters = inspect.signature(formula.function, eval_str=True).parameters
    usage = f"chainrule theory {formula.name} {' '.join(a if '=' in a else f'{a}=…' for a in formula.arguments)}"
    for word in given:
        if word not in parameters:
            raise ChainruleError(
                "E401",
                f"unknown argument {word!r}.",
                f"{nearest(word, list(parameters))}{formula.name} takes: {', '.join(parameters)}.",
                usage,
            )
    values = {}
    for parameter in parameters.values():
        if parameter.name in given:
            reader = _reader(parameter)
            assert reader is not None  # or it would not be in the catalogue
            try:
                values[parameter.name] = reader(given[parameter.name])
            except ValueError:
                raise ChainruleError(
                    "E406",
                    f"{parameter.name}={given[parameter.name]!r} cannot be read.",
                    f"{parameter.name} is a number, or {LISTS} where it is an array.",
                    usage,
                ) from None
        elif parameter.default is parameter.empty:
            raise ChainruleError("E401", f"{parameter.name} is missing.", f"{formula.name} needs it.", usage)
    return plain(formula.function(**values))


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
