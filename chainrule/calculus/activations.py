"""Activation functions: φ, its slope φ' and its curvature φ'', one row each."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from chainrule.table import Table

LEAK = 0.01  # slope of the leaky ReLU on the left: Maas, Hannun & Ng (2013)

# Where the exact softplus log(1 + eᶻ) = z + log(1 + e⁻ᶻ) equals z to the last bit of float64: e⁻³⁷ < 2⁻⁵³. torch's
# default of 20 leaves an error of 2e-9, visible in float64.
SOFTPLUS_IS_LINEAR_FROM = 37.0


@dataclass(frozen=True)
class Activation:
    r"""A function φ of one pre-activation, applied entry by entry, with its first two derivatives.

    Each function takes z of any shape and floating dtype and returns a new tensor of that shape and dtype. It is
    finite, and free of overflow, for every finite z; NaN gives NaN, so that a diverged network is seen.

    Args:
        value: φ(z) [activation].
        slope: φ'(z) [activation / pre-activation]. At a kink it is the derivative from the left.
        curvature: φ''(z) [activation / pre-activation²]. At a kink it is 0, and the jump of the slope (a point
            mass of the second derivative) is left out; both are the conventions of torch.autograd.
        range: Greatest lower and least upper bound of φ over the real line.
        kinks: The points where the slope or the curvature jumps; quadrature must be split there.
        source: Author, year, title.

    Example:
        The logistic function has slope 1/4 at the origin, its greatest:

        >>> ACTIVATIONS["sigmoid"].slope(torch.zeros(1))
        tensor([0.2500])
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    curvature: Callable[[Tensor], Tensor]
    range: tuple[float, float]
    kinks: tuple[float, ...]
    source: str


def _seen(z: Float[Tensor, "*m"], result: Float[Tensor, "*m"]) -> Float[Tensor, "*m"]:
    """The result, but NaN where z is NaN: comparisons and constants forget it."""
    return torch.where(z.isnan(), z, result)


def _zero(z: Float[Tensor, "*m"]) -> Float[Tensor, "*m"]:
    """The curvature of a piecewise linear function away from its kinks."""
    return _seen(z, torch.zeros_like(z))


def _sigmoid_slope(z: Float[Tensor, "*m"]) -> Float[Tensor, "*m"]:
    """σ' = σ(z) σ(-z). Unlike σ(1-σ) it keeps its relative accuracy where σ rounds to 1."""
    return torch.sigmoid(z) * torch.sigmoid(-z)


def _tanh_slope(z: Float[Tensor, "*m"]) -> Float[Tensor, "*m"]:
    """1 / cosh². Unlike 1 - tanh² it keeps its relative accuracy where tanh rounds to 1."""
    return torch.cosh(z).reciprocal().square()


def _elu_slope(z: Float[Tensor, "*m"]) -> Float[Tensor, "*m"]:
    """exp(min(z, 0)). The minimum is a ReLU, whose derivative at 0 is 0; that of a clamp would be 1."""
    return torch.exp(-torch.relu(-z))


def _normal_cdf(z: Float[Tensor, "*m"]) -> Float[Tensor, "*m"]:
    """Φ(z) by erfc, which does not cancel on the left: Φ(-10) = 7.6e-24, not 0."""
    return torch.erfc(-math.sqrt(0.5) * z) / 2


def _normal_pdf(z: Float[Tensor, "*m"]) -> Float[Tensor, "*m"]:
    """ϕ(z), the density of N(0, 1)."""
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


def _gelu_curvature(z: Float[Tensor, "*m"]) -> Float[Tensor, "*m"]:
    """(2 - z²) ϕ(z), multiplied out so that z² never meets a density of 0 as infinity."""
    density = _normal_pdf(z)
    return 2 * density - z * (z * density)


def _softplus(z: Float[Tensor, "*m"]) -> Float[Tensor, "*m"]:
    """log(1 + eᶻ) to rounding."""
    return functional.softplus(z, threshold=SOFTPLUS_IS_LINEAR_FROM)


ACTIVATIONS: Table[Activation] = Table(
    "activation",
    __file__,
    {
        "identity": Activation(
            value=lambda z: z.clone(),
            slope=lambda z: _seen(z, torch.ones_like(z)),
            curvature=_zero,
            range=(-math.inf, math.inf),
            kinks=(),
            source="Widrow & Hoff (1960), Adaptive switching circuits",
        ),
        "sigmoid": Activation(
            value=torch.sigmoid,
            slope=_sigmoid_slope,
            curvature=lambda z: -_sigmoid_slope(z) * torch.tanh(z / 2),  # 1 - 2σ(z) = -tanh(z/2)
            range=(0.0, 1.0),
            kinks=(),
            source="Rumelhart, Hinton & Williams (1986), Learning representations by back-propagating errors",
        ),
        "tanh": Activation(
            value=torch.tanh,
            slope=_tanh_slope,
            curvature=lambda z: -2 * torch.tanh(z) * _tanh_slope(z),
            range=(-1.0, 1.0),
            kinks=(),
            source="LeCun, Bottou, Orr & Müller (1998), Efficient BackProp, section 4.4",
        ),
        "relu": Activation(
            value=torch.relu,
            slope=lambda z: _seen(z, (z > 0).to(z.dtype)),  # φ'(0) = 0 by convention, as in torch.autograd
            curvature=_zero,
            range=(0.0, math.inf),
            kinks=(0.0,),
            source="Nair & Hinton (2010), Rectified linear units improve restricted Boltzmann machines",
        ),
        "leaky_relu": Activation(
            value=lambda z: functional.leaky_relu(z, LEAK),
            slope=lambda z: _seen(z, torch.where(z > 0, 1.0, torch.full_like(z, LEAK))),  # φ'(0) = 0.01, from the left
            curvature=_zero,
            range=(-math.inf, math.inf),
            kinks=(0.0,),
            source="Maas, Hannun & Ng (2013), Rectifier nonlinearities improve neural network acoustic models",
        ),
        "elu": Activation(
            value=functional.elu,
            slope=_elu_slope,
            curvature=lambda z: _elu_slope(z) * (z < 0),  # φ''(0) = 0; the slope itself does not jump
            range=(-1.0, math.inf),
            kinks=(0.0,),
            source="Clevert, Unterthiner & Hochreiter (2016), Fast and accurate deep network learning by exponential "
            "linear units, https://arxiv.org/abs/1511.07289",
        ),
        "gelu": Activation(
            value=lambda z: z * _normal_cdf(z),
            slope=lambda z: _normal_cdf(z) + z * _normal_pdf(z),
            curvature=_gelu_curvature,
            range=(-0.16997120747990366, math.inf),  # at z = -0.7517915, the root of Φ(z) + zϕ(z)
            kinks=(),
            source="Hendrycks & Gimpel (2016), Gaussian error linear units, https://arxiv.org/abs/1606.08415",
        ),
        "softplus": Activation(
            value=_softplus,
            slope=torch.sigmoid,
            curvature=_sigmoid_slope,
            range=(0.0, math.inf),
            kinks=(),
            source="Dugas, Bengio, Bélisle, Nadeau & Garcia (2001), Incorporating second-order functional knowledge "
            "for better option pricing",
        ),
        "silu": Activation(
            value=functional.silu,
            slope=lambda z: torch.sigmoid(z) * (1 + z * torch.sigmoid(-z)),
            curvature=lambda z: _sigmoid_slope(z) * (2 - z * torch.tanh(z / 2)),
            range=(-0.2784645427610738, math.inf),  # -W(1/e), W the Lambert function; at z = -1 - W(1/e)
            kinks=(),
            source="Elfwing, Uchibe & Doya (2018), Sigmoid-weighted linear units for neural network function "
            "approximation in reinforcement learning, https://arxiv.org/abs/1702.03118",
        ),
    },
)
"""The rows; the identity, three smooth bounded or rectified classics, then the modern rectifiers."""
