"""Networks, losses and shapes that many tests share."""

import itertools

import numpy as np
import torch
from torch import Tensor

from chainrule.calculus.losses import LOSSES
from chainrule.calculus.network import Params
from chainrule.randomness import stream

LEAD = (2, 3)  # conditions, seeds


def normals(purpose: str, *shape: int) -> Tensor:
    """Standard normals in float64 from a keyed stream."""
    return torch.from_numpy(stream(0, purpose).standard_normal(shape))


def random_params(widths: tuple[int, ...], batch_norm: bool = False, lead: tuple[int, ...] = LEAD) -> Params:
    """Random parameters of stacked networks, biases and batch normalisation included."""
    weights = tuple(normals(f"w{l}", *lead, a, b) / a**0.5 for l, (a, b) in enumerate(itertools.pairwise(widths)))
    biases = tuple(normals(f"b{l}", *lead, 1, n) for l, n in enumerate(widths[1:]))
    if not batch_norm:
        return Params(weights, biases)
    gains = tuple(normals(f"g{l}", *lead, 1, n).abs() + 0.5 for l, n in enumerate(widths[1:-1]))
    shifts = tuple(normals(f"s{l}", *lead, 1, n) for l, n in enumerate(widths[1:-1]))
    return Params(weights, biases, gains, shifts)


def random_masks(widths: tuple[int, ...], rows: int, drop: float = 0.3) -> tuple[Tensor, ...]:
    """Dropout factors 0 or 1/(1 - p) for every hidden layer."""
    return tuple((normals(f"m{l}", *LEAD, rows, n) > -0.5).double() / (1 - drop) for l, n in enumerate(widths[1:-1]))


def random_batch(widths: tuple[int, ...], rows: int) -> tuple[Tensor, Tensor]:
    """Inputs shared by all conditions, and targets that are probability vectors: valid for every loss."""
    x = normals("x", 1, LEAD[1], rows, widths[0])
    return x, torch.softmax(normals("y", 1, LEAD[1], rows, widths[-1]), dim=-1)


HEADED = [(name, head) for name in LOSSES for head in LOSSES[name].heads]


def relative(one: Tensor, other: Tensor) -> float:
    """Largest difference over the largest entry of the other."""
    return float((one - other).abs().max() / other.abs().max().clamp_min(np.finfo(float).tiny))
