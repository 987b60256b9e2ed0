"""Products of a vector with the Hessian, the Gauss-Newton, the Fisher matrix or the Jacobian: no matrix is formed.

Each function computes once what depends on the point alone, and returns a product that is cheap to repeat. A product
takes [*b, *m, P], where *m are the leading axes of the parameters and *b any further ones: many vectors at one network.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad

from chainrule.calculus.activations import Activation
from chainrule.calculus.backprop import Objective
from chainrule.calculus.linearised import (
    linearised,
    pull,
    push,
    second_slopes,
    write_change_of_gradient,
    write_gradient,
)
from chainrule.calculus.losses import HEADS, LOSSES
from chainrule.calculus.network import Moments, Params, flatten, forward, unflatten
from chainrule.calculus.penalties import PENALTIES

Product = Callable[[Float[Tensor, "*m P"]], Float[Tensor, "*m P"]]


def mean_loss(
    vector: Float[Tensor, "*m P"], like: Params, x: Tensor, y: Tensor, objective: Objective
) -> Float[Tensor, "*m"]:
    """The objective as a function of all parameters in one row: mean loss and penalties."""
    params = unflatten(vector, like)
    loss = objective.loss.value(forward(params, x, objective.activation).output, y).mean(-1)
    for name in ("l2", "l1"):
        strength = getattr(objective, name)
        if isinstance(strength, Tensor) or strength:
            for w in params.weights:
                loss = loss + PENALTIES[name].value(w, strength)
    return loss


def hessian_product(
    params: Params, x: Float[Tensor, "*#m N d"], y: Float[Tensor, "*#m N k"], objective: Objective
) -> Product:
    r"""The map v ↦ H v for the Hessian of the mean loss, for every stacked member at once.

    The gradient's own equations, differentiated along v by hand: one pass forwards for the changes of the signals, one
    backwards for those of the errors. The forward pass, the errors, φ' and φ'' are computed once for all v, so a
    product costs the large matrix products of one gradient and no evaluation of φ. Members do not mix.

    .. math::  H v = \left.\tfrac{d}{dr} \nabla L(\theta + r v)\right|_{r=0}

    Args:
        params: Where the Hessian is taken; with batch normalisation, of the loss with the batch's own moments.
        x: Inputs.
        y: Targets.
        objective: Loss, φ and penalties; |w| of the L1 penalty has curvature 0.

    Returns:
        A function from [*b, *m, P] to the same shape, P in the order of ``Params.tensors``.

    Error:
        Rounding: 1e-12 relative to the dense Hessian in float64, 1e-6 in float32.

    Source:
        Pearlmutter (1994), Fast exact multiplication by the Hessian.
    """
    product = _change_of_gradient(params, x, y, objective)

    def whole(v: Tensor) -> Tensor:
        direction, image = unflatten(v, params), v.new_empty(v.shape)
        place = unflatten(image, params)
        first = product((x @ direction.weights[0]).add_(direction.biases[0]), direction, place)
        torch.matmul(x.mT, first, out=place.weights[0])
        _penalise(objective, direction, place)
        return image

    return whole


@dataclass(frozen=True)
class SampleSpace:
    """The Hessian where rows are fewer than inputs, in coordinates in which its products are cheaper.

    The first weights act through x W alone, so the Hessian maps every direction into those that are sums of inputs,
    dW = xᵀ w with one row of w for every sample. On these coordinates the product costs one N × N matrix product
    instead of two N × d ones, and vectors are shorter by N / d. All other parameters stay as they are.

    Args:
        product: (q, B q) ↦ A q, coordinates [*b, *m, Q] of H v for those of v. A is self-adjoint in the metric.
        metric: q ↦ B q, with ⟨q, B q⟩ = |v|²; positive semi-definite.
        lift: Coordinates [*b, *m, Q] to directions v [*b, *m, P].
        size: Q.
    """

    product: Callable[[Float[Tensor, "*m Q"], Float[Tensor, "*m Q"]], Float[Tensor, "*m Q"]]
    metric: Callable[[Float[Tensor, "*m Q"]], Float[Tensor, "*m Q"]]
    lift: Callable[[Float[Tensor, "*m Q"]], Float[Tensor, "*m P"]]
    size: int


def hessian_on_samples(
    params: Params, x: Float[Tensor, "*#m N d"], y: Float[Tensor, "*#m N k"], objective: Objective
) -> SampleSpace:
    """The Hessian of ``hessian_product`` restricted to first weights that are sums of inputs.

    All its eigenvalues are eigenvalues of the Hessian; the (d - rank x) n₁ directions left out are eigenvectors too,
    of eigenvalue λ₂, the strength of the L2 penalty. So the largest eigenvalues above λ₂ are the same.

    Args:
        params: Where the Hessian is taken.
        x: Inputs, best with N < d.
        y: Targets.
        objective: Loss, φ and penalties.

    Returns:
        Products and metric for ``top_eigenvalues(space.product, start, metric=space.metric)``.

    Error:
        Rounding relative to |x xᵀ| times the largest curvature per sample, which is more than the largest eigenvalue
        where these do not go together: 1e-6 of it in float32 on images (measured).
    """
    product = _change_of_gradient(params, x, y, objective)
    gram = x @ x.mT
    w = params.weights[0]
    rows = w.new_empty((*w.shape[:-2], x.shape[-2], w.shape[-1]))
    like = Params((rows, *params.weights[1:]), params.biases, params.gains, params.shifts)

    def coordinates(q: Tensor, dual: Tensor) -> Tensor:
        direction, image = unflatten(dual, like), q.new_empty(q.shape)
        place = unflatten(image, like)
        first = product(direction.weights[0] + direction.biases[0], direction, place)
        place.weights[0].copy_(first)
        _penalise(objective, unflatten(q, like), place)
        return image

    def metric(q: Tensor) -> Tensor:
        dual = q.new_empty(q.shape)
        size = rows.shape[-2] * rows.shape[-1]
        dual[..., size:] = q[..., size:]
        torch.matmul(gram, unflatten(q, like).weights[0], out=unflatten(dual, like).weights[0])
        return dual

    def lift(q: Tensor) -> Tensor:
        parts = unflatten(q, like)
        return flatten(Params((x.mT @ parts.weights[0], *parts.weights[1:]), *_rest(parts)))

    return SampleSpace(coordinates, metric, lift, flatten(like).shape[-1])


def gauss_newton_product(
    params: Params, x: Float[Tensor, "*#m N d"], y: Float[Tensor, "*#m N k"], objective: Objective
) -> Product:
    r"""The map v ↦ Jᵀ (∂²ℓ/∂z²) J v / N: the Hessian without the curvature of the network in its parameters.

    Args:
        params: Where it is taken.
        x: Inputs.
        y: Targets.
        objective: Loss and φ; penalties are left out.

    Returns:
        A function from [*b, *m, P] to the same shape; positive semi-definite for a convex loss.

    Error:
        Rounding: 1e-12 relative to its definition by dense Jacobians in float64.

    Source:
        Schraudolph (2002), Fast curvature matrix-vector products, section 3.
    """
    return _sandwich(params, x, objective, lambda z, dz: objective.loss.curvature(z, y, dz))


def fisher_product(params: Params, x: Float[Tensor, "*#m N d"], objective: Objective) -> Product:
    r"""The map v ↦ F v for the Fisher information of the network read as a model of y given x; no target enters.

    .. math::  F = \frac1N \sum_n \mathbb E_{y \sim p(\cdot|x_n)} [\nabla \log p \, \nabla \log p^\top]
                 = \frac1N J^\top M J, \quad
                 M = (\partial a/\partial z)^\top \, \mathrm{Cov}[y]^{-1} \, \partial a/\partial z

    for the families of which the losses are the logarithms: categorical, Bernoulli, and normal of variance 1. With the
    loss's canonical head it is the Gauss-Newton matrix; with another head of ``squared_error`` it is that without the
    curvature of the head.

    Args:
        params: Where it is taken.
        x: Inputs.
        objective: Loss, head and φ; penalties are left out.

    Returns:
        A function from [*b, *m, P] to the same shape; positive semi-definite.

    Error:
        Rounding: 1e-12 relative to its definition by dense Jacobians in float64.

    Source:
        Amari (1998), Natural gradient works efficiently in learning; Martens (2020), New insights and perspectives on
        the natural gradient method.
    """
    loss = objective.loss
    pullback = HEADS[loss.head].pullback
    canonical = any(loss is row for row in LOSSES.values())

    def information(z: Tensor, dz: Tensor) -> Tensor:
        # the curvature of a canonical loss does not depend on its target; the Jacobian of every head is symmetric, so
        # that its pullback is its pushforward too
        return loss.curvature(z, z, dz) if canonical else pullback(z, pullback(z, dz))

    return _sandwich(params, x, objective, information)


def empirical_fisher_product(
    params: Params, x: Float[Tensor, "*#m N d"], y: Float[Tensor, "*#m N k"], objective: Objective
) -> Product:
    r"""The map v ↦ (1/N) ∑ₙ gₙ (gₙᵀ v): the second moment of the gradients gₙ of single samples, not centred.

    It needs no gradient of a sample: gₙᵀ v = (∂ℓₙ/∂z)ᵀ (J v)ₙ. It is not the Fisher matrix unless the network's
    predictions are the distribution of the targets.

    Args:
        params: Where it is taken.
        x: Inputs.
        y: Targets.
        objective: Loss and φ; penalties are left out.

    Returns:
        A function from [*b, *m, P] to the same shape; positive semi-definite.

    Error:
        Rounding: 1e-12 relative to ``batch_gradients`` in float64.

    Source:
        Kunstner, Balles & Hennig (2019), Limitations of the empirical Fisher approximation.
    """

    def outer(z: Tensor, dz: Tensor) -> Tensor:
        slope = objective.loss.slope(z, y)
        return slope * (slope * dz).sum(-1, keepdim=True)

    return _sandwich(params, x, objective, outer)


def jacobian_product(
    params: Params, x: Float[Tensor, "*#m N d"], activation: Activation, moments: Moments | None = None
) -> Product:
    """The map v ↦ J v, the change of all outputs [*b, *m, N, k] for a change of the parameters [*b, *m, P]."""
    at = linearised(params, x, activation, moments)

    def product(v: Tensor) -> Tensor:
        direction = unflatten(v, params)
        return push(at, x @ direction.weights[0] + direction.biases[0], direction).output

    return product


def batch_gradients(
    params: Params, x: Float[Tensor, "N d"], y: Float[Tensor, "N k"], objective: Objective
) -> Float[Tensor, "N P"]:
    """The gradient of every sample's own loss, for one network."""
    point = flatten(params).detach()
    single = grad(lambda v, a, b: mean_loss(v, params, a.unsqueeze(-2), b.unsqueeze(-2), objective).sum())
    return torch.func.vmap(single, in_dims=(None, 0, 0))(point, x, y)  # type: ignore[no-any-return]


def _change_of_gradient(
    params: Params, x: Tensor, y: Tensor, objective: Objective
) -> Callable[[Tensor, Params, Params], Tensor]:
    """(change of the first pre-activations, direction, place) ↦ change of the first error; the rest goes to place."""
    at = linearised(params, x, objective.activation)
    rows = x.shape[-2]
    errors = pull(at, objective.loss.slope(at.run.output, y) / rows)
    bends = second_slopes(at, errors, objective)

    def product(first: Tensor, direction: Params, place: Params) -> Tensor:
        change = push(at, first, direction)
        z = at.run.output.expand_as(change.output).contiguous()  # a copy only if there are more directions than points
        last = objective.loss.curvature(z, y, change.output) / rows
        return write_change_of_gradient(at, errors, bends, change, last, direction, place)

    return product


def _sandwich(params: Params, x: Tensor, objective: Objective, middle: Callable[[Tensor, Tensor], Tensor]) -> Product:
    """The map v ↦ Jᵀ M J v / N for a symmetric M given by its products (z, dz) ↦ M dz on the outputs."""
    at = linearised(params, x, objective.activation)

    def product(v: Tensor) -> Tensor:
        direction, image = unflatten(v, params), v.new_empty(v.shape)
        change = push(at, (x @ direction.weights[0]).add_(direction.biases[0]), direction).output
        last = middle(at.run.output.expand_as(change).contiguous(), change) / x.shape[-2]
        write_gradient(at, pull(at, last), unflatten(image, params))
        return image

    return product


def _penalise(objective: Objective, direction: Params, place: Params) -> None:
    """Add the curvature λ₂ of the L2 penalty on the weights."""
    if isinstance(objective.l2, Tensor) or objective.l2:
        for w, image in zip(direction.weights, place.weights, strict=True):
            image.add_(objective.l2 * w)


def _rest(params: Params) -> tuple[tuple[Tensor, ...], ...]:
    return params.biases, params.gains, params.shifts
