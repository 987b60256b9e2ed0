"""Optimisers: torch.optim step for step, closed forms on quadratics, first steps, the contract of memory."""

import cmath
import math
from collections.abc import Mapping

import pytest
import torch

from chainrule.calculus.optimisers import OPTIMISERS
from chainrule.randomness import stream

EPS = torch.finfo(torch.float64).eps
C, S, N_IN, N_OUT, STEPS = 3, 2, 4, 3, 60
each_row = pytest.mark.parametrize("name", OPTIMISERS)

# One column per condition: no two members of a stack share a setting.
HYPER = {
    "lr": [0.003, 0.01, 0.02],
    "momentum": [0.5, 0.9, 0.8],
    "beta2": [0.9, 0.999, 0.95],
    "weight_decay": [0.3, 0.01, 0.1],
    "epsilon": [1e-8, 1e-3, 1e-6],
}

# torch's spelling of each row for the settings of one condition.
ORACLES = {
    "sgd": lambda w, h: torch.optim.SGD(w, lr=h["lr"]),
    "heavy_ball": lambda w, h: torch.optim.SGD(w, lr=h["lr"], momentum=h["momentum"]),
    "nesterov": lambda w, h: torch.optim.SGD(w, lr=h["lr"], momentum=h["momentum"], nesterov=True),
    "rmsprop": lambda w, h: torch.optim.RMSprop(w, lr=h["lr"], alpha=h["beta2"], eps=h["epsilon"]),
    "adam": lambda w, h: torch.optim.Adam(w, lr=h["lr"], betas=(h["momentum"], h["beta2"]), eps=h["epsilon"]),
    "adamw": lambda w, h: torch.optim.AdamW(
        w, lr=h["lr"], betas=(h["momentum"], h["beta2"]), eps=h["epsilon"], weight_decay=h["weight_decay"]
    ),
}


def normals(*shape):
    """Fixed standard normals in float64."""
    return torch.from_numpy(stream(0, f"optimisers/{shape}").standard_normal(shape))


def stacked_hyper(dtype=torch.float64):
    """The settings as tensors of [C, 1, 1, 1]."""
    return {name: torch.tensor(values, dtype=dtype).reshape(C, 1, 1, 1) for name, values in HYPER.items()}


def one_hyper(c):
    """The settings of one condition as numbers."""
    return {name: values[c] for name, values in HYPER.items()}


def blank(name, w):
    """Memory before the first step."""
    return {slot: torch.zeros_like(w) for slot in OPTIMISERS[name].slots}


def slope(w):
    """Gradient of Σ ½(w_{i+1} - w_i²)² + ½(1 - w_i)² + sin(3w_i)/9 along the last axis: curved, coupled, not convex."""
    with torch.enable_grad():
        w = w.detach().requires_grad_()
        head, tail = w[..., :-1], w[..., 1:]
        f = ((tail - head.square()).square() / 2 + (1 - head).square() / 2).sum() + torch.sin(3 * w).sum() / 9
        return torch.autograd.grad(f, w)[0]


def trajectory(name, w, hyper, gradient, steps=STEPS):
    """The weights after 1, 2, ... steps."""
    w, memory, path = w.clone(), blank(name, w), []
    for t in range(1, steps + 1):
        w = w - OPTIMISERS[name].step(w, gradient(w), memory, t, hyper)
        path.append(w)
    return torch.stack(path)


@each_row
def test_a_stack_moves_like_separate_torch_optimisers_step_for_step(name):
    """3 × 2 members, each with its own settings and start, equal six runs of torch.optim to 1e-12 at each of 60 steps.

    The bound is 60 steps times some 10 roundings of 2e-16, times a growth of differences of less than 10.
    """
    start = normals(C, S, N_IN, N_OUT)
    ours = trajectory(name, start, stacked_hyper(), slope)
    for c in range(C):
        for s in range(S):
            w = start[c, s].clone().requires_grad_()
            oracle = ORACLES[name]([w], one_hyper(c))
            for t in range(STEPS):
                w.grad = slope(w)
                oracle.step()
                difference = (ours[t, c, s] - w.detach()).norm() / w.detach().norm()
                assert difference < 1e-12, (c, s, t)
    # The comparison means something only if the members moved, and differently.
    assert ((ours[-1] - start).norm(dim=(-2, -1)) / start.norm(dim=(-2, -1)) > 0.01).all()


@each_row
def test_numbers_and_broadcast_tensors_mean_the_same(name):
    """A stack with settings of [C, 1, 1, 1] equals each condition run alone with plain numbers."""
    start = normals(C, S, N_IN, N_OUT)
    stacked = trajectory(name, start, stacked_hyper(), slope)
    for c in range(C):
        alone = trajectory(name, start[c], one_hyper(c), slope)
        torch.testing.assert_close(stacked[:, c], alone, rtol=1e-12, atol=1e-13)


@each_row
def test_step_reads_what_the_row_says_and_changes_memory_alone(name):
    """The settings looked up are those in ``reads``; memory changes in place, w and g do not; nothing is aliased."""

    class Watched(Mapping):
        """Settings that remember which were looked up."""

        def __init__(self):
            self.seen = set()

        def __getitem__(self, key):
            self.seen.add(key)
            return one_hyper(0)[key]

        def __iter__(self):
            return iter(HYPER)

        def __len__(self):
            return len(HYPER)

    hyper, w, g = Watched(), normals(2, 3), normals(3, 2).T.contiguous()
    memory, before = blank(name, w), (w.clone(), g.clone())
    addresses = {slot: tensor.data_ptr() for slot, tensor in memory.items()}
    step = OPTIMISERS[name].step(w, g, memory, 1, hyper)
    assert hyper.seen == set(OPTIMISERS[name].reads)
    assert (torch.equal(w, before[0]), torch.equal(g, before[1])) == (True, True)
    assert {slot: tensor.data_ptr() for slot, tensor in memory.items()} == addresses
    assert all((tensor != 0).all() for tensor in memory.values())
    assert step.data_ptr() not in {w.data_ptr(), g.data_ptr(), *addresses.values()}
    assert step.shape == w.shape


@each_row
def test_float64_settings_leave_a_float32_network_in_float32(name):
    """Step and memory keep the dtype of w, and 1 - beta2 = 0.001 is not spoilt by rounding beta2 to float32 first."""
    w, g = normals(C, S, N_IN, N_OUT), slope(normals(C, S, N_IN, N_OUT))
    memory = blank(name, w.float())
    step = OPTIMISERS[name].step(w.float(), g.float(), memory, 1, stacked_hyper())
    assert {step.dtype, *(tensor.dtype for tensor in memory.values())} == {torch.float32}
    expected = OPTIMISERS[name].step(w, g, blank(name, w), 1, stacked_hyper())
    # Some eight roundings of 6e-8; beta2 rounded first would make 1 - beta2 wrong by 1.3e-5, its root by 6e-6.
    difference = (step.double() - expected).flatten(1).norm(dim=1)
    assert (difference / expected.flatten(1).norm(dim=1)).max() < 1e-6


@each_row
def test_a_diverged_member_leaves_its_neighbours_bit_identical(name):
    """NaN in the gradient of one member changes no bit of another and does not heal."""
    start = normals(C, S, N_IN, N_OUT)

    def spoilt(w):
        g = slope(w)
        g[1, 0] = torch.nan
        return g

    clean, hurt = (trajectory(name, start, stacked_hyper(), gradient, steps=5) for gradient in (slope, spoilt))
    others = torch.ones(C, S, dtype=torch.bool)
    others[1, 0] = False
    assert torch.equal(hurt[:, others], clean[:, others])
    assert hurt[:, 1, 0].isnan().all()


def test_gradient_descent_on_a_quadratic_is_a_power():
    """On ½λw² after t steps w = (1 - ηλ)ᵗ w₀, for contraction, overshoot and divergence."""
    curvature = torch.tensor([0.1, 0.5, 1.0, 3.0, 4.5], dtype=torch.float64)
    path = trajectory("sgd", torch.ones(5, dtype=torch.float64), {"lr": 0.5}, lambda w: curvature * w, steps=40)
    t = torch.arange(1, 41, dtype=torch.float64)[:, None]
    # Three roundings a step, of terms that may be (1 + ηλ)/|1 - ηλ| ≤ 5 times their sum: 40 · 3 · 5 ε.
    torch.testing.assert_close(path, (1 - 0.5 * curvature) ** t, rtol=600 * EPS, atol=0)


def test_gradient_descent_is_stable_up_to_two_over_the_curvature():
    """|w| falls for η < 2/λ, grows for η > 2/λ, and alternates for ever at η = 2/λ; resolved to 1e-9."""
    curvature = 4.0
    lr = 2 / curvature * torch.tensor([1 - 1e-9, 1.0, 1 + 1e-9], dtype=torch.float64)
    last = trajectory("sgd", torch.ones(3, dtype=torch.float64), {"lr": lr}, lambda w: curvature * w, steps=1000)[-1]
    # |1 - ηλ|¹⁰⁰⁰ = (1 ∓ 2e-9)¹⁰⁰⁰ = 1 ∓ 2e-6, and 1000 steps round by 1000 · 3 ε = 7e-13.
    torch.testing.assert_close(last, torch.tensor([1 - 2e-6, 1.0, 1 + 2e-6], dtype=torch.float64), rtol=0, atol=3e-12)


def one_step_map(name, curvature, hyper):
    """The 2 × 2 matrix that one step of a method with a velocity applies to (w, v) on ½λw²."""
    columns = []
    for w, v in [(1.0, 0.0), (0.0, 1.0)]:
        w, memory = torch.tensor([w], dtype=torch.float64), {"velocity": torch.tensor([v], dtype=torch.float64)}
        step = OPTIMISERS[name].step(w, curvature * w, memory, 1, hyper)
        columns.append(torch.cat([w - step, memory["velocity"]]))
    return torch.stack(columns, -1)


def test_heavy_ball_converges_at_the_root_of_its_optimal_momentum():
    """With Polyak's setting every curvature in [1, 100] contracts at √μ = 9/11 per step, against 99/101 without."""
    low, high = 1.0, 100.0
    lr = 4 / (math.sqrt(high) + math.sqrt(low)) ** 2
    momentum = ((math.sqrt(high) - math.sqrt(low)) / (math.sqrt(high) + math.sqrt(low))) ** 2
    assert math.sqrt(momentum) == pytest.approx(9 / 11, rel=4 * EPS)
    for curvature in (1.0, 2.0, 10.0, 50.0, 99.0, 100.0):
        matrix = one_step_map("heavy_ball", curvature, {"lr": lr, "momentum": momentum})
        radius = torch.linalg.eigvals(matrix).abs().max().item()
        # At both ends the eigenvalue is double, and rounding moves a double eigenvalue by √ε.
        assert radius == pytest.approx(9 / 11, rel=1e-12 if low < curvature < high else 10 * math.sqrt(EPS))
    # The run itself: from rest, at the double eigenvalue r = ±√μ of the two ends, w_t = rᵗ(1 + κt), w_1 = (1 - ηλ)w_0.
    ends, t = torch.tensor([low, high], dtype=torch.float64), torch.arange(1, 301, dtype=torch.float64)[:, None]
    r = math.sqrt(momentum) * torch.tensor([1.0, -1.0], dtype=torch.float64)
    kappa = (1 - lr * ends) / r - 1
    hyper = {"lr": lr, "momentum": momentum}
    path = trajectory("heavy_ball", torch.ones(2, dtype=torch.float64), hyper, lambda w: ends * w, steps=300)
    # Roundings δ of η and μ split the double eigenvalue by √δ; after t steps that is t²δ.
    torch.testing.assert_close(path, r**t * (1 + kappa * t), rtol=300**2 * 10 * EPS, atol=0)
    hyper = {"lr": 2 / (low + high)}
    path = trajectory("sgd", torch.ones(2, dtype=torch.float64), hyper, lambda w: ends * w, steps=300)
    # A step rounds by 3 ε of terms that are up to 3 times their sum.
    torch.testing.assert_close(path.abs(), ((99 / 101) ** t).expand(300, 2), rtol=300 * 10 * EPS, atol=0)


def test_nesterov_has_the_eigenvalues_of_its_theory():
    """On ½λw² the multipliers of Nesterov's method solve r² - (1 + μ)(1 - ηλ) r + μ(1 - ηλ) = 0."""
    for curvature, lr, momentum in [(1.0, 0.1, 0.9), (3.0, 0.2, 0.5), (1.0, 0.01, 0.99)]:
        found = torch.linalg.eigvals(one_step_map("nesterov", curvature, {"lr": lr, "momentum": momentum}))
        half = (1 + momentum) * (1 - lr * curvature) / 2
        root = cmath.sqrt(half**2 - momentum * (1 - lr * curvature))
        expected = sorted([half + root, half - root], key=lambda r: (r.real, r.imag))
        for ours, theirs in zip(sorted(found.tolist(), key=lambda r: (r.real, r.imag)), expected, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-13)


def test_momentum_of_a_constant_gradient_saturates():
    """Under a constant gradient the velocity is g(1 - μᵗ)/(1 - μ): heavy ball ends 1/(1 - μ) times faster than SGD."""
    g, momentum = torch.tensor([2.0], dtype=torch.float64), 0.9
    path = trajectory("heavy_ball", torch.zeros(1, dtype=torch.float64), {"lr": 1.0, "momentum": momentum}, lambda w: g)
    steps = -path.diff(dim=0, prepend=torch.zeros(1, 1, dtype=torch.float64))[:, 0]
    t = torch.arange(1, STEPS + 1, dtype=torch.float64)
    # A difference of positions up to 1200 rounds by ε · 1200.
    torch.testing.assert_close(steps, 2 * (1 - momentum**t) / (1 - momentum), rtol=0, atol=1200 * EPS)


@pytest.mark.parametrize("lr", [1e-3, 0.1, 1.0])
def test_the_first_adam_step_is_the_learning_rate_times_the_sign(lr):
    """Adam moves every weight first by η g/(|g| + ε), whatever the β; RMSprop by η sign(g)/√(1 - β₂) at ε = 0."""
    g = torch.tensor([[-3.0, 1e-6, 2e5, -0.5]], dtype=torch.float64)
    w = torch.zeros_like(g)
    for beta1, beta2, epsilon in [(0.9, 0.999, 0.0), (0.5, 0.9, 0.0), (0.9, 0.999, 1e-8)]:
        hyper = {"lr": lr, "momentum": beta1, "beta2": beta2, "epsilon": epsilon}
        step = OPTIMISERS["adam"].step(w, g, blank("adam", w), 1, hyper)
        # 1 - β₂ = 0.001 is known to ε/0.001 from β₂ itself: the two places where it is formed may differ by that.
        torch.testing.assert_close(step, lr * g / (g.abs() + epsilon), rtol=1000 * EPS, atol=0)
        if epsilon == 0:
            torch.testing.assert_close(step, lr * torch.sign(g), rtol=1000 * EPS, atol=0)
            step = OPTIMISERS["rmsprop"].step(w, g, blank("rmsprop", w), 1, hyper)
            torch.testing.assert_close(step, lr * torch.sign(g) / math.sqrt(1 - beta2), rtol=16 * EPS, atol=0)


@pytest.mark.parametrize("name", ["rmsprop", "adam"])
def test_adaptive_steps_do_not_see_the_scale_of_the_loss(name):
    """With ε = 0, multiplying every gradient by 2²⁰ changes no bit of the path; SGD would be 2²⁰ times faster."""
    start, hyper = normals(N_IN, N_OUT), {**one_hyper(1), "epsilon": 0.0}
    path = trajectory(name, start, hyper, slope)
    assert torch.equal(trajectory(name, start, hyper, lambda w: 2**20 * slope(w)), path)


def test_adamw_is_adam_plus_a_shrinkage_that_no_gradient_scales():
    """AdamW's step is Adam's plus ηλw; without a gradient it multiplies w by 1 - ηλ, and with λ = 0 it is Adam."""
    w, g, hyper = normals(C, S, N_IN, N_OUT), normals(C, S, N_OUT, N_IN).mT, stacked_hyper()
    adam = OPTIMISERS["adam"].step(w, g, blank("adam", w), 1, hyper)
    adamw = OPTIMISERS["adamw"].step(w, g, blank("adamw", w), 1, hyper)
    torch.testing.assert_close(adamw - adam, hyper["lr"] * hyper["weight_decay"] * w, rtol=0, atol=4 * EPS)
    path = trajectory("adamw", w, hyper, torch.zeros_like)
    torch.testing.assert_close(path[-1], w * (1 - hyper["lr"] * hyper["weight_decay"]) ** STEPS, rtol=200 * EPS, atol=0)
    no_decay = {**hyper, "weight_decay": 0.0}
    assert torch.equal(trajectory("adamw", w, no_decay, slope), trajectory("adam", w, hyper, slope))


def test_an_overflowed_square_stops_a_weight_but_makes_no_nan():
    """Where g² overflows, Adam's step is 0 from then on, as in torch, and not NaN at the next step."""
    path = trajectory(
        "adam", torch.ones(1, dtype=torch.float64), one_hyper(0), lambda w: torch.full_like(w, 1e200), steps=3
    )
    assert path.tolist() == [[1.0]] * 3
