"""Matrix-free products against dense matrices."""

import itertools

import pytest
import torch

from chainrule.calculus.activations import ACTIVATIONS
from chainrule.calculus.backprop import Objective, manual_gradient
from chainrule.calculus.losses import HEADS, objective
from chainrule.calculus.network import flatten, forward, unflatten
from chainrule.calculus.products import (
    batch_gradients,
    empirical_fisher_product,
    fisher_product,
    gauss_newton_product,
    hessian_on_samples,
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


def dense(product, size: int) -> torch.Tensor:
    """The matrix of a product, all its columns at once as a leading axis."""
    unit = torch.eye(size, dtype=torch.float64).reshape(size, *[1] * len(LEAD), size).expand(size, *LEAD, size)
    return product(unit.contiguous()).movedim(0, -1)


@pytest.mark.parametrize("widths", [(3, 2), (3, 4, 2), (3, 4, 5, 2)], ids=str)
@pytest.mark.parametrize("activation", ["tanh", "gelu", "relu"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_written_out_product_equals_double_differentiation(widths, activation: str, batch_norm: bool) -> None:
    """H v by hand is the derivative of autograd's gradient, for any depth and through batch normalisation."""
    x, y = random_batch(widths, 7)
    params = random_params(widths, batch_norm=batch_norm and len(widths) > 2)
    goal = Objective(objective("cross_entropy", "canonical"), ACTIVATIONS[activation], l2=0.3)
    v = normals("v", *flatten(params).shape)
    slope = torch.func.grad(lambda w: mean_loss(w, params, x, y, goal).sum())
    twice = torch.func.jvp(slope, (flatten(params),), (v,))[1]
    assert relative(hessian_product(params, x, y, goal)(v), twice) < 1e-12


@pytest.mark.parametrize("batch_norm", [False, True])
def test_many_vectors_pass_together_and_the_hessian_is_symmetric(batch_norm: bool) -> None:
    """With the identity as a leading axis the product writes down the whole matrix, which is its own transpose."""
    x, y = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS, batch_norm=batch_norm)
    size = flatten(params).shape[-1]
    for product in (
        hessian_product(params, x, y, Objective(objective("squared_error", "sigmoid"), ACTIVATIONS["tanh"])),
        gauss_newton_product(params, x, y, Objective(objective("cross_entropy", "softmax"), ACTIVATIONS["tanh"])),
    ):
        matrix = dense(product, size)
        assert relative(matrix, matrix.mT) < 1e-13
        v = normals("v", *LEAD, size)
        assert relative(product(v), (matrix @ v[..., None])[..., 0]) < 1e-13


def test_a_product_keeps_the_type_and_costs_no_graph() -> None:
    """In float32 the product is float32, right to its rounding; nothing it returns asks for a gradient."""
    x, y = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS)
    goal = Objective(objective("cross_entropy", "canonical"), ACTIVATIONS["tanh"])
    v = normals("v", *flatten(params).shape)
    single = hessian_product(params.like(t.float() for t in params.tensors()), x.float(), y.float(), goal)(v.float())
    assert single.dtype == torch.float32
    assert not single.requires_grad
    assert relative(single.double(), hessian_product(params, x, y, goal)(v)) < 1e-6


@pytest.mark.parametrize(("loss", "head"), HEADED)
def test_the_fisher_matrix_is_the_mean_over_the_networks_own_targets(loss: str, head: str) -> None:
    """F is E[g gᵀ] with targets drawn from the network: by sums over classes, or points with a normal's covariance."""
    x, y = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS)
    goal = Objective(objective(loss, head), ACTIVATIONS["tanh"])
    product = dense(fisher_product(params, x, goal), flatten(params).shape[-1])[1, 2]
    alone = params.like(t[1, 2] for t in params.tensors())
    rows = x[0, 2]
    jacobian = torch.func.jacrev(lambda w: forward(unflatten(w, alone), rows, goal.activation).output)(flatten(alone))
    z = forward(alone, rows, goal.activation).output
    if loss == "cross_entropy":
        outcomes, chances = torch.eye(2).double()[:, None, :].expand(2, ROWS, 2), z.softmax(-1).mT
    elif loss == "binary_cross_entropy":
        outcomes = torch.tensor(list(itertools.product((0.0, 1.0), repeat=2))).double()[:, None, :].expand(4, ROWS, 2)
        chances = torch.where(outcomes == 1, z.sigmoid(), (-z).sigmoid()).prod(-1)
    else:  # a normal of variance 1: two points at ±√2 of the mean along each axis have its covariance
        steps = 2**0.5 * torch.cat([torch.eye(2), -torch.eye(2)]).double()
        outcomes, chances = HEADS[head].value(z) + steps[:, None, :], torch.full((4, ROWS), 0.25).double()
    gradients = torch.einsum("onk,nkp->onp", goal.loss.slope(z, outcomes), jacobian)
    exact = torch.einsum("on,onp,onq->pq", chances, gradients, gradients) / ROWS
    assert relative(product, exact) < 1e-12
    if head == goal.loss.head and loss != "squared_error":
        assert relative(product, dense(gauss_newton_product(params, x, y, goal), len(exact))[1, 2]) < 1e-12


def test_the_empirical_fisher_matrix_is_the_second_moment_of_sample_gradients() -> None:
    """(1/N) ∑ gₙ gₙᵀ v with the gradients of samples formed one by one."""
    x, y = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS)
    goal = Objective(objective("cross_entropy", "canonical"), ACTIVATIONS["softplus"])
    v = normals("v", *flatten(params).shape)
    product = empirical_fisher_product(params, x, y, goal)(v)
    for c, s in itertools.product(*map(range, LEAD)):
        each = batch_gradients(params.like(t[c, s] for t in params.tensors()), x[0, s], y[0, s], goal)
        assert relative(product[c, s], (each * (each @ v[c, s])[:, None]).mean(0)) < 1e-12


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_hessian_on_samples_is_the_hessian_of_directions_that_are_sums_of_inputs(batch_norm: bool) -> None:
    """Lifting commutes with the product, and the metric measures the lifted length; penalties included."""
    widths, rows = (9, 4, 2), 5
    x, y = random_batch(widths, rows)
    params = random_params(widths, batch_norm=batch_norm)
    strength = torch.tensor([0.1, 0.0]).double().reshape(2, 1, 1, 1)
    goal = Objective(objective("cross_entropy", "canonical"), ACTIVATIONS["tanh"], l2=strength)
    space = hessian_on_samples(params, x, y, goal)
    q = normals("q", *LEAD, space.size)
    dual = space.metric(q)
    assert space.size < flatten(params).shape[-1]
    lifted = space.lift(q)
    assert relative((q * dual).sum(-1), lifted.square().sum(-1)) < 1e-13
    assert relative(space.lift(space.product(q, dual)), hessian_product(params, x, y, goal)(lifted)) < 1e-12


def test_the_spectrum_on_samples_is_that_of_the_hessian_but_for_zeros() -> None:
    """The eigenvalues of the coordinates are those of the dense Hessian; all that are missing are λ₂."""
    widths, rows, l2 = (7, 3, 2), 4, 0.05
    x, y = random_batch(widths, rows)
    params = random_params(widths)
    goal = Objective(objective("squared_error", "linear"), ACTIVATIONS["tanh"], l2=l2)
    space = hessian_on_samples(params, x, y, goal)
    matrix = dense(lambda q: space.product(q, space.metric(q)), space.size)
    whole = torch.linalg.eigvalsh(dense(hessian_product(params, x, y, goal), flatten(params).shape[-1]))
    ours = torch.linalg.eigvals(matrix)
    missing = torch.full((*LEAD, (widths[0] - rows) * widths[1]), l2, dtype=torch.float64)
    # the matrix is symmetric in the metric alone: in the ordinary one rounding grows with the metric's condition
    rounding = 1e-14 * float(torch.linalg.cond(dense(space.metric, space.size)).max())
    assert rounding < 1e-8
    assert ours.imag.abs().max() < rounding
    assert relative(torch.cat([ours.real, missing], -1).sort(-1).values, whole) < rounding


def test_a_vector_may_lie_in_memory_as_it_likes() -> None:
    """A transposed or a repeated row gives the image of its copy: results are never written through a lost view."""
    x, y = random_batch(WIDTHS, ROWS)
    params = random_params(WIDTHS)
    goal = Objective(objective("cross_entropy", "canonical"), ACTIVATIONS["tanh"])
    size = flatten(params).shape[-1]
    space = hessian_on_samples(params, x, y, goal)
    for product, length in (
        (hessian_product(params, x, y, goal), size),
        (gauss_newton_product(params, x, y, goal), size),
        (lambda q: space.product(q, space.metric(q)), space.size),
    ):
        for v in (normals("v", length, *LEAD).movedim(0, -1), normals("row", length).expand(*LEAD, length)):
            assert torch.equal(product(v), product(v.contiguous()))
