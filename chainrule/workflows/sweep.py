"""A grid of conditions, each trained by many seeds: chosen on validation, and only the chosen one is tested."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from chainrule import dataset
from chainrule.errors import ChainruleError
from chainrule.evidence.evaluation import Quantity, Sheet
from chainrule.experiment.cohort import division
from chainrule.experiment.condition import DTYPES, Condition
from chainrule.experiment.engines import NEVER
from chainrule.experiment.executors.job import Executor
from chainrule.experiment.protocol import REGISTERED, Protocol
from chainrule.experiment.training import Progress, carry_out, shards
from chainrule.measure import performance
from chainrule.store.objects import Store
from chainrule.workflows import classification, regression
from chainrule.workflows.axes import Axis, combinations
from chainrule.workflows.defaults import condition_for
from chainrule.workflows.members import Members, epoch_steps, fit, groups, protocol, staged
from chainrule.workflows.summary import AT_MOST_ONE, POSITIVE, SHARE, exact, interval_words, over_seeds, undefined
from chainrule.workflows.train import written

EXACT = 1_000  # conditions up to which each one's cost is added
MOST_NETWORKS = 100_000  # that are trained without being asked twice
RATE = 1e11  # multiplications and additions a second: about the fastest matrix product of one core
FILES, BLOCK = 5, 4096  # of one network in the store: files with their folder, and the bytes that the least takes
READING = 32  # bytes of one look: loss and metric of two sets of rows, in float64


class Tried(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One condition of a sweep.

    Args:
        settings: Axis → value, as ``train`` takes them.
        loss: Validation loss at the chosen epoch. Without a mean if a network diverged.
        metric: Validation accuracy or R² there.
        epoch: The chosen epoch.
        diverged: Networks whose loss was not finite at some step.
        epochs: Epochs that the networks were trained for.
        stopped: Whether a search gave the condition up before its last epoch.
        above: Validation loss above that of the chosen condition, paired by seed. That the chosen one was the lowest of
            all is not corrected for.
    """

    settings: dict[str, str]
    loss: Quantity
    metric: Quantity
    epoch: Quantity
    diverged: int
    epochs: float
    stopped: bool = False
    above: Quantity | None = None


class Sweep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sweep or a search has found.

    Args:
        data: Name of the dataset.
        title: Its title.
        task: ``"classification"`` or ``"regression"``.
        metric: ``"accuracy"`` or ``"R²"``.
        seeds: Networks per condition.
        intervals: What the intervals mean, in words.
        tried: The conditions: a grid in its order, a search from the best to the worst.
        chosen: Place of the one with the lowest mean validation loss; ``None`` if each has a diverged network.
        test: What the chosen one says about the test rows, which no other network has seen.
        columns: Names and types (``"number"``, ``"whole"``, ``"truth"``, ``"text"``) of ``networks``.
        networks: One row per network.
        saved: Of a search: the share of the epochs that stopping early has spared, those spent twice subtracted.
    """

    data: str
    title: str
    task: str
    metric: str
    seeds: int
    intervals: str
    tried: tuple[Tried, ...]
    chosen: int | None
    test: Sheet | None
    columns: tuple[tuple[str, str], ...]
    networks: tuple[tuple[str | float | int | bool | None, ...], ...]
    saved: float | None = None


@dataclass(frozen=True)
class Outcome:
    """The networks of one condition after training, as far as validation rows show them.

    Args:
        condition: Their settings.
        epoch: Steps per epoch.
        loss: [S] validation loss at the chosen step.
        metric: [S] validation metric there.
        chosen_step: [S].
        diverged_at: [S] step, -1 for none.
    """

    condition: Condition
    epoch: int
    loss: np.ndarray
    metric: np.ndarray
    chosen_step: np.ndarray
    diverged_at: np.ndarray

    @property
    def diverged(self) -> np.ndarray:
        """[S] whether a network diverged."""
        return np.asarray(self.diverged_at != NEVER)


@dataclass(frozen=True)
class Size:
    """How much a sweep is, before it begins.

    Args:
        conditions: Combinations of the axes.
        networks: What is trained: whole blocks of seeds, as ``shards`` has it.
        n_bytes: About what they take in the store.
        seconds: The least that one core needs: forward and backward products at ``RATE``.
    """

    conditions: int
    networks: int
    n_bytes: float
    seconds: float


def sweep(
    data_name: str,
    axes: Sequence[Axis],
    epochs: int,
    seeds: int,
    store: Store,
    first: int = REGISTERED,
    executor: Executor | None = None,
) -> Generator[Progress, None, Sweep]:
    """Train every combination of the axes by many seeds and choose by the mean validation loss.

    Networks are those that ``evaluate`` trains for the same settings, under the same keys.

    Args:
        data_name: Name of a dataset.
        axes: What varies and what is fixed; all else as ``condition_for`` has it.
        epochs: Passes over the training rows; 0 for the dataset's own number.
        seeds: Networks per condition.
        store: Where they are kept; what is there is not trained again.
        first: First replica.
        executor: Where they are trained; in this process if none is given.

    Yields:
        Progress.

    Returns:
        The table, the choice and its test.

    Raises:
        ChainruleError: E401 for several loss functions; as ``condition_for`` and ``combinations``.
    """
    settings = list(combinations(axes))
    conditions = tuple(condition_for(data_name, setting, epochs) for setting in settings)
    comparable(conditions)
    outcomes = yield from trained(conditions, seeds, store, first, executor)
    rows = tuple(tried(setting, outcome, first) for setting, outcome in zip(settings, outcomes, strict=True))
    return (yield from described(rows, outcomes, seeds, store, first))


def comparable(conditions: Sequence[Condition]) -> None:
    """Refuse several loss functions: the lowest of their values means nothing.

    Raises:
        ChainruleError: E401.
    """
    losses = list(dict.fromkeys(condition.loss for condition in conditions))
    if len(losses) > 1:
        raise ChainruleError(
            "E401",
            f"loss={'|'.join(losses)!r} cannot be compared.",
            "A sweep chooses the lowest validation loss, and each loss function has values of its own.",
            "one sweep for each loss",
        )


def protocols(conditions: Sequence[Condition], seeds: int, first: int = REGISTERED) -> list[Protocol]:
    """The grid as one protocol; as one per length of the epoch where batches or rows vary.

    Networks are looked at after each epoch, and a protocol has one schedule.
    """
    lengths: dict[tuple[int, ...], int] = {}
    groups: dict[int, list[Condition]] = {}
    for condition in dict.fromkeys(conditions):
        rows = (condition.n_train, condition.batch, condition.splits, condition.folds)
        if rows not in lengths:
            lengths[rows] = epoch_steps(condition, first)
        groups.setdefault(lengths[rows], []).append(condition)
    return [replace(protocol(group[0], seeds, first), conditions=tuple(group)) for group in groups.values()]


def trained(
    conditions: Sequence[Condition],
    seeds: int,
    store: Store,
    first: int = REGISTERED,
    executor: Executor | None = None,
) -> Generator[Progress, None, list[Outcome]]:
    """Networks of many conditions, trained or read; one outcome per condition, in their order."""
    plans = protocols(conditions, seeds, first)
    counts = [len(shards(plan)) for plan in plans]
    found: dict[Condition, Outcome] = {}
    for i, plan in enumerate(plans):
        runs = yield from staged(carry_out(plan, store, executor=executor), sum(counts[:i]), sum(counts))
        for run in runs:
            for c, condition in enumerate(run.conditions):
                assert isinstance(condition, Condition)  # a protocol of networks returns networks
                steps = [run.steps.index(int(step)) for step in run.chosen_step[c]]
                scores = run.readings["validation"][c][np.arange(seeds), steps]
                found[condition] = Outcome(
                    condition, plan.at.every, scores[:, 0], scores[:, 1], run.chosen_step[c], run.diverged_at[c]
                )
    return [found[condition] for condition in conditions]


def tried(settings: dict[str, str], outcome: Outcome, first: int, stopped: bool = False) -> Tried:
    """One condition with its intervals over seeds; a diverged network leaves no mean."""
    places = groups(outcome.condition, tuple(range(first, first + len(outcome.loss))))
    within = SHARE if dataset.load(outcome.condition.data).task == "classification" else AT_MOST_ONE
    unit = "nat" if "entropy" in outcome.condition.loss else ""
    values = np.stack([outcome.loss, outcome.metric, outcome.chosen_step / max(outcome.epoch, 1)])
    loss, metric, epoch = np.where(outcome.diverged, np.nan, values)
    return Tried(
        settings=settings,
        loss=over_seeds("validation loss", loss, places, unit, POSITIVE),
        metric=over_seeds(f"validation {metric_of(outcome.condition)}", metric, places, within=within),
        epoch=over_seeds("chosen epoch", epoch, places, within=POSITIVE),
        diverged=int(outcome.diverged.sum()),
        epochs=outcome.condition.steps / max(outcome.epoch, 1),
        stopped=stopped,
    )


def metric_of(condition: Condition) -> str:
    """``"accuracy"`` or ``"R²"``."""
    return "accuracy" if dataset.load(condition.data).task == "classification" else "R²"


def choice(rows: Sequence[Tried]) -> int | None:
    """Place of the lowest mean validation loss among conditions that were trained to the end and never diverged."""
    losses = [np.inf if row.stopped or row.loss.mean is None else row.loss.mean for row in rows]
    best = int(np.argmin(losses))
    return best if np.isfinite(losses[best]) else None


def described(
    rows: tuple[Tried, ...],
    outcomes: Sequence[Outcome],
    seeds: int,
    store: Store,
    first: int,
    saved: float | None = None,
) -> Generator[Progress, None, Sweep]:
    """Choose, test the chosen condition, and put everything together."""
    data = dataset.load(outcomes[0].condition.data)
    best = choice(rows)
    test, tested = None, np.full(0, np.nan)
    if best is not None:
        members = yield from fit(outcomes[best].condition, seeds, store, first)
        test, tested = tests(members)
        pairs = zip(rows, outcomes, strict=True)
        rows = tuple(msgspec.structs.replace(row, above=above(o, outcomes[best], members.groups)) for row, o in pairs)
    metric = metric_of(outcomes[0].condition)
    columns, networks = table(outcomes, first, best, tested)
    intervals = interval_words(groups(outcomes[0].condition, tuple(range(first, first + seeds))))
    return Sweep(
        data=data.name,
        title=data.title,
        task=data.task,
        metric=metric,
        seeds=seeds,
        intervals=intervals,
        tried=rows,
        chosen=best,
        test=test,
        columns=columns,
        networks=networks,
        saved=saved,
    )


def above(outcome: Outcome, chosen: Outcome, places: Sequence[int]) -> Quantity:
    """How far a condition's validation loss lies above the chosen one's; each seed is compared with itself."""
    gaps = np.where(outcome.diverged, np.nan, outcome.loss - chosen.loss)
    return over_seeds("above the chosen", gaps, places)


def tests(members: Members) -> tuple[Sheet, np.ndarray]:
    """What networks say about their test rows: a table, and [S] accuracy or R² averaged over the targets."""
    title = f"Test rows, the chosen condition alone: {interval_words(members.groups)}"
    if members.data.task == "classification":
        said = classification.named(members)
        row = classification.row(members, said, members.outputs, members.diverged)
        pairs = zip(classification.truth(members), said, strict=True)
        scores = np.array([performance.accuracy(true, own) for true, own in pairs])
        return Sheet(title, tuple(q.name for q in row), (("network", row),)), scores
    own, true = regression.said(members), regression.truth(members)
    rows = [(target, regression.row(members, own, k)) for k, target in enumerate(members.data.targets)]
    scores = np.array([
        np.mean([regression.errors(t[:, k], o[:, k])[3] for k in range(t.shape[1])])
        for t, o in zip(true, own, strict=True)
    ])  # fmt: skip
    return Sheet(title, regression.COLUMNS, tuple(rows)), scores


# one row per network ───────────────────────────────────────────────────────────────────


def table(
    outcomes: Sequence[Outcome], first: int, best: int | None, tested: np.ndarray
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str | float | int | bool | None, ...], ...]]:
    """Columns and rows of all networks.

    They are the fields that vary, the seed, what validation rows say, and what test rows say where they were looked at.
    """
    conditions = [outcome.condition for outcome in outcomes]
    names = [name for name in Condition.__struct_fields__ if len({getattr(c, name) for c in conditions}) > 1]
    kinds = {bool: "truth", int: "whole", float: "number"}
    metric = "accuracy" if metric_of(conditions[0]) == "accuracy" else "r2"
    columns = [(name, kinds.get(type(getattr(conditions[0], name)), "text")) for name in names]
    columns += [("seed", "whole"), ("validation_loss", "number"), (f"validation_{metric}", "number")]
    columns += [(f"test_{metric}", "number"), ("diverged_at", "whole"), ("chosen_step", "whole")]
    rows = []
    for place, outcome in enumerate(outcomes):
        values = [getattr(outcome.condition, name) for name in names]
        settings = [written(v) if isinstance(v, tuple) else v for v in values]
        for s, loss in enumerate(outcome.loss):
            test = float(tested[s]) if place == best else None
            failed = int(outcome.diverged_at[s]) if outcome.diverged[s] else None
            scores = (finite(loss), finite(outcome.metric[s]), test)
            rows.append((*settings, first + s, *scores, failed, int(outcome.chosen_step[s])))
    return tuple(columns), tuple(rows)


def finite(value: float) -> float | None:
    """A number as tables can carry it: none where it is not finite."""
    return float(value) if np.isfinite(value) else None


def sheet(found: Sweep, most: int) -> Sheet:
    """The conditions as a table for the eye: the best ``most`` of them if they are more, in their order."""
    losses = [np.inf if row.loss.mean is None else row.loss.mean for row in found.tried]
    ranks = np.lexsort((losses, [row.stopped for row in found.tried]))
    shown = range(len(losses)) if len(losses) <= most else sorted(int(rank) for rank in ranks[:most])
    rows = []
    for place in shown:
        row = found.tried[place]
        words = " ".join(f"{name}={value}" for name, value in row.settings.items())
        cells = [row.loss, row.above or undefined("above", "none was chosen"), row.metric, row.epoch]
        cells += [exact("of epochs", row.epochs), exact("diverged", row.diverged)]
        rows.append((words + (" (chosen)" if place == found.chosen else ""), tuple(cells)))
    left = f"; the {most} best of {len(losses)}" if len(losses) > most else ""
    columns = ("validation loss", "above chosen", f"validation {found.metric}", "epoch", "of", "diverged")
    return Sheet(f"Validation rows: {found.intervals}{left}", columns, tuple(rows))


def command(found: Sweep) -> str:
    """The command that trains the chosen condition and lays baselines beside it; its networks are in the store."""
    if found.chosen is None:
        return "chainrule sweep with other settings"
    row = found.tried[found.chosen]
    settings = " ".join(f"{name}={value}" for name, value in row.settings.items())
    epochs = "" if "steps" in row.settings else f" --epochs {row.epochs:g}"
    return f"chainrule train data={found.data} {settings} --seeds {found.seeds}{epochs}"


def warnings(found: Sweep) -> list[str]:
    """What a reader of the table should know: how many conditions diverged, what a search has spared."""
    failed = [row for row in found.tried if row.diverged]
    said = []
    if failed:
        said.append(
            f"warning W501: {len(failed)} of {len(found.tried)} conditions have diverged networks "
            f"({sum(row.diverged for row in failed)} in all).\n"
            "  They have no mean and cannot be chosen.\n"
            "  fix: if you did not intend this, lower the learning rate"
        )
    if found.saved is not None:
        stopped = sum(row.stopped for row in found.tried)
        said.append(
            f"{stopped} of {len(found.tried)} trials were stopped early, which spared {100 * found.saved:.0f} % of the "
            "epochs; their losses are those of shorter trainings"
        )
    return said


# how much it is ────────────────────────────────────────────────────────────────────────


def size(data_name: str, axes: Sequence[Axis], epochs: int, seeds: int, first: int = REGISTERED) -> Size:
    """How much a grid is; one beyond ``EXACT`` conditions as if they all were the mean of two opposite corners."""
    count = math.prod(len(axis.values) for axis in axes)
    settings = combinations(axes)
    if count > EXACT:
        settings = iter({axis.name: axis.values[end] for axis in axes} for end in (0, -1))
    costs = [_cost(condition_for(data_name, setting, epochs), seeds, first) for setting in settings]
    networks, n_bytes, seconds = (float(mean) * count for mean in np.mean(costs, axis=0))
    return Size(count, round(networks), n_bytes, seconds)


def _cost(condition: Condition, seeds: int, first: int) -> tuple[float, float, float]:
    """Networks of one condition, their bytes in the store and their least seconds."""
    plan = protocol(condition, seeds, first)
    networks = sum(len(shard.replicas) for shard in shards(plan))
    rows = condition.batch or condition.n_train or len(division(condition, dataset.load(condition.data), first).train)
    looks = len(plan.at.steps(condition.steps))
    n_bytes = condition.parameters * DTYPES[condition.dtype] + looks * READING + FILES * BLOCK
    operations = 6 * condition.parameters - 2 * condition.widths[0] * condition.widths[1]
    return networks, networks * n_bytes, networks * float(operations) * rows * condition.steps / RATE


def allowed(found: Size, agreed: bool) -> Size:
    """The size, if it is one that nobody trains by mistake.

    Raises:
        ChainruleError: E406 beyond ``MOST_NETWORKS``, unless agreed.
    """
    if found.networks > MOST_NETWORKS and not agreed:
        raise ChainruleError(
            "E406",
            f"the grid is {in_words(found)}.",
            f"More than {MOST_NETWORKS:,} networks are trained only if you say so.",
            "fewer points or seeds, --search 200, or --yes",
        )
    return found


def in_words(found: Size) -> str:
    """A size for people."""
    units = ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
    unit, name = next((pair for pair in units if found.seconds >= 2 * pair[0]), (0.0, ""))
    time = f", and {found.seconds / unit:,.0f} {name} of one core at least" if unit else ""
    space = f"{found.n_bytes / 1e9:,.1f} GB" if found.n_bytes >= 1e9 else f"{found.n_bytes / 1e6:,.1f} MB"
    return f"{found.conditions:,} conditions, {found.networks:,} networks: about {space} in the store{time}"
