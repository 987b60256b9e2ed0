"""Numbers of many seeds as quantities with their intervals."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from chainrule.evidence.comparison import mean_interval
from chainrule.evidence.evaluation import Quantity

LEVEL = 0.95


ANY = (-np.inf, np.inf)
SHARE = (0.0, 1.0)
PERCENT = (0.0, 100.0)
POSITIVE = (0.0, np.inf)
AT_MOST_ONE = (-np.inf, 1.0)  # R²


def over_seeds(
    name: str,
    values: Sequence[float] | Float[np.ndarray, " S"],
    groups: Sequence[int],
    unit: str = "",
    within: tuple[float, float] = ANY,
    undefined_when: str = "",
) -> Quantity:
    """The mean over seeds with its 95 % t-interval.

    Seeds of one group share their division of the rows and are averaged first: only groups are independent.

    Args:
        name: What is measured.
        values: [S] one number per seed; not finite where a member failed.
        groups: [S] which seeds share their rows.
        unit: Its unit, empty if it has none.
        within: What values are possible; an interval that leaves this range is cut, which costs no coverage.
        undefined_when: When a seed has no value, as half a sentence.

    Returns:
        The quantity. Without a mean if any seed has none: a mean over the others would flatter.

    Example:
        >>> q = over_seeds("x", [1.0, 3.0, 4.0, 4.0], [0, 0, 1, 1])
        >>> q.mean, round(q.high, 2)
        (3.0, 15.71)
    """
    numbers = np.asarray(values, dtype=np.float64)
    missing = int((~np.isfinite(numbers)).sum())
    if missing:
        return undefined(name, f"{undefined_when or 'diverged'} ({missing} of {len(numbers)} seeds)", unit)
    independent = by_group(numbers[:, None], groups)[:, 0]
    low, high = (float(end.item()) for end in mean_interval(independent[None, :, None], LEVEL))
    if not np.isfinite(low):
        return exact(name, float(independent.mean()), unit, "one seed has no interval")
    return Quantity(name, float(independent.mean()), max(low, within[0]), min(high, within[1]), unit)


def exact(name: str, value: float, unit: str = "", note: str = "") -> Quantity:
    """A number that does not vary with the seed."""
    return Quantity(name, float(value), None, None, unit, note=note)


def undefined(name: str, why: str, unit: str = "") -> Quantity:
    """A quantity that does not exist here."""
    return Quantity(name, None, None, None, unit, note=f"undefined: {why}")


def by_group(values: Float[np.ndarray, "S T"], groups: Sequence[int]) -> Float[np.ndarray, "G T"]:
    """Means over the seeds of each group."""
    places = np.asarray(groups)
    return np.stack([values[places == g].mean(0) for g in dict.fromkeys(groups)])


def band(
    values: Float[np.ndarray, "S T"], groups: Sequence[int], within: tuple[float, float] = ANY
) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, " T"], Float[np.ndarray, " T"]]:
    """Mean over seeds and its 95 % t-interval at every step; seeds that ended earlier are left out there."""
    centre = np.full((3, values.shape[1]), np.nan)
    for t, column in enumerate(values.T):
        alive = np.isfinite(column)
        if not alive.any():
            continue
        independent = by_group(column[alive, None], [g for g, a in zip(groups, alive, strict=True) if a])
        centre[0, t] = independent.mean()
        centre[1:, t] = np.clip([end.item() for end in mean_interval(independent[None], LEVEL)], *within)
    return centre[0], centre[1], centre[2]


def interval_words(groups: Sequence[int]) -> str:
    """What the intervals of these seeds mean, for a caption."""
    independent = len(set(groups))
    if independent == len(groups):
        return f"mean and 95 % t-interval over {len(groups)} seeds" if len(groups) > 1 else "one seed, no interval"
    each = len(groups) // independent
    return f"mean and 95 % t-interval over {independent} divisions of the rows, each with {each} seeds"
