"""Lanczos, Hutchinson and spectral densities against dense matrices."""

import math

import numpy as np
import pytest
import torch

from chainrule.calculus.activations import ACTIVATIONS
from chainrule.calculus.backprop import Objective
from chainrule.calculus.losses import objective
from chainrule.calculus.network import flatten
from chainrule.calculus.products import hessian_product
from chainrule.measure.curvature import top_eigenvalues
from chainrule.measure.lanczos import lanczos
from chainrule.measure.spectrum import spectral_density, trace
from tests.cases import LEAD, random_batch, random_params

F64 = torch.float64


def symmetric(spectrum, members: int = 1, seed: int = 0) -> torch.Tensor:
    """Matrices [members, P, P] with a given spectrum [P] or [members, P] and random eigenvectors."""
    values = torch.as_tensor(np.asarray(spectrum, dtype=float))
    values = values.expand(members, values.shape[-1])
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(members, values.shape[-1], values.shape[-1])))
    q = torch.from_numpy(q)
    return q @ torch.diag_embed(values) @ q.mT


def product(a: torch.Tensor):
    """The function v ↦ A v for stacked dense matrices."""
    return lambda v: (a @ v[..., None])[..., 0]


def start(*shape: int, seed: int = 1) -> torch.Tensor:
    """Standard normal start vectors."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def test_a_full_krylov_space_is_the_whole_spectrum():
    """After P iterations the Ritz values are the eigenvalues, to 1e-13 of the norm, and their residuals vanish."""
    a = symmetric(np.linspace(-3, 7, 40), members=3)
    ritz = lanczos(product(a), start(3, 40), iterations=40)
    torch.testing.assert_close(ritz.values, torch.linalg.eigvalsh(a), atol=7e-13, rtol=0)
    assert ritz.residuals.max() < 1e-12
    torch.testing.assert_close(ritz.weights.sum(-1), torch.ones(3, dtype=F64))


def test_iterations_beyond_the_dimension_add_nothing():
    """A space of 5 dimensions has 5 Ritz values however many are asked for."""
    assert lanczos(product(symmetric(np.arange(5.0))), start(1, 5), iterations=50).values.shape == (1, 5)


@pytest.mark.parametrize("iterations", [1, 3, 10, 25, 60])
def test_every_residual_bounds_the_distance_to_an_eigenvalue(iterations):
    """Within its residual of every Ritz value lies an eigenvalue of the dense matrix (rounding: 1e-14 of the norm)."""
    rng = np.random.default_rng(3)
    a = torch.from_numpy(rng.normal(size=(4, 80, 80)))
    a = a + a.mT
    exact = torch.linalg.eigvalsh(a)
    ritz = lanczos(product(a), start(4, 80), iterations)
    distance = (ritz.values[..., :, None] - exact[..., None, :]).abs().amin(-1)
    assert (distance <= ritz.residuals + 1e-14 * exact.abs().amax(-1)[:, None]).all()


def test_the_residual_is_the_norm_of_the_defect():
    """β_k |s_k| equals ‖A y - θ y‖ of the Ritz vector, computed with the basis of a dense Krylov space."""
    a, v = symmetric(np.linspace(0, 1, 30) ** 3)[0], start(30)
    ritz = lanczos(product(a), v, iterations=6)
    krylov = torch.stack([torch.linalg.matrix_power(a, j) @ v for j in range(6)], dim=-1)
    basis = torch.linalg.qr(krylov).Q
    values, vectors = torch.linalg.eigh(basis.mT @ a @ basis)
    y = basis @ vectors
    torch.testing.assert_close(ritz.values, values, atol=1e-9, rtol=0)  # the power basis has a condition of 1e7
    torch.testing.assert_close(ritz.residuals, (a @ y - y * values).norm(dim=0), atol=1e-8, rtol=0)


def test_no_ghost_eigenvalues():
    """A dominant eigenvalue, converged after a few of 100 iterations, is reported once and never again."""
    a = symmetric(np.concatenate([np.linspace(0, 1, 199), [100.0]]))
    ritz = lanczos(product(a), start(1, 200), iterations=100)
    assert ((ritz.values > 50).sum(-1) == 1).all()
    # without re-orthogonalisation the same run has copies: this is what the test would see
    assert _plain_lanczos(a[0], start(1, 200)[0], 100).gt(50).sum() > 1


def _plain_lanczos(a: torch.Tensor, v: torch.Tensor, iterations: int) -> torch.Tensor:
    """The three-term recurrence alone."""
    v, before, beta = v / v.norm(), torch.zeros_like(v), torch.zeros((), dtype=F64)
    alphas, betas = [], []
    for _ in range(iterations):
        w = a @ v - beta * before
        alphas.append(w @ v)
        w = w - alphas[-1] * v
        beta, before = w.norm(), v
        betas.append(beta)
        v = w / beta
    off = torch.diag(torch.stack(betas[:-1]), 1)
    return torch.linalg.eigvalsh(torch.diag(torch.stack(alphas)) + off + off.T)


def test_an_exhausted_space_goes_on_elsewhere_and_finds_copies():
    """Three eigenvalues of multiplicities 4, 3 and 3 are all found, with their multiplicities, in 10 iterations."""
    spectrum = [1.0] * 4 + [2.0] * 3 + [5.0] * 3
    ritz = lanczos(product(symmetric(spectrum, members=2)), start(2, 10), iterations=10)
    torch.testing.assert_close(ritz.values, torch.tensor([spectrum] * 2, dtype=F64), atol=1e-13, rtol=0)
    # the start vector sees three eigenvalues: the copies have no weight in its spectral measure
    assert ((ritz.weights > 1e-20).sum(-1) == 3).all()


def test_a_multiple_eigenvalue_counts_once_until_rounding_or_exhaustion_shows_its_copy():
    """Of a double largest eigenvalue 8 iterations see one copy, to 1e-8, and 100 iterations see both."""
    a, v = symmetric(np.concatenate([np.linspace(0, 1, 98), [5.0, 5.0]])), start(1, 100)
    few, all_of_them = (lanczos(product(a), v, iterations).values[0] for iterations in (8, 100))
    assert abs(few[-1] - 5) < 1e-8
    assert few[-2] < 1
    torch.testing.assert_close(all_of_them[-3:], torch.tensor([1.0, 5.0, 5.0], dtype=F64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("dimension", [1, 2, 7])
def test_the_zero_matrix_has_zero_eigenvalues(dimension):
    """The zero matrix is read as 0 with residual 0, in any dimension."""
    reading = top_eigenvalues(torch.zeros_like, start(2, dimension), k=min(2, dimension))
    assert (reading.value == 0).all()
    assert (reading.residual == 0).all()


def test_a_number_is_its_own_eigenvalue():
    """A 1 × 1 matrix is read exactly, also a negative one."""
    for value in (3.0, -2.5, 0.0):
        reading = top_eigenvalues(lambda v, value=value: value * v, start(4, 1))
        torch.testing.assert_close(reading.value, torch.full((4, 1), value, dtype=F64), rtol=1e-15, atol=0)
        assert (reading.residual <= 1e-15 * abs(value)).all()


def test_a_multiple_of_the_identity_is_read_in_one_step():
    """For A = 3 I every start vector is an eigenvector, and every further space repeats it."""
    ritz = lanczos(lambda v: 3 * v, start(2, 6), iterations=6)
    torch.testing.assert_close(ritz.values, torch.full((2, 6), 3.0, dtype=F64), rtol=1e-14, atol=0)


def test_the_largest_is_the_most_positive_not_the_largest_in_modulus():
    """With eigenvalues from -10 to 1 the largest are 1 and its neighbour."""
    spectrum = np.linspace(-10, 1, 50)
    reading = top_eigenvalues(product(symmetric(spectrum)), start(1, 50), k=2, tolerance=1e-10)
    torch.testing.assert_close(reading.value[0], torch.from_numpy(spectrum[[-1, -2]]), atol=1e-9, rtol=0)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-8])
def test_a_reading_is_as_good_as_its_tolerance(tolerance):
    """The residual keeps the tolerance and bounds the true error, for eigenvalues of all sizes in one stack."""
    a = symmetric(np.linspace(0.1, 1, 120), members=4) * torch.tensor([1e-6, 1.0, 1e3, 1e8], dtype=F64)[:, None, None]
    reading = top_eigenvalues(product(a), start(4, 120), k=3, tolerance=tolerance, max_iterations=120)
    assert (reading.residual <= tolerance * reading.value.abs()).all()
    exact = torch.linalg.eigvalsh(a)
    distance = (reading.value[..., None] - exact[:, None]).abs().amin(-1)
    assert (distance <= reading.residual + 1e-13 * exact[:, -1:]).all()


def test_a_reading_that_did_not_arrive_says_so():
    """Two products cannot resolve a dense spectrum: the residual stays above the tolerance."""
    reading = top_eigenvalues(product(symmetric(np.linspace(0, 1, 60))), start(1, 60), tolerance=1e-6, max_iterations=2)
    assert (reading.residual > 1e-6 * reading.value).all()


def test_members_do_not_mix():
    """A member reads the same alone and beside others that are harder, larger or diverged (to rounding)."""
    rng = np.random.default_rng(5)
    easy = symmetric(np.concatenate([np.linspace(0, 1, 59), [10.0]]), seed=6)
    hard = symmetric(np.linspace(0.99, 1, 60), seed=7)
    huge = 1e12 * symmetric(rng.random(60), seed=8)
    stack = torch.cat([easy, hard, huge, torch.full((1, 60, 60), math.nan, dtype=F64)])
    v = start(4, 60)
    together = top_eigenvalues(product(stack), v, k=2, tolerance=1e-6, max_iterations=60)
    for i, a in enumerate((easy, hard, huge)):
        alone = top_eigenvalues(product(a), v[i : i + 1], k=2, tolerance=1e-6, max_iterations=60)
        torch.testing.assert_close(together.value[i], alone.value[0], rtol=1e-12, atol=0)
        torch.testing.assert_close(together.residual[i], alone.residual[0], rtol=1e-6, atol=1e-12 * a.norm().item())
    assert together.value[3].isnan().all()
    assert together.residual[3].isnan().all()


def test_leading_axes_are_free():
    """A stack [C, S] reads as its members do, and a single vector without leading axes is read too."""
    a = symmetric(np.linspace(0, 2, 20), members=6).reshape(2, 3, 20, 20)
    v = start(2, 3, 20)
    reading = top_eigenvalues(product(a), v, k=2, tolerance=1e-9)
    assert reading.value.shape == reading.residual.shape == (2, 3, 2)
    single = top_eigenvalues(product(a[1, 2]), v[1, 2], k=2, tolerance=1e-9)
    torch.testing.assert_close(reading.value[1, 2], single.value, rtol=1e-10, atol=0)


def test_float32_is_accurate_to_its_rounding():
    """In float32 an eigenvalue is read to 1e-5 of the norm; the search ends at a tolerance that is out of reach."""
    a = symmetric(np.linspace(0, 1, 200) ** 4)
    reading = top_eigenvalues(product(a.float()), start(1, 200).float(), tolerance=1e-12, max_iterations=200)
    assert reading.value.dtype == torch.float32
    assert abs(reading.value.item() - 1) < 1e-5


def test_the_sharpness_of_networks_is_the_largest_eigenvalue_of_their_dense_hessians():
    """With Hessian-vector products of stacked networks in place of matrices the reading is that of eigvalsh."""
    widths = (5, 4, 3)
    params, (x, y) = random_params(widths), random_batch(widths, 20)
    matvec = hessian_product(params, x, y, Objective(objective("squared_error", "linear"), ACTIVATIONS["tanh"]))
    size = flatten(params).shape[-1]
    columns = [matvec(torch.eye(size, dtype=F64)[i].expand(*LEAD, size).contiguous()) for i in range(size)]
    exact = torch.linalg.eigvalsh(torch.stack(columns, dim=-1))
    reading = top_eigenvalues(matvec, start(*LEAD, size), k=2, tolerance=1e-8, max_iterations=size)
    torch.testing.assert_close(reading.value, exact[..., -2:].flip(-1), rtol=1e-8, atol=0)


def test_hutchinson_is_unbiased_and_its_error_falls_like_the_root_of_the_probes():
    """Over 400 repetitions the mean is the trace, the spread is that of theory, and 4 times the probes halve it."""
    rng = np.random.default_rng(9)
    a = torch.from_numpy(rng.normal(size=(20, 20)))
    a = a + a.mT
    spreads = {}
    for probes in (16, 64):
        draws = torch.from_numpy(rng.choice([-1.0, 1.0], size=(probes, 400, 20)))
        estimate = trace(lambda v: v @ a, draws)
        theory = math.sqrt(2 * (a.square().sum() - a.diagonal().square().sum()) / probes)
        spreads[probes] = estimate.value.std().item()
        # 4 standard errors of a mean of 400; 15 %: 4 standard errors of a deviation of 400
        assert abs(estimate.value.mean() - a.trace()) < 4 * theory / math.sqrt(400)
        assert spreads[probes] == pytest.approx(theory, rel=0.15)
        assert estimate.standard_error.square().mean().sqrt().item() == pytest.approx(theory, rel=0.05)
    assert spreads[16] / spreads[64] == pytest.approx(2, rel=0.2)


def test_hutchinson_with_signs_is_exact_for_a_diagonal_matrix():
    """Signs see the diagonal without noise."""
    values = torch.arange(10, dtype=F64)
    signs = torch.from_numpy(np.random.default_rng(10).choice([-1.0, 1.0], size=(3, 10)))
    estimate = trace(lambda v: values * v, signs)
    assert estimate.value == 45
    assert estimate.standard_error == 0


def test_spectral_density_is_that_of_the_probes_in_the_eigenbasis():
    """It equals Σ (v·u_i)² N(λ; λ_i, s²) / |v|² averaged over probes, already at a quarter of the dimension."""
    spectrum = np.concatenate([np.random.default_rng(11).normal(0, 0.3, 195), [3.0, 3.1, 4.0, 4.0, 4.0]])
    a = symmetric(spectrum)
    grid, width = torch.linspace(-3, 6, 451, dtype=F64), 0.15
    probes = start(10, 1, 200, seed=12)
    density = spectral_density(product(a), probes, iterations=50, grid=grid, width=width)
    values, vectors = torch.linalg.eigh(a[0])
    share = (probes[:, 0] @ vectors).square() / probes[:, 0].square().sum(-1, keepdim=True)
    bumps = torch.exp(-(((grid - values[:, None]) / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi))
    each = share @ bumps  # [V, G]
    # the quadrature is exact to degree 99: over a range of 6 = 40 widths that leaves less than 1e-6
    torch.testing.assert_close(density.value[0], each.mean(0), atol=1e-6, rtol=0)
    torch.testing.assert_close(density.standard_error[0], each.std(0) / math.sqrt(10), atol=1e-6, rtol=0)
    assert torch.trapezoid(density.value[0], grid).item() == pytest.approx(1, abs=1e-6)


def test_spectral_density_keeps_members_apart():
    """Two members with spectra around 0 and around 5 have densities there and nowhere else."""
    a = symmetric(np.stack([np.linspace(-1, 1, 30), np.linspace(4, 6, 30)]), members=2)
    grid = torch.tensor([0.0, 5.0], dtype=F64)
    density = spectral_density(product(a), start(5, 2, 30), iterations=30, grid=grid, width=0.3).value
    assert density.shape == (2, 2)
    assert density[0, 0] > 0.3
    assert density[1, 1] > 0.3
    assert density[0, 1] < 1e-12
    assert density[1, 0] < 1e-12
