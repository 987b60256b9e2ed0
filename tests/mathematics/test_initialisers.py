"""Initialisers: variances, bounds, orthogonality and uniformity, on fixed keyed noise."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from chainrule.calculus.initialisers import INITIALISERS, orthogonal
from chainrule.randomness import stream

EPS = torch.finfo(torch.float64).eps
RANDOM = [name for name in INITIALISERS if name not in ("zeros", "constant")]
each_row = pytest.mark.parametrize("name", INITIALISERS)
each_shape = pytest.mark.parametrize(("n_in", "n_out"), [(300, 100), (100, 300), (170, 170)])


def noise(*shape, replica=0):
    """The noise of one fixed keyed stream."""
    return torch.from_numpy(stream(replica, f"weights/{shape}").standard_normal(shape))


@pytest.mark.parametrize("name", RANDOM)
@each_shape
def test_sample_variance_lies_in_its_chi_square_interval(name, n_in, n_out):
    """The mean square of n independent entries over its theory is χ²_n / n: within the 99.99 % interval.

    Uniform entries scatter less than normal ones, orthogonal ones not at all, so for them the interval is generous; it
    is ± 3.2 %, and no two rows whose variances differ at these shapes are nearer to each other than 30 %.
    """
    w = INITIALISERS[name].weights(noise(n_in, n_out))
    low, high = stats.chi2.interval(0.9999, n_in * n_out)
    assert low < (w.square().sum() / INITIALISERS[name].variance(n_in, n_out)).item() < high


@pytest.mark.parametrize("name", RANDOM)
@each_shape
def test_entries_have_mean_zero(name, n_in, n_out):
    """The sum of the entries is within the 99.99 % interval of a normal of n times the variance."""
    total = INITIALISERS[name].weights(noise(n_in, n_out)).sum().item()
    assert abs(total) < stats.norm.isf(0.5e-4) * math.sqrt(n_in * n_out * INITIALISERS[name].variance(n_in, n_out))


def test_variances_are_the_published_ones():
    """At 50 → 20: 1/(3n_in), 1/n_in, 2/(n_in + n_out), 2/n_in, 1/max(n_in, n_out), and 0 or 1 for the naive rows."""
    expected = {
        "zeros": 0,
        "constant": 0,
        "normal": 1,
        "uniform": 1 / 150,
        "lecun_normal": 1 / 50,
        "glorot_normal": 2 / 70,
        "glorot_uniform": 2 / 70,
        "he_normal": 2 / 50,
        "he_uniform": 2 / 50,
        "orthogonal": 1 / 50,
    }
    assert {name: row.variance(50, 20) for name, row in INITIALISERS.items()} == pytest.approx(expected, rel=4 * EPS)
    assert INITIALISERS["orthogonal"].variance(20, 50) == 1 / 50


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("uniform", lambda n_in, n_out: 1 / math.sqrt(n_in)),
        ("glorot_uniform", lambda n_in, n_out: math.sqrt(6 / (n_in + n_out))),
        ("he_uniform", lambda n_in, n_out: math.sqrt(6 / n_in)),
    ],
)
def test_uniform_rows_fill_their_interval_evenly(name, bound):
    """Entries stay within ± the published bound, reach it, and pass Kolmogorov-Smirnov for the uniform law."""
    w, b = INITIALISERS[name].weights(noise(200, 80)).numpy().ravel(), bound(200, 80)
    assert np.abs(w).max() <= b * (1 + EPS)
    # P(the largest of n stays below b(1 - 10/n)) = e⁻¹⁰ = 5e-5.
    assert np.abs(w).max() > b * (1 - 10 / w.size)
    assert stats.kstest(w, stats.uniform(-b, 2 * b).cdf).pvalue > 1e-4
    extreme = torch.tensor([[-40.0, 0.0, 40.0]], dtype=torch.float64)
    scale = INITIALISERS[name].weights(extreme)
    torch.testing.assert_close(scale, bound(1, 3) * torch.sign(extreme), rtol=2 * EPS, atol=0)


@pytest.mark.parametrize("name", ["normal", "lecun_normal", "glorot_normal", "he_normal"])
def test_normal_rows_are_scaled_noise(name):
    """A normal row is its noise times one number, the root of its variance; ``normal`` is the noise itself."""
    x = noise(30, 20)
    torch.testing.assert_close(
        INITIALISERS[name].weights(x), math.sqrt(INITIALISERS[name].variance(30, 20)) * x, rtol=2 * EPS, atol=0
    )
    assert torch.equal(INITIALISERS["normal"].weights(x), x)


def test_he_is_lecun_at_weight_std_root_two():
    """weight_std multiplies W: with lecun_normal it is σ_w of mean-field theory, and σ_w = √2 is He's scheme."""
    x = noise(64, 3)
    torch.testing.assert_close(
        math.sqrt(2) * INITIALISERS["lecun_normal"].weights(x),
        INITIALISERS["he_normal"].weights(x),
        rtol=4 * EPS,
        atol=0,
    )


def test_constant_rows_ignore_the_noise():
    """``zeros`` is 0 and ``constant`` is 1 everywhere, so that weight_std is the constant."""
    x = noise(2, 5, 4)
    assert torch.equal(INITIALISERS["zeros"].weights(x), torch.zeros(2, 5, 4, dtype=torch.float64))
    assert torch.equal(INITIALISERS["constant"].weights(x), torch.ones(2, 5, 4, dtype=torch.float64))


@pytest.mark.parametrize(("n_in", "n_out"), [(40, 40), (60, 25), (25, 60), (7, 1), (1, 7), (1, 1)])
def test_orthogonal_columns_or_rows_are_orthonormal(n_in, n_out):
    """WᵀW = 1 where the layer does not widen, WWᵀ = 1 where it does not narrow; then no length |hW| changes."""
    w = orthogonal(noise(3, n_in, n_out))
    one = torch.eye(min(n_in, n_out), dtype=torch.float64).expand(3, -1, -1)
    # Householder QR is orthogonal to a small multiple of n ε.
    tolerance = {"rtol": 0, "atol": max(n_in, n_out) * EPS}
    torch.testing.assert_close(w.mT @ w if n_in >= n_out else w @ w.mT, one, **tolerance)
    if n_in <= n_out:
        h = noise(3, 5, n_in)
        torch.testing.assert_close((h @ w).norm(dim=-1), h.norm(dim=-1), rtol=n_out * EPS, atol=0)


@pytest.mark.parametrize(("n_in", "n_out"), [(6, 6), (9, 4), (4, 9)])
def test_orthogonal_turns_with_its_noise(n_in, n_out):
    """Q(Ux) = U Q(x) for every rotation U of the longer side: the law of Q is that of UQ, which is Haar's.

    Only the positive diagonal of R makes the factor unique and the identity true; raw Householder signs break it.
    """
    x, u = noise(n_in, n_out), torch.linalg.qr(noise(max(n_in, n_out), max(n_in, n_out), replica=1))[0]
    # A QR factor moves by about cond(x) ε; the condition number of these matrices is below 100.
    assert torch.linalg.cond(x) < 100
    if n_in >= n_out:
        turned, expected = orthogonal(u @ x), u @ orthogonal(x)
    else:
        turned, expected = orthogonal(x @ u), orthogonal(x) @ u
    torch.testing.assert_close(turned, expected, rtol=0, atol=1000 * EPS)


def test_orthogonal_entries_have_the_moments_of_haar():
    """Over 20 000 draws of 3 × 3: E Q₁₁ = 0, E Q₁₁² = 1/3, half the determinants are +1, each within 99.99 %."""
    n = 20_000
    q = orthogonal(noise(n, 3, 3))
    z = stats.norm.isf(0.5e-4)
    corner, positive = q[:, 0, 0].numpy(), (torch.linalg.det(q) > 0).double().mean().item()
    assert abs(corner.mean()) < z * math.sqrt(1 / 3 / n)
    # Q₁₁² of a point on the sphere in three dimensions is the square of a uniform number: variance 4/45.
    assert abs((corner**2).mean() - 1 / 3) < z * math.sqrt(4 / 45 / n)
    assert abs(positive - 0.5) < z * math.sqrt(0.25 / n)


@each_row
def test_a_stack_is_its_members_and_the_noise_is_not_touched(name):
    """weights([C, S, n_in, n_out]) equals the weights of each member alone, bit for bit, in float64."""
    x = noise(2, 3, 12, 5)
    before = x.clone()
    w = INITIALISERS[name].weights(x)
    assert (w.shape, w.dtype) == (x.shape, torch.float64)
    for c in range(2):
        for s in range(3):
            assert torch.equal(w[c, s], INITIALISERS[name].weights(x[c, s].clone()))
    w.mul_(2)  # the engines work on it in place
    assert torch.equal(x, before)
