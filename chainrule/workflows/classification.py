"""Classification in tables and pictures: how often right, what is taken for what, and where it is surely wrong."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from jaxtyping import Float, Int

from chainrule.evidence.evaluation import Quantity, Sheet
from chainrule.evidence.figure import Bars, Cells, Figure, Images, Line, Mark, Panel, numbers
from chainrule.measure import performance
from chainrule.measure.performance import UNDEFINED
from chainrule.workflows.baselines import notes
from chainrule.workflows.members import Members, groups
from chainrule.workflows.summary import LEVEL, PERCENT, SHARE, exact, interval_words, over_seeds, undefined

PAIRS = 8  # most confused pairs that are listed
MISTAKES = 12  # worst mistakes that are shown
MOST_CELLS = 20  # classes up to which the confusion matrix is drawn
Outputs = tuple[Float[np.ndarray, "T K"], ...] | list[Float[np.ndarray, "T K"]]


def named(members: Members) -> tuple[Int[np.ndarray, " T"], ...]:
    """[S] the classes that the networks name; a diverged one names the most frequent class, as good as chance."""
    result = []
    for split, scores, failed in zip(members.splits, members.outputs, members.diverged, strict=True):
        usual = int(np.bincount(members.data.y[split.train]).argmax())
        result.append(np.full(len(split.test), usual) if failed else scores.argmax(-1))
    return tuple(result)


def truth(members: Members) -> tuple[Int[np.ndarray, " T"], ...]:
    """[S] the classes of the test rows."""
    return tuple(members.data.y[split.test] for split in members.splits)


def confusions(members: Members) -> Int[np.ndarray, "S K K"]:
    """How many test rows of each class (rows) each network named as which (columns)."""
    count = len(members.data.classes)
    pairs = zip(truth(members), named(members), strict=True)
    return np.stack([performance.confusion(true, said, count) for true, said in pairs])


# tables ────────────────────────────────────────────────────────────────────────────────

COLUMNS = ("accuracy", "macro precision", "macro recall", "macro F1", "weighted F1")


def sheets(members: Members, baselines: Mapping[str, list[np.ndarray]]) -> tuple[Sheet, ...]:
    """Test scores beside baselines, scores per class, most confused pairs; worst mistakes where rows are no images."""
    found = [against_baselines(members, baselines), per_class(members), confused(members)]
    if not members.data.shape:
        found.append(mistakes_sheet(members))
    return tuple(found)


def against_baselines(members: Members, baselines: Mapping[str, list[np.ndarray]]) -> Sheet:
    """One row per method, the network first."""
    binary = len(members.data.classes) == 2
    columns = (*COLUMNS, "ROC AUC") if binary else COLUMNS
    rows = [("network", row(members, named(members), members.outputs, members.diverged))]
    said_beside = notes(members)
    for name, outputs in baselines.items():
        quantities = row(members, tuple(o.argmax(-1) for o in outputs), outputs, (False,) * len(outputs))
        words = said_beside.get(name, "")
        rows.append((name, tuple(replace_note(q, words) for q in quantities)))
    count = len(members.data.classes)
    guess = [exact(COLUMNS[0], 1 / count, note=f"1/{count}")]
    guess += [undefined(name, "differs from guess to guess") for name in columns[1:]]
    if binary:
        guess[-1] = exact("ROC AUC", 0.5)
    rows.append(("uniform guess", tuple(guess)))
    return Sheet(f"Test rows: network and baselines, {interval_words(members.groups)}", columns, tuple(rows))


def replace_note(quantity: Quantity, words: str) -> Quantity:
    """The quantity with some words more beside it."""
    return msgspec.structs.replace(quantity, note="; ".join(filter(None, [quantity.note, words])))


def row(
    members: Members, said: tuple[np.ndarray, ...], outputs: Outputs, failed: tuple[bool, ...]
) -> tuple[Quantity, ...]:
    """The scores of one method over the first ``len(said)`` seeds."""
    count = len(members.data.classes)
    true = truth(members)[: len(said)]
    places = groups(members.condition, members.replicas[: len(said)])
    tables = np.stack([performance.confusion(t, s, count) for t, s in zip(true, said, strict=True)])
    precision, recall, f1 = performance.precision(tables), performance.recall(tables), performance.f1(tables)
    share = np.array([performance.accuracy(t, s) for t, s in zip(true, said, strict=True)])
    quantities = [
        with_binomial(over_seeds(COLUMNS[0], share, places, within=SHARE), len(true[0])),
        score(COLUMNS[1], performance.macro(precision), places, "precision"),
        score(COLUMNS[2], performance.macro(recall), places, "recall"),
        score(COLUMNS[3], performance.macro(f1), places, "f1"),
        score(COLUMNS[4], performance.weighted(f1, tables), places, "weighted"),
    ]
    if count == 2:
        areas = [
            0.5 if f else float(performance.auc(t, o[:, 1])) for t, o, f in zip(true, outputs, failed, strict=True)
        ]
        quantities.append(score("ROC AUC", areas, places, "auc"))
    return tuple(quantities)


def score(name: str, values: Sequence[float] | np.ndarray, places: tuple[int, ...], kind: str) -> Quantity:
    """A share with its interval; ``kind`` names in ``UNDEFINED`` when it does not exist."""
    return over_seeds(name, values, places, within=SHARE, undefined_when=UNDEFINED[kind])


def with_binomial(quantity: Quantity, rows: int) -> Quantity:
    """An accuracy with its Wilson interval for the number of test rows: what another test set might give."""
    if quantity.mean is None:
        return quantity
    low, high = performance.wilson_interval(round(quantity.mean * rows), rows, LEVEL)
    return msgspec.structs.replace(quantity, binomial_low=low, binomial_high=high)


def per_class(members: Members) -> Sheet:
    """Precision, recall and F1 of every class, and their two means."""
    tables, places = confusions(members), members.groups
    scores = {name: getattr(performance, name)(tables) for name in ("precision", "recall", "f1")}
    columns = ("precision", "recall", "F1", "test rows")
    rows = []
    for k, label in enumerate(members.data.classes):
        found = [
            score(column, values[:, k], places, name)
            for column, (name, values) in zip(columns, scores.items(), strict=False)
        ]
        rows.append((label, (*found, exact(columns[3], float(tables[:, k].sum(-1).mean())))))
    total = exact(columns[3], float(tables[0].sum()))
    pairs = list(zip(columns, scores.values(), strict=False))
    macro = tuple(score(c, performance.macro(v), places, "macro") for c, v in pairs)
    weighted = tuple(score(c, performance.weighted(v, tables), places, "weighted") for c, v in pairs)
    rows += [("macro mean", (*macro, total)), ("mean weighted by rows", (*weighted, total))]
    return Sheet(f"Test rows by class, {interval_words(places)}", columns, tuple(rows))


def confused(members: Members) -> Sheet:
    """The ordered pairs of classes with the largest share of a class taken for another."""
    tables = confusions(members).astype(np.float64)
    share = 100 * tables / np.maximum(tables.sum(-1, keepdims=True), 1)
    wrong = np.maximum(tables.sum((-1, -2)) - np.trace(tables, axis1=-2, axis2=-1), 1)
    mean = share.mean(0) - 1000 * np.eye(len(share[0]))
    order = [divmod(int(i), len(mean)) for i in np.argsort(-mean, axis=None, kind="stable")[:PAIRS]]
    columns = ("share of the class", "share of all mistakes")
    rows = tuple(
        (
            f"{members.data.classes[true]} taken for {members.data.classes[said]}",
            (
                over_seeds(columns[0], share[:, true, said], members.groups, "%", PERCENT),
                over_seeds(columns[1], 100 * tables[:, true, said] / wrong, members.groups, "%", PERCENT),
            ),
        )
        for true, said in order
        if mean[true, said] > 0
    )
    return Sheet("Most confused classes", columns, rows)


# mistakes ──────────────────────────────────────────────────────────────────────────────


def worst(members: Members) -> list[tuple[int, int, float, float, float]]:
    """Test rows with the lowest probability for their class, averaged over the networks that were tested on them.

    Returns:
        Row, most often named class, mean probability of the true class, mean probability of the named one, share of
        networks that are wrong; only rows that at least half of their networks miss.
    """
    count, rows = len(members.data.classes), len(members.data.x)
    tested, wrong = np.zeros(rows), np.zeros(rows)
    total, votes = np.zeros((rows, count)), np.zeros((rows, count))
    for split, scores, said, failed in zip(
        members.splits, members.outputs, named(members), members.diverged, strict=True
    ):
        if failed:
            continue
        tested[split.test] += 1
        total[split.test] += scores
        votes[split.test, said] += 1
        wrong[split.test] += said != members.data.y[split.test]
    found = np.flatnonzero((tested > 0) & (2 * wrong >= tested) & (wrong > 0))
    mean = total[found] / tested[found, None]
    true = members.data.y[found]
    own = np.take_along_axis(mean, true[:, None], 1)[:, 0]
    votes[found, true] = -1
    taken = votes[found].argmax(-1)
    order = np.argsort(own, kind="stable")[:MISTAKES]
    return [
        (
            int(found[i]),
            int(taken[i]),
            float(own[i]),
            float(mean[i, taken[i]]),
            float(wrong[found[i]] / tested[found[i]]),
        )
        for i in order
    ]


def mistakes_sheet(members: Members) -> Sheet:
    """The surest mistakes as a table, for rows that cannot be shown as pictures."""
    columns = ("score of the true class", "score of the named class", "networks that are wrong")
    classes, y = members.data.classes, members.data.y
    rows = tuple(
        (
            f"row {place + 1}: {classes[y[place]]} taken for {classes[taken]}",
            (exact(columns[0], own), exact(columns[1], other), exact(columns[2], 100 * share, "%")),
        )
        for place, taken, own, other, share in worst(members)
    )
    return Sheet("Surest mistakes on test rows", columns, rows)


# pictures ──────────────────────────────────────────────────────────────────────────────


def figures(members: Members, sheet: Sheet) -> dict[str, Figure]:
    """Accuracy beside baselines, confusion matrix, ROC curve of two classes, worst mistakes of images."""
    found = {"baselines": accuracies(members, sheet)}
    if len(members.data.classes) <= MOST_CELLS:
        found["confusion matrix"] = matrix(members)
    if len(members.data.classes) == 2:
        found["ROC curve"] = roc_curve(members, sheet)
    if members.data.shape and worst(members):
        found["worst mistakes"] = pictures(members)
    return found


def accuracies(members: Members, sheet: Sheet) -> Figure:
    """Accuracy on test rows, one bar per method."""
    first = [(name, quantities[0]) for name, quantities in sheet.rows]
    bars = Bars(
        tuple(name for name, _ in first),
        tuple(q.mean for _, q in first),
        tuple(q.low if q.binomial_low is None or q.low is None else min(q.low, q.binomial_low) for _, q in first),
        tuple(q.high if q.binomial_high is None or q.high is None else max(q.high, q.binomial_high) for _, q in first),
    )
    rows = len(members.splits[0].test)
    caption = (
        f"{members.data.title}: accuracy on {rows:,} test rows; {interval_words(members.groups)}. Whiskers: the wider "
        f"of that interval and the binomial one for {rows:,} rows (Wilson). {spoken(first)}"
    )
    return Figure((Panel((bars,), x="method", y="accuracy on test rows [1]"),), caption)


def spoken(rows: list[tuple[str, Quantity]]) -> str:
    """Methods with their accuracies, as a sentence."""
    known = [f"{name} {100 * q.mean:.2f} %" for name, q in rows if q.mean is not None]
    return (", ".join(known) + ".").capitalize() if known else ""


def matrix(members: Members) -> Figure:
    """What is taken for what."""
    tables = confusions(members).sum(0).astype(np.float64)
    share = 100 * tables / np.maximum(tables.sum(-1, keepdims=True), 1)
    cells = Cells(tuple(numbers(np.round(line, 2)) for line in share), members.data.classes, members.data.classes)
    caption = (
        f"{members.data.title}: confusion matrix of the test rows, summed over {len(members.replicas)} "
        f"seed{'s' * (len(members.replicas) > 1)} ({tables.sum():,.0f} decisions) and divided by its rows: "
        f"a cell is the share [%] of a true class that was named so. {most_confused(members, share)}"
    )
    what = members.data.targets[0] if members.data.targets else "class"
    return Figure((Panel((cells,), x=f"named {what}", y=f"true {what}"),), caption, columns=1)


def most_confused(members: Members, share: np.ndarray) -> str:
    """The largest cell beside the diagonal, as a sentence."""
    beside = share - 1000 * np.eye(len(share))
    true, said = divmod(int(beside.argmax()), len(share))
    if beside[true, said] <= 0:
        return "No test row was misnamed."
    classes = members.data.classes
    return f"Most often {classes[true]} is taken for {classes[said]}: {share[true, said]:.2g} % of the class."


def roc_curve(members: Members, sheet: Sheet) -> Figure:
    """True against false positive rate for every threshold, one line per seed."""
    marks: list[Mark] = [Line((0.0, 1.0), (0.0, 1.0), label="guessing", colour=1, dashed=True)]
    label = f"network, {len(members.replicas)} seeds"
    for true, scores, failed in zip(truth(members), members.outputs, members.diverged, strict=True):
        if failed:
            continue
        false_rate, true_rate = performance.roc(true, scores[:, 1])
        keep = corners(false_rate, true_rate)
        marks.append(Line(numbers(false_rate[keep]), numbers(true_rate[keep]), label=label))
        label = ""
    area = next(q for q in sheet.rows[0][1] if q.name == "ROC AUC")
    said = "undefined" if area.mean is None else f"{area.mean:.4f}"
    caption = (
        f"{members.data.title}: share of rows of class {members.data.classes[1]} that are found, against the share of "
        f"the others that are taken for it, at every threshold; {len(members.splits[0].test):,} test rows. "
        f"Area {said}, {interval_words(members.groups)}; guessing has 0.5."
    )
    return Figure((Panel(tuple(marks), x="false positive rate [1]", y="true positive rate [1]"),), caption)


def corners(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Points of a staircase at which it turns: the others lie between two of them."""
    turn = np.ones(len(x), dtype=bool)
    before, after = np.diff(np.stack([x, y]))[:, :-1], np.diff(np.stack([x, y]))[:, 1:]
    turn[1:-1] = (before[0] * after[1] != before[1] * after[0]) | ((before == 0).all(0) & (after == 0).all(0))
    return np.flatnonzero(turn)


def pictures(members: Members) -> Figure:
    """The test images of whose wrong class the networks are surest."""
    data = members.data
    places = [w[0] for w in worst(members)]
    images = data.x[places].astype(np.float64)
    low, high = float(data.x.min()), float(data.x.max())
    scaled = np.clip(np.round(255 * (images - low) / ((high - low) or 1.0)), 0, 255).astype(np.uint8)
    shape = data.shape
    if len(shape) == 3:  # channels first as they are read, last as they are shown
        scaled = scaled.reshape(-1, *shape).transpose(0, 2, 3, 1)
        shape = (shape[1], shape[2], shape[0])
    captions = tuple(
        f"{data.classes[data.y[place]]}, not {data.classes[taken]} ({100 * own:.2g} %)"
        for place, taken, own, _, _ in worst(members)
    )
    caption = (
        f"{data.title}: the {len(places)} test images with the lowest score for their true class, mean over the seeds "
        "that were tested on them. Under each image the true class, the class named most often instead, and the score "
        "of the true one."
    )
    marks = Images(tuple(image.tobytes() for image in scaled), tuple(shape), captions)
    return Figure((Panel((marks,)),), caption, columns=1)


def facts(members: Members, baselines: Mapping[str, list[np.ndarray]], sheet: Sheet) -> dict[str, Quantity]:
    """What prose may refer to by name; gains are paired by seed, so that the division of the rows drops out."""
    rows = dict(sheet.rows)
    found = {f"test {q.name}": q for q in rows["network"]}
    found |= {f"{name} accuracy": quantities[0] for name, quantities in rows.items() if name != "network"}
    own = [performance.accuracy(t, s) for t, s in zip(truth(members), named(members), strict=True)]
    for name, outputs in baselines.items():
        pairs = zip(truth(members), outputs, strict=False)  # a baseline may have fewer seeds
        other = np.array([performance.accuracy(t, o.argmax(-1)) for t, o in pairs])
        gain = f"gain over {name}"
        found[gain] = over_seeds(gain, own[: len(other)] - other, members.groups[: len(other)], within=(-1.0, 1.0))
    return found
