r"""The best step from B samples gains 1/(1 + B_noise/B) of what the full gradient gains, and B_noise can be measured.

A mini-batch gradient g_B of B samples has mean G and covariance Σ/B. On a quadratic of Hessian H the step -η g_B changes
the loss on average by -η |G|² + ½ η² (Gᵀ H G + tr(HΣ)/B). The best η and its gain are

    η_opt = η_max / (1 + B_noise/B),    ΔL_opt = ΔL_max / (1 + B_noise/B),    B_noise = tr(HΣ) / Gᵀ H G

with η_max = |G|² / Gᵀ H G. Below the noise scale B_noise twice the batch gains twice as much; above it, hardly more.
With H = I this is B_simple = tr Σ / |G|², which needs no curvature: from the lengths of gradients of a small and a large
batch, without bias in numerator and denominator,

    |G|² ≈ (B_l |G_l|² - B_s |G_s|²) / (B_l - B_s),    tr Σ ≈ (|G_s|² - |G_l|²) / (1/B_s - 1/B_l).

What holds on networks is the shape. The gain itself is missed by a quarter, since at a distance of η_max the loss is no
quadratic any more (see the figure): judged is the gain of B = 8 as a share of that of B = 128. And B_noise may differ
from B_simple by a factor of two in either direction. Near the end of training |G|² drowns in the noise, and nothing of
this can be measured; the premise is that it is five standard errors above 0.

Source: McCandlish, Kaplan, Amodei & OpenAI Dota Team (2018), An empirical model of large-batch training, section 2.2 and
appendix A.1, https://arxiv.org/abs/1812.06162
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from chainrule import dataset
from chainrule.calculus.activations import ACTIVATIONS
from chainrule.calculus.backprop import Objective, manual_gradient
from chainrule.calculus.losses import LOSSES
from chainrule.calculus.network import Params, flatten, unflatten
from chainrule.calculus.products import batch_gradients, hessian_product, mean_loss
from chainrule.evidence.claim import Claim, Part, broken
from chainrule.evidence.comparison import Comparison
from chainrule.evidence.figure import Figure, Line, Mark, Panel, Points, numbers
from chainrule.evidence.rules import agrees
from chainrule.experiment.protocol import Case, Draw, Run, Trials
from chainrule.measure.noise import two_batch_noise_scale
from chainrule.theory.noise import summary

CLASSIFIER = Objective(LOSSES["cross_entropy"], ACTIVATIONS["tanh"])
WIDTHS, SAMPLES = (64, 32, 10), 1024  # N
AT = (0, 100)  # steps of training at which is measured
TRAINED = {"batch": 32, "lr": 0.1}
SMALL, LARGE, PAIRS = 16, 256, 400  # batches of the estimator
BATCHES, DRAWS = (2, 8, 32, 128, 512), 200  # B of which the gain is measured
JUDGED = (1, 3)  # B = 8 and B = 128 among them
CLEAR = 5  # standard errors that |G|² must be above 0

# prediction ────────────────────────────────────────────────────────────────────────────


def as_in_theory(case: Case) -> list[float]:
    """1 at both steps: the measured number over the one that follows from every sample's gradient and the Hessian."""
    return [1.0] * len(AT)


# protocol ──────────────────────────────────────────────────────────────────────────────


def start(draw: Draw) -> tuple[Params, Tensor, Tensor]:
    """A random tanh network 64-32-10 and 1,024 random rows of the digits, float32."""
    data = dataset.load("digits")
    rows = draw("rows").permutation(len(data.x))[:SAMPLES]
    mean, std = dataset.scaling(data, rows)
    x, y = torch.from_numpy((data.x[rows] - mean) / std).float(), torch.eye(10)[data.y[rows]]
    sizes = list(zip(WIDTHS[:-1], WIDTHS[1:], strict=True))
    weights = (torch.from_numpy(draw(f"weights/{l}").standard_normal(s) / s[0] ** 0.5) for l, s in enumerate(sizes))
    return Params(tuple(w.float() for w in weights), tuple(torch.zeros(1, n) for _, n in sizes)), x, y


def train(params: Params, x: Tensor, y: Tensor, steps: int, chance: np.random.Generator) -> Params:
    """Plain descent on random mini-batches."""
    for _ in range(steps):
        rows = torch.from_numpy(chance.integers(0, SAMPLES, int(TRAINED["batch"])))
        gradient = manual_gradient(params, x[rows], y[rows], CLASSIFIER)[1]
        pairs = zip(params.tensors(), gradient.tensors(), strict=True)
        params = params.like(iter([w - TRAINED["lr"] * g for w, g in pairs]))
    return params


def batches(gradients: Tensor, size: int, count: int, chance: np.random.Generator) -> Tensor:
    """Gradients of random mini-batches, drawn with replacement [count, P]."""
    index = chance.integers(0, SAMPLES, (count, size)) + SAMPLES * np.arange(count)[:, None]
    shares = np.bincount(index.ravel(), minlength=count * SAMPLES).reshape(count, SAMPLES) / size
    return torch.from_numpy(shares).float() @ gradients


def noise_and_gain(case: Case, draw: Draw) -> np.ndarray:
    """At each step: estimated over exact B_simple, |G|² in standard errors, shape ratio, B_noise, gains in ΔL_max."""
    params, x, y = start(draw)
    done, found = 0, []
    for step in AT:
        params = train(params, x, y, step - done, draw(f"batches until {step}"))
        done = step
        found.append(look(case, params, x, y, draw(f"batches at {step}")))
    return np.concatenate(found)


def look(case: Case, params: Params, x: Tensor, y: Tensor, chance: np.random.Generator) -> np.ndarray:
    """One network: the readings of ``noise_and_gain`` at one step."""
    gradients = batch_gradients(params, x, y, CLASSIFIER)
    mean = gradients.mean(0)
    signal = mean.double().square().sum().item()
    product = hessian_product(params, x, y, CLASSIFIER)
    curvature = (mean * product(mean)).double().sum().item()
    deviations = gradients - mean
    if case["Σ"] == "identity":
        noise, spread = hessian_trace(params, product), float(mean.numel())
    else:
        noise = sum((d * product(d)).double().sum().item() for d in deviations.split(128)) / SAMPLES
        spread = deviations.double().square().sum().item() / SAMPLES
    estimate = two_batch_noise_scale(
        batches(gradients, SMALL, PAIRS, chance), batches(gradients, LARGE, PAIRS, chance), SMALL, LARGE
    )
    if case["scale"] == "B_simple":
        noise = curvature * spread / signal
    theory = [summary(signal, curvature, noise, batch) for batch in BATCHES]
    gains = [gain(params, x, y, mean, batches(gradients, b, DRAWS, chance), t.lr) for b, t in zip(BATCHES, theory)]
    low, high = JUDGED
    shape = gains[low] / gains[high] / (theory[low].gain / theory[high].gain)
    ratio = estimate.value.item() / (spread / signal)
    clear = estimate.signal.item() / estimate.signal_error.item()
    return np.array([ratio, clear, shape, theory[0].noise_scale, *(g / theory[0].most for g in gains)])


def gain(params: Params, x: Tensor, y: Tensor, mean: Tensor, drawn: Tensor, lr: float) -> float:
    """Mean fall of the loss in a step along the gradients of mini-batches."""
    point = flatten(params)
    before = mean_loss(point, params, x, y, CLASSIFIER).double().item()
    after = mean_loss(point - lr * drawn, params, x, y, CLASSIFIER).double()
    # the mean of (g_B - G)ᵀ G is 0: taking it out leaves the mean as it is and most of the chance behind
    slope = ((drawn - mean) @ mean).double()
    return (before - after - lr * slope).mean().item()


def hessian_trace(params: Params, product: object) -> float:
    """tr H, from the products with all unit vectors."""
    size = flatten(params).numel()
    return sum(product(e)[:, i : i + len(e)].diagonal().double().sum().item()  # type: ignore[operator]
               for i in range(0, size, 128) for e in [torch.eye(size)[i : i + 128]])  # fmt: skip


trials = Trials(({"Σ": "of the gradients", "scale": "B_noise"},), 10, noise_and_gain, data=("digits",))
white = replace(trials, cases=({"Σ": "identity", "scale": "B_noise"},), seeds=3)
simple = replace(trials, cases=({"Σ": "of the gradients", "scale": "B_simple"},), seeds=3)

# measurement ───────────────────────────────────────────────────────────────────────────


def readings(run: Run) -> np.ndarray:
    """[C, S, steps, readings of one look]."""
    values = run.readings["trial"][:, :, 0]
    table: np.ndarray = values.reshape(*values.shape[:2], len(AT), -1)
    return table


def estimate_over_exact(run: Run) -> np.ndarray:
    """Estimated over exact B_simple at both steps [C, S, 2]."""
    return readings(run)[..., 0]


def shape_over_theory(run: Run) -> np.ndarray:
    """Gain of B = 8 over that of B = 128, in units of its prediction [C, S, 2]."""
    return readings(run)[..., 2]


def the_gradient_is_clear(run: Run) -> np.ndarray:
    """The squared mean gradient, as estimated, is more than five standard errors above 0 at both steps."""
    return (readings(run)[..., 1] > CLEAR).all(-1)


def gains_by_batch(run: Run) -> dict[str, np.ndarray]:
    """B_noise at both steps, and gains in units of ΔL_max, one step after the other."""
    values = readings(run)
    return {"B_noise": values[..., 3], "gain": values[..., 4:].reshape(*values.shape[:2], -1)}


# figures ───────────────────────────────────────────────────────────────────────────────


def estimates(c: Comparison) -> Figure:
    """Estimate over exact value at both steps."""
    mean, (low, high) = c.mean()[0], c.interval()
    at = tuple(float(i) for i in range(len(AT)))
    marks = (
        Line(at, numbers(c.predicted[0]), label="predicted"),
        Points(at, numbers(mean), numbers(low[0]), numbers(high[0]), label="measured", colour=1),
    )
    ticks = tuple(f"step {step}" for step in AT)
    return Figure(
        (Panel(marks, x="step of training", y="estimated over exact B_simple [1]", ticks=ticks),),
        f"The noise scale from the lengths of {PAIRS} gradients of {SMALL} and of {LARGE} samples, over the one from the "
        "gradients of all 1,024 samples, with 95 % intervals over networks (99 % in the full profile).",
    )


def gain_by_batch(c: Comparison) -> Figure:
    """The gain of the best step against B, at both steps, with the prediction for the mean B_noise."""
    sizes = np.array(BATCHES, dtype=float)
    scales = c.curves("B_noise", 0)
    gains = c.curves("gain", 0).reshape(len(scales), len(AT), -1)
    panels = []
    for i, step in enumerate(AT):
        share = (1 / (1 + scales[:, i : i + 1] / sizes)).mean(0)
        scale = gains[:, i].mean(0)[JUDGED[1]] / share[JUDGED[1]]
        marks: tuple[Mark, ...] = (
            Line(numbers(sizes), numbers(share), label="predicted"),
            Line(numbers(sizes), numbers(scale * share), label=f"predicted × {scale:.2f}", dashed=True, colour=6),
            Points(numbers(sizes), numbers(gains[:, i].mean(0)), label="measured, mean", colour=1),
        )
        title = f"step {step}: B_noise = {scales[:, i].mean():.0f}"
        panels.append(Panel(marks, x="batch size B [sample]", y="gain / ΔL_max [1]", title=title, log="xy"))
    return Figure(
        tuple(panels),
        "The fall of the loss in one best step from a batch of B samples, before and after 100 steps of training. Its "
        "size is not that of the quadratic model, its dependence on B is (dashed: through the point at B = 128).",
    )


# decision ──────────────────────────────────────────────────────────────────────────────
claim = Claim(
    "B9",
    "gradient-noise-scale",
    __name__,
    __doc__,
    "Q",
    (
        Part(
            "gradients of two batch sizes tell the noise scale B_simple",
            as_in_theory,
            trials,
            replace(trials, seeds=30),
            rule=agrees(within=0.1),
            tolerance="sampling of 400 pairs; pilot on other seeds: PILOT-I",
            control=broken(white, replace(white, seeds=10), "a covariance of I in place of that of the gradients"),
            figure=estimates,
            measure=estimate_over_exact,
            premise=the_gradient_is_clear,
            shown=gains_by_batch,
            axis="step",
            x=tuple(float(step) for step in AT),
        ),
        Part(
            "the gain of the best step depends on the batch size as 1/(1 + B_noise/B)",
            as_in_theory,
            trials,
            replace(trials, seeds=30),
            rule=agrees(within=0.15),
            tolerance="a quadratic model of one step; pilot on other seeds: PILOT-II",
            control=broken(simple, replace(simple, seeds=10), "B_simple in place of B_noise"),
            figure=gain_by_batch,
            measure=shape_over_theory,
            premise=the_gradient_is_clear,
            shown=gains_by_batch,
            axis="step",
            x=tuple(float(step) for step in AT),
        ),
    ),
)
