"""What a workflow reads after every epoch. A file of its own: its source is part of the key of every network."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from chainrule.calculus.losses import HEADS
from chainrule.experiment.engines import State
from chainrule.experiment.observe import CHUNK, outputs

WATCHED = 10_000  # training rows up to which all of them are scored after each epoch


def watched_rows(training: int, validation: int) -> int:
    """Training rows that are scored after each epoch: all, or of large data as many as choose the model.

    Scoring 55,000 rows costs a third of an epoch of training, 5,000 random ones a thirtieth; their standard error is
    that of the validation curve, against which they are compared.
    """
    return training if training <= WATCHED else min(training, validation)


def scored(state: State, rows: Int[Tensor, "S N"]) -> Float[Tensor, "C S 2"]:
    """Mean loss [loss], and accuracy or R² averaged over the targets [1], of the networks as they are used."""
    cohort = state.cohort
    losses = torch.zeros(state.diverged_at.shape, dtype=torch.float64)
    right = torch.zeros_like(losses)
    error = torch.zeros(*losses.shape, cohort.y.shape[-1], dtype=torch.float64)
    for part in torch.split(rows, CHUNK, dim=-1):
        z, y = outputs(state, cohort.inputs(part)), cohort.targets(part)
        losses += cohort.objective.loss.value(z, y).double().sum(-1)
        if cohort.data.task == "classification":
            named = (z > 0).double()[..., 0] if z.shape[-1] == 1 else z.argmax(-1).double()
            true = y[..., 0] if y.shape[-1] == 1 else y.argmax(-1)
            right += (named == true).double().sum(-1)
        else:
            error += (HEADS[cohort.objective.loss.head].value(z) - y).double().square().sum(-2)
    metric = right / rows.shape[-1]
    if cohort.data.task == "regression":
        y = cohort.targets(rows).double()
        metric = (1 - error / (y - y.mean(-2, keepdim=True)).square().sum(-2)).mean(-1)
    metric = torch.where(losses.isfinite(), metric, torch.nan)
    return torch.stack([losses / rows.shape[-1], metric], dim=-1)


def on_training_rows(state: State) -> Float[Tensor, "C S 2"]:
    """Loss and metric on the training rows, or on the first of them in their random order if they are many."""
    cohort = state.cohort
    return scored(state, cohort.train[:, : watched_rows(cohort.rows, cohort.validation.shape[1])])


def on_validation_rows(state: State) -> Float[Tensor, "C S 2"]:
    """Loss and metric on the validation rows."""
    return scored(state, state.cohort.validation)
