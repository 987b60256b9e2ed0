"""The plain instruments: losses and accuracy of every member, on training or validation rows."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from chainrule.calculus.network import forward
from chainrule.experiment.engines import State

CHUNK = 2048  # rows evaluated at once: bounds memory, and a fixed number keeps the bits of a sum


def outputs(state: State, inputs: Float[Tensor, "#C S N d"]) -> Float[Tensor, "C S N k"]:
    """Outputs before the head, as the network is used after training: no dropout, running moments."""
    parts = [
        forward(state.params, part, state.cohort.objective.activation, moments=state.moments).output
        for part in torch.split(inputs, CHUNK, dim=-2)
    ]
    return torch.cat(parts, dim=-2)


def _mean_over(
    state: State, rows: Int[Tensor, "S N"], score: Callable[[Tensor, Tensor], Tensor]
) -> Float[Tensor, "C S"]:
    """Mean over rows of a per-sample score, summed in float64."""
    total = torch.zeros(state.diverged_at.shape, dtype=torch.float64)
    for part in torch.split(rows, CHUNK, dim=-1):
        z = outputs(state, state.cohort.inputs(part))
        total += score(z, state.cohort.targets(part)).double().sum(-1)
    return total / rows.shape[-1]


def training_loss(state: State) -> Float[Tensor, "C S"]:
    """Mean loss over the training rows, without penalties, dropout or noise [loss]."""
    return _mean_over(state, state.cohort.train, state.cohort.objective.loss.value)


def validation_loss(state: State) -> Float[Tensor, "C S"]:
    """Mean loss over the validation rows [loss]."""
    return _mean_over(state, state.cohort.validation, state.cohort.objective.loss.value)


def right(z: Float[Tensor, "*m N k"], y: Float[Tensor, "*#m N k"]) -> Float[Tensor, "*m N"]:
    """1 where the largest output (or the sign of a single one) names the class, else 0."""
    if z.shape[-1] == 1:
        return ((z > 0) == (y > 0.5)).double()[..., 0]
    return (z.argmax(-1) == y.argmax(-1)).double()


def training_accuracy(state: State) -> Float[Tensor, "C S"]:
    """Share of training rows whose class is named rightly."""
    return _mean_over(state, state.cohort.train, right)


def validation_accuracy(state: State) -> Float[Tensor, "C S"]:
    """Share of validation rows whose class is named rightly."""
    return _mean_over(state, state.cohort.validation, right)
