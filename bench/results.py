"""Numbers from the samples: seconds per network, paired ratios, shares; and the goals, met or not.

Everything printed, drawn or judged goes through here, from the JSON alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Results = Mapping[str, Any]  # bench.json
JAX = ("JAX scan", "JAX vmap")
OPERATORS = ("curvlinops", "double backward")  # Hessians whose eigenvalues scipy's eigsh finds
STEPS = (0, 100)  # of training, before the eigenvalues are taken


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some samples."""

    median: float
    low: float
    high: float


def spread(samples: Sequence[float]) -> Spread:
    """Median and quartiles.

    Example:
        >>> spread([3.0, 1.0, 2.0])
        Spread(median=2.0, low=1.5, high=2.5)
    """
    low, median, high = (float(q) for q in np.quantile(samples, [0.25, 0.5, 0.75]))
    return Spread(median, low, high)


def unit(results: Results, table: str, row: str = "") -> Mapping[str, Any]:
    """What was kept of a unit; empty if it was not measured."""
    found: Mapping[str, Any] = results["tables"].get(f"{table}/{row}" if row else table, {})
    return found


def rows(results: Results, table: str) -> list[str]:
    """Rows of a table that were measured."""
    prefix = f"{table}/"
    return [name.removeprefix(prefix) for name in results["tables"] if name.startswith(prefix)]


# one network, one core ───────────────────────────────────────────────────────────────────


def per_network(record: Mapping[str, Any], name: str) -> list[float]:
    """Seconds of one epoch of one network, a sample per repeat; empty if the contender was absent."""
    found = record.get("contenders", {}).get(name, {})
    share = record["members"][name] * record["epochs"] if record else 1
    return [seconds / share for seconds in found.get("seconds", [])]


def better(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """Of some contenders, the one with the lower median; empty if none is there."""
    there = {name: spread(samples).median for name in names if (samples := per_network(record, name))}
    return min(there, key=lambda name: there[name]) if there else ""


def ratio(record: Mapping[str, Any], other: str, ours: str = "chainrule") -> Spread | None:
    """How many times longer the other takes: the quotient of each pair of repeats."""
    theirs, own = per_network(record, other), per_network(record, ours)
    return spread([a / b for a, b in zip(theirs, own, strict=True)]) if theirs and own else None


def best_rate(results: Results, row: str = "") -> float:
    """The fastest matrix product [operations / s], over all shapes or those of a row; 0 if not measured."""
    record = unit(results, "rates")
    shapes = record.get("rows", {}).get(row) if row else None
    found = [
        max(one["numpy"], one["torch"])
        for one in record.get("products", [])
        if shapes is None or one["shape"] in shapes
    ]
    return max(found, default=0.0)


def arithmetic(results: Results, row: str) -> float:
    """Seconds that the matrix products of an epoch take at the fastest rate found."""
    record, rate = unit(results, "network", row), best_rate(results)
    return record["operations"] / rate if record and rate else 0.0


def share(results: Results, row: str) -> float | None:
    """The part of an epoch that the arithmetic alone would take."""
    samples, needed = per_network(unit(results, "network", row), "chainrule"), arithmetic(results, row)
    return needed / spread(samples).median if samples and needed else None


def undisturbed(results: Results) -> float | None:
    """The smallest share of a core that any timed worker of one thread had, over all its repeats."""
    found = [
        sum(one["processor"]) / sum(one["seconds"])
        for row in rows(results, "network")
        for one in unit(results, "network", row)["contenders"].values()
        if one.get("seconds")
    ]
    return min(found, default=None)


def unpinned(results: Results) -> int:
    """Timed workers from which somebody took their pin."""
    records = (unit(results, "network", row)["contenders"].values() for row in rows(results, "network"))
    return sum(not one.get("stayed", True) for found in records for one in found)


# other tables ────────────────────────────────────────────────────────────────────────────


def seeds_ratio(record: Mapping[str, Any], other: str, ours: str = "chainrule") -> Spread | None:
    """The same quotient in the table of all seeds."""
    pairs = [record.get("contenders", {}).get(name, {}).get("seconds", []) for name in (other, ours)]
    return spread([a / b for a, b in zip(*pairs, strict=True)]) if all(pairs) else None


def option_ratio(record: Mapping[str, Any], option: str) -> Spread | None:
    """How many times longer an option takes than plain descent."""
    pairs = [record.get("options", {}).get(name, {}).get("seconds", []) for name in (option, "plain")]
    return spread([a / b for a, b in zip(*pairs, strict=True)]) if all(pairs) else None


def value(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What a single job returned; empty if it was absent."""
    found: Mapping[str, Any] = record.get(name, {}).get("value") or {}
    return found


def quotient(a: float | None, b: float | None) -> float | None:
    """The quotient a / b, where both are there."""
    return a / b if a and b else None


# goals ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Goal:
    """What is to be reached.

    Args:
        words: As printed.
        measured: The number; nothing if it was not measured.
        bound: The number to reach.
        at_least: Whether more is better.
        unit: Printed behind both numbers.
    """

    words: str
    measured: float | None
    bound: float
    at_least: bool = True
    unit: str = "x"

    @property
    def met(self) -> bool | None:
        """Whether it is reached; nothing if it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


FASTER_THAN_LOOP = {
    "8-64-64-1": 10.0,
    "8-208-208-1": 1.6,
    "64-32-10": 25.0,
    "40-100-100-10": 5.0,
    "784-256-128-10": 1.35,
    "784-1024-1024-10": 1.2,
}
FASTER_THAN_JAX = {
    "8-64-64-1": 1.5,
    "8-208-208-1": 1.1,
    "64-32-10": 1.5,
    "40-100-100-10": 1.5,
    "784-256-128-10": 1.0,
    "784-1024-1024-10": 1.0,
}
FASTER_THAN_SKLEARN = 1.6
SHARE = {
    "8-64-64-1": 0.6,
    "8-208-208-1": 0.8,
    "64-32-10": 0.4,
    "40-100-100-10": 0.6,
    "784-256-128-10": 0.9,
    "784-1024-1024-10": 0.9,
}
SEEDS_FASTER_THAN_LOOP = {
    "8-64-64-1": 8.0,
    "64-32-10": 20.0,
    "40-100-100-10": 4.0,
    "784-256-128-10": 1.25,
    "784-1024-1024-10": 1.25,
}
TWO_WORKERS, OPTION, GIBIBYTES, PRODUCT, EIGENVALUES = 1.85, 1.5, 2.0, 1.0, 15.0


def goals(results: Results, options: Iterable[str]) -> list[Goal]:
    """The goals of every row that was measured, with what was measured.

    Args:
        results: The JSON.
        options: Options whose time is bounded.
    """
    return [*network_goals(results), *seeds_goals(results), *option_goals(results, options), *single_goals(results)]


def network_goals(results: Results) -> list[Goal]:
    """One network, one core."""
    found = []
    for row in rows(results, "network"):
        record = unit(results, "network", row)

        def against(name: str, record: Mapping[str, Any] = record) -> float | None:
            quotients = ratio(record, name)
            return quotients.median if quotients else None

        found += [
            Goal(f"{row}: faster than the PyTorch loop", against("PyTorch loop"), FASTER_THAN_LOOP[row]),
            Goal(f"{row}: faster than JAX's better form", against(better(record, JAX)), FASTER_THAN_JAX[row]),
            Goal(f"{row}: faster than scikit-learn", against("scikit-learn"), FASTER_THAN_SKLEARN),
            Goal(f"{row}: share of the best matrix-product rate", share(results, row), SHARE[row], unit=""),
        ]
    return found


def seeds_goals(results: Results) -> list[Goal]:
    """All seeds, the whole machine."""
    found = []
    for row in rows(results, "seeds"):
        record = unit(results, "seeds", row)

        def against(name: str, record: Mapping[str, Any] = record) -> float | None:
            quotients = seeds_ratio(record, name)
            return quotients.median if quotients else None

        if row in SEEDS_FASTER_THAN_LOOP:
            bound = SEEDS_FASTER_THAN_LOOP[row]
            found.append(Goal(f"{row}, all seeds: faster than the PyTorch loop", against("PyTorch loop"), bound))
        found += [
            Goal(f"{row}, all seeds: faster than JAX", against("JAX"), 1.0),
            Goal(f"{row}: two workers against one", against("chainrule, one worker"), TWO_WORKERS),
        ]
    return found


def option_goals(results: Results, options: Iterable[str]) -> list[Goal]:
    """Options beside plain descent."""
    found = []
    for row in rows(results, "options"):
        record = unit(results, "options", row)
        for option in options:
            quotients = option_ratio(record, option)
            measured = quotients.median if quotients else None
            found.append(Goal(f"{row}: {option} against plain descent", measured, OPTION, at_least=False))
    return found


def single_goals(results: Results) -> list[Goal]:
    """Memory and curvature."""
    found = []
    if memory := unit(results, "memory"):
        networks, peak = value(memory, "chainrule").get("networks", 0), memory["chainrule"].get("peak")
        measured = peak / 2**30 if peak else None
        words = f"{networks:,} networks 8-64-64-1: peak memory"
        found.append(Goal(words, measured, GIBIBYTES, at_least=False, unit=" GiB"))
    if curved := unit(results, "curvature"):
        for dtype in ("float64", "float32"):
            timed = value(curved, dtype)
            measured = quotient(timed.get("product"), timed.get("gradient"))
            words = f"Hessian-vector product against a gradient, {dtype}"
            found.append(Goal(words, measured, PRODUCT, at_least=False))
        for steps in STEPS:
            there = [one for one in OPERATORS if value(curved, f"{one}, {steps} steps")] or OPERATORS[:1]
            peer, ours = (value(curved, f"{one}, {steps} steps") for one in (there[0], "chainrule"))
            words = f"five eigenvalues after {steps} steps: faster than eigsh on {there[0]}"
            found.append(Goal(words, quotient(peer.get("seconds"), ours.get("seconds")), EIGENVALUES))
    return found
