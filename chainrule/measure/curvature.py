"""Eigenvalues, trace and spectral density of a symmetric operator that is known only by its products with vectors.

An operator is a function from [*m, P] to [*m, P]: stacked, one matrix for each member, none mixing with its neighbours.
Start vectors are arguments, drawn by the caller from streams of their own, so that no reading depends on the company in
which it was taken.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Operator = Callable[[Float[Tensor, "*m P"]], Float[Tensor, "*m P"]]


@dataclass(frozen=True)
class Reading:
    """A number from an iteration, with a bound on its error: a reading that has not converged says so.

    Args:
        value: The readings.
        residual: Bounds, in the unit of the value: within this distance of the value lies an exact eigenvalue.
    """

    value: Float[Tensor, "*m k"]
    residual: Float[Tensor, "*m k"]


@dataclass(frozen=True)
class Ritz:
    """What a Krylov space knows of a spectrum. ``k`` values in rising order.

    Args:
        values: Ritz values θ [loss / parameter²].
        residuals: Bounds ‖A y - θ y‖ <= r for the Ritz vector y, so an eigenvalue lies within r of θ [as values].
        weights: Squared components of the start vector along the Ritz vectors [1]; they sum to 1, and θ with these
            weights is the Gauss quadrature of the spectral measure of the start vector.
    """

    values: Float[Tensor, "*m k"]
    residuals: Float[Tensor, "*m k"]
    weights: Float[Tensor, "*m k"]


@dataclass(frozen=True)
class Estimate:
    """A Monte Carlo mean over probe vectors with its standard error, both in the unit of the value."""

    value: Float[Tensor, "*g"]
    standard_error: Float[Tensor, "*g"]


@dataclass(frozen=True)
class _Krylov:
    """A growing orthonormal basis of every member with the entries of its tridiagonal matrix.

    Args:
        basis: [*m, j, P] orthonormal rows.
        alpha: Diagonal, j tensors [*m].
        beta: Couplings to the next vector, j tensors [*m]; the last leads out of the basis.
        following: The next vector [*m, P].
        size: Largest |entry| so far [*m]: an estimate from below of the norm of the operator.
    """

    basis: Float[Tensor, "*m j P"]
    alpha: tuple[Float[Tensor, "*m"], ...]
    beta: tuple[Float[Tensor, "*m"], ...]
    following: Float[Tensor, "*m P"]
    size: Float[Tensor, "*m"]


def lanczos(matvec: Operator, start: Float[Tensor, "*m P"], iterations: int) -> Ritz:
    r"""Ritz values of a symmetric operator in the Krylov space of a start vector: Lanczos, fully re-orthogonalised.

    Each member spans a space of its own. Every new vector is orthogonalised twice against the whole basis (Giraud,
    Langou & Rozložník 2005), so no eigenvalue appears twice that is not double. Where a space is exhausted before
    ``iterations``, its member goes on from the coordinate that the basis contains least, orthogonalised: the further
    values are as good, and have weight 0.

    A multiple eigenvalue is seen once; its copies show when rounding has grown them or the space is exhausted.

    Args:
        matvec: v ↦ A v with A symmetric.
        start: Start vectors, one for each member, not 0 [any unit].
        iterations: Vectors in the basis; at most P are used.

    Returns:
        min(iterations, P) values in rising order, with residuals and weights; NaN for a member whose products are not
        finite, whose neighbours do not notice.

    Error:
        Each residual bounds the distance to an exact eigenvalue, up to rounding: 1e-13 of the norm of A in float64,
        1e-5 in float32 (measured to P = 200).

    Source:
        Lanczos (1950); Paige (1971) for the residual β_k |s_k|; Parlett (1998), The symmetric eigenvalue problem,
        section 13.2.

    Example:
        >>> a = torch.diag(torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64))
        >>> lanczos(lambda v: v @ a, torch.ones(3, dtype=torch.float64), iterations=3).values.round(decimals=6)
        tensor([1., 2., 5.], dtype=torch.float64)
    """
    krylov = _begin(start)
    for _ in range(min(iterations, start.shape[-1])):
        krylov = _extend(krylov, matvec)
    return _ritz(krylov)


def top_eigenvalues(
    matvec: Operator,
    start: Float[Tensor, "*m P"],
    k: int = 1,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
) -> Reading:
    r"""The k largest eigenvalues, each with a bound on its error.

    Lanczos goes on until the residual of all k values is below ``tolerance`` times the value, in every member. The
    reading of a member is the one of the iteration at which that member arrived: slower neighbours do not change it.

    Args:
        matvec: v ↦ A v with A symmetric.
        start: Start vectors, one for each member, with a part along the eigenvectors that are looked for.
        k: How many eigenvalues; at most P.
        tolerance: Relative residual at which to stop [1]. Below the rounding of the dtype it is not reached, nor
            needed: a residual of a few roundings of the norm of A also ends the search.
        max_iterations: Most products with A.

    Returns:
        Values in falling order [loss / parameter²]. A residual above tolerance · |value| means: not converged after
        ``max_iterations``. NaN for a member whose products are not finite.

    Error:
        The residual, which bounds the distance to *an* eigenvalue. That it is the k-th largest holds for start vectors
        that are not orthogonal to it; of a multiple eigenvalue one copy may be all that is seen (see ``lanczos``).

    Example:
        >>> a = torch.diag(torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64))
        >>> reading = top_eigenvalues(lambda v: v @ a, torch.ones(3, dtype=torch.float64), k=2, tolerance=1e-9)
        >>> reading.value.round(decimals=6)
        tensor([5., 2.], dtype=torch.float64)
    """
    members = start.shape[:-1]
    k = min(k, start.shape[-1])
    value, residual = (start.new_full((*members, k), float("nan")) for _ in range(2))
    arrived = torch.zeros(members, dtype=torch.bool, device=start.device)
    krylov = _begin(start)
    for iteration in range(min(max(max_iterations, k), start.shape[-1])):
        krylov = _extend(krylov, matvec)
        if iteration + 1 < k:
            continue
        ritz = _ritz(krylov)
        top, bound = ritz.values[..., -k:].flip(-1), ritz.residuals[..., -k:].flip(-1)
        value = torch.where(arrived[..., None], value, top)
        residual = torch.where(arrived[..., None], residual, bound)
        rounding = 16 * torch.finfo(start.dtype).eps * krylov.size
        enough = torch.maximum(tolerance * top.abs(), rounding[..., None])
        # not-greater rather than less: a member that is NaN has nothing to wait for
        arrived = arrived | ~(bound > enough).any(-1)
        if arrived.all():
            break
    return Reading(value, residual)


def trace(matvec: Operator, probes: Float[Tensor, "V *m P"]) -> Estimate:
    r"""Hutchinson's estimate of the trace: the mean of vᵀ A v over probe vectors.

    .. math::  \mathrm{tr} A = \mathbb{E}[v^\top A v] \quad \text{if} \quad \mathbb{E}[v v^\top] = I

    Args:
        matvec: v ↦ A v.
        probes: V >= 2 independent vectors for each member with identity covariance: signs ±1 or standard normals.

    Returns:
        Mean and standard error over the probes [loss / parameter²].

    Error:
        Standard error √(2 (‖A‖²_F - Σ A_ii²) / V) for signs, √(2 ‖A‖²_F / V) for normals.

    Source:
        Hutchinson (1990), A stochastic estimator of the trace of the influence matrix.

    Example:
        Signs are exact for a diagonal matrix:

        >>> a = torch.diag(torch.tensor([1.0, 2.0, 5.0]))
        >>> trace(lambda v: v @ a, torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]]))
        Estimate(value=tensor(8.), standard_error=tensor(0.))
    """
    return _mean(torch.stack([(probe * matvec(probe)).sum(-1) for probe in probes]))


def spectral_density(
    matvec: Operator,
    probes: Float[Tensor, "V *m P"],
    iterations: int,
    grid: Float[Tensor, " G"],
    width: float,
) -> Estimate:
    r"""Density of eigenvalues, smoothed by a Gaussian, by stochastic Lanczos quadrature.

    .. math::  \rho(\lambda) = \frac{1}{P} \sum_i N(\lambda; \lambda_i, s^2)
               \approx \frac{1}{V} \sum_v \sum_k w_{vk} \, N(\lambda; \theta_{vk}, s^2)

    Args:
        matvec: v ↦ A v with A symmetric.
        probes: V >= 2 independent standard normal vectors or signs for each member.
        iterations: Lanczos steps for each probe.
        grid: Where the density is wanted [loss / parameter²].
        width: s, standard deviation of the smoothing [loss / parameter²].

    Returns:
        Density [*m, G] and its standard error over the probes [parameter² / loss]; over all λ it integrates to 1.

    Error:
        The standard error, and a bias that vanishes when ``iterations`` resolves the width s: about (range / s) steps.

    Source:
        Lin, Saad & Yang (2016), Approximating spectral densities of large matrices; Ghorbani, Krishnan & Xiao (2019),
        https://arxiv.org/abs/1901.10159
    """
    densities = []
    for probe in probes:
        ritz = lanczos(matvec, probe, iterations)
        distance = (grid - ritz.values[..., None]) / width  # [*m, k, G]
        bump = torch.exp(-distance.square() / 2) / (width * (2 * torch.pi) ** 0.5)
        densities.append((ritz.weights[..., None] * bump).sum(-2))
    return _mean(torch.stack(densities))


def _begin(start: Float[Tensor, "*m P"]) -> _Krylov:
    first = start / start.norm(dim=-1, keepdim=True)
    return _Krylov(
        start.new_empty((*start.shape[:-1], 0, start.shape[-1])), (), (), first, start.new_zeros(start.shape[:-1])
    )


def _extend(krylov: _Krylov, matvec: Operator) -> _Krylov:
    """One product: the vector that followed joins the basis, and a new one follows."""
    vector = krylov.following
    basis = torch.cat([krylov.basis, vector[..., None, :]], dim=-2)
    image = matvec(vector)
    alpha = (image * vector).sum(-1)
    rest = _orthogonal(image, basis)
    beta = rest.norm(dim=-1)
    size = torch.maximum(krylov.size, torch.maximum(alpha.abs(), beta))
    # a remainder of a few roundings of what was subtracted has no direction: the space is exhausted
    exhausted = beta <= 16 * torch.finfo(beta.dtype).eps * size
    beta = torch.where(exhausted, 0.0, beta)
    following = rest / torch.where(exhausted, 1.0, beta)[..., None]
    if exhausted.any() and basis.shape[-2] < basis.shape[-1]:
        following = torch.where(exhausted[..., None], _fresh(basis), following)
    return _Krylov(basis, (*krylov.alpha, alpha), (*krylov.beta, beta), following, size)


def _orthogonal(vector: Float[Tensor, "*m P"], basis: Float[Tensor, "*m j P"]) -> Float[Tensor, "*m P"]:
    """The part of a vector orthogonal to a basis: classical Gram-Schmidt, twice."""
    for _ in range(2):
        shadow: Tensor = (basis @ vector[..., None]).mT @ basis  # [*m, 1, P]
        vector = vector - shadow[..., 0, :]
    return vector


def _fresh(basis: Float[Tensor, "*m j P"]) -> Float[Tensor, "*m P"]:
    """A unit vector orthogonal to a basis of fewer than P: from the coordinate that the basis contains least."""
    least = basis.square().sum(-2).argmin(-1, keepdim=True)
    coordinate = torch.zeros_like(basis[..., 0, :]).scatter(-1, least, 1.0)
    rest = _orthogonal(coordinate, basis)
    fresh: Tensor = rest / rest.norm(dim=-1, keepdim=True)
    return fresh


def _ritz(krylov: _Krylov) -> Ritz:
    """Eigenvalues of the tridiagonal matrix [*m, j, j], in float64."""
    alpha, beta = torch.stack(krylov.alpha, -1).double(), torch.stack(krylov.beta, -1).double()
    finite = (alpha.isfinite() & beta.isfinite()).all(-1)[..., None]
    # a diverged member must not stop its neighbours: eigh refuses what is not finite
    alpha, beta = torch.where(finite, alpha, 0.0), torch.where(finite, beta, 0.0)
    off = torch.diag_embed(beta[..., :-1], offset=1)
    values, vectors = torch.linalg.eigh(torch.diag_embed(alpha) + off + off.mT)
    residuals = (beta[..., -1:] * vectors[..., -1, :]).abs()
    weights = vectors[..., 0, :].square()
    dtype = krylov.following.dtype
    return Ritz(*(torch.where(finite, item, float("nan")).to(dtype) for item in (values, residuals, weights)))


def _mean(draws: Float[Tensor, " V *g"]) -> Estimate:
    return Estimate(draws.mean(0), draws.std(0) / len(draws) ** 0.5)
