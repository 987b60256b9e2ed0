"""Matrix-free products against dense matrices."""

import itertools

import pytest
import torch

from chainrule.calculus.activations import ACTIVATIONS
from chainrule.calculus.backprop import Objective, manual_gradient
from chainrule.calculus.losses import objective
from chainrule.calculus.network import flatten, forward, unflatten
from chainrule.calculus.products import (
    batch_gradients,
    gauss_newton_product,
    hessian_product,
    jacobian_product,
    mean_loss,
)
from tests.cases import HEADED, LEAD, normals, random_batch, random_params, relative

WIDTHS = (3, 4, 2)
ROWS = 5


@pytest.mark.parametrize(("loss", "head"), HEADED)
def test_hessian_product_equals_the_dense_hessian(loss: str, head: str) -> None:
    """H v of every stacked member equals the product with its dense Hessian, penalties included."""
    x, y = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS)
    strength = torch.tensor([0.1, 0.0]).double().reshape(2, 1, 1, 1)
    goal = Objective(objective(loss, head), ACTIVATIONS["tanh"], l2=strength)
    v = normals("v", *flatten(params).shape)
    product = hessian_product(params, x, y, goal)(v)
    for c, s in itertools.product(*map(range, LEAD)):
        alone = params.like(t[c, s] for t in params.tensors())
        own = Objective(goal.loss, goal.activation, l2=strength[c, 0])
        dense = torch.func.hessian(lambda w, a=alone, g=own, s=s: mean_loss(w, a, x[0, s], y[0, s], g))(flatten(alone))
        assert relative(product[c, s], dense @ v[c, s]) < 1e-11


@pytest.mark.parametrize(("loss", "head"), [("squared_error", "linear"), ("cross_entropy", "softmax")])
def test_gauss_newton_equals_its_definition(loss: str, head: str) -> None:
    """Jᵀ H_ℓ J / N by dense Jacobians, and positive semi-definite."""
    x, y = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS)
    goal = Objective(objective(loss, head), ACTIVATIONS["softplus"])
    v = normals("v", *flatten(params).shape)
    product = gauss_newton_product(params, x, y, goal)(v)
    alone = params.like(t[1, 2] for t in params.tensors())
    jacobian = torch.func.jacrev(lambda w: forward(unflatten(w, alone), x[0, 2], goal.activation).output)(
        flatten(alone)
    )
    z = forward(alone, x[0, 2], goal.activation).output
    inner = goal.loss.curvature(z, y[0, 2], jacobian @ v[1, 2])
    assert relative(product[1, 2], torch.einsum("nkp,nk->p", jacobian, inner) / ROWS) < 1e-12
    assert bool(((product * v).sum(-1) >= 0).all())


def test_gauss_newton_is_the_hessian_of_a_linear_model() -> None:
    """Without a hidden layer nothing but the Gauss-Newton term is left."""
    widths = (3, 2)
    x, y = random_batch(widths, ROWS)
    params = random_params(widths)
    goal = Objective(objective("cross_entropy", "canonical"), ACTIVATIONS["identity"])
    v = normals("v", *flatten(params).shape)
    assert relative(gauss_newton_product(params, x, y, goal)(v), hessian_product(params, x, y, goal)(v)) < 1e-12


def test_jacobian_product_is_the_change_of_the_output() -> None:
    """J v equals the central difference of the outputs, whose error is of order h²."""
    x, _ = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS)
    v = normals("v", *flatten(params).shape)
    product = jacobian_product(params, x, ACTIVATIONS["gelu"])(v)
    h = 1e-5  # (3ε)^(1/3): truncation and rounding are then both near 1e-10
    ends = [forward(unflatten(flatten(params) + s * h * v, params), x, ACTIVATIONS["gelu"]).output for s in (1, -1)]
    assert relative((ends[0] - ends[1]) / (2 * h), product) < 1e-8


def test_sample_gradients_average_to_the_gradient() -> None:
    """The mean over samples of each one's gradient is the gradient of the mean loss."""
    x, y = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS)
    alone = params.like(t[0, 1] for t in params.tensors())
    goal = Objective(objective("binary_cross_entropy", "canonical"), ACTIVATIONS["silu"])
    each = batch_gradients(alone, x[0, 1], y[0, 1], goal)
    assert relative(each.mean(0), flatten(manual_gradient(alone, x[0, 1], y[0, 1], goal)[1])) < 1e-12


def test_flatten_and_unflatten_are_inverse() -> None:
    """Nothing is lost or moved on the way into one row and back."""
    params = random_params(WIDTHS, batch_norm=True)
    again = unflatten(flatten(params), params)
    assert all(torch.equal(a, b) for a, b in zip(params.tensors(), again.tensors(), strict=True))
