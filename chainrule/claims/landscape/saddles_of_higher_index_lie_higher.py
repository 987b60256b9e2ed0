r"""Of the critical points of a small network's loss, those with more directions of descent lie higher.

Let the index of a critical point be the share of negative eigenvalues of its Hessian. For Gaussian random functions of
many variables index and height are tied: points far above the bottom are saddles with an index that grows with height,
and minima crowd near the lowest values (Bray & Dean 2007). Dauphin et al. saw the same relation between the training
error and the index of critical points of small networks. For networks no formula gives the size of the correlation:
what is judged is that Spearman's rank correlation between index and loss is at least 0.1.

Critical points are searched for, from random starts that have gone some way downhill, by damped Newton steps on ½|∇L|²,

    (H² + μ I) δ = -H ∇L,

which is drawn to critical points of any index. A point counts if |∇L| < 1e-8 and its weights have not run off to
infinity (|θ| < 50). Most searches end where the gradient is small and flat but not 0 (Frye et al. 2021): they are left
out, on the gradient alone, which is why this says nothing about how frequent saddles are. An index counts eigenvalues
below -1e-5.

Limits: a network of 37 parameters. The correlation is modest, since many points lie on the plateau where the output does
not depend on the input, at one height with many indices. For linear networks the relation is exact (see
linear-net-critical-ladder).

Source: Dauphin, Pascanu, Gulcehre, Cho, Ganguli & Bengio (2014), Identifying and attacking the saddle point problem in
high-dimensional non-convex optimization, figure 1, https://arxiv.org/abs/1406.2572; Bray & Dean (2007), Statistics of
critical points of Gaussian fields on large-dimensional spaces; Frye et al. (2021), Critical point-finding methods reveal
gradient-flat regions of deep network losses
"""

from dataclasses import replace

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from chainrule import dataset
from chainrule.calculus.activations import ACTIVATIONS
from chainrule.calculus.backprop import Objective, manual_gradient
from chainrule.calculus.losses import LOSSES
from chainrule.calculus.network import Params, flatten, unflatten
from chainrule.calculus.products import hessian_product, mean_loss
from chainrule.evidence.claim import Claim, Part, broken
from chainrule.evidence.comparison import Comparison
from chainrule.evidence.figure import Dots, Figure, Line, Panel, Points, numbers
from chainrule.evidence.rules import at_least
from chainrule.experiment.protocol import Case, Draw, Run, Trials

GOAL = Objective(LOSSES["squared_error"], ACTIVATIONS["tanh"])
WIDTHS, SAMPLES = (4, 5, 2), 100
SCALES, DOWNHILL, RATE = (0.05, 0.3, 1.0), 200, 0.1  # of the starts; most steps of descent before the search
FLAT, NEAR, NEGATIVE = 1e-8, 50.0, -1e-5
LEAST = 0.1  # rank correlation
SHOWN = 120  # points in the figure

# prediction ────────────────────────────────────────────────────────────────────────────


def least_correlation(case: Case) -> list[float]:
    """A rank correlation of 0.1."""
    return [LEAST]


# protocol ──────────────────────────────────────────────────────────────────────────────


def task(draw: Draw) -> tuple[Tensor, Tensor]:
    """100 random digits by their four leading principal components, and two questions: above 4? odd? Both ±1."""
    data = dataset.load("digits")
    rows = draw("rows").permutation(len(data.x))[:SAMPLES]
    mean, std = dataset.scaling(data, rows)
    u, s, _ = np.linalg.svd((data.x[rows] - mean) / std, full_matrices=False)
    x = torch.from_numpy(u[:, :4] * SAMPLES**0.5)  # each component of variance 1
    y = np.stack([data.y[rows] > 4, data.y[rows] % 2 == 1], 1) * 2.0 - 1.0
    return x, torch.from_numpy((y - y.mean(0)) / y.std(0))


def shapes() -> Params:
    """A network 4-5-2 of zeros, float64."""
    pairs = list(zip(WIDTHS[:-1], WIDTHS[1:], strict=True))
    return Params(
        tuple(torch.zeros(n, m, dtype=torch.float64) for n, m in pairs),
        tuple(torch.zeros(1, m, dtype=torch.float64) for _, m in pairs),
    )


def slope_of(points: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """∇L at every point [M, P]."""
    return flatten(manual_gradient(unflatten(points, shapes()), x, y, GOAL)[1])


def hessian_of(points: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """H at every point [M, P, P]."""
    size = points.shape[-1]
    units = torch.eye(size, dtype=torch.float64)[:, None].expand(size, *points.shape)
    return hessian_product(unflatten(points, shapes()), x, y, GOAL)(units).movedim(0, -1)


def starts(count: int, x: Tensor, y: Tensor, draw: Draw) -> Tensor:
    """Random points of three scales, each some way downhill [M, P]."""
    chance = draw("starts")
    size = flatten(shapes()).numel()
    scale = torch.from_numpy(chance.choice(SCALES, count))[:, None]
    points = scale * torch.from_numpy(chance.standard_normal((count, size)))
    steps = torch.from_numpy(chance.integers(0, DOWNHILL + 1, count))
    for t in range(DOWNHILL):
        points = torch.where((t < steps)[:, None], points - RATE * slope_of(points, x, y), points)
    return points + 0.1 * scale * torch.from_numpy(chance.standard_normal((count, size)))


def search(points: Tensor, x: Tensor, y: Tensor, iterations: int) -> Tensor:
    """Damped Newton on ½|∇L|²; the points that arrived [M', P]."""
    damping = torch.full((len(points),), 1e-2, dtype=torch.float64)
    slope = slope_of(points, x, y)
    for _ in range(iterations):
        going = (slope.norm(dim=1) > FLAT / 10) & (points.norm(dim=1) < NEAR)
        if not going.any():
            break
        here, g, mu = points[going], slope[going], damping[going]
        h = hessian_of(here, x, y)
        # through the eigenvalues: H² need not be formed, which would square its condition
        values, vectors = torch.linalg.eigh(h)
        shadow = (vectors.mT @ g[..., None])[..., 0] * values / (values**2 + mu[:, None])
        there = here - (vectors @ shadow[..., None])[..., 0]
        tried = slope_of(there, x, y)
        better = tried.norm(dim=1) < g.norm(dim=1)
        points[going] = torch.where(better[:, None], there, here)
        slope[going] = torch.where(better[:, None], tried, g)
        damping[going] = torch.where(better, mu / 5, mu * 4).clamp(1e-20, 1e8)
    return points[(slope.norm(dim=1) < FLAT) & (points.norm(dim=1) < NEAR)]


def correlation(case: Case, draw: Draw) -> np.ndarray:
    """Network 4-5-2 (tanh) on 100 digits, float64: rank correlation of index and loss, points, then both of each."""
    x, y = task(draw)
    points = search(starts(int(case["starts"]), x, y, draw), x, y, int(case["iterations"]))
    if case["points"] == "random":
        directions = torch.from_numpy(draw("directions").standard_normal((8 * len(points), points.shape[1])))
        points = directions / directions.norm(dim=1, keepdim=True) * points.norm(dim=1).repeat(8)[:, None]
    loss = mean_loss(points, shapes(), x, y, GOAL).numpy()
    index = (torch.linalg.eigvalsh(hessian_of(points, x, y)) < NEGATIVE).double().mean(1).numpy()
    rank = stats.spearmanr(index, loss).statistic if len(set(index)) > 1 else np.nan
    shown = [np.concatenate([v[:SHOWN], np.full(max(0, SHOWN - len(v)), np.nan)]) for v in (index, loss)]
    return np.concatenate([[rank, float(len(points))], *shown])
