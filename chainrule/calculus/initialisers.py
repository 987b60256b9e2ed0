r"""Initialisers: standard-normal noise in, weights out.

The noise is drawn by the caller from keyed streams, so that an initialiser is a pure function and every condition of a
study can share its draws. The caller multiplies what an initialiser returns by the setting ``weight_std`` of the
network, whose meaning therefore follows the row:

* ``normal``: the standard deviation itself; ``constant``: the constant itself;
* ``lecun_normal``: σ_w of mean-field theory, where a weight has variance σ_w² / n_in; σ_w = 1 is LeCun's scheme and
  σ_w = √2 is ``he_normal``;
* every other row: a factor (a *gain*) on the published scheme, 1 for the scheme itself.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from chainrule.table import Table


@dataclass(frozen=True)
class Initialiser:
    """A map from standard-normal noise to the weights of one layer.

    Args:
        weights: weights(noise) -> W, both [*m, n_in, n_out]; the noise is float64 and is not modified.
        variance: variance(n_in, n_out) -> the variance of one entry of W over the noise [weight²].
        source: Author, year, title.

    Example:
        >>> INITIALISERS["he_normal"].variance(50, 10)
        0.04
    """

    weights: Callable[[Tensor], Tensor]
    variance: Callable[[int, int], float]
    source: str


def _normal(variance: Callable[[int, int], float], source: str) -> Initialiser:
    """Normal weights of the given variance."""
    return Initialiser(lambda noise: math.sqrt(variance(*noise.shape[-2:])) * noise, variance, source)


def _uniform(variance: Callable[[int, int], float], source: str) -> Initialiser:
    """Weights uniform on [-b, b] with b² = 3 variance; the normal distribution function makes the noise uniform."""

    def weights(noise: Float[Tensor, "*m n_in n_out"]) -> Float[Tensor, "*m n_in n_out"]:
        bound = math.sqrt(3 * variance(*noise.shape[-2:]))
        level: Tensor = torch.special.ndtr(noise)  # uniform on [0, 1]
        return bound * (2 * level - 1)

    return Initialiser(weights, variance, source)


def orthogonal(noise: Float[Tensor, "*m n_in n_out"]) -> Float[Tensor, "*m n_in n_out"]:
    """Orthogonal matrices, uniform (Haar) on their group; semi-orthogonal where the layer is not square.

    A layer that does not widen (n_in ≥ n_out) has orthonormal columns, WᵀW = 1; one that widens has orthonormal rows,
    WWᵀ = 1, so that h ↦ hW keeps every length.

    Args:
        noise: Standard normals.

    Returns:
        The factor Q of noise = QR (of its transpose where the layer widens), R with a positive diagonal: only this
        choice of signs makes Q uniform.

    Source:
        Saxe, McClelland & Ganguli (2014), https://arxiv.org/abs/1312.6120; Mezzadri (2007), section 5,
        https://arxiv.org/abs/math-ph/0609050.

    Example:
        >>> orthogonal(torch.tensor([[-3.0], [4.0]], dtype=torch.float64))
        tensor([[-0.6000],
                [ 0.8000]], dtype=torch.float64)
    """
    widens = noise.shape[-1] > noise.shape[-2]
    q, r = torch.linalg.qr(noise.mT if widens else noise)
    signs = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(q.dtype)
    haar: Tensor = q * signs[..., None, :]
    return (haar.mT if widens else haar).contiguous()


INITIALISERS: Table[Initialiser] = Table(
    "initialiser",
    __file__,
    {
        "zeros": Initialiser(
            torch.zeros_like,
            lambda n_in, n_out: 0.0,
            "Rumelhart, Hinton & Williams (1986), Learning representations by back-propagating errors, on symmetry",
        ),
        "constant": Initialiser(
            torch.ones_like,
            lambda n_in, n_out: 0.0,
            "Rumelhart, Hinton & Williams (1986), Learning representations by back-propagating errors, on symmetry",
        ),
        "normal": _normal(
            lambda n_in, n_out: 1.0,
            "the naive scheme that Glorot & Bengio (2010) and He et al. (2015) argue against",
        ),
        "uniform": _uniform(
            lambda n_in, n_out: 1 / (3 * n_in),
            "Glorot & Bengio (2010), Understanding the difficulty of training deep feedforward neural networks, eq. 1",
        ),
        "lecun_normal": _normal(
            lambda n_in, n_out: 1 / n_in,
            "LeCun, Bottou, Orr & Müller (1998), Efficient BackProp, eq. 16",
        ),
        "glorot_normal": _normal(
            lambda n_in, n_out: 2 / (n_in + n_out),
            "Glorot & Bengio (2010), Understanding the difficulty of training deep feedforward neural networks, eq. 12",
        ),
        "glorot_uniform": _uniform(
            lambda n_in, n_out: 2 / (n_in + n_out),
            "Glorot & Bengio (2010), Understanding the difficulty of training deep feedforward neural networks, eq. 16",
        ),
        "he_normal": _normal(
            lambda n_in, n_out: 2 / n_in,
            "He, Zhang, Ren & Sun (2015), Delving deep into rectifiers, eq. 10, https://arxiv.org/abs/1502.01852",
        ),
        "he_uniform": _uniform(
            lambda n_in, n_out: 2 / n_in,
            "He, Zhang, Ren & Sun (2015), Delving deep into rectifiers, eq. 10, https://arxiv.org/abs/1502.01852",
        ),
        "orthogonal": Initialiser(
            orthogonal,
            lambda n_in, n_out: 1 / max(n_in, n_out),  # a unit column has max(n_in, n_out) exchangeable entries
            "Saxe, McClelland & Ganguli (2014), Exact solutions to the nonlinear dynamics of learning in deep linear "
            "neural networks, https://arxiv.org/abs/1312.6120",
        ),
    },
)
"""Ten rows, from the two that cannot break symmetry to the one that keeps every length."""
