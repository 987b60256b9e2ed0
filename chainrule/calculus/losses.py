"""Losses on the pre-activations of the last layer, and the heads that turn these into predictions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from chainrule.calculus.activations import ACTIVATIONS
from chainrule.errors import ChainruleError
from chainrule.table import Table


@dataclass(frozen=True)
class Head:
    """The map from the last pre-activations z to the prediction.

    Args:
        value: value(z) -> prediction [*m, N, k].
        pullback: pullback(z, g) -> (∂ head / ∂z)ᵀ g [*m, N, k]: a gradient with respect to the prediction becomes one
            with respect to z.
        range: Values that an entry of the prediction can take.
        source: Who proposed it.
    """

    value: Callable[[Tensor], Tensor]
    pullback: Callable[[Tensor, Tensor], Tensor]
    range: tuple[float, float]
    source: str


@dataclass(frozen=True)
class Loss:
    """The loss ℓ of one sample as a function of the last pre-activations z and the target y.

    Targets broadcast against z over the leading axes: one target serves all members of a stack.

    Args:
        value: value(z, y) -> ℓ per sample [*m, N], in units of the loss.
        slope: slope(z, y) -> ∂ℓ/∂z [*m, N, k].
        curvature: curvature(z, y, v) -> (∂²ℓ/∂z²) v [*m, N, k], v of the shape of z.
        head: The head that gives the predictions; in ``LOSSES`` the canonical one, with which ∂ℓ/∂z = prediction - y.
        heads: The heads that the loss may be combined with.
        task: ``"regression"`` or ``"classification"``.
        range: Values that ℓ can take.
        source: Who proposed it.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]
    curvature: Callable[[Tensor, Tensor, Tensor], Tensor]
    head: str
    heads: tuple[str, ...]
    task: str
    range: tuple[float, float]
    source: str


def squared_error(z: Float[Tensor, "*#m N k"], y: Float[Tensor, "*#m N #k"]) -> Float[Tensor, "*m N"]:
    """Half the squared distance, ℓ = ½ Σ_k (z_k - y_k)² [target²]: -log of a normal density of variance 1.

    Source:
        Gauss (1809), Theoria motus corporum coelestium, section 179.

    Example:
        >>> squared_error(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]]))
        tensor([12.5000])
    """
    return (z - y).square().sum(-1) / 2


def cross_entropy(z: Float[Tensor, "*#m N k"], y: Float[Tensor, "*#m N k"]) -> Float[Tensor, "*m N"]:
    """Softmax cross-entropy, ℓ = log Σ_k exp z_k - Σ_k y_k z_k [nat].

    Args:
        z: Logits.
        y: One-hot vectors, or any probability vectors; not negative, of sum 1.

    Returns:
        The loss per sample. Shifting all logits of a sample by a constant leaves it unchanged.

    Source:
        Bridle (1990), Probabilistic interpretation of feedforward classification network outputs.

    Example:
        Knowing nothing about four classes costs log 4:

        >>> cross_entropy(torch.zeros(1, 4), torch.eye(4)[:1])
        tensor([1.3863])
    """
    return -(y * functional.log_softmax(z, -1)).sum(-1)


def binary_cross_entropy(z: Float[Tensor, "*#m N k"], y: Float[Tensor, "*#m N k"]) -> Float[Tensor, "*m N"]:
    """Sigmoid cross-entropy of k independent outputs, ℓ = -Σ_k [y_k log σ(z_k) + (1 - y_k) log σ(-z_k)] [nat].

    Args:
        z: Logits.
        y: Probabilities in [0, 1].

    Returns:
        The loss per sample, summed over the outputs.

    Source:
        Cox (1958), The regression analysis of binary sequences.

    Example:
        >>> binary_cross_entropy(torch.zeros(1, 1), torch.ones(1, 1))
        tensor([0.6931])
    """
    # -log σ(z) = softplus(-z). torch's logsigmoid is the same number, but writes into a buffer that vmap of its second
    # derivative must resize.
    softplus = ACTIVATIONS["softplus"].value
    return (y * softplus(-z) + (1 - y) * softplus(z)).sum(-1)


def _softmax_pullback(z: Float[Tensor, "*#m N k"], g: Float[Tensor, "*#m N k"]) -> Float[Tensor, "*m N k"]:
    """(diag p - p pᵀ) g with p = softmax(z); symmetric, so the same matrix is the Hessian of the cross-entropy."""
    p = torch.softmax(z, -1)
    return p * (g - (p * g).sum(-1, keepdim=True))


def _sigmoid_pullback(z: Float[Tensor, "*#m N k"], g: Float[Tensor, "*#m N k"]) -> Float[Tensor, "*m N k"]:
    """σ(z) σ(-z) g; diagonal, so the same matrix is the Hessian of the binary cross-entropy."""
    return torch.sigmoid(z) * torch.sigmoid(-z) * g


HEADS: Table[Head] = Table(
    "head",
    __file__,
    {
        "linear": Head(lambda z: z, lambda z, g: g, (-inf, inf), "Legendre (1805), least squares"),
        "softmax": Head(
            lambda z: torch.softmax(z, -1), _softmax_pullback, (0.0, 1.0), "Bridle (1990); Boltzmann (1868)"
        ),
        "sigmoid": Head(torch.sigmoid, _sigmoid_pullback, (0.0, 1.0), "Verhulst (1838); Cox (1958)"),
    },
)
"""From the last pre-activations to the prediction."""

LOSSES: Table[Loss] = Table(
    "loss",
    __file__,
    {
        "squared_error": Loss(
            value=squared_error,
            slope=lambda z, y: z - y,
            curvature=lambda z, y, v: v.clone(),
            head="linear",
            heads=("linear", "sigmoid", "softmax"),
            task="regression",
            range=(0.0, inf),
            source="Gauss (1809), Theoria motus corporum coelestium, section 179",
        ),
        "cross_entropy": Loss(
            value=cross_entropy,
            slope=lambda z, y: torch.softmax(z, -1) - y,
            curvature=lambda z, y, v: _softmax_pullback(z, v),
            head="softmax",
            heads=("softmax",),
            task="classification",
            range=(0.0, inf),
            source="Good (1952), Rational decisions; Bridle (1990) with softmax",
        ),
        "binary_cross_entropy": Loss(
            value=binary_cross_entropy,
            slope=lambda z, y: torch.sigmoid(z) - y,
            curvature=lambda z, y, v: _sigmoid_pullback(z, v),
            head="sigmoid",
            heads=("sigmoid",),
            task="classification",
            range=(0.0, inf),
            source="Cox (1958), The regression analysis of binary sequences",
        ),
    },
)
"""Each with its canonical head: linear, softmax and sigmoid are the canonical links of the normal, the categorical and
the Bernoulli family (Nelder & Wedderburn 1972, Generalized linear models)."""


def objective(loss: str, head: str) -> Loss:
    """The loss seen through a head, as a function of the last pre-activations.

    With its canonical head a loss is its own row of ``LOSSES``. Another head a(z) is composed with it: the value is
    ℓ(a(z), y), the slope (∂a/∂z)ᵀ ∂ℓ/∂a, and the curvature the exact forward-mode derivative of that slope; it is then
    in general neither constant nor positive semi-definite.

    Args:
        loss: A name in ``LOSSES``.
        head: A name in ``HEADS``, or ``"canonical"`` for the loss's own.

    Returns:
        A ``Loss`` whose ``head`` is the one used.

    Raises:
        ChainruleError: E402 for an unknown loss or head, E404 for a head that the loss cannot be combined with.

    Example:
        >>> objective("cross_entropy", "canonical").head
        'softmax'
    """
    row = LOSSES[loss]
    if head in ("canonical", row.head):
        return row
    outer = HEADS[head]
    if head not in row.heads:
        raise ChainruleError(
            "E404",
            f"head={head!r} cannot be combined with loss={loss!r}.",
            f"{loss} works on the logits and allows the head {' or '.join(map(repr, row.heads))}; "
            "squared_error allows every head.",
            f"head='canonical' (which is {row.head!r} here), or loss='squared_error'",
        )

    def value(z: Tensor, y: Tensor) -> Tensor:
        return row.value(outer.value(z), y)

    def slope(z: Tensor, y: Tensor) -> Tensor:
        return outer.pullback(z, row.slope(outer.value(z), y))

    def curvature(z: Tensor, y: Tensor, v: Tensor) -> Tensor:
        product: Tensor = torch.func.jvp(lambda at: slope(at, y), (z,), (v,))[1]
        return product

    return replace(row, value=value, slope=slope, curvature=curvature, head=head)
