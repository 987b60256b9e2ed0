"""Losses and heads: slope and curvature against autograd and the dense Hessian, closed forms, extreme logits."""

import itertools
import math

import pytest
import torch
from torch.nn import functional

from chainrule.calculus.losses import HEADS, LOSSES, objective
from chainrule.errors import ChainruleError
from chainrule.randomness import stream

# torch compiles its own rules for forward mode when the first jvp is taken, and warns of its own deprecated compiler.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

EPS = torch.finfo(torch.float64).eps
PAIRS = [(name, head) for name, row in LOSSES.items() for head in row.heads]
each_pair = pytest.mark.parametrize(("name", "head"), PAIRS)
each_loss = pytest.mark.parametrize("name", LOSSES)


def normals(*shape):
    """Fixed standard normals in float64."""
    return torch.from_numpy(stream(0, f"losses/{shape}").standard_normal(shape))


def targets(name, *shape):
    """Targets that the loss is made for: any numbers, probability vectors, or probabilities."""
    g = 2 * normals(*shape, 1)[..., 0]
    return {"squared_error": g, "cross_entropy": g.softmax(-1), "binary_cross_entropy": g.sigmoid()}[name]


@each_pair
def test_slope_is_what_autograd_finds_on_a_stack_that_shares_its_targets(name, head):
    """∂ℓ/∂z of [C, S, N, k] logits and [1, S, N, k] targets equals autograd to 16 roundings."""
    loss = objective(name, head)
    z, y = (3 * normals(2, 3, 5, 4)).requires_grad_(), targets(name, 1, 3, 5, 4)
    value = loss.value(z, y)
    assert value.shape == (2, 3, 5)
    (expected,) = torch.autograd.grad(value.sum(), z)
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(loss.slope(z, y), expected, rtol=0, atol=16 * EPS * scale)


@each_pair
def test_slope_is_the_limit_of_central_differences_at_order_two(name, head):
    """Along a direction the error of [ℓ(z+hv) - ℓ(z-hv)] / 2h quarters when h halves; a quadratic has none."""
    loss = objective(name, head)
    z, y, v = normals(6, 4), targets(name, 6, 4), normals(4, 6).T
    exact = (loss.slope(z, y) * v).sum()
    steps = [0.1 / 2**k for k in range(5)]
    error = [((loss.value(z + h * v, y) - loss.value(z - h * v, y)).sum() / (2 * h) - exact).abs() for h in steps]
    if (name, head) == ("squared_error", "linear"):
        assert max(error) < 64 * EPS * loss.value(z, y).sum() / steps[-1]
        return
    orders = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(error)]
    # Each halving also divides the h⁴ term by 16: below 10 % of the error at h = 0.1, below 1 % from the third on.
    assert orders[2:] == pytest.approx([2.0, 2.0], abs=0.02)


@each_pair
def test_curvature_is_the_dense_hessian_times_the_direction(name, head):
    """(∂²ℓ/∂z²) v of every sample equals its k × k Hessian by torch.func.hessian, also where no graph is recorded."""
    loss = objective(name, head)
    z, y, v = 2 * normals(2, 5, 4), targets(name, 1, 5, 4), normals(2, 4, 5).mT
    hessian = torch.func.vmap(torch.func.vmap(torch.func.hessian(lambda z, y: loss.value(z[None], y[None])[0])))
    dense = hessian(z, y.expand(2, 5, 4))
    torch.testing.assert_close(dense, dense.mT, rtol=0, atol=32 * EPS)
    expected = (dense @ v[..., None])[..., 0]
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with context():
            torch.testing.assert_close(loss.curvature(z.clone(), y, v.clone()), expected, rtol=0, atol=64 * EPS)


@each_loss
def test_the_canonical_slope_is_prediction_minus_target(name):
    """With its canonical head every row has ∂ℓ/∂z = a(z) - y, and "canonical" gives the row itself."""
    row = LOSSES[name]
    z, y = 3 * normals(7, 5), targets(name, 7, 5)
    torch.testing.assert_close(row.slope(z, y), HEADS[row.head].value(z) - y, rtol=0, atol=0)
    assert objective(name, "canonical") is row
    assert objective(name, row.head) is row
    assert row.head in row.heads


@pytest.mark.parametrize("name", HEADS)
def test_pullback_is_the_transposed_jacobian(name):
    """pullback(z, g) = (∂a/∂z)ᵀ g, against torch.func.vjp and against central differences of the head."""
    head = HEADS[name]
    z, g = 2 * normals(3, 6, 5), normals(3, 5, 6).mT
    (expected,) = torch.func.vjp(head.value, z)[1](g)
    torch.testing.assert_close(head.pullback(z, g), expected, rtol=0, atol=16 * EPS)
    v, h = torch.cos(z), 1e-5
    difference = (head.value(z + h * v) - head.value(z - h * v)) / (2 * h)
    # Truncation h²/6 times a third derivative below 1 times 90 terms, rounding ε/h times 90.
    assert (head.pullback(z, g) * v).sum().item() == pytest.approx((g * difference).sum().item(), abs=90 * 2e-11)


def test_rows_equal_torch_for_the_targets_that_torch_knows():
    """½ Σ of torch's squared error, its cross-entropy of classes and of probabilities, its binary one of logits."""
    z, classes = 3 * normals(9, 4), torch.arange(9) % 4
    one_hot, soft = functional.one_hot(classes, 4).double(), targets("cross_entropy", 9, 4)
    y, bits = targets("squared_error", 9, 4), targets("binary_cross_entropy", 9, 4)
    none = {"reduction": "none"}
    binary = functional.binary_cross_entropy_with_logits(z, bits, **none).sum(-1)
    for found, expected in [
        (LOSSES["squared_error"].value(z, y), functional.mse_loss(z, y, **none).sum(-1) / 2),
        (LOSSES["cross_entropy"].value(z, one_hot), functional.cross_entropy(z, classes, **none)),
        (LOSSES["cross_entropy"].value(z, soft), functional.cross_entropy(z, soft, **none)),
        (LOSSES["binary_cross_entropy"].value(z, bits), binary),
    ]:
        torch.testing.assert_close(found, expected, rtol=16 * EPS, atol=0)


def test_eigenvalues_of_the_softmax_hessian():
    """The matrix diag p - p pᵀ for p = (.5, .3, .15, .05) has eigenvalues 0.38462617, 0.18821145, 0.06216238 and 0."""
    p = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    unit = torch.eye(4, dtype=torch.float64)
    matrix = LOSSES["cross_entropy"].curvature(p.log().expand(4, 4), unit, unit)
    torch.testing.assert_close(matrix, p.diag() - p.outer(p), rtol=0, atol=4 * EPS)
    # Computed to ten digits from the characteristic polynomial; zero to rounding.
    assert torch.linalg.eigvalsh(matrix).tolist() == pytest.approx(
        [0, 0.06216238073, 0.188211454, 0.3846261653], abs=1e-10
    )


def test_cross_entropy_does_not_see_a_shift_of_all_logits():
    """ℓ(z + c1) = ℓ(z): the slope has sum 0 and the constant direction no curvature."""
    row = LOSSES["cross_entropy"]
    z, y, v = 3 * normals(8, 5), targets("cross_entropy", 8, 5), normals(5, 8).T
    # z + c rounds z by ε c/2 per logit; slope and curvature are differences of probabilities.
    torch.testing.assert_close(row.value(z + 100, y), row.value(z, y), rtol=0, atol=200 * EPS)
    torch.testing.assert_close(row.slope(z + 100, y), row.slope(z, y), rtol=0, atol=200 * EPS)
    assert row.slope(z, y).sum(-1).abs().max() < 8 * EPS
    assert row.curvature(z, y, torch.ones_like(z)).abs().max() < 8 * EPS
    assert row.curvature(z, y, v).sum(-1).abs().max() < 16 * EPS


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
def test_no_prediction_beats_the_truth(name):
    """Gibbs: the loss is at least the entropy of y, with equality, and slope 0, where the prediction is y."""
    row, y = LOSSES[name], targets(name, 20, 3)
    if name == "cross_entropy":
        truth, entropy = y.log(), -torch.xlogy(y, y).sum(-1)
    else:
        truth, entropy = torch.logit(y), -(torch.xlogy(y, y) + torch.xlogy(1 - y, 1 - y)).sum(-1)
    torch.testing.assert_close(row.value(truth, y), entropy, rtol=0, atol=32 * EPS)
    assert row.slope(truth, y).abs().max() < 8 * EPS
    assert (row.value(truth + normals(20, 3), y) > entropy).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_cost_their_gap_and_overflow_nowhere(dtype):
    """A logit that is wrong by 1e3 or 1e30 costs that much, one that is right costs 0; the curvature stays finite."""
    y = torch.tensor([[1.0, 0.0]], dtype=dtype)
    cross, binary = LOSSES["cross_entropy"], LOSSES["binary_cross_entropy"]
    for gap in (1e3, 1e30):
        right, wrong = torch.tensor([[gap, 0.0]], dtype=dtype), torch.tensor([[0.0, gap]], dtype=dtype)
        assert cross.value(right, y).tolist() == [0]
        assert torch.equal(cross.value(wrong, y), wrong[:, 1])
        assert cross.slope(wrong, y).tolist() == [[-1, 1]]
        assert cross.slope(right, y).tolist() == [[0, 0]]
        assert binary.value(torch.cat([right[:, :1], -right[:, :1]], -1), y).tolist() == [0]
        assert torch.equal(binary.value(-right[:, :1], y[:, :1]), right[:, 0])
        for row in (cross, binary):
            assert row.curvature(wrong, y, torch.ones_like(wrong)).isfinite().all()


def test_a_confident_right_answer_keeps_its_relative_accuracy():
    """The binary loss of a right answer at z = ±40 is log(1 + e⁻⁴⁰) = 4.248354255291589e-18, not a rounded 0."""
    z, y = torch.tensor([[40.0]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    assert LOSSES["binary_cross_entropy"].value(z, y).item() == pytest.approx(4.248354255291589e-18, rel=1e-14)
    assert LOSSES["binary_cross_entropy"].value(-z, 1 - y).item() == pytest.approx(4.248354255291589e-18, rel=1e-14)


def test_squared_error_through_a_sigmoid_is_not_convex():
    """At z = -2, y = 1 the curvature σ'² + (σ - 1)σ'' is negative, so a saturated wrong unit learns slowly."""
    loss = objective("squared_error", "sigmoid")
    z, one = torch.full((1, 1), -2.0, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    s = 1 / (1 + math.exp(2))
    ds, dds = s * (1 - s), s * (1 - s) * (1 - 2 * s)
    assert loss.value(z, one).item() == pytest.approx((s - 1) ** 2 / 2, rel=8 * EPS)
    assert loss.slope(z, one).item() == pytest.approx((s - 1) * ds, rel=8 * EPS)
    assert loss.curvature(z, one, one).item() == pytest.approx(ds**2 + (s - 1) * dds, rel=64 * EPS)
    assert loss.curvature(z, one, one).item() < -0.05
    assert LOSSES["binary_cross_entropy"].slope(z, one).item() == pytest.approx(s - 1, rel=4 * EPS)


@each_pair
def test_nan_logits_give_a_nan_loss_in_their_sample_alone(name, head):
    """One diverged sample is seen in value and slope; the others keep their bits."""
    loss = objective(name, head)
    z, y = normals(6, 3), targets(name, 6, 3)
    spoilt = z.clone()
    spoilt[2, 1] = torch.nan
    others = [0, 1, 3, 4, 5]
    for function in (loss.value, loss.slope):
        assert function(spoilt, y)[2].isnan().any()
        assert torch.equal(function(spoilt, y)[others], function(z, y)[others])


@each_pair
def test_the_composed_loss_keeps_dtype_and_names_its_head(name, head):
    """float32 in, float32 out; ``head`` is the head that gives the predictions."""
    loss = objective(name, head)
    z, y = normals(6, 3).float(), targets(name, 6, 3).float()
    assert loss.head == head
    assert {t.dtype for t in (loss.value(z, y), loss.slope(z, y), loss.curvature(z, y, z))} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "head"),
    [(name, head) for name in LOSSES for head in HEADS if (name, head) not in PAIRS],
)
def test_a_head_that_does_not_go_with_a_loss_is_refused_with_what_does(name, head):
    """E404 names the pair, the heads that are allowed, and the way out."""
    with pytest.raises(ChainruleError) as caught:
        objective(name, head)
    own = LOSSES[name].head
    assert str(caught.value) == (
        f"error E404: head={head!r} cannot be combined with loss={name!r}.\n"
        f"  {name} works on the logits and allows the head {own!r}; squared_error allows every head.\n"
        f"  fix: head='canonical' (which is {own!r} here), or loss='squared_error'"
    )


def test_unknown_names_are_answered_with_the_known_ones():
    """A mistyped loss or head is E402, with the nearest name."""
    with pytest.raises(ChainruleError, match="Did you mean 'cross_entropy'") as loss:
        objective("cross_entrpy", "canonical")
    with pytest.raises(ChainruleError, match="Did you mean 'softmax'") as head:
        objective("squared_error", "softmx")
    assert (loss.value.code, head.value.code) == ("E402", "E402")
