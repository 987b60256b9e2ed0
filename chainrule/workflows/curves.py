"""Learning curves: losses and metric after every epoch, with the chosen epochs."""

import numpy as np

from chainrule.evidence.evaluation import Quantity, Sheet
from chainrule.evidence.figure import Band, Figure, Line, Mark, Panel, Points, numbers
from chainrule.workflows.members import Members
from chainrule.workflows.summary import ANY, AT_MOST_ONE, POSITIVE, SHARE, band, interval_words, over_seeds

PARTS = ("training", "validation")


def figure(members: Members) -> Figure:
    """Loss and metric of training and validation rows against epochs."""
    epochs = np.asarray(members.run.steps) / max(members.epoch, 1)
    panels = []
    for column, name in enumerate(names(members)):
        marks: list[Mark] = []
        for colour, part in enumerate(PARTS):
            mean, low, high = interval(members, part, column)
            # the metric of an untrained network would leave all others a tenth of the axis
            shown = slice(column if len(epochs) > 2 else 0, None)
            x = numbers(epochs[shown])
            marks.append(Line(x, numbers(mean[shown]), label=part, colour=colour))
            marks.append(Band(x, numbers(low[shown]), numbers(high[shown]), colour=colour))
        chosen = at_chosen(members, "validation", column)
        marks.append(Points(numbers(members.chosen_epochs), numbers(chosen), label="chosen, one per seed", colour=2))
        panels.append(Panel(tuple(marks), x="epoch", y=name, log="y" if column == 0 else ""))
    return Figure(tuple(panels), caption(members))


def interval(members: Members, part: str, column: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and interval of a curve; of a loss, which is positive and drawn on a logarithmic axis, by its logarithm."""
    values = members.curve(part, column)
    if column == 0:
        with np.errstate(divide="ignore"):
            mean, low, high = (np.exp(ends) for ends in band(np.log(values), members.groups))
        return mean, low, high
    return band(values, members.groups, SHARE if members.data.task == "classification" else AT_MOST_ONE)


def names(members: Members) -> tuple[str, str]:
    """Labels of the two columns of a reading, with their units."""
    unit = "nat" if "entropy" in members.condition.loss else "1"
    if members.data.task == "classification":
        return f"loss [{unit}]", "accuracy [1]"
    return "loss, half the squared error in standard deviations [1]", "R² [1]"


def caption(members: Members) -> str:
    """What the figure shows, with its numbers."""
    rows = members.splits[0]
    shown = "all" if members.watched == len(rows.train) else f"{members.watched:,} random ones of the"
    losses = over_seeds("", at_chosen(members, "validation", 0), members.groups)
    last = over_seeds("", at_end(members, "validation", 0), members.groups)
    failed = sum(members.diverged)
    words = [
        f"{members.data.title}: loss and {'accuracy' if members.data.task == 'classification' else 'R²'} after each "
        f"epoch on {shown} {len(rows.train):,} training rows and on the {len(rows.validation):,} validation rows; "
        f"{interval_words(members.groups)} (of the logarithm of the loss).",
        f"Points: the epoch with the lowest validation loss, whose parameters are kept, {epochs_in_words(members)}.",
    ]
    if losses.mean is not None and last.mean is not None:
        words.append(f"Validation loss {losses.mean:.4g} there and {last.mean:.4g} at the end.")
    if failed:
        words.append(
            f"{failed} of {len(members.replicas)} networks diverged; from there on the curves show the others."
        )
    return " ".join(words)


def epochs_in_words(members: Members) -> str:
    """Which epochs were chosen, over the seeds."""
    chosen = sorted(members.chosen_epochs)
    total = members.condition.steps / max(members.epoch, 1)
    if chosen[0] == chosen[-1]:
        return f"epoch {chosen[0]:g} of {total:g}"
    return f"epochs {chosen[0]:g} to {chosen[-1]:g} of {total:g} (median {float(np.median(chosen)):g})"


def at_chosen(members: Members, part: str, column: int) -> np.ndarray:
    """[S] a curve's value at the chosen epoch of each seed."""
    places = [members.run.steps.index(int(step)) for step in members.run.chosen_step[0]]
    values = members.curve(part, column)
    return np.array([values[s, place] for s, place in enumerate(places)])


def sheet(members: Members) -> Sheet:
    """The curves in numbers: how far validation is behind training where the model was chosen, and at the end."""
    metric = "accuracy" if members.data.task == "classification" else "R²"
    share = SHARE if metric == "accuracy" else AT_MOST_ONE
    ranges = (POSITIVE, POSITIVE, ANY, share, share)
    columns = ("training loss", "validation loss", "gap", f"training {metric}", f"validation {metric}")

    def row(pick: list[np.ndarray]) -> tuple[Quantity, ...]:
        values = (pick[0], pick[1], pick[1] - pick[0], pick[2], pick[3])
        triples = zip(columns, values, ranges, strict=True)
        return tuple(over_seeds(name, value, members.groups, "", within) for name, value, within in triples)

    pairs = [(part, column) for column in (0, 1) for part in PARTS]
    chosen = row([at_chosen(members, part, column) for part, column in pairs])
    last = row([at_end(members, part, column) for part, column in pairs])
    return Sheet("Learning curves in numbers", columns, (("chosen epoch", chosen), ("last epoch", last)))


def at_end(members: Members, part: str, column: int) -> np.ndarray:
    """[S] a curve's last value; before an early stop the last one that was read, NaN where the network diverged."""
    values = members.curve(part, column)
    ends = values[:, -1].copy()
    for s, failed in enumerate(members.diverged):
        if members.condition.patience and not failed:
            ends[s] = values[s][np.isfinite(values[s])][-1]
    return ends
