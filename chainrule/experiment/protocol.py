"""Protocols: what is varied, what is observed, and when."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from chainrule.errors import ChainruleError
from chainrule.experiment.condition import Condition, distinctions, labels
from chainrule.experiment.engines import State

Instrument = Callable[[State], Tensor]  # [C, S, *]
Case = dict[str, float | str]
Draw = Callable[[str], np.random.Generator]
REGISTERED = 1000  # first replica of a registered cohort; 0 to 9 are for pilots, in which tolerances may be chosen


@dataclass(frozen=True)
class Schedule:
    """The steps at which instruments look, always with the first (0) and the last.

    Args:
        every: Steps between two looks; 0 looks only at the start and the end.
        first: No look before this step, but the one at 0.
    """

    every: int = 0
    first: int = 0

    def steps(self, total: int) -> list[int]:
        """The observed steps of a training of ``total`` steps.

        Example:
            >>> Schedule(every=40).steps(100)
            [0, 40, 80, 100]
        """
        inner = range(self.every, total, self.every) if self.every else ()
        return sorted({0, total, *(t for t in inner if t >= self.first)})

    def segments(self, total: int) -> Iterator[int]:
        """Lengths of the undisturbed stretches in between."""
        steps = self.steps(total)
        yield from (b - a for a, b in itertools.pairwise(steps))


@dataclass(frozen=True)
class Protocol:
    """Networks that are trained, or only initialised (``steps=0``).

    Args:
        conditions: What is varied; each is one network per seed.
        seeds: Number of replicas, from ``first``.
        observe: Name → instrument. Instruments are functions of a module, so that their source can be part of the key.
        at: When they look.
        first: First replica.
        keep: ``"final"`` parameters, or the ``"best"`` by validation loss among the observed steps.
    """

    conditions: tuple[Condition, ...]
    seeds: int
    observe: dict[str, Instrument] = field(default_factory=dict)
    at: Schedule = Schedule()
    first: int = REGISTERED
    keep: str = "final"

    def __post_init__(self) -> None:
        check_seeds(self.seeds)

    @property
    def labels(self) -> tuple[str, ...]:
        """What tells the conditions apart."""
        return labels(self.conditions)


@dataclass(frozen=True)
class Trials:
    """Everything that is not a network in training: a quadratic, a regression, a random matrix.

    Args:
        cases: Flat records of numbers and names; what a condition is to a network.
        seeds: Number of replicas, from ``first``.
        trial: (case, draw) → the measured numbers [X]; ``draw(purpose)`` opens the replica's stream.
        first: First replica.
        data: Names of the datasets that the trial reads; their hashes enter the key.
    """

    cases: tuple[Case, ...]
    seeds: int
    trial: Callable[[Case, Draw], np.ndarray]
    first: int = REGISTERED
    data: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_seeds(self.seeds)

    @property
    def labels(self) -> tuple[str, ...]:
        """What tells the cases apart."""
        return distinctions([{n: c[n] for n in self.cases[0]} for c in self.cases])


def check_seeds(seeds: int) -> None:
    """Refuse a number of seeds that no cohort can have."""
    if not 1 <= seeds <= 100_000:
        raise ChainruleError(
            "E406", f"seeds={seeds!r} is out of range.", "seeds must be between 1 and 100000.", "for example seeds=20"
        )


@dataclass(frozen=True)
class Run:
    """What training returned for the conditions of one structure.

    Args:
        conditions: C conditions, or cases.
        steps: [T] observed steps; [0] for trials.
        readings: Instrument → [C, S, T, *] float64; trials have one reading, ``"trial"``, [C, S, 1, X].
        diverged_at: [C, S] step of the first loss that was not finite, -1 for none.
        chosen_step: [C, S] step of the kept parameters.
        final: [C][S] bytes of the kept parameters (safetensors), read when they are asked for; empty for trials.
        places: Positions of these conditions in the protocol.
    """

    conditions: tuple[Condition, ...] | tuple[Case, ...]
    steps: tuple[int, ...]
    readings: dict[str, np.ndarray]
    diverged_at: np.ndarray
    chosen_step: np.ndarray
    final: tuple[Sequence[bytes], ...]
    places: tuple[int, ...]
