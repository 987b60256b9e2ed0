"""Products of a vector with the Hessian, the Gauss-Newton matrix or the Jacobian: no matrix is ever formed."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, jvp, vjp

from chainrule.calculus.activations import Activation
from chainrule.calculus.backprop import Objective
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
    """The map v ↦ H v for the Hessian of the mean loss, for every stacked member at once.

    The gradient is computed once, with the graph of its computation; each product goes once more backwards through it:
    v ↦ vᵀ ∂g/∂θ, and H is symmetric. Members do not mix: the Hessian of the sum over members is block-diagonal.

    Args:
        params: Where the Hessian is taken.
        x: Inputs.
        y: Targets.
        objective: Loss, φ and penalties.

    Returns:
        A function from [*m, P] to [*m, P], P in the order of ``Params.tensors``.

    Error:
        Rounding: 1e-12 relative to the dense Hessian in float64.

    Source:
        Pearlmutter (1994), Fast exact multiplication by the Hessian.
    """

    def total(v: Tensor) -> Tensor:
        return mean_loss(v, params, x, y, objective).sum()

    # torch.func.linearize has the faster product, but traces its graph for a second, which 20 products never earn back
    pull = vjp(grad(total), flatten(params).detach())[1]

    def product(v: Tensor) -> Tensor:
        return pull(v)[0]  # type: ignore[no-any-return]

    return product


def gauss_newton_product(
    params: Params, x: Float[Tensor, "*#m N d"], y: Float[Tensor, "*#m N k"], objective: Objective
) -> Product:
    """The map v ↦ Jᵀ (∂²ℓ/∂z²) J v / N: the Hessian without the curvature of the network in its parameters.

    Source:
        Schraudolph (2002), Fast curvature matrix-vector products, section 3.
    """
    point = flatten(params).detach()

    def outputs(v: Tensor) -> Tensor:
        return forward(unflatten(v, params), x, objective.activation).output

    z, pull = vjp(outputs, point)[:2]

    def product(v: Tensor) -> Tensor:
        dz = jvp(outputs, (point,), (v,))[1]
        return pull(objective.loss.curvature(z, y, dz) / x.shape[-2])[0]  # type: ignore[no-any-return]

    return product


def jacobian_product(
    params: Params, x: Float[Tensor, "*#m N d"], activation: Activation, moments: Moments | None = None
) -> Product:
    """The map v ↦ J v, the change of all outputs [*m, N, k] for a change of the parameters [*m, P]."""
    point = flatten(params).detach()

    def outputs(v: Tensor) -> Tensor:
        return forward(unflatten(v, params), x, activation, moments=moments).output

    return lambda v: jvp(outputs, (point,), (v,))[1]


def batch_gradients(
    params: Params, x: Float[Tensor, "N d"], y: Float[Tensor, "N k"], objective: Objective
) -> Float[Tensor, "N P"]:
    """The gradient of every sample's own loss, for one network."""
    point = flatten(params).detach()
    single = grad(lambda v, a, b: mean_loss(v, params, a.unsqueeze(-2), b.unsqueeze(-2), objective).sum())
    return torch.func.vmap(single, in_dims=(None, 0, 0))(point, x, y)  # type: ignore[no-any-return]
