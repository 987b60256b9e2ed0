"""Training: a Protocol becomes Runs, shard by shard, each persisted before the next begins."""

import hashlib
import inspect
import json
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from safetensors.numpy import load as tensors_from_bytes
from safetensors.numpy import save as bytes_from_tensors
from torch import Tensor

from chainrule import dataset
from chainrule.calculus.network import Moments, Params
from chainrule.errors import ChainruleError
from chainrule.experiment.cohort import Cohort, assemble
from chainrule.experiment.condition import Condition
from chainrule.experiment.engines import NEVER, Engine, State, initial, manual
from chainrule.experiment.observe import validation_loss
from chainrule.experiment.protocol import Case, Draw, Protocol, Run, Schedule, Trials
from chainrule.randomness import ROOT, stream
from chainrule.store.keys import key
from chainrule.store.objects import Store

Files = dict[str, bytes]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Progress:
    """How far a computation is: shards done, and steps done within the present one."""

    shard: int
    shards: int
    step: int
    steps: int


@dataclass(frozen=True)
class Shard:
    """The part of a protocol that is computed as one stack: conditions of one structure and a block of seeds.

    A function of the protocol alone, never of the machine, so a rerun repeats its bits.
    """

    places: tuple[int, ...]
    conditions: tuple[Condition, ...]
    replicas: tuple[int, ...]


def finish(work: Generator[Progress, None, Result]) -> Result:
    """Exhaust a generator of progress and hand over what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def descend(cohort: Cohort, engine: Engine, at: Schedule) -> Iterator[State]:
    """States of a cohort under training at the scheduled steps, the initial one first.

    A yielded State is valid until the generator is resumed: reduce it to numbers, or clone it.
    """
    yield (state := initial(cohort))
    for steps in at.segments(cohort.condition.steps):
        yield (state := engine(state, steps))


def seed_block(condition: Condition) -> int:
    """Seeds computed together: many for small networks, two at least, since a stack of one has other bits."""
    return 10 if condition.parameters <= 20_000 else 5 if condition.parameters <= 100_000 else 2


def by_structure(protocol: Protocol) -> list[list[int]]:
    """Places of the conditions that share a structure, in the order in which each structure first appears."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, condition in enumerate(protocol.conditions):
        groups.setdefault(condition.structure, []).append(place)
    return list(groups.values())


def shards(protocol: Protocol) -> list[Shard]:
    """The shards of a protocol; blocks of seeds begin at fixed multiples, the last one is computed whole."""
    result = []
    for places in by_structure(protocol):
        first = protocol.conditions[places[0]]
        block = seed_block(first)
        # stacked weights and one layer of activations stay below 16 and 200 MB in float32
        rows = min(first.batch or 4096, 4096)
        members = max(2, min(4_000_000 // first.parameters, 50_000_000 // (rows * max(first.widths))))
        stride = max(1, members // block)
        start = protocol.first // block * block
        for low in range(start, protocol.first + protocol.seeds, block):
            for i in range(0, len(places), stride):
                chosen = tuple(places[i : i + stride])
                result.append(
                    Shard(chosen, tuple(protocol.conditions[p] for p in chosen), tuple(range(low, low + block)))
                )
    return result


def identity(function: object) -> list[str]:
    """What names an instrument or a trial in a key: its module with the whole source, its name, its bound arguments.

    The whole module, since a function leans on the constants and functions around it: an edit anywhere in the file
    makes the result another one. What it imports is covered by ``chainrule.store.keys.FORMAT``.
    """
    if isinstance(function, partial):
        bound = [repr(a) for a in function.args] + [f"{k}={v!r}" for k, v in sorted(function.keywords.items())]
        return [*identity(function.func), *bound]
    name = f"{function.__module__}.{function.__qualname__}"  # type: ignore[attr-defined]
    return [name, hashlib.sha256(_source(function).encode()).hexdigest()]


def _source(function: object) -> str:
    """The source of a function's module; its own where the module has none, as in a notebook.

    Raises:
        ChainruleError: E503 if neither can be read: what cannot be named cannot be stored.
    """
    for place in (sys.modules.get(function.__module__), function):
        try:
            return inspect.getsource(place)  # type: ignore[arg-type]
        except (OSError, TypeError):
            continue
    raise ChainruleError(
        "E503",
        f"{function!r} has no source that can be read.",
        "A result is stored under the source of what measured it.",
        "define the function in a file or a notebook cell",
    )


def cell_key(protocol: Protocol, condition: Condition, replica: int) -> str:
    """The address of one network's result: everything that it is the result of, and nothing else."""
    return key(
        {
            "kind": "network",
            "condition": condition,
            "root": ROOT,
            "replica": replica,
            "data": dataset.load(condition.data).hash,
            "observe": {name: identity(i) for name, i in protocol.observe.items()},
            "at": [protocol.at.every, protocol.at.first],
            "keep": protocol.keep,
        }
    )


def stored(store: Store, address: str) -> Files:
    """The files of a stored cell; none where it is absent, or damaged: then it is set aside, and the journal tells."""
    there = store.has(address)
    try:
        return store.get(address)
    except ChainruleError as error:
        if error.code != "E205":
            raise
    if there:
        warning = {
            "code": "W203",
            "what": f"the network {address[:12]}… was damaged and is computed again.",
            "why": "Its contents were not those of its manifest; the damaged ones are in quarantine/.",
            "fix": "nothing needs to be done; if it happens again, check the disk (chainrule verify).",
        }
        store.note(json.dumps(warning))
    return {}


def train(protocol: Protocol, store: Store, engine: Engine = manual) -> list[Run]:
    """Train what is not stored yet, and gather the Runs of a protocol, one per structure."""
    return finish(carry_out(protocol, store, engine))


def carry_out(
    protocol: Protocol | Trials, store: Store, engine: Engine = manual
) -> Generator[Progress, None, list[Run]]:
    """Carry out a protocol shard by shard; a shard whose cells are all stored is read, not computed.

    Args:
        protocol: Networks, or trials.
        store: Where cells are kept.
        engine: Advances a State.

    Yields:
        Progress, for a bar.

    Returns:
        One Run per structure, its conditions in the order of the protocol.
    """
    if isinstance(protocol, Trials):
        return (yield from _carry_out_trials(protocol, store))
    plan = shards(protocol)
    cells: dict[tuple[int, int], Files] = {}
    for number, shard in enumerate(plan):
        names = {
            (p, r): cell_key(protocol, c, r)
            for p, c in zip(shard.places, shard.conditions, strict=True)
            for r in shard.replicas
        }
        found = {place: stored(store, name) for place, name in names.items()}
        if not all(found.values()):
            began = time.perf_counter()
            computed = yield from _compute(protocol, shard, engine, number, len(plan))
            for place, name in names.items():
                found[place] = store.obtain(name, "network", partial(dict, computed[place]))
            store.note(json.dumps({"shard": min(names.values()), "seconds": round(time.perf_counter() - began, 3)}))
        cells |= found
        yield Progress(number + 1, len(plan), 0, 1)
    return _gather(protocol, cells)


def _compute(
    protocol: Protocol, shard: Shard, engine: Engine, number: int, total: int
) -> Generator[Progress, None, dict[tuple[int, int], Files]]:
    """Train one shard and pack each member's result."""
    cohort = assemble(shard.conditions, shard.replicas)
    steps = cohort.condition.steps
    readings: dict[str, list[Tensor]] = {name: [] for name in protocol.observe}
    kept = Kept(cohort)
    state = None
    for state in descend(cohort, engine, protocol.at):
        for name, instrument in protocol.observe.items():
            readings[name].append(kept.unless_stopped(instrument(state).double()))
        if protocol.keep == "best":
            kept.look(state)
        yield Progress(number, total, state.step, max(steps, 1))
        if kept.all_stopped(protocol.at.every):
            break
    assert state is not None  # descend yields the initial State
    params, moments = (kept.params, kept.moments) if protocol.keep == "best" else (state.params, state.moments)
    observed = len(protocol.at.steps(steps))
    stacked = {name: _padded(torch.stack(values, dim=2), observed) for name, values in readings.items()}
    result = {}
    for c, place in enumerate(shard.places):
        for s, replica in enumerate(shard.replicas):
            own = {name: value[c, s].contiguous().numpy() for name, value in stacked.items()}
            record = {
                "diverged_at": int(state.diverged_at[c, s]),
                "chosen_step": int(kept.step[c, s]) if protocol.keep == "best" else steps,
            }
            result[place, replica] = {
                "params.safetensors": pack(params, moments, c, s),
                "readings.safetensors": bytes_from_tensors(own),
                "cell.json": json.dumps(record, sort_keys=True).encode(),
            }
    return result


def _padded(values: Tensor, observed: int) -> Tensor:
    """[C, S, T, *] with NaN after an early stop, so that every cell has the shape its schedule promises."""
    missing = observed - values.shape[2]
    if missing == 0:
        return values
    gap = torch.full((*values.shape[:2], missing, *values.shape[3:]), float("nan"), dtype=values.dtype)
    return torch.cat([values, gap], dim=2)


class Kept:
    """The parameters of each member at its lowest validation loss so far: model choice on validation only.

    Args:
        cohort: The members.
    """

    def __init__(self, cohort: Cohort) -> None:
        lead = (len(cohort.conditions), len(cohort.replicas))
        self.patience = torch.tensor([c.patience for c in cohort.conditions]).unsqueeze(1)
        self.epoch = cohort.epoch
        self.lowest = torch.full(lead, float("inf"), dtype=torch.float64)
        self.step = torch.zeros(lead, dtype=torch.int64)
        self.stopped = torch.zeros(lead, dtype=torch.bool)
        self.params: Params
        self.moments: Moments

    def look(self, state: State) -> None:
        """Take over the members that have improved; stop those whose patience is over."""
        if state.step == 0:
            self.params, self.moments = state.params.clone(), state.moments
        loss = validation_loss(state)
        better = (loss < self.lowest) & ~self.stopped
        self.lowest = torch.where(better, loss, self.lowest)
        self.step = torch.where(better, state.step, self.step)
        chosen = better[..., None, None]
        pairs = zip(state.params.tensors(), self.params.tensors(), strict=True)
        self.params = self.params.like(torch.where(chosen, new, old) for new, old in pairs)
        self.moments = Moments(
            *(
                tuple(torch.where(chosen, n, o) for n, o in zip(new, old, strict=True))
                for new, old in (
                    (state.moments.means, self.moments.means),
                    (state.moments.variances, self.moments.variances),
                )
            )
        )
        waited = (state.step - self.step) > self.patience * self.epoch
        self.stopped |= (self.patience > 0) & waited | state.diverged

    def unless_stopped(self, reading: Tensor) -> Tensor:
        """[C, S, *] with NaN for members that have stopped: how long others go on must not show in their readings."""
        return reading.masked_fill(self.stopped.reshape(*self.stopped.shape, *[1] * (reading.ndim - 2)), float("nan"))

    def all_stopped(self, every: int) -> bool:
        """True where every member has stopped and so nothing more can be kept."""
        return every > 0 and bool(self.stopped.all()) and bool((self.patience > 0).all())


def pack(params: Params, moments: Moments, c: int, s: int) -> bytes:
    """One member's parameters as safetensors: ``weights.0`` [n_in, n_out], ``biases.0`` [n_out] and so on."""
    named = {f"weights.{l}": w[c, s] for l, w in enumerate(params.weights)}
    for kind, rows in (
        ("biases", params.biases),
        ("gains", params.gains),
        ("shifts", params.shifts),
        ("means", moments.means),
        ("variances", moments.variances),
    ):
        named |= {f"{kind}.{l}": row[c, s, 0] for l, row in enumerate(rows)}
    packed: bytes = bytes_from_tensors({name: t.contiguous().numpy() for name, t in named.items()})
    return packed


def unpack(members: list[bytes]) -> tuple[Params, Moments]:
    """Parameters of S stored members, stacked [1, S, …]: the inverse of ``pack``."""
    read = [tensors_from_bytes(member) for member in members]

    def rows(kind: str) -> tuple[Tensor, ...]:
        count = sum(name.startswith(kind + ".") for name in read[0])
        found = []
        for l in range(count):
            stacked = torch.from_numpy(np.stack([r[f"{kind}.{l}"] for r in read])).unsqueeze(0)
            found.append(stacked if kind == "weights" else stacked.unsqueeze(-2))
        return tuple(found)

    return Params(rows("weights"), rows("biases"), rows("gains"), rows("shifts")), Moments(
        rows("means"), rows("variances")
    )


def _gather(protocol: Protocol, cells: dict[tuple[int, int], Files]) -> list[Run]:
    """Cells as Runs: one per structure."""
    replicas = range(protocol.first, protocol.first + protocol.seeds)
    runs = []
    for places in by_structure(protocol):
        own = [[cells[p, r] for r in replicas] for p in places]
        read = [[tensors_from_bytes(cell["readings.safetensors"]) for cell in row] for row in own]
        records = [[json.loads(cell["cell.json"]) for cell in row] for row in own]
        conditions = tuple(protocol.conditions[p] for p in places)
        runs.append(
            Run(
                conditions=conditions,
                steps=tuple(protocol.at.steps(conditions[0].steps)),
                readings={name: np.array([[cell[name] for cell in row] for row in read]) for name in protocol.observe},
                diverged_at=np.array([[r["diverged_at"] for r in row] for row in records]),
                chosen_step=np.array([[r["chosen_step"] for r in row] for row in records]),
                final=tuple(tuple(cell["params.safetensors"] for cell in row) for row in own),
                places=tuple(places),
            )
        )
    return runs


def _carry_out_trials(trials: Trials, store: Store) -> Generator[Progress, None, list[Run]]:
    """Trials one by one, each stored."""
    total = len(trials.cases) * trials.seeds
    values: list[list[np.ndarray]] = []
    name = [*identity(trials.trial), *(dataset.load(data).hash for data in trials.data)]
    for c, case in enumerate(trials.cases):
        values.append([])
        for s, replica in enumerate(range(trials.first, trials.first + trials.seeds)):
            address = key({"kind": "trial", "trial": name, "case": case, "root": ROOT, "replica": replica})
            files = store.obtain(address, "trial", partial(_try, trials, case, replica))
            values[-1].append(tensors_from_bytes(files["trial.safetensors"])["trial"])
            yield Progress(c * trials.seeds + s + 1, total, 0, 1)
    measured = np.array(values)[:, :, None]
    nobody = np.full(measured.shape[:2], NEVER)
    return [Run(trials.cases, (0,), {"trial": measured}, nobody, nobody, (), tuple(range(len(trials.cases))))]


def _try(trials: Trials, case: Case, replica: int) -> Files:
    """One trial, carried out."""
    draw: Draw = partial(stream, replica)
    measured = np.asarray(trials.trial(case, draw), dtype=np.float64).reshape(-1)
    return {"trial.safetensors": bytes_from_tensors({"trial": measured})}
