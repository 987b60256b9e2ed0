"""What passes through a network: lengths, correlations, saturation, dead units, norms of gradients."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def second_moment(h: Float[Tensor, "*m N d"]) -> Float[Tensor, "*m"]:
    r"""Mean squared entry of a layer, over inputs and units; it is not centred.

    .. math::  q = \frac{1}{N d} \sum_{n,j} h_{nj}^2

    Args:
        h: Pre-activations, activations or error signals of one layer [h].

    Returns:
        q [h²].

    Example:
        >>> second_moment(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor(6.2500)
    """
    return h.square().mean((-2, -1))


def correlation(a: Float[Tensor, "*m d"], b: Float[Tensor, "*m d"]) -> Float[Tensor, "*m"]:
    r"""Correlation of two inputs in a layer: the cosine of the angle between their rows, not centred.

    .. math::  c = \frac{\sum_j a_j b_j}{\sqrt{\sum_j a_j^2 \sum_j b_j^2}}

    Args:
        a: The layer at the first input [h].
        b: The same layer at the second input [h].

    Returns:
        c [1]; NaN where a row is 0.

    Error:
        Rounding. Each row is scaled by its largest entry first, so that signals of size 1e-30 or 1e30 keep their angle.

    Example:
        >>> correlation(torch.tensor([1.0, 0.0]), torch.tensor([3.0, 4.0]))
        tensor(0.6000)
    """
    a, b = a / a.abs().amax(-1, keepdim=True), b / b.abs().amax(-1, keepdim=True)
    return (a * b).sum(-1) / (a.square().sum(-1).sqrt() * b.square().sum(-1).sqrt())


def saturation_share(slope: Float[Tensor, "*m N d"], threshold: float) -> Float[Tensor, "*m"]:
    """Share of (input, unit) pairs whose activation is so flat that little gradient passes: |φ'(z)| < threshold.

    Args:
        slope: φ'(z) at every input and unit [activation / pre-activation].
        threshold: Smallest slope that is not called saturated [as slope], for example a tenth of the largest possible.

    Returns:
        Share [1]. A slope that is NaN counts as saturated: no gradient passes there either.

    Example:
        >>> saturation_share(torch.tensor([[0.25, 0.01], [0.2, 0.02]]), threshold=0.025)
        tensor(0.5000)
    """
    return (~(slope.abs() >= threshold)).to(slope.dtype).mean((-2, -1))


def dead_units(slope: Float[Tensor, "*m N d"]) -> Bool[Tensor, "*m d"]:
    """Units through which no gradient passes at any input: φ'(z) is exactly 0 in every row.

    Such a unit of a one-hidden-layer ReLU network under full-batch gradient descent has gradient 0 and stays dead.

    Args:
        slope: φ'(z) of all training inputs [activation / pre-activation].

    Returns:
        True where the unit is dead.

    Example:
        >>> dead_units(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
        tensor([ True, False,  True])
    """
    return (slope == 0).all(-2)


def gradient_norms(gradients: Sequence[Float[Tensor, "*m _ _"]]) -> Float[Tensor, "*m L"]:
    """Frobenius norm of the gradient of every layer's weights, first layer first.

    Args:
        gradients: ∂L/∂W_l, layer by layer [loss / weight].

    Returns:
        Norms [loss / weight].

    Example:
        >>> gradient_norms([torch.tensor([[3.0, 4.0]]), torch.zeros(2, 2)])
        tensor([5., 0.])
    """
    return torch.stack([torch.linalg.matrix_norm(gradient) for gradient in gradients], dim=-1)
