r"""Dropout of inputs acts like a ridge whose strength for each weight is the squared norm of its feature.

Each input is dropped with probability p at every step, and the others are divided by 1 - p, so that x̃_j = m_j x_j/(1 - p)
has the mean x_j and the variance x_j² p/(1 - p). For linear regression the expectation over masks is exact:

    E |y - X̃w|² = |y - Xw|² + p/(1-p) ∑_j (XᵀX)_jj w_j²
    w = (XᵀX + p/(1-p) diag(XᵀX))⁻¹ Xᵀy

The gradient is linear in w and the masks are independent of w, so constant steps on dropped inputs have, averaged over
time, exactly this w as their mean. Only for features of equal norm is it a common ridge with one λ.

For logistic regression with A(z) = ln(1 + e^z), p̂_i = σ(x_i·w), the penalty is ∑_i E[A(x̃_i·w)] - A(x_i·w); to second order

    R(w) ≈ ½ p/(1-p) ∑_ij p̂_i (1 - p̂_i) x_ij² w_j²

which weighs a row by how uncertain the model is about it. The expansion needs x̃·w to vary little. At the weights which
dropout itself learns it holds even for p = 0.9, because they are small; at weights learnt without dropout it does not:
there the penalty stays far below the quadratic form.

Source: Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov (2014), Dropout, section 9.1; Wager, Wang & Liang
(2013), Dropout training as adaptive regularization, eqs. 8-11, https://arxiv.org/abs/1307.1493
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from chainrule.calculus.activations import ACTIVATIONS
from chainrule.calculus.backprop import Objective, manual_gradient
from chainrule.calculus.losses import LOSSES
from chainrule.calculus.network import Params
from chainrule.calculus.optimisers import OPTIMISERS
from chainrule.evidence.claim import Claim, Part, broken
from chainrule.evidence.comparison import Comparison
from chainrule.evidence.figure import Dots, Figure, Line, Panel, Points, numbers
from chainrule.evidence.rules import agrees, at_most
from chainrule.experiment.protocol import Case, Draw, Run, Trials
from chainrule.theory.ridge import dropout_ridge, nearest_ridge, ridge

ROWS, FEATURES = 200, 20
RATES = (0.2, 0.5)  # p of the linear regressions
LOGISTIC_RATES = (0.1, 0.3, 0.5, 0.7, 0.9)
SHOWN = 1  # the p of the figure is RATES[SHOWN]
MASKS = 400  # per p, for the expectation of the logistic loss

# prediction ────────────────────────────────────────────────────────────────────────────


def allowed_distance(case: Case) -> list[float]:
    """2 % of the length of the predicted weights, for the noise that is left in an average over steps."""
    return [0.02 for _ in RATES]


def equal(case: Case) -> list[float]:
    """Penalty over quadratic form: 1 at every p."""
    return [1.0 for _ in LOGISTIC_RATES]


# protocol ──────────────────────────────────────────────────────────────────────────────


def unequal_features(draw: Draw) -> np.ndarray:
    """Normal features [N, d] with standard deviations from 1/e to e."""
    scale = np.exp(draw("scales").uniform(-1, 1, FEATURES))
    return draw("features").standard_normal((ROWS, FEATURES)) * scale


def dropped(x: np.ndarray, rates: tuple[float, ...], copies: int, masks: np.random.Generator) -> Tensor:
    """Inputs under inverted dropout, new masks for every rate and copy [P, R, N, d], float32."""
    p = np.array(rates, dtype=np.float32).reshape(-1, 1, 1, 1)
    kept = masks.random((len(rates), copies, *x.shape), dtype=np.float32) >= p
    return torch.from_numpy(kept * (x.astype(np.float32) / (1 - p)))


def learn(x: np.ndarray, y: np.ndarray, loss: str, rates: tuple[float, ...], steps: int, draw: Draw) -> np.ndarray:
    """Weights [P, d] of one-layer networks after steps on dropped inputs, averaged over two chains and the last 2/3."""
    goal = Objective(LOSSES[loss], ACTIVATIONS["identity"])
    gram, odds = x.T @ x / len(x), np.array(rates) / (1 - np.array(rates))
    curvature = [np.linalg.eigvalsh(gram + r * np.diag(np.diag(gram)))[-1] for r in odds]
    lr = torch.tensor(curvature).reciprocal().reshape(-1, 1, 1, 1)  # half of the threshold; less for logistic losses
    w, none = torch.zeros(len(rates), 2, x.shape[1], 1), torch.zeros(1, 1)
    targets, masks = torch.from_numpy(y.astype(np.float32)), draw("masks")
    total = torch.zeros(w.shape, dtype=torch.float64)
    for t in range(1, steps + 1):
        _, gradient, _ = manual_gradient(Params((w,), (none,)), dropped(x, rates, 2, masks), targets, goal)
        w = w - OPTIMISERS["sgd"].step(w, gradient.weights[0], {}, t, {"lr": lr})
        if t > steps // 3:
            total += w
    return (total / (steps - steps // 3)).mean(1)[..., 0].numpy()


def regression(case: Case, draw: Draw) -> np.ndarray:
    """Linear regression under dropout, full batches of 200 rows, 20 unequal features, noise of the size of a weight."""
    x = unequal_features(draw)
    y = x @ draw("teacher").standard_normal((FEATURES, 1)) + draw("noise").standard_normal((ROWS, 1))
    learnt = learn(x, y, "squared_error", RATES, int(case["steps"]), draw)
    predicted = np.stack([dropout_ridge(x, y[:, 0], p) for p in RATES])
    nearest = [nearest_ridge(x, y[:, 0], w) for w in learnt]
    if case["against"] == "nearest ridge":
        distance = np.array([n.distance for n in nearest])
    else:
        distance = np.linalg.norm(learnt - predicted, axis=1) / np.linalg.norm(predicted, axis=1)
    norms = np.linalg.norm(x, axis=0)
    common = ridge(x, y[:, 0], nearest[SHOWN].penalty)
    return np.concatenate([distance, [norms.max() / norms.min()], learnt[SHOWN], predicted[SHOWN], common])


def classification(case: Case, draw: Draw) -> np.ndarray:
    """Dropout's penalty over its quadratic form in logistic regression, 200 rows, 20 unequal features, 400 masks."""
    x = unequal_features(draw)
    chance = 1 / (1 + np.exp(-x @ draw("teacher").standard_normal((FEATURES, 1)) / FEATURES**0.5))
    y = (draw("labels").random((ROWS, 1)) < chance).astype(np.float64)
    learnt = learn(x, y, "binary_cross_entropy", LOGISTIC_RATES, int(case["steps"]), draw)
    without = learn(x, y, "binary_cross_entropy", (0.0,), int(case["steps"]), draw).repeat(len(LOGISTIC_RATES), axis=0)
    loss, masks = LOSSES["binary_cross_entropy"].value, draw("masks of the expectation")
    ratios = []
    for weights in (learnt, without):
        for p, w in zip(LOGISTIC_RATES, weights, strict=True):
            z = torch.from_numpy(x @ w)[:, None]
            own = torch.sigmoid(z)  # as targets they cancel the noise of first order: E[x̃] = x
            thinned = dropped(x, (p,), MASKS, masks)[0].double() @ torch.from_numpy(w)[:, None]
            penalty = (loss(thinned, own).mean(0) - loss(z, own)).sum()
            weight = own * (1 - own) if case["curvature"] == "of each row" else torch.full_like(own, 0.25)
            form = (weight * torch.from_numpy(x**2 * w**2)).sum() * p / (1 - p) / 2
            ratios.append((penalty / form).item())
    return np.array(ratios)
