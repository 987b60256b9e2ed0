"""Backpropagation written out against automatic differentiation, central differences and symmetries."""

import itertools

import numpy as np
import pytest
import torch

from chainrule.calculus.activations import ACTIVATIONS
from chainrule.calculus.backprop import Objective, autograd_gradient, manual_gradient
from chainrule.calculus.losses import objective
from chainrule.calculus.network import Moments, Params, flatten, forward, unflatten
from chainrule.calculus.penalties import PENALTIES
from tests.cases import HEADED, LEAD, normals, random_batch, random_masks, random_params, relative

WIDTHS = (5, 7, 6, 3)
ROWS = 8
SMOOTH = [name for name in ACTIVATIONS if not ACTIVATIONS[name].kinks]
STRENGTHS = torch.tensor([0.3, 0.0]).double().reshape(2, 1, 1, 1)  # one condition with, one without a penalty


@pytest.mark.parametrize(("loss", "head"), HEADED)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_manual_equals_autograd(activation: str, loss: str, head: str) -> None:
    """Both gradients agree to 1e-10 with and without each penalty, dropout and batch normalisation."""
    x, y = random_batch(WIDTHS, ROWS)
    for penalty, batch_norm, drop in itertools.product(("none", "l2", "l1", "both"), (False, True), (False, True)):
        params = random_params(WIDTHS, batch_norm)
        goal = Objective(
            objective(loss, head),
            ACTIVATIONS[activation],
            l2=STRENGTHS if penalty in ("l2", "both") else 0.0,
            l1=STRENGTHS if penalty in ("l1", "both") else 0.0,
        )
        masks = random_masks(WIDTHS, ROWS) if drop else ()
        mean, slope, _ = manual_gradient(params, x, y, goal, masks)
        reference, other, _ = autograd_gradient(params, x, y, goal, masks)
        assert relative(mean, reference) < 1e-14
        assert relative(flatten(slope), flatten(other)) < 1e-10


@pytest.mark.parametrize("depth", range(1, 7))
def test_every_depth(depth: int) -> None:
    """The recursion holds from a linear model to six layers."""
    widths = (4, *[5] * (depth - 1), 2)
    x, y = random_batch(widths, ROWS)
    goal = Objective(objective("cross_entropy", "canonical"), ACTIVATIONS["tanh"])
    params = random_params(widths)
    by_hand = flatten(manual_gradient(params, x, y, goal)[1])
    assert relative(by_hand, flatten(autograd_gradient(params, x, y, goal)[1])) < 1e-12


def total(params: Params, vector: torch.Tensor, x: torch.Tensor, y: torch.Tensor, goal: Objective) -> torch.Tensor:
    """The penalised objective of every member, by the forward pass alone."""
    moved = unflatten(vector, params)
    loss = goal.loss.value(forward(moved, x, goal.activation).output, y).mean(-1)
    return loss + sum(PENALTIES["l2"].value(w, goal.l2) for w in moved.weights)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("activation", SMOOTH)
def test_central_differences_have_order_two(activation: str, batch_norm: bool) -> None:
    """The error of central differences against the manual gradient falls with slope 2 in the step."""
    x, y = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS, batch_norm)
    goal = Objective(objective("cross_entropy", "canonical"), ACTIVATIONS[activation], l2=0.1)
    theta, slope = flatten(params), flatten(manual_gradient(params, x, y, goal)[1])
    direction = torch.nn.functional.normalize(normals("direction", *theta.shape), dim=-1)
    sizes = np.array([3e-2, 1e-2, 3e-3])
    errors = []
    for h in sizes:
        ends = [total(params, theta + s * h * direction, x, y, goal) for s in (1, -1)]
        errors.append(((ends[0] - ends[1]) / (2 * h) - (slope * direction).sum(-1)).abs().mean().item())
    order = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert abs(order - 2) < 0.05  # the next term of the Taylor series is h⁴: relative h² <= 1e-3, times its constant


def test_members_do_not_mix() -> None:
    """The gradient of a member in a stack is its gradient alone."""
    x, y = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS, batch_norm=True)
    goal = Objective(objective("squared_error", "sigmoid"), ACTIVATIONS["gelu"])
    stacked = flatten(manual_gradient(params, x, y, goal)[1])
    for c, s in itertools.product(*map(range, LEAD)):
        alone = params.like(t[c, s] for t in params.tensors())
        assert relative(flatten(manual_gradient(alone, x[0, s], y[0, s], goal)[1]), stacked[c, s]) < 1e-12


def test_a_relu_layer_may_be_rescaled() -> None:
    """(αW₁, αb₁, W₂/α) computes the same function, and the gradient is orthogonal to that orbit."""
    x, y = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS)
    goal = Objective(objective("cross_entropy", "canonical"), ACTIVATIONS["relu"])
    (w, v, *rest), (b, *others) = params.weights, params.biases
    scaled = Params((3 * w, v / 3, *rest), (3 * b, *others))
    assert relative(forward(scaled, x, goal.activation).output, forward(params, x, goal.activation).output) < 1e-14
    slope = manual_gradient(params, x, y, goal)[1]
    along = (slope.weights[0] * w).sum() + (slope.biases[0] * b).sum() - (slope.weights[1] * v).sum()
    assert abs(along.item()) < 1e-14 * flatten(slope).abs().sum().item()


def test_batch_norm_hides_the_scale_of_its_weights() -> None:
    """With batch normalisation the gradient is orthogonal to each unit's incoming weights, up to ε/variance."""
    x, y = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS, batch_norm=True)
    goal = Objective(objective("cross_entropy", "canonical"), ACTIVATIONS["tanh"])
    slope = manual_gradient(params, x, y, goal)[1].weights[0]
    assert ((slope * params.weights[0]).sum(-2).abs().max() / slope.abs().max()).item() < 1e-4  # ε = 1e-5


def test_forward_with_given_moments_is_affine_in_normalisation() -> None:
    """Outside training, batch normalisation uses the moments it is given, so rows do not see each other."""
    x, _ = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS, batch_norm=True)
    moments = Moments(
        tuple(torch.zeros_like(s) for s in params.shifts), tuple(torch.ones_like(s) for s in params.shifts)
    )
    whole = forward(params, x, ACTIVATIONS["relu"], moments=moments).output
    half = forward(params, x[..., :4, :], ACTIVATIONS["relu"], moments=moments).output
    assert relative(half, whole[..., :4, :]) < 1e-14


def test_batch_norm_equals_torch() -> None:
    """Forward and gradient of a batch-normalised network equal those of torch.nn.BatchNorm1d."""
    x, y = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS, batch_norm=True)
    one = params.like(t[0, 0] for t in params.tensors())
    layers: list[torch.nn.Module] = []
    for l in range(3):
        linear = torch.nn.Linear(*WIDTHS[l : l + 2], dtype=torch.float64)
        linear.load_state_dict({"weight": one.weights[l].T, "bias": one.biases[l][0]})
        layers.append(linear)
        if l < 2:
            norm = torch.nn.BatchNorm1d(WIDTHS[l + 1], dtype=torch.float64)
            norm.weight.data, norm.bias.data = one.gains[l][0].clone(), one.shifts[l][0].clone()
            layers += [norm, torch.nn.Tanh()]
    net = torch.nn.Sequential(*layers)
    loss = torch.nn.functional.cross_entropy(net(x[0, 0]), y[0, 0])
    loss.backward()
    goal = Objective(objective("cross_entropy", "canonical"), ACTIVATIONS["tanh"])
    mean, slope, _ = manual_gradient(one, x[0, 0], y[0, 0], goal)
    assert relative(mean, loss.detach()) < 1e-13
    assert relative(slope.weights[0], net[0].weight.grad.T) < 1e-11
    assert relative(slope.gains[0][0], net[1].weight.grad) < 1e-11
