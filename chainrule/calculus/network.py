"""The network: parameters and the forward pass, for any number of stacked members."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from chainrule.calculus.activations import Activation

BATCH_NORM_EPSILON = 1e-5  # added to the variance; the value of Ioffe & Szegedy's reference code and of torch


@dataclass(frozen=True)
class Params:
    """Weights and biases of stacked networks; rows are samples, so z_l = h_{l-1} W_l + b_l.

    Args:
        weights: L tensors [*m, n_{l-1}, n_l].
        biases: L tensors [*m, 1, n_l].
        gains: γ of batch normalisation, L - 1 tensors [*m, 1, n_l], or none.
        shifts: β of batch normalisation, likewise.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    gains: tuple[Tensor, ...] = ()
    shifts: tuple[Tensor, ...] = ()

    def tensors(self) -> Iterator[Tensor]:
        """All tensors in a fixed order: weights, biases, gains, shifts."""
        yield from (*self.weights, *self.biases, *self.gains, *self.shifts)

    def like(self, tensors: Iterator[Tensor]) -> "Params":
        """Parameters of the same anatomy made of other tensors, given in the order of ``tensors()``."""
        w, b = tuple(next(tensors) for _ in self.weights), tuple(next(tensors) for _ in self.biases)
        return Params(w, b, tuple(next(tensors) for _ in self.gains), tuple(next(tensors) for _ in self.shifts))

    def clone(self) -> "Params":
        """A copy that shares no memory."""
        return self.like(t.clone() for t in self.tensors())


@dataclass(frozen=True)
class Moments:
    """Mean and variance of each hidden pre-activation, which batch normalisation uses outside training.

    Args:
        means: L - 1 tensors [*m, 1, n_l].
        variances: L - 1 tensors [*m, 1, n_l], unbiased.
    """

    means: tuple[Tensor, ...] = ()
    variances: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Pass:
    """Everything a forward pass computes, kept for the backward one.

    Args:
        h: L + 1 tensors [*m, N, n_l]; h[0] = x, h[L] = z[L-1] is the output before its head.
        z: L tensors [*m, N, n_l], pre-activations, before batch normalisation.
        normal: With batch normalisation, ẑ = (z - mean)/std per hidden layer [*m, N, n_l].
        std: With batch normalisation, √(variance + ε) per hidden layer [*m, 1, n_l].
        mean: With batch normalisation, the mean that was subtracted.
    """

    h: tuple[Tensor, ...]
    z: tuple[Tensor, ...]
    normal: tuple[Tensor, ...] = field(default=())
    std: tuple[Tensor, ...] = field(default=())
    mean: tuple[Tensor, ...] = field(default=())

    @property
    def output(self) -> Tensor:
        """[*m, N, n_L], before the head."""
        return self.z[-1]

    def before_activation(self, l: int, params: Params) -> Tensor:
        """The argument of φ in hidden layer ``l``: z, or γẑ + β with batch normalisation."""
        return self.normal[l] * params.gains[l] + params.shifts[l] if self.normal else self.z[l]


def forward(
    params: Params,
    x: Float[Tensor, "*#m N n_in"],
    activation: Activation,
    masks: tuple[Tensor, ...] = (),
    moments: Moments | None = None,
) -> Pass:
    """The forward pass z_l = h_{l-1} W_l + b_l, h_l = m_l ⊙ φ(BN(z_l)), with a linear last layer.

    Args:
        params: Parameters; with gains, hidden layers are batch-normalised.
        x: Inputs [*m or broadcastable, N, n_0].
        activation: φ, a row of ``ACTIVATIONS``.
        masks: Dropout: one factor 0 or 1/(1 - p) per hidden unit [*m, N, n_l], or none.
        moments: Given: batch normalisation uses these; otherwise the batch's own (biased variance).

    Returns:
        All pre-activations and activations.

    Source:
        Batch normalisation: Ioffe & Szegedy (2015), algorithm 1. Dropout: Srivastava et al. (2014), section 10.
    """
    h, z = [x], []
    normal: list[Tensor] = []
    std: list[Tensor] = []
    mean: list[Tensor] = []
    last = len(params.weights) - 1
    for l, (w, b) in enumerate(zip(params.weights, params.biases, strict=True)):
        z.append(h[-1] @ w + b)
        if l == last:
            h.append(z[-1])
            break
        u = z[-1]
        if params.gains:
            if moments is None:
                mean.append(u.mean(-2, keepdim=True))
                variance = (u - mean[-1]).square().mean(-2, keepdim=True)
            else:
                mean.append(moments.means[l])
                variance = moments.variances[l]
            std.append((variance + BATCH_NORM_EPSILON).sqrt())
            normal.append((u - mean[-1]) / std[-1])
            u = normal[-1] * params.gains[l] + params.shifts[l]
        h.append(activation.value(u))
        if masks:
            h[-1] = h[-1] * masks[l]
    return Pass(tuple(h), tuple(z), tuple(normal), tuple(std), tuple(mean))


def flatten(params: Params) -> Float[Tensor, "*m P"]:
    """All parameters of each member in one row, in the order of ``Params.tensors``."""
    lead = params.weights[0].shape[:-2]
    return torch.cat([t.reshape(*lead, -1) for t in params.tensors()], dim=-1)


def unflatten(vector: Float[Tensor, "*m P"], like: Params) -> Params:
    """The inverse of ``flatten``: views of ``vector`` in the shapes of ``like``; leading axes come from ``vector``."""
    parts = []
    start = 0
    for t in like.tensors():
        size = t.shape[-2] * t.shape[-1]
        parts.append(vector[..., start : start + size].reshape(*vector.shape[:-1], *t.shape[-2:]))
        start += size
    return like.like(iter(parts))
