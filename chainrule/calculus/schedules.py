"""Learning-rate schedules: the factor on lr as a function of the step."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from chainrule.table import Table


@dataclass(frozen=True)
class LearningRateSchedule:
    """A factor on the learning rate.

    ``factor(t, steps, decay, period)`` returns the factor [1] for step t:

    * ``t``: the step, the first is 0;
    * ``steps``: the length of the whole run [steps], at least 1;
    * ``decay``: how fast the factor falls [1; per step for ``inverse_time``], not negative;
    * ``period``: the steps per decay, or the steps of the warm-up, at least 1.

    Args:
        factor: The schedule.
        reads: Which of the settings decay and period it reads.
        source: Author, year, title.

    Example:
        Half-way the cosine is at one half:

        >>> round(SCHEDULES["cosine"].factor(50, 100, 0.0, 1), 12)
        0.5
    """

    factor: Callable[[int, int, float, int], float]
    reads: tuple[str, ...]
    source: str


def _cosine(done: float) -> float:
    """Half a cosine from 1 at done = 0 to 0 at done = 1, where it stays."""
    return (1 + math.cos(math.pi * min(done, 1.0))) / 2


def _warmup_cosine(t: int, steps: int, decay: float, period: int) -> float:
    """Linear up to 1 over the first ``period`` steps, half a cosine down to 0 over the others."""
    if t < period:
        return (t + 1) / period
    return _cosine((t - period) / max(steps - period, 1))


SCHEDULES: Table[LearningRateSchedule] = Table(
    "schedule",
    __file__,
    {
        "constant": LearningRateSchedule(
            lambda t, steps, decay, period: 1.0,
            (),
            "Cauchy (1847), Méthode générale pour la résolution des systèmes d'équations simultanées",
        ),
        "step": LearningRateSchedule(
            lambda t, steps, decay, period: float(decay ** (t // period)),
            ("decay", "period"),
            "Krizhevsky, Sutskever & Hinton (2012), ImageNet classification with deep convolutional neural networks",
        ),
        "exponential": LearningRateSchedule(
            lambda t, steps, decay, period: float(decay ** (t / period)),
            ("decay", "period"),
            "Li & Arora (2020), An exponential learning rate schedule for deep learning",
        ),
        "cosine": LearningRateSchedule(
            lambda t, steps, decay, period: _cosine(t / steps),
            (),
            "Loshchilov & Hutter (2017), Stochastic gradient descent with warm restarts, eq. 5, one cycle, "
            "https://arxiv.org/abs/1608.03983",
        ),
        "inverse_time": LearningRateSchedule(
            lambda t, steps, decay, period: 1 / (1 + decay * t),
            ("decay",),
            "Robbins & Monro (1951), A stochastic approximation method",
        ),
        "warmup": LearningRateSchedule(
            lambda t, steps, decay, period: min(1.0, (t + 1) / period),
            ("period",),
            "Goyal et al. (2017), Accurate, large minibatch SGD, section 2.2, https://arxiv.org/abs/1706.02677",
        ),
        "warmup_cosine": LearningRateSchedule(
            _warmup_cosine,
            ("period",),
            "Goyal et al. (2017), section 2.2, followed by Loshchilov & Hutter (2017), eq. 5",
        ),
    },
)
"""Seven rows; every factor lies in [0, 1] for decay in [0, 1]."""
