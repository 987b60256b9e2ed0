r"""Signal gains: by which squared gain σ_w² one layer must answer its activation function, forwards and backwards.

A layer with weights N(0, σ_w²/n) multiplies the mean square of a signal of length q by σ_w² E[φ²]/q, and that of an
error by σ_w² E[φ'²]: no σ_w keeps both unless φ is positively homogeneous. Batch normalisation replaces σ_w by one over
the standard deviation of what it finds, and so leaves a growth of errors that no σ_w can change.
"""

from dataclasses import dataclass

from chainrule.calculus.activations import Activation
from chainrule.theory.gaussian import expectation
from chainrule.theory.meanfield import critical_gain, length_gain


@dataclass(frozen=True)
class Gains:
    """The answers of one layer to its activation function.

    Args:
        forward: σ_w² that keeps the length q [1].
        backward: σ_w² that keeps squared gradients at length q [1].
        forward_weight_std: Its root σ_w, the factor on ``lecun_normal`` [1].
        backward_weight_std: Likewise [1].
        batch_norm_growth: Growth of squared gradients per batch-normalised layer, whatever σ_w [1].
    """

    forward: float
    backward: float
    forward_weight_std: float
    backward_weight_std: float
    batch_norm_growth: float


def summary(activation: Activation, q: float = 1.0) -> Gains:
    """Squared gains that keep signals and errors, and the growth of errors under batch normalisation.

    Args:
        activation: φ, a row of ``ACTIVATIONS``.
        q: Mean squared pre-activation [activation²]. Positive.

    Returns:
        The gains; 2 and 2 for ReLU.

    Error:
        Relative 1e-13.

    Raises:
        ChainruleError: E501 if q is negative or not finite.

    Source:
        He, Zhang, Ren & Sun (2015), https://arxiv.org/abs/1502.01852, for ReLU.

    Example:
        >>> from chainrule.calculus.activations import ACTIVATIONS
        >>> found = summary(ACTIVATIONS["tanh"])
        >>> round(found.forward, 5), round(found.backward, 5)
        (2.53618, 2.1533)
    """
    forward, backward = length_gain(activation, q), critical_gain(activation, q)
    return Gains(forward, backward, forward**0.5, backward**0.5, batch_norm_growth(activation))


def batch_norm_growth(activation: Activation) -> float:
    r"""Growth of squared gradients per layer of a wide batch-normalised network at initialisation, for large batches.

    .. math::  \frac{\mathbb{E}[\varphi'(z)^2]}{\mathrm{Var}\, \varphi(z)}, \qquad z \sim N(0, 1)

    The pre-activations of a unit have variance σ_w² Var φ over the batch, by whose root the gradient is divided, on its
    way through σ_w W and φ'. By the Gaussian Poincaré inequality it is at least 1, and 1 for straight lines only.

    Args:
        activation: φ.

    Returns:
        The factor [1]: π/(π - 1) for ReLU.

    Error:
        Relative 1e-13; of the formula itself, terms of order 1/batch and 1/width.

    Source:
        Yang, Pennington, Rao, Sohl-Dickstein & Schoenholz (2019), A mean field theory of batch normalization,
        https://arxiv.org/abs/1902.08129

    Example:
        >>> from chainrule.calculus.activations import ACTIVATIONS
        >>> round(batch_norm_growth(ACTIVATIONS["relu"]), 6)
        1.466942
    """
    square = expectation(lambda z: activation.value(z) ** 2, 1.0, activation.kinks)
    mean = expectation(activation.value, 1.0, activation.kinks)
    return expectation(lambda z: activation.slope(z) ** 2, 1.0, activation.kinks) / (square - mean**2)
