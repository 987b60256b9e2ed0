"""Activations: value, slope and curvature against autograd, differences, symbolic formulas; tails, kinks, NaN."""

import itertools
import math

import pytest
import sympy
import torch

from chainrule.calculus.activations import ACTIVATIONS
from chainrule.errors import ChainruleError

# torch compiles its own rules for forward mode when the first jvp is taken, and warns of its own deprecated compiler.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

EPS = torch.finfo(torch.float64).eps
x = sympy.Symbol("x", real=True)

# The independent definitions: sympy differentiates them and evaluates them to as many digits as it takes.
FORMULAS = {
    "identity": x,
    "sigmoid": 1 / (1 + sympy.exp(-x)),
    "tanh": sympy.tanh(x),
    "relu": sympy.Piecewise((0, x < 0), (x, True)),
    "leaky_relu": sympy.Piecewise((x / 100, x < 0), (x, True)),
    "elu": sympy.Piecewise((sympy.exp(x) - 1, x < 0), (x, True)),
    "gelu": x * sympy.erfc(-x / sympy.sqrt(2)) / 2,
    "softplus": sympy.log(1 + sympy.exp(x)),
    "silu": x / (1 + sympy.exp(-x)),
}
# What φ(z) and φ(-z) have in common: what is computed from them, and what it must be.
REFLECTIONS = {
    "identity": lambda z, f: (f(z) + f(-z), 0 * z),
    "sigmoid": lambda z, f: (f(z) + f(-z), 0 * z + 1),
    "tanh": lambda z, f: (f(z) + f(-z), 0 * z),
    "relu": lambda z, f: (f(z) - f(-z), z),
    "leaky_relu": lambda z, f: (f(z) - f(-z), 1.01 * z),
    "elu": lambda z, f: (f(z.abs()) - f(-z.abs()), z.abs() + 1 - torch.exp(-z.abs())),
    "gelu": lambda z, f: (f(z) - f(-z), z),
    "softplus": lambda z, f: (f(z) - f(-z), z),
    "silu": lambda z, f: (f(z) - f(-z), z),
}

each_row = pytest.mark.parametrize("name", ACTIVATIONS)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def grid(low=-8.0, high=8.0, n=1001):
    """Points of a float64 interval; 0, where the kinks are, is among them."""
    return torch.cat([torch.linspace(low, high, n, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])


def away_from_kinks(z, row, distance):
    """The points of z that are further than a distance from every kink."""
    return z[torch.all(torch.stack([(z - kink).abs() > distance for kink in (*row.kinks, math.inf)]), 0)]


@each_row
def test_slope_and_curvature_are_what_autograd_finds(name):
    """φ' and φ'' equal autograd of φ and of its gradient, kinks included, to 32 roundings of numbers of order 1."""
    row = ACTIVATIONS[name]
    z = grid().requires_grad_()
    (slope,) = torch.autograd.grad(row.value(z).sum(), z, create_graph=True)
    torch.testing.assert_close(row.slope(z), slope, rtol=0, atol=32 * EPS)
    # A constant slope has no graph: autograd's way to say that the curvature is zero.
    curvature = torch.autograd.grad(slope.sum(), z)[0] if slope.requires_grad else torch.zeros_like(z)
    torch.testing.assert_close(row.curvature(z), curvature, rtol=0, atol=32 * EPS)


@each_row
@pytest.mark.parametrize(("function", "derivative"), [("value", "slope"), ("slope", "curvature")])
def test_central_differences_converge_at_order_two(name, function, derivative):
    """Halving h quarters the error of [f(z+h) - f(z-h)] / 2h; where f is piecewise linear only rounding is left."""
    row = ACTIVATIONS[name]
    f, exact = getattr(row, function), getattr(row, derivative)
    steps = [0.1 / 2**k for k in range(6)]
    z = away_from_kinks(grid(-4, 4, 401), row, steps[0])
    error = [((f(z + h) - f(z - h)) / (2 * h) - exact(z)).abs().max().item() for h in steps]
    if max(error) < 16 * EPS / steps[-1]:  # |f| ≤ 4: two roundings of f and of z, over 2h
        assert name in ("identity", "relu", "leaky_relu")
        return
    orders = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(error)]
    # The next term of the error is h²/20 φ⁽⁵⁾/φ⁽³⁾ of the first, below 3 % at h = 0.1 for all rows: 0.05 in log2.
    assert orders == pytest.approx([2.0] * len(orders), abs=0.05)


@each_row
def test_rows_equal_the_symbolic_formulas_to_relative_rounding(name):
    """Value, slope and curvature keep their relative accuracy into both tails, where they may be 1e-190."""
    row = ACTIVATIONS[name]
    # 21 lies where torch's own softplus has already given up the exact formula.
    points = [-30.0, -10.0, -3.0, -0.5, 0.25, 2.0, 12.0, 21.0, 30.0]
    z = torch.tensor(points, dtype=torch.float64)
    for order, function in enumerate([row.value, row.slope, row.curvature]):
        formula = sympy.diff(FORMULAS[name], x, order)
        exact = [float(formula.subs(x, sympy.Rational(p)).evalf(30)) for p in points]
        # exp(-z²/2) multiplies the rounding of its argument by 450 at |z| = 30: 450 ε = 1e-13; silu and gelu cancel
        # to a fifth of their terms at most. One decimal in hand.
        torch.testing.assert_close(
            function(z),
            torch.tensor(exact, dtype=torch.float64),
            rtol=1e-12,
            atol=0,
            msg=lambda m, k=order: f"{k}: {m}",
        )


def test_textbook_slopes():
    """σ' = σ(1-σ), tanh' = 1 - tanh², GELU' = Φ + zϕ, softplus' = σ, softplus'' = σ'."""
    z = grid()
    sigmoid, tanh = torch.sigmoid(z), torch.tanh(z)
    normal = torch.distributions.Normal(torch.zeros_like(z), torch.ones_like(z))
    expected = {
        ("sigmoid", "slope"): sigmoid * (1 - sigmoid),
        ("tanh", "slope"): 1 - tanh**2,
        ("gelu", "slope"): normal.cdf(z) + z * normal.log_prob(z).exp(),
        ("softplus", "slope"): sigmoid,
        ("softplus", "curvature"): sigmoid * (1 - sigmoid),
    }
    for (name, function), formula in expected.items():
        torch.testing.assert_close(getattr(ACTIVATIONS[name], function)(z), formula, rtol=0, atol=16 * EPS)


def test_textbook_values_at_points():
    """At 0: σ = 1/2, softplus = log 2, σ' = 1/4, GELU'' = 2/√(2π), SiLU'' = 1/2; GELU(1) = Φ(1)."""
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    assert ACTIVATIONS["sigmoid"].value(zero).item() == 0.5
    assert ACTIVATIONS["sigmoid"].slope(zero).item() == 0.25
    assert ACTIVATIONS["softplus"].value(zero).item() == pytest.approx(math.log(2), rel=2 * EPS)
    assert ACTIVATIONS["gelu"].curvature(zero).item() == pytest.approx(math.sqrt(2 / math.pi), rel=4 * EPS)
    assert ACTIVATIONS["silu"].curvature(zero).item() == 0.5
    assert ACTIVATIONS["gelu"].value(one).item() == pytest.approx(0.841344746068542948585, rel=4 * EPS)


@each_row
def test_reflection(name):
    """φ(z) and φ(-z) are tied: tanh is odd, σ(z) + σ(-z) = 1, and every rectifier has φ(z) - φ(-z) = z."""
    z = grid(-20, 20)
    found, expected = REFLECTIONS[name](z, ACTIVATIONS[name].value)
    torch.testing.assert_close(found, expected, rtol=4 * EPS, atol=4 * EPS)


@each_row
def test_range_is_the_smallest_interval_that_holds_every_value(name):
    """No value leaves the range, and each bound is approached: finite ones on a fine grid, infinite ones far out."""
    row = ACTIVATIONS[name]
    value = row.value(torch.linspace(-40, 40, 800_001, dtype=torch.float64))
    far = row.value(torch.tensor([-1e6, 1e6], dtype=torch.float64))
    for bound, extreme, tail, sign in [(row.range[0], value.min(), far[0], 1), (row.range[1], value.max(), far[1], -1)]:
        if math.isinf(bound):
            assert bound == -sign * math.inf
            assert -sign * tail >= 1e4
        else:
            # Spacing 1e-4: a smooth extremum is missed by φ'' h²/8 < 2e-9; the bound itself is rounded once.
            assert -EPS <= sign * (extreme.item() - bound) < 2e-9


@each_row
def test_kinks_are_where_slope_or_curvature_jumps_and_nowhere_else(name):
    """Across each kink φ' or φ'' jumps; across any other point they change by no more than a smooth function does."""
    row = ACTIVATIONS[name]

    def jump(at, gap):
        return torch.maximum(
            (row.slope(at + gap) - row.slope(at - gap)).abs(), (row.curvature(at + gap) - row.curvature(at - gap)).abs()
        )

    if row.kinks:
        assert jump(torch.tensor(row.kinks, dtype=torch.float64), 1e-9).min() > 0.1
    # |φ''| and |φ'''| stay below 2 for all rows, so a smooth change over 2e-9 stays below 4e-9.
    assert jump(away_from_kinks(grid(), row, 1e-3), 1e-9).max() < 4e-9 + 8 * EPS


@each_row
def test_slope_at_zero_is_the_stated_convention(name):
    """ReLU has slope 0 and leaky ReLU 0.01 at 0, the derivative from the left, as in torch.autograd."""
    stated = {"identity": 1, "sigmoid": 0.25, "tanh": 1, "relu": 0, "leaky_relu": 0.01, "elu": 1, "gelu": 0.5}
    stated |= {"softplus": 0.5, "silu": 0.5}
    for zero in (0.0, -0.0):
        z = torch.tensor([zero], dtype=torch.float64, requires_grad=True)
        assert ACTIVATIONS[name].slope(z).item() == stated[name]
        assert torch.autograd.grad(ACTIVATIONS[name].value(z).sum(), z)[0].item() == stated[name]


@each_row
@each_dtype
def test_tails_are_finite_and_reach_their_limits(name, dtype):
    """At |z| = 1e3 and at the largest finite number nothing overflows, and z = ±1e3 gives the limits exactly."""
    row = ACTIVATIONS[name]
    largest = torch.finfo(dtype).max
    z = torch.tensor([-largest, -1e30, -1e3, 1e3, 1e30, largest], dtype=dtype)
    for function in (row.value, row.slope, row.curvature):
        assert function(z).isfinite().all()
    at = torch.tensor([-1e3, 1e3], dtype=dtype)
    left, right = {
        "identity": ((-1e3, 1), (1e3, 1)),
        "sigmoid": ((0, 0), (1, 0)),
        "tanh": ((-1, 0), (1, 0)),
        "leaky_relu": ((-10, 0.01), (1e3, 1)),
        "elu": ((-1, 0), (1e3, 1)),
    }.get(name, ((0, 0), (1e3, 1)))  # relu, softplus, gelu and silu
    torch.testing.assert_close(row.value(at), torch.tensor([left[0], right[0]], dtype=dtype), rtol=0, atol=0)
    torch.testing.assert_close(row.slope(at), torch.tensor([left[1], right[1]], dtype=dtype), rtol=0, atol=0)
    assert row.curvature(at).tolist() == [0, 0]


@each_row
@each_dtype
def test_nan_stays_nan_and_touches_no_neighbour(name, dtype):
    """A diverged entry is NaN in value, slope and curvature; the entries beside it keep their bits."""
    row = ACTIVATIONS[name]
    clean = torch.linspace(-3, 3, 32, dtype=dtype)
    spoilt = clean.clone()
    spoilt[5] = torch.nan
    for function in (row.value, row.slope, row.curvature):
        result, expected = function(spoilt), function(clean)
        assert result[5].isnan()
        assert result.isnan().sum() == 1
        assert torch.equal(torch.cat([result[:5], result[6:]]), torch.cat([expected[:5], expected[6:]]))


@each_row
@each_dtype
def test_rows_are_pure_and_keep_shape_and_dtype(name, dtype):
    """Any shape in, the same shape and dtype out, in new memory; z is not changed."""
    row = ACTIVATIONS[name]
    for shape in [(), (0,), (2, 3, 4, 5)]:
        z = torch.linspace(-2, 2, math.prod(shape), dtype=dtype).reshape(shape)
        before = z.clone()
        for function in (row.value, row.slope, row.curvature):
            result = function(z)
            assert (result.shape, result.dtype) == (z.shape, z.dtype)
            assert result.numel() == 0 or result.data_ptr() != z.data_ptr()
            assert torch.equal(z, before)


@each_row
def test_rows_can_be_differentiated_forwards_and_mapped(name):
    """torch.func.jvp of the value is slope times direction, of the slope curvature times direction, also under vmap."""
    row = ACTIVATIONS[name]
    z = grid(-3, 3, 20).reshape(3, 7)
    v = torch.cos(z)
    for function, derivative in [(row.value, row.slope), (row.slope, row.curvature)]:
        product = torch.func.vmap(lambda z, v, f=function: torch.func.jvp(f, (z,), (v,))[1])(z, v)
        torch.testing.assert_close(product, derivative(z) * v, rtol=0, atol=32 * EPS)


def test_an_unknown_activation_is_answered_with_the_known_ones_and_the_file():
    """A typo names the nearest row, all rows and the file where one is added."""
    with pytest.raises(ChainruleError) as caught:
        ACTIVATIONS["relus"]
    assert str(caught.value) == (
        "error E402: activation='relus' is not known.\n"
        "  Did you mean 'relu'? Known: identity, sigmoid, tanh, relu, leaky_relu, elu, gelu, softplus, silu.\n"
        "  fix: correct the name; to add one, add a row to chainrule/calculus/activations.py"
    )
