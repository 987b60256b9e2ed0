"""Networks of one condition, one per seed: trained, chosen on validation, and applied to the test rows once."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int

from chainrule import dataset
from chainrule.calculus.activations import ACTIVATIONS
from chainrule.calculus.losses import HEADS
from chainrule.calculus.network import forward
from chainrule.experiment.cohort import Cohort, assemble, division
from chainrule.experiment.condition import Condition
from chainrule.experiment.engines import NEVER
from chainrule.experiment.executors.job import Executor
from chainrule.experiment.observe import CHUNK
from chainrule.experiment.protocol import REGISTERED, Protocol, Run, Schedule
from chainrule.experiment.training import Progress, carry_out, unpack
from chainrule.store.objects import Store
from chainrule.workflows.instruments import on_training_rows, on_validation_rows, watched_rows

Result = TypeVar("Result")


@dataclass(frozen=True)
class Members:
    """Trained networks of one condition, one per seed, with what they say about their test rows.

    Args:
        condition: Their settings.
        data: Rows in memory.
        replicas: S indices on the seed axis.
        splits: S divisions of the rows, as they were used.
        run: Readings of the training, kept parameters; one condition.
        epoch: Steps per epoch.
        watched: Training rows that were scored after each epoch.
        outputs: S arrays [T, k]: scores of the classes, or predictions in units of the targets.
    """

    condition: Condition
    data: dataset.Data
    replicas: tuple[int, ...]
    splits: tuple[dataset.Split, ...]
    run: Run
    epoch: int
    watched: int
    outputs: tuple[Float[np.ndarray, "_ k"], ...]

    @property
    def diverged(self) -> tuple[bool, ...]:
        """[S] whether the loss of a member has not been finite at some step."""
        return tuple(bool(step != NEVER) for step in self.run.diverged_at[0])

    @property
    def groups(self) -> tuple[int, ...]:
        """[S] which seeds share their division of the rows, so that only different groups are independent."""
        return groups(self.condition, self.replicas)

    @property
    def chosen_epochs(self) -> tuple[float, ...]:
        """[S] epochs after which the kept parameters were reached."""
        return tuple(float(step) / max(self.epoch, 1) for step in self.run.chosen_step[0])

    def curve(self, part: str, column: int) -> Float[np.ndarray, "S T"]:
        """Loss (column 0) or metric (column 1) of ``"training"`` or ``"validation"`` rows at the observed steps."""
        values: np.ndarray = self.run.readings[part][0, :, :, column]
        return values


def groups(condition: Condition, replicas: tuple[int, ...]) -> tuple[int, ...]:
    """[S] which seeds share their division of the rows."""
    return tuple(r % condition.splits if condition.splits else r for r in replicas)


def epoch_steps(condition: Condition, first: int = REGISTERED) -> int:
    """Steps per pass over the training rows, as ``Cohort.epoch`` has it."""
    data = dataset.load(condition.data)
    count = min(len(division(condition, data, first + i).train) for i in range(max(condition.folds, 1)))
    rows = min(condition.n_train or count, count)
    return rows // min(condition.batch or rows, rows)


def protocol(condition: Condition, seeds: int, first: int = REGISTERED) -> Protocol:
    """What a workflow trains: one condition, scored after every epoch, the best epoch kept."""
    return Protocol(
        conditions=(condition,),
        seeds=seeds,
        observe={"training": on_training_rows, "validation": on_validation_rows},
        at=Schedule(every=epoch_steps(condition, first)),
        first=first,
        keep="best",
    )


def fit(
    condition: Condition, seeds: int, store: Store, first: int = REGISTERED, executor: Executor | None = None
) -> Generator[Progress, None, Members]:
    """Train one network per seed, keep each at its lowest validation loss, then apply it to its test rows.

    Args:
        condition: Settings of the networks.
        seeds: Number of replicas.
        store: Where each network is kept; what is there is not trained again.
        first: First replica.
        executor: Where shards are computed; in this process if none is given.

    Yields:
        Progress of the training.

    Returns:
        The networks with their outputs on the test rows.
    """
    plan = protocol(condition, seeds, first)
    (run,) = yield from carry_out(plan, store, executor=executor)
    replicas = tuple(range(first, first + seeds))
    cohort = assemble((condition,), replicas)
    splits = tuple(trimmed(division(condition, cohort.data, r), cohort) for r in replicas)
    return Members(
        condition=condition,
        data=cohort.data,
        replicas=replicas,
        splits=splits,
        run=run,
        epoch=plan.at.every,
        watched=watched_rows(cohort.rows, cohort.validation.shape[1]),
        outputs=tuple(predictions(cohort, run.final[0][s], s, splits[s].test) for s in range(seeds)),
    )


def trimmed(split: dataset.Split, cohort: Cohort) -> dataset.Split:
    """The rows of a division that the cohort uses: fewer training rows if the condition says so."""
    return dataset.Split(split.train[: cohort.rows], split.validation[: cohort.validation.shape[1]], split.test)


def predictions(cohort: Cohort, member: bytes, seed: int, rows: Int[np.ndarray, " T"]) -> Float[np.ndarray, "T k"]:
    """What one trained network says about some rows.

    Args:
        cohort: Standardisation of its seed.
        member: Its stored parameters.
        seed: Its place in the cohort.
        rows: Which rows.

    Returns:
        For classes their scores, one column each: probabilities if the head is softmax or sigmoid. For numbers the
        predictions in units of the targets.
    """
    params, moments = unpack([member])
    head = HEADS[cohort.objective.loss.head]
    parts = []
    for part in torch.split(torch.from_numpy(rows), CHUNK):
        x = (cohort.x[part].to(cohort.dtype) - cohort.centre[seed]) / cohort.spread[seed]
        z = forward(params, x[None, None], ACTIVATIONS[cohort.condition.activation], moments=moments).output
        parts.append(head.value(z)[0, 0])
    said = torch.cat(parts)
    if cohort.data.task == "regression":
        said = said * cohort.target_spread[seed] + cohort.target_centre[seed]
    elif said.shape[-1] == 1:
        said = torch.cat([1 - said, said], dim=-1)
    return said.double().numpy()


def staged(work: Generator[Progress, None, Result], done: int, total: int) -> Generator[Progress, None, Result]:
    """The progress of one stage of a longer work: ``done`` shards lie behind it, ``total`` in all."""
    while True:
        try:
            p = next(work)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        yield Progress(done + p.shard, total, p.step, p.steps, p.note)
