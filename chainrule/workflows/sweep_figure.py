"""What a sweep has found, drawn against its axes: lines with intervals, a map of two numbers, or a search's trials."""

import itertools
from collections.abc import Sequence

import numpy as np

from chainrule.evidence.evaluation import Quantity
from chainrule.evidence.figure import Cells, Figure, Line, Mark, Number, Panel, Points
from chainrule.workflows.axes import Axis
from chainrule.workflows.sweep import Sweep, Tried

MOST_LINES = 6  # told apart by colour and by shape
MAP = 3  # values of each of two numeric axes from which a map says more than lines
CHOSEN = 6  # black


def figure(found: Sweep, axes: Sequence[Axis]) -> Figure:
    """The picture of a sweep or a search.

    Args:
        found: The conditions with their intervals.
        axes: What was varied, in the order of the command line.

    Returns:
        A search: a panel for each range, one point per trial. A grid of two ranges: a map. Any other grid: loss and
        metric against the first range, or the first setting that varies, one line per combination of the others.
    """
    varied = [axis for axis in axes if axis.varies]
    if found.saved is not None:
        return trials(found, [axis for axis in varied if axis.scale])
    numeric = [axis for axis in varied if axis.numeric and len(axis.values) >= MAP]
    if len(varied) == len(numeric) == 2:
        return heat_map(found, numeric[0], numeric[1])
    return lines(found, varied or list(axes[:1]))


# grids ─────────────────────────────────────────────────────────────────────────────────


def lines(found: Sweep, varied: Sequence[Axis]) -> Figure:
    """Validation loss and metric against one axis."""
    along = min(varied, key=lambda axis: (not axis.scale, not axis.numeric), default=Axis("", ("",)))
    others = [axis.name for axis in varied if axis is not along]
    groups: dict[str, list[Tried]] = {}
    for row in found.tried:
        groups.setdefault(", ".join(f"{name}={row.settings[name]}" for name in others), []).append(row)
    best = sorted(groups, key=lambda label: min(lowest(row.loss) for row in groups[label]))[:MOST_LINES]
    shown = {label: rows for label, rows in groups.items() if label in best}
    log = "x" if along.scale == "log" else ""
    panels = []
    for name in ("loss", "metric"):
        marks: list[Mark] = []
        for colour, (label, rows) in enumerate(shown.items()):
            quantities = [getattr(row, name) for row in rows]
            x = tuple(place(along, row) for row in rows)
            if along.numeric:  # nothing lies between two names
                marks.append(Line(x, tuple(q.mean for q in quantities), label=label, colour=colour))
            marks.append(points(x, quantities, "" if along.numeric else label, colour))
        if found.chosen is not None:
            row = found.tried[found.chosen]
            at, value = (place(along, row),), getattr(row, name).mean
            marks.append(Points(at, (value,), label="chosen", colour=CHOSEN))
        title = label_of(getattr(found.tried[0], name))
        ticks = () if along.numeric else along.values
        panels.append(Panel(tuple(marks), x=along.name or "condition", y=title, log=log, ticks=ticks))
    left = f" The {len(shown)} best of {len(groups)} lines are drawn." if len(groups) > len(shown) else ""
    return Figure(tuple(panels), f"{opening(found)} {chosen_words(found)}{diverged_words(found)}{left}")


def heat_map(found: Sweep, down: Axis, across: Axis) -> Figure:
    """The mean validation loss above the lowest one, in percent: a map of two axes."""
    means = np.array([np.nan if row.loss.mean is None else row.loss.mean for row in found.tried])
    excess = (means / np.nanmin(means) - 1) * 100 if np.isfinite(means).any() else means
    rows = excess.reshape(len(down.values), len(across.values))
    cells = Cells(
        tuple(tuple(float(v) if np.isfinite(v) else None for v in row) for row in rows),
        tuple(short(value) for value in down.values),
        tuple(short(value) for value in across.values),
    )
    caption = (
        f"{opening(found)} Cells: how far the mean validation loss lies above the lowest mean, in percent; empty where "
        f"a network diverged. {chosen_words(found)}{diverged_words(found)}"
    )
    return Figure((Panel((cells,), x=across.name, y=down.name),), caption, columns=1)


# searches ──────────────────────────────────────────────────────────────────────────────


def trials(found: Sweep, ranges: Sequence[Axis]) -> Figure:
    """The validation loss of every trial against each range that was searched."""
    panels = []
    for axis in ranges:
        marks: list[Mark] = []
        for colour, (label, stopped) in enumerate((("trained to the end", False), ("stopped early", True))):
            rows = [row for row in found.tried if row.stopped == stopped and row.loss.mean is not None]
            x = tuple(place(axis, row) for row in rows)
            marks.append(Points(x, tuple(row.loss.mean for row in rows), label=label, colour=colour))
        if found.chosen is not None:
            row = found.tried[found.chosen]
            marks.append(Points((place(axis, row),), (row.loss.mean,), label="chosen", colour=CHOSEN))
        log = "xy" if axis.scale == "log" else "y"
        panels.append(Panel(tuple(marks), x=axis.name, y=label_of(found.tried[0].loss), log=log))
    early = sum(row.stopped for row in found.tried)
    words = (
        f"{found.title}: {len(found.tried)} trials, each by its mean validation loss over {found.seeds} seeds at the "
        f"chosen epoch; {early} were stopped early and show that of a shorter training."
    )
    return Figure(tuple(panels), f"{words} {chosen_words(found)}{diverged_words(found)}")


# what they share ───────────────────────────────────────────────────────────────────────


def points(x: tuple[Number, ...], quantities: Sequence[Quantity], label: str, colour: int) -> Points:
    """Means with their intervals; bare where a single seed has none."""
    means = tuple(q.mean for q in quantities)
    if all(q.low is None for q in quantities):
        return Points(x, means, label=label, colour=colour)
    return Points(x, means, tuple(q.low for q in quantities), tuple(q.high for q in quantities), label, colour)


def place(axis: Axis, row: Tried) -> float:
    """Where a condition lies on an axis: its number, or the place of its name."""
    text = row.settings.get(axis.name, "")
    return float(text) if axis.numeric else float(axis.values.index(text))


def label_of(quantity: Quantity) -> str:
    """Its name with its unit."""
    return f"{quantity.name} [{quantity.unit or 1}]"


def lowest(loss: Quantity) -> float:
    """A loss to sort by; what has none comes last."""
    return np.inf if loss.mean is None else loss.mean


def short(text: str) -> str:
    """A number without the digits that a label has no room for."""
    return f"{float(text):.3g}"


def opening(found: Sweep) -> str:
    """What is shown."""
    return f"{found.title}: validation rows at the chosen epoch of each network, {found.intervals}."


def chosen_words(found: Sweep) -> str:
    """The choice and its test, as sentences."""
    if found.chosen is None or found.test is None:
        return "Every condition has a diverged network, so none was chosen."
    row = found.tried[found.chosen]
    settings = ", ".join(f"{name}={value}" for name, value in row.settings.items())
    quantities = itertools.chain.from_iterable(cells for _, cells in found.test.rows)
    first = next(q for q in quantities if q.name == found.metric and q.mean is not None)
    return (
        f"Chosen by the lowest mean validation loss: {settings}, {row.loss.mean:.4g}; on test rows, which no other "
        f"condition was applied to, its {found.metric} is {first.mean:.4g}."
    )


def diverged_words(found: Sweep) -> str:
    """How many conditions have no mean, as a sentence."""
    failed = sum(row.diverged > 0 for row in found.tried)
    return f" {failed} of {len(found.tried)} conditions have a diverged network and so no mean." if failed else ""
