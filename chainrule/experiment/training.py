"""Training: a Protocol becomes Runs, shard by shard, each persisted before the next begins."""

import json
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import torch
from safetensors.numpy import load as tensors_from_bytes
from safetensors.numpy import save as bytes_from_tensors
from torch import Tensor

from chainrule import dataset
from chainrule.calculus.optimisers import OPTIMISERS
from chainrule.errors import ChainruleError
from chainrule.experiment import trials
from chainrule.experiment.cohort import DRAWS, Cohort, assemble
from chainrule.experiment.condition import DTYPES, Condition, architecture
from chainrule.experiment.engines import Engine, State, initial
from chainrule.experiment.executors.job import Executor, Job, Parcel, Work, other_code, shared_store, stays_here
from chainrule.experiment.executors.job import Progress as Progress  # where those who train look for it
from chainrule.experiment.executors.memory import check_budget
from chainrule.experiment.fast import fast
from chainrule.experiment.kept import PARAMS, Kept, OnDisk, pack
from chainrule.experiment.kept import unpack as unpack
from chainrule.experiment.naming import found, identity, spelled_out
from chainrule.experiment.observe import CHUNK
from chainrule.experiment.protocol import Protocol, Run, Schedule, Trials
from chainrule.randomness import ROOT
from chainrule.store import disk
from chainrule.store.keys import key
from chainrule.store.objects import Store

Files = dict[str, bytes]
Readings = dict[str, np.ndarray]
Record = dict[str, int]
Result = TypeVar("Result")


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


@dataclass(frozen=True)
class Naming:
    """What the addresses of a protocol's networks share: looked up once, since data and sources lie on the disk.

    Args:
        shared: Instruments, schedule, choice of parameters.
        data: Name of a dataset → its content hash.
    """

    shared: dict[str, object]
    data: dict[str, str]

    def address(self, condition: Condition, replica: int) -> str:
        """The address of one network's result: everything that it is the result of, and nothing else."""
        return key(self.shared | {"condition": condition, "replica": replica, "data": self.data[condition.data]})

    def of(self, shard: Shard) -> dict[tuple[int, int], str]:
        """(place, replica) → address, of the networks of a shard."""
        return {
            (place, replica): self.address(condition, replica)
            for place, condition in zip(shard.places, shard.conditions, strict=True)
            for replica in shard.replicas
        }


def naming(protocol: Protocol) -> Naming:
    """How the networks of a protocol are named."""
    shared: dict[str, object] = {
        "kind": "network",
        "root": ROOT,
        "draws": DRAWS,
        "observe": {name: identity(i) for name, i in protocol.observe.items()},
        "at": [protocol.at.every, protocol.at.first],
        "keep": protocol.keep,
    }
    return Naming(shared, {name: dataset.load(name).hash for name in {c.data for c in protocol.conditions}})


def cell_key(protocol: Protocol, condition: Condition, replica: int) -> str:
    """The address of one network's result."""
    return naming(protocol).address(condition, replica)


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


def train(protocol: Protocol, store: Store, engine: Engine = fast, executor: Executor | None = None) -> list[Run]:
    """Train what is not stored yet, and gather the Runs of a protocol, one per structure."""
    return finish(carry_out(protocol, store, engine, executor))


def carry_out(
    protocol: Protocol | Trials, store: Store, engine: Engine = fast, executor: Executor | None = None
) -> Generator[Progress, None, list[Run]]:
    """Carry out a protocol shard by shard; a shard whose cells are all stored is read, not computed.

    Args:
        protocol: Networks, or trials.
        store: Where cells are kept.
        engine: Advances a State.
        executor: Where shards are computed; in this process, one after the other, if none is given.

    Yields:
        Progress, for a bar.

    Returns:
        One Run per structure, its conditions in the order of the protocol.

    Raises:
        ChainruleError: E201 if the disk, E502 if the memory is too small for what is to be computed.
    """
    if executor is not None:
        yield from send([protocol], store, executor, engine)
    if isinstance(protocol, Trials):
        return (yield from trials.carry_out(protocol, store))
    plan, names = shards(protocol), naming(protocol)
    check_room(protocol, store)
    read: dict[tuple[int, int], tuple[str, Readings, Record]] = {}
    for number, shard in enumerate(plan):
        own = names.of(shard)
        cells = yield from _settled(protocol, shard, own, store, engine, number, len(plan))
        for place, files in cells.items():
            readings = tensors_from_bytes(files["readings.safetensors"])
            read[place] = (own[place], readings, json.loads(files["cell.json"]))
        yield Progress(number + 1, len(plan), 0, 1)
    return _gather(protocol, store, read)


def unfinished(protocol: Protocol, store: Store) -> list[Shard]:
    """The shards of a protocol of which a cell is not stored."""
    names = naming(protocol)
    return [shard for shard in shards(protocol) if not all(map(store.has, names.of(shard).values()))]


def check_room(protocol: Protocol, store: Store) -> None:
    """Refuse early what this process cannot hold, or the disk."""
    if missing := unfinished(protocol, store):
        need, what = largest(missing)
        check_budget(need, what=what)
        disk.require_space(store.folder, sum(bytes_stored(protocol, shard) for shard in missing))


def send(
    protocols: Sequence[Protocol | Trials], store: Store, executor: Executor, engine: Engine = fast
) -> Iterator[Progress]:
    """Have an executor compute what some protocols need and the store lacks; what it cannot be sent is left out.

    Args:
        protocols: What will be carried out next; their shards are mixed.
        store: Where cells are kept.
        executor: Where they are computed.
        engine: Advances a State.

    Yields:
        Progress; a shard, or a block of trials, is one.

    Raises:
        ChainruleError: E201, E502; E506 if the workers wrote elsewhere; what a worker was refused.
    """
    parcels = [
        trials.parcel(protocol, store) if isinstance(protocol, Trials) else parcel(protocol, store, engine)
        for protocol in protocols
    ]
    for note in dict.fromkeys(parcel.note for parcel in parcels if parcel.note):
        yield Progress(0, 1, 0, 1, note)
    works = [parcel.work for parcel in parcels if parcel.work.count]
    if not works:
        return
    widest = max(works, key=lambda work: work.need)
    jobs = chain.from_iterable(work.jobs for work in works)
    yield from executor(Work(jobs, sum(work.count for work in works), widest.need, widest.what))
    if not all(store.has(parcel.proof) for parcel in parcels if parcel.work.count):
        raise shared_store(store.folder)


def parcel(protocol: Protocol, store: Store, engine: Engine = fast) -> Parcel:
    """The shards of a protocol that are not stored, as jobs; none if an instrument or the engine has no name."""
    missing = unfinished(protocol, store)
    used: dict[str, object] = {name: spelled_out(instrument) for name, instrument in protocol.observe.items()}
    used |= {} if engine is fast else {"engine": spelled_out(engine)}
    strangers = [name for name, spelled in used.items() if spelled is None]
    if not missing or strangers:
        return Parcel(Work((), 0), note=stays_here(strangers[0]) if missing else "")
    disk.require_space(store.folder, sum(bytes_stored(protocol, shard) for shard in missing))
    names = naming(protocol)
    jobs = (job(protocol, shard, names, store, engine) for shard in missing)
    need, what = largest(missing)
    return Parcel(Work(jobs, len(missing), need, what), next(iter(names.of(missing[0]).values())))


def job(protocol: Protocol, shard: Shard, names: Naming, store: Store, engine: Engine = fast) -> Job:
    """A shard as it travels; instruments and engine must have a name (``naming.spelled_out``)."""
    return Job(
        f"{__name__}:carry_out_shard",
        {
            "store": str(store.folder.absolute()),
            "conditions": msgspec.json.decode(msgspec.json.encode(shard.conditions)),
            "replicas": list(shard.replicas),
            "observe": {name: spelled_out(instrument) for name, instrument in protocol.observe.items()},
            "at": [protocol.at.every, protocol.at.first],
            "keep": protocol.keep,
            "engine": None if engine is fast else spelled_out(engine),
            "cells": list(names.of(shard).values()),
        },
    )


def carry_out_shard(
    store: str,
    conditions: list[dict[str, object]],
    replicas: list[int],
    observe: dict[str, dict[str, object]],
    at: list[int],
    keep: str,
    engine: dict[str, object] | None,
    cells: list[str],
) -> Iterator[Progress]:
    """Compute one shard in a worker; its cells are stored before it ends. Arguments as ``job`` packs them.

    Raises:
        ChainruleError: E506 if the store is not that of the process that sent the job, E507 if the worker would
            compute something else: it has another version of the code or of the data.
    """
    place = Store(Path(store))
    if not disk.is_file(place.folder / "FORMAT"):
        raise shared_store(place.folder)
    shard = Shard(tuple(range(len(conditions))), msgspec.convert(conditions, tuple[Condition, ...]), tuple(replicas))
    protocol = Protocol(
        shard.conditions,
        len(replicas),
        {name: found(spelled) for name, spelled in observe.items()},
        Schedule(*at),
        replicas[0],
        keep,
    )
    names = naming(protocol).of(shard)
    if list(names.values()) != cells:
        raise other_code(described(shard))
    yield from _settled(protocol, shard, names, place, found(engine) if engine else fast, 0, 1)


def _settled(
    protocol: Protocol,
    shard: Shard,
    names: dict[tuple[int, int], str],
    store: Store,
    engine: Engine,
    number: int,
    total: int,
) -> Generator[Progress, None, dict[tuple[int, int], Files]]:
    """The cells of a shard: read if all are stored, else computed together and stored."""
    cells = {place: stored(store, name) for place, name in names.items()}
    if not all(cells.values()):
        began = time.perf_counter()
        computed = yield from _compute(protocol, shard, engine, number, total)
        for place, name in names.items():
            cells[place] = store.obtain(name, "network", partial(dict, computed[place]))
        store.note(json.dumps({"shard": min(names.values()), "seconds": round(time.perf_counter() - began, 3)}))
    return cells


def bytes_needed(shard: Shard) -> int:
    """Memory that computing a shard takes at its peak, beside the libraries [bytes]: an estimate from above.

    Rows of the data as they were read and as they are trained on; for each member its parameters, their gradient,
    the step, the optimiser's slots, the best ones so far, the packed ones; layers of activations forward and backward.
    """
    first = shard.conditions[0]
    data = dataset.load(first.data)
    size, members = DTYPES[first.dtype], len(shard.conditions) * len(shard.replicas)
    copies = 6 + len(OPTIMISERS[first.optimiser].slots)
    rows = max(first.batch or first.n_train or len(data.x), min(len(data.x), CHUNK))
    return int(
        2 * data.x.nbytes + size * members * first.parameters * copies + size * members * rows * sum(first.widths) * 4
    )


def largest(some: Sequence[Shard]) -> tuple[int, str]:
    """Bytes that the largest of some shards needs, and what it is in words."""
    kinds = {(s.conditions[0].structure, len(s.conditions), len(s.replicas)): s for s in some}
    return max((bytes_needed(shard), described(shard)) for shard in kinds.values())


def bytes_stored(protocol: Protocol, shard: Shard) -> int:
    """Disk that the cells of a shard take, about [bytes]: parameters, readings of a few numbers, a manifest."""
    first = shard.conditions[0]
    readings = 8 * 4 * len(protocol.at.steps(first.steps)) * len(protocol.observe)
    cell = DTYPES[first.dtype] * first.parameters + readings + 4096
    return len(shard.conditions) * len(shard.replicas) * cell


def described(shard: Shard) -> str:
    """A shard in words."""
    first = shard.conditions[0]
    return f"a shard of {len(shard.conditions) * len(shard.replicas)} networks {architecture(first.widths)}"


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
                PARAMS: pack(params, moments, c, s),
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


def _gather(protocol: Protocol, store: Store, read: dict[tuple[int, int], tuple[str, Readings, Record]]) -> list[Run]:
    """What was read of the cells as Runs: one per structure. Parameters stay on the disk until they are asked for."""
    replicas = range(protocol.first, protocol.first + protocol.seeds)
    runs = []
    for places in by_structure(protocol):
        own = [[read[p, r] for r in replicas] for p in places]
        conditions = tuple(protocol.conditions[p] for p in places)
        runs.append(
            Run(
                conditions=conditions,
                steps=tuple(protocol.at.steps(conditions[0].steps)),
                readings={
                    name: np.array([[readings[name] for _, readings, _ in row] for row in own])
                    for name in protocol.observe
                },
                diverged_at=np.array([[record["diverged_at"] for *_, record in row] for row in own]),
                chosen_step=np.array([[record["chosen_step"] for *_, record in row] for row in own]),
                final=tuple(OnDisk(store, [name for name, *_ in row]) for row in own),
                places=tuple(places),
            )
        )
    return runs
