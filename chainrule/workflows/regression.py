"""Regression in tables and pictures: errors in units of the target, residuals, cross-validation, a map."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from chainrule.evidence.evaluation import Quantity, Sheet
from chainrule.evidence.figure import Band, Dots, Figure, Line, Panel, numbers
from chainrule.measure import performance
from chainrule.measure.performance import UNDEFINED
from chainrule.workflows.members import Members, groups
from chainrule.workflows.summary import AT_MOST_ONE, PERCENT, POSITIVE, band, exact, interval_words, over_seeds

BINS = 21
MOST_DOTS = 2_000
COLUMNS = ("MSE", "RMSE", "MAE", "R²")


def unit(members: Members, power: int = 1) -> str:
    """The unit of the targets, or of their square."""
    name = members.data.units
    if not name or power == 1:
        return name
    return f"({name})²" if " " in name else f"{name}²"


def said(members: Members) -> tuple[Float[np.ndarray, "T k"], ...]:
    """[S] predictions; those of a diverged network are no numbers, so that nothing can be averaged without them."""
    pairs = zip(members.outputs, members.diverged, strict=True)
    return tuple(np.full_like(outputs, np.nan) if failed else outputs for outputs, failed in pairs)


def truth(members: Members) -> tuple[Float[np.ndarray, "T k"], ...]:
    """[S] targets of the test rows."""
    return tuple(members.data.y[split.test].astype(np.float64) for split in members.splits)


# tables ────────────────────────────────────────────────────────────────────────────────


def sheets(members: Members, baselines: Mapping[str, list[np.ndarray]]) -> tuple[Sheet, ...]:
    """Test errors beside baselines, one table per target."""
    found = []
    for k, target in enumerate(members.data.targets):
        rows = [("network", row(members, said(members), k))]
        rows += [(name, row(members, tuple(outputs), k)) for name, outputs in baselines.items()]
        title = f"Test rows, {target}: network and baselines, {interval_words(members.groups)}"
        found.append(Sheet(title, COLUMNS, tuple(rows)))
    return tuple(found)


def errors(true: Float[np.ndarray, " T"], predicted: Float[np.ndarray, " T"]) -> tuple[float, float, float, float]:
    """MSE, RMSE, MAE, R² of one network and one target."""
    squared = float(performance.mse(true, predicted))
    return squared, squared**0.5, float(performance.mae(true, predicted)), float(performance.r2(true, predicted))


def row(members: Members, predicted: tuple[np.ndarray, ...], k: int) -> tuple[Quantity, ...]:
    """The errors of one method for one target over the seeds."""
    places = groups(members.condition, members.replicas[: len(predicted)])
    values = np.array([errors(t[:, k], p[:, k]) for t, p in zip(truth(members), predicted, strict=False)])
    units = (unit(members, 2), unit(members), unit(members), "")
    constant = bool(np.isfinite(values[:, 0]).all() and not np.isfinite(values[:, 3]).all())
    ranges = (POSITIVE, POSITIVE, POSITIVE, AT_MOST_ONE)
    words = UNDEFINED["r2"] if constant else ""
    return tuple(over_seeds(n, values[:, i], places, units[i], ranges[i], words) for i, n in enumerate(COLUMNS))


def cross_validation(members: Members, baselines: Mapping[str, list[np.ndarray]]) -> Sheet:
    """Errors on each fold, and their mean, beside linear regression on the same folds.

    Source:
        Bengio & Grandvalet (2004), No unbiased estimator of the variance of k-fold cross-validation.

    Args:
        members: One network per fold.
        baselines: Outputs on the same folds.
    """
    name = "linear regression"
    columns = tuple(f"{c}{suffix}" for suffix in ("", f", {name}") for c in COLUMNS[1:])
    rows, k = [], len(members.replicas)
    targets = members.data.targets
    units = (unit(members), unit(members), "") * 2
    ranges = (POSITIVE, POSITIVE, AT_MOST_ONE) * 2
    for t, target in enumerate(targets):
        values = []
        for true, own, other in zip(truth(members), said(members), baselines[name], strict=True):
            values.append([*errors(true[:, t], own[:, t])[1:], *errors(true[:, t], other[:, t])[1:]])
        prefix = f"{target}, " if len(targets) > 1 else ""
        for fold, line in enumerate(values):
            cells = tuple(
                over_seeds(c, [v], (0,), u) if not np.isfinite(v) else exact(c, v, u)
                for c, v, u in zip(columns, line, units, strict=True)
            )
            rows.append((f"{prefix}fold {fold + 1}", cells))
        mean = tuple(
            over_seeds(c, [line[i] for line in values], range(k), u, ranges[i])
            for i, (c, u) in enumerate(zip(columns, units, strict=True))
        )
        rows.append((f"{prefix}mean of {k} folds", mean))
    return Sheet(
        f"{k}-fold cross-validation; folds share training rows, so the interval of their mean is too narrow",
        columns,
        tuple(rows),
    )


# pictures ──────────────────────────────────────────────────────────────────────────────


def figures(members: Members) -> dict[str, Figure]:
    """Residuals against predictions and their histogram; a map where rows have a place."""
    if all(members.diverged):
        return {}
    found = {"residuals": residual_figure(members)}
    if located(members):
        found["map of errors"] = error_map(members)
    return found


def alive(members: Members) -> list[int]:
    """Seeds that did not diverge."""
    return [s for s, failed in enumerate(members.diverged) if not failed]


def residual_figure(members: Members) -> Figure:
    """Per target: residuals of the first seed against its predictions, and the histogram over all seeds."""
    panels = []
    shown = alive(members)[0]
    true, own = truth(members), said(members)
    words = []
    for k, target in enumerate(members.data.targets):
        label = f"{target} [{members.data.units or '1'}]"
        order = slice(None, MOST_DOTS)  # test rows are in random order
        predicted = own[shown][order, k]
        residual = predicted - true[shown][order, k]
        span = (float(predicted.min()), float(predicted.max()))
        dots = Dots(numbers(predicted), numbers(residual), label="test row")
        zero = Line(span, (0.0, 0.0), label="no error", colour=1, dashed=True)
        panels.append(Panel((dots, zero), x=f"predicted {label}", y=f"predicted − true {label}"))
        residuals = [own[s][:, k] - true[s][:, k] for s in alive(members)]
        panels.append(histogram(members, residuals, f"predicted − true {label}"))
        pooled = np.concatenate(residuals)
        words.append(
            f"{target}: mean residual {pooled.mean():.3g}, standard deviation {pooled.std():.3g}, half of all within "
            f"±{np.median(np.abs(pooled)):.3g}{' ' + members.data.units if members.data.units else ''}."
        )
    failed = sum(members.diverged)
    caption = (
        f"{members.data.title}: residuals on test rows. Left, {min(len(true[shown]), MOST_DOTS):,} rows of one seed "
        f"against the prediction. Right, their histogram, {interval_words(members.groups)}. {' '.join(words)}"
        + (f" {failed} of {len(members.replicas)} networks diverged and are not drawn." if failed else "")
    )
    return Figure(tuple(panels), caption)


def histogram(members: Members, residuals: list[np.ndarray], label: str) -> Panel:
    """Share of test rows per bin of the residual; the outer bins hold everything beyond them."""
    pooled = np.concatenate(residuals)
    reach = float(np.quantile(np.abs(pooled), 0.99)) or 1.0
    edges = np.linspace(-reach, reach, BINS + 1)
    shares = np.stack([np.histogram(np.clip(r, -reach, reach), edges)[0] / len(r) for r in residuals]) * 100
    places = [members.groups[s] for s in alive(members)]
    corners = np.repeat(edges, 2)[1:-1]
    mean, low, high = (np.repeat(ends, 2) for ends in band(shares, places, PERCENT))
    marks = (Line(numbers(corners), numbers(mean)), Band(numbers(corners), numbers(low), numbers(high)))
    return Panel(marks, x=f"{label}, outer bins with all beyond", y="share of test rows [%]")


def located(members: Members) -> bool:
    """Whether the features contain a longitude and a latitude."""
    return {"longitude", "latitude"} <= {name.lower() for name in members.data.features}


def error_map(members: Members) -> Figure:
    """Mean residual of each test row where it lies."""
    names = [name.lower() for name in members.data.features]
    rows = len(members.data.x)
    total, tested = np.zeros(rows), np.zeros(rows)
    true, own = truth(members), said(members)
    for s in alive(members):
        test = members.splits[s].test
        total[test] += own[s][:, 0] - true[s][:, 0]
        tested[test] += 1
    found = np.flatnonzero(tested)
    shown = found[np.linspace(0, len(found) - 1, min(len(found), 2 * MOST_DOTS)).round().astype(int)]
    residual = total[shown] / tested[shown]
    units = members.data.units or "1"
    # a few large errors would leave all others without colour
    reach = float(np.quantile(np.abs(residual), 0.98))
    place = members.data.x[shown].astype(np.float64)
    dots = Dots(
        numbers(place[:, names.index("longitude")]),
        numbers(place[:, names.index("latitude")]),
        numbers(np.clip(residual, -reach, reach)),
        f"predicted − true {members.data.targets[0]} [{units}]",
    )
    caption = (
        f"{members.data.title}: where the errors lie. {len(shown):,} of {len(found):,} tested rows, coloured by "
        f"predicted − true {members.data.targets[0]} [{units}], mean over the seeds that were tested on them, cut at "
        f"±{reach:.2g}. "
        f"Neighbours' errors are alike: {neighbour_words(members, shown, residual)}"
    )
    return Figure((Panel((dots,), x="longitude [°]", y="latitude [°]"),), caption, columns=1)


def neighbour_words(members: Members, rows: np.ndarray, residual: np.ndarray) -> str:
    """The correlation of residuals with that of the nearest other row, as a sentence."""
    from scipy.spatial import cKDTree

    names = [name.lower() for name in members.data.features]
    places = members.data.x[rows][:, [names.index("longitude"), names.index("latitude")]].astype(np.float64)
    _, nearest = cKDTree(places).query(places, k=2)
    likeness = float(np.corrcoef(residual, residual[nearest[:, 1]])[0, 1])
    return f"a residual and that of the nearest shown row have the correlation {likeness:.2f}."


def facts(members: Members, baselines: Mapping[str, list[np.ndarray]], found: tuple[Sheet, ...]) -> dict[str, Quantity]:
    """What prose may refer to by name; gains in R² are paired by seed. With several targets, each with its name."""
    result: dict[str, Quantity] = {}
    true, own = truth(members), said(members)
    for k, (sheet, target) in enumerate(zip(found, members.data.targets, strict=True)):
        suffix = f", {target}" if len(members.data.targets) > 1 else ""
        for name, quantities in sheet.rows:
            who = "test" if name == "network" else name
            result |= {f"{who} {q.name}{suffix}": q for q in quantities}
        for name, outputs in baselines.items():
            triples = zip(true, own, outputs, strict=True)
            gains = [errors(t[:, k], p[:, k])[3] - errors(t[:, k], o[:, k])[3] for t, p, o in triples]
            label = f"R² gain over {name}{suffix}"
            result[label] = over_seeds(label, gains, members.groups)
    return result
