"""A network linearised at a point: changes pushed forwards, errors pulled backwards, and the R-operator made of both.

Everything that depends on the point alone is computed once and kept; each direction then costs its own products only.
A direction may have more leading axes than the point: many directions at one network pass together.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from chainrule.calculus.activations import Activation
from chainrule.calculus.backprop import Objective
from chainrule.calculus.network import Moments, Params, Pass, forward


@dataclass(frozen=True)
class Linearised:
    """A forward pass and the slopes of its hidden units.

    Args:
        params: The point, detached.
        run: The forward pass there.
        slopes: φ' of every hidden layer, L - 1 tensors [*m, N, n_l].
        fixed_moments: Whether batch normalisation used given moments, which do not change with the parameters.
    """

    params: Params
    run: Pass
    slopes: tuple[Tensor, ...]
    fixed_moments: bool


@dataclass(frozen=True)
class Change:
    """The derivative of a forward pass along a direction in parameter space.

    Args:
        u: Change of the argument of φ, L - 1 tensors [*m, N, n_l].
        h: Change of the hidden activations, L - 1 tensors [*m, N, n_l].
        output: Change of the output [*m, N, n_L].
        normal: With batch normalisation, change of ẑ, L - 1 tensors.
        std: With batch normalisation, change of the standard deviation, L - 1 tensors [*m, 1, n_l].
    """

    u: tuple[Tensor, ...]
    h: tuple[Tensor, ...]
    output: Tensor
    normal: tuple[Tensor, ...] = ()
    std: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Errors:
    """The error signals of a backward pass.

    Args:
        z: ∂L/∂z_l, L tensors [*m, N, n_l].
        u: ∂L/∂u_l at the argument of φ, L - 1 tensors; without batch normalisation the same as z.
        h: ∂L/∂h_l at the hidden activations, L - 1 tensors.
    """

    z: tuple[Tensor, ...]
    u: tuple[Tensor, ...]
    h: tuple[Tensor, ...]


def linearised(params: Params, x: Tensor, activation: Activation, moments: Moments | None = None) -> Linearised:
    """The forward pass at a point, ready for directions."""
    params = params.like(t.detach() for t in params.tensors())
    run = forward(params, x, activation, moments=moments)
    slopes = (activation.slope(run.before_activation(l, params)) for l in range(len(params.weights) - 1))
    return Linearised(params, run, tuple(slopes), moments is not None)


def push(at: Linearised, first: Float[Tensor, "*m N n"], direction: Params) -> Change:
    """The change of the forward pass along a direction, with the change of the first pre-activations given.

    dz_l = dh_{l-1} W_l + h_{l-1} dW_l + db_l and dh_l = φ'(u_l) du_l; through batch normalisation
    dẑ = (dz - mean dz - ẑ mean(ẑ dz)) / s and ds = mean(ẑ dz).

    Source:
        Pearlmutter (1994), Fast exact multiplication by the Hessian.
    """
    dz, run, params = first, at.run, at.params
    u, h = [], []
    normal: list[Tensor] = []
    std: list[Tensor] = []
    for l, slope in enumerate(at.slopes):
        du = dz
        if params.gains:
            std.append(0 * run.std[l] if at.fixed_moments else (run.normal[l] * dz).mean(-2, keepdim=True))
            centred = dz if at.fixed_moments else dz - dz.mean(-2, keepdim=True)
            normal.append((centred - run.normal[l] * std[l]) / run.std[l])
            du = params.gains[l] * normal[l] + direction.gains[l] * run.normal[l] + direction.shifts[l]
        u.append(du)
        h.append(slope * du)
        dz = h[l] @ params.weights[l + 1] + run.h[l + 1] @ direction.weights[l + 1] + direction.biases[l + 1]
    return Change(tuple(u), tuple(h), dz, tuple(normal), tuple(std))


def pull(at: Linearised, last: Float[Tensor, "*m N k"]) -> Errors:
    """The error signals that belong to an error at the output: δ_{l-1} = (δ_l W_lᵀ) ⊙ φ'(u_{l-1})."""
    z, u, h = [last], [], []
    for l in reversed(range(len(at.slopes))):
        h.append(z[-1] @ at.params.weights[l + 1].mT)
        u.append(h[-1] * at.slopes[l])
        delta = u[-1]
        if at.params.gains:
            delta = at.params.gains[l] / at.run.std[l] * _without_batch_mean(delta, at.run.normal[l])
        z.append(delta)
    return Errors(tuple(z[::-1]), tuple(u[::-1]), tuple(h[::-1]))


def write_gradient(at: Linearised, errors: Errors, place: Params) -> None:
    """Write the gradient that belongs to error signals: ∂L/∂W_l = h_{l-1}ᵀ δ_l, ∂L/∂b_l = ∑_n δ_l."""
    for l, delta in enumerate(errors.z):
        torch.matmul(at.run.h[l].mT, delta, out=place.weights[l])
        torch.sum(delta, -2, keepdim=True, out=place.biases[l])
    for l in range(len(place.gains)):
        torch.sum(errors.u[l] * at.run.normal[l], -2, keepdim=True, out=place.gains[l])
        torch.sum(errors.u[l], -2, keepdim=True, out=place.shifts[l])


def write_change_of_gradient(
    at: Linearised,
    errors: Errors,
    bends: tuple[Tensor, ...],
    change: Change,
    last: Float[Tensor, "*m N k"],
    direction: Params,
    place: Params,
) -> Float[Tensor, "*m N n"]:
    """Write the change of the gradient along a direction, but for the first weights: the R-operator backwards.

    dδ_{l-1} = (dδ_l W_lᵀ + δ_l dW_lᵀ) ⊙ φ'(u) + (δ_l W_lᵀ) ⊙ φ''(u) ⊙ du, through batch normalisation where there is
    one, and d∂L/∂W_l = dh_{l-1}ᵀ δ_l + h_{l-1}ᵀ dδ_l.

    Args:
        at: The point.
        errors: The error signals there.
        bends: ∂L/∂h_l ⊙ φ''(u_l), L - 1 tensors.
        change: The change of the forward pass.
        last: Change of the error at the output.
        direction: Where to.
        place: Tensors that are overwritten; the first weights are left alone.

    Returns:
        Change of the error at the first pre-activations, from which the first weights' share follows: xᵀ dδ_1.
    """
    run, params, delta = at.run, at.params, last
    for l in reversed(range(len(params.weights))):
        torch.sum(delta, -2, keepdim=True, out=place.biases[l])
        if l == 0:
            break
        torch.matmul(run.h[l].mT, delta, out=place.weights[l])
        place.weights[l].add_(change.h[l - 1].mT @ errors.z[l])
        delta = (delta @ params.weights[l].mT).add_(errors.z[l] @ direction.weights[l].mT)
        delta.mul_(at.slopes[l - 1]).addcmul_(bends[l - 1], change.u[l - 1])
        if params.gains:
            normal, u, std = run.normal[l - 1], errors.u[l - 1], run.std[l - 1]
            mixed = delta * normal + u * change.normal[l - 1]
            torch.sum(mixed, -2, keepdim=True, out=place.gains[l - 1])
            torch.sum(delta, -2, keepdim=True, out=place.shifts[l - 1])
            inner = delta - delta.mean(-2, keepdim=True) - normal * mixed.mean(-2, keepdim=True)
            inner = inner - change.normal[l - 1] * (u * normal).mean(-2, keepdim=True)
            scale = (direction.gains[l - 1] - params.gains[l - 1] * change.std[l - 1] / std) / std
            delta = scale * _without_batch_mean(u, normal) + params.gains[l - 1] / std * inner
    return delta


def second_slopes(at: Linearised, errors: Errors, objective: Objective) -> tuple[Tensor, ...]:
    """∂L/∂h_l ⊙ φ''(u_l): what bends the network, layer by layer."""
    arguments = (at.run.before_activation(l, at.params) for l in range(len(at.slopes)))
    return tuple(h * objective.activation.curvature(u) for h, u in zip(errors.h, arguments, strict=True))


def _without_batch_mean(delta: Tensor, normal: Tensor) -> Tensor:
    """δ - mean δ - ẑ mean(δ ẑ): what batch normalisation lets through."""
    return delta - delta.mean(-2, keepdim=True) - normal * (delta * normal).mean(-2, keepdim=True)
