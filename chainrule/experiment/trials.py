"""Trials are carried out: one by one here, or in blocks elsewhere; each is stored by itself."""

from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as tensors_from_bytes
from safetensors.numpy import save as bytes_from_tensors

from chainrule import dataset
from chainrule.experiment.cohort import DRAWS
from chainrule.experiment.engines import NEVER
from chainrule.experiment.executors.job import Job, Parcel, Progress, Work, other_code, shared_store, stays_here
from chainrule.experiment.naming import found, identity, spelled_out
from chainrule.experiment.protocol import Case, Draw, Run, Trials
from chainrule.randomness import ROOT, stream
from chainrule.store import disk
from chainrule.store.keys import key
from chainrule.store.objects import Store

BLOCK, BLOCKS = 50, 64  # trials in a job at most, and jobs that a protocol is divided into if it has trials enough


def carry_out(trials: Trials, store: Store) -> Generator[Progress, None, list[Run]]:
    """Carry out trials; what is stored is read.

    Args:
        trials: What is tried.
        store: Where each of them is kept.

    Yields:
        Progress; a trial is a shard.

    Returns:
        One Run, with the reading ``"trial"``.
    """
    total, replicas = len(trials.cases) * trials.seeds, range(trials.first, trials.first + trials.seeds)
    values: list[list[np.ndarray]] = []
    names = named(trials)
    for c, case in enumerate(trials.cases):
        values.append([])
        for s, replica in enumerate(replicas):
            files = store.obtain(address(names, case, replica), "trial", partial(_try, trials, case, replica))
            values[-1].append(tensors_from_bytes(files["trial.safetensors"])["trial"])
            yield Progress(c * trials.seeds + s + 1, total, 0, 1)
    measured = np.array(values)[:, :, None]
    nobody = np.full(measured.shape[:2], NEVER)
    return [Run(trials.cases, (0,), {"trial": measured}, nobody, nobody, (), tuple(range(len(trials.cases))))]


def named(trials: Trials) -> list[str]:
    """What names a trial and its data in a key."""
    return [*identity(trials.trial), *(dataset.load(data).hash for data in trials.data)]


def address(names: list[str], case: Case, replica: int) -> str:
    """The address of one trial's result; ``names`` as ``named`` has them."""
    return key({"kind": "trial", "trial": names, "case": case, "root": ROOT, "draws": DRAWS, "replica": replica})


def _try(trials: Trials, case: Case, replica: int) -> dict[str, bytes]:
    """One trial, carried out."""
    draw: Draw = partial(stream, replica)
    measured = np.asarray(trials.trial(case, draw), dtype=np.float64).reshape(-1)
    return {"trial.safetensors": bytes_from_tensors({"trial": measured})}


def parcel(trials: Trials, store: Store) -> Parcel:
    """The trials that are not stored, as jobs of some trials each; none if the trial has no name."""
    names, total = named(trials), len(trials.cases) * trials.seeds
    missing = [
        (case, replica)
        for case in trials.cases
        for replica in range(trials.first, trials.first + trials.seeds)
        if not store.has(address(names, case, replica))
    ]
    spelled = spelled_out(trials.trial)
    if not missing or spelled is None:
        return Parcel(Work((), 0), note=stays_here(getattr(trials.trial, "__name__", "trial")) if missing else "")
    size = min(BLOCK, -(-total // BLOCKS))
    blocks = [missing[i : i + size] for i in range(0, len(missing), size)]

    def job(block: list[tuple[Case, int]]) -> Job:
        return Job(
            f"{__name__}:carry_out_block",
            {
                "store": str(store.folder.absolute()),
                "trial": spelled,
                "data": list(trials.data),
                "block": [[case, replica] for case, replica in block],
                "cells": [address(names, case, replica) for case, replica in block],
            },
        )

    return Parcel(Work(map(job, blocks), len(blocks)), address(names, *missing[0]))


def carry_out_block(
    store: str, trial: dict[str, object], data: list[str], block: list[list[Any]], cells: list[str]
) -> Iterator[Progress]:
    """Carry out some trials in a worker; each is stored before the next begins.

    Raises:
        ChainruleError: E506 if the store is not that of the process that sent the job, E507 if the worker has another
            version of the code or of the data.
    """
    place = Store(Path(store))
    if not disk.is_file(place.folder / "FORMAT"):
        raise shared_store(place.folder)
    trials = Trials(tuple(case for case, _ in block), 1, found(trial), data=tuple(data))
    names = named(trials)
    for done, ((case, replica), cell) in enumerate(zip(block, cells, strict=True)):
        if address(names, case, replica) != cell:
            raise other_code("a trial")
        place.obtain(cell, "trial", partial(_try, trials, case, replica))
        yield Progress(0, 1, done + 1, len(block))
