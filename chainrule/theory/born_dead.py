r"""ReLU networks that are dead before training: symmetric weights, no biases, L hidden layers of width N.

Given an input that is not 0, each pre-activation of a layer is negative with probability 1/2, independently of the
others: all of them with probability 2^-N, and what follows is 0.
"""

from dataclasses import dataclass

from chainrule.errors import ChainruleError


@dataclass(frozen=True)
class BornDead:
    """Probabilities that a network is constant from the start.

    Args:
        at_one_input: Dead at one given input, of any dimension [1].
        on_the_line_at_least: Dead on the whole line, for one input feature: lower bound [1].
        on_the_line_at_most: Upper bound of the same [1].
    """

    at_one_input: float
    on_the_line_at_least: float
    on_the_line_at_most: float


def summary(width: int, depth: int) -> BornDead:
    """Probabilities that a ReLU network is dead at one input, and on the whole line.

    Args:
        width: N, units of each hidden layer.
        depth: L, hidden layers.

    Returns:
        One probability and two bounds.

    Error:
        Rounding.

    Raises:
        ChainruleError: E501 unless both are 1 or more.

    Source:
        Lu, Shin, Su & Karniadakis (2019), Dying ReLU and initialization, https://arxiv.org/abs/1903.06733, whose depth
        counts the output layer too.

    Example:
        >>> found = summary(width=3, depth=5)
        >>> round(found.at_one_input, 4), round(found.on_the_line_at_least, 3), round(found.on_the_line_at_most, 3)
        (0.4871, 0.246, 0.414)
    """
    return BornDead(at_one_input(width, depth), on_the_line_at_least(width, depth), on_the_line_at_most(width, depth))


def at_one_input(width: int, depth: int) -> float:
    """Probability that all units of some hidden layer are 0 at one input: 1 - (1 - 2^-N)^L.

    Args:
        width: N.
        depth: L.

    Returns:
        P [1].

    Raises:
        ChainruleError: E501 unless both are 1 or more.

    Source:
        Lu, Shin, Su & Karniadakis (2019).
    """
    _check(width, depth)
    return 1 - (1 - 2.0**-width) ** depth


def on_the_line_at_least(width: int, depth: int) -> float:
    r"""Lower bound of the probability that a network of one input is constant; the probability itself for L <= 2.

    .. math::  1 - a_1^{L-1} + \frac{(1 - 2^{1-N})(1 - 2^{-N})}{1 + (N-1) 2^{-N}} (a_2^{L-1} - a_1^{L-1}),
               \qquad a_1 = 1 - 2^{-N}, \quad a_2 = 1 - 2^{1-N} - (N-1) 4^{-N}

    Args:
        width: N.
        depth: L.

    Returns:
        P [1].

    Raises:
        ChainruleError: E501 unless both are 1 or more.

    Source:
        Lu, Shin, Su & Karniadakis (2019).
    """
    _check(width, depth)
    first, second = 1 - 2.0**-width, 1 - 2.0 ** (1 - width) - (width - 1) * 4.0**-width
    share = (1 - 2.0 ** (1 - width)) * first / (1 + (width - 1) * 2.0**-width)
    return float(1 - first ** (depth - 1) + share * (second ** (depth - 1) - first ** (depth - 1)))


def on_the_line_at_most(width: int, depth: int) -> float:
    """Upper bound of the probability that a network of one input is constant: 1 - (1 - 2^-N)^(L-1).

    Args:
        width: N.
        depth: L.

    Returns:
        P [1].

    Raises:
        ChainruleError: E501 unless both are 1 or more.

    Source:
        Lu, Shin, Su & Karniadakis (2019).
    """
    _check(width, depth)
    return 1 - (1 - 2.0**-width) ** (depth - 1)


def _check(width: int, depth: int) -> None:
    if width < 1 or depth < 1:
        raise ChainruleError(
            "E501",
            f"width={width!r}, depth={depth!r} are no hidden layers.",
            "Both must be 1 or more.",
            "width=3 depth=5",
        )
