"""A search instead of a grid: Optuna proposes batches of trials, each batch is trained as one stack and told at once.

Pruning is successive halving within a batch. Every trial is first trained for a ninth of its epochs; the best third is
trained again, from its beginning, for a third of them; the best third of those for all. A short training is a network
of its own with its whole learning-rate schedule, so it lies in the store like any other, and nothing needs to be
continued. What is spared is told with the result (``Sweep.saved``): of a batch of 16, 16/9 + 6/3 + 2 = 5.8 full
trainings remain.

Optuna's storage holds finished trials only. A proposal is a pure function of those before its batch and of the root
seed, so an interrupted batch is proposed again, its networks are found in the store, and nothing is lost or doubled.

Source:
    Jamieson & Talwalkar (2016), Non-stochastic best arm identification and hyperparameter optimization, section 3;
    Akiba, Sano, Yanase, Ohta & Koyama (2019), Optuna: a next-generation hyperparameter optimization framework;
    Bergstra, Bardenet, Bengio & Kégl (2011), Algorithms for hyper-parameter optimization (the sampler, TPE).
"""

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import msgspec

from chainrule import dataset
from chainrule.errors import ChainruleError
from chainrule.experiment.condition import Condition
from chainrule.experiment.executors.job import Executor
from chainrule.experiment.protocol import REGISTERED
from chainrule.experiment.training import Progress
from chainrule.randomness import ROOT, stream
from chainrule.store.keys import key
from chainrule.store.objects import Store
from chainrule.workflows.axes import Axis
from chainrule.workflows.defaults import condition_for
from chainrule.workflows.members import epoch_steps
from chainrule.workflows.sweep import Sweep, Tried, comparable, described, trained, tried

TOGETHER = 16  # trials of a batch
REDUCTION = 3  # of each rung the best third goes on: Jamieson & Talwalkar's η, the value of Li et al. (2018)
RUNGS = 3  # trainings of a trial that is never stopped: a ninth of its epochs, a third, all
DIGITS = 6  # of a proposed number


@dataclass(frozen=True)
class Plan:
    """What a search is, but for the number of its trials.

    Args:
        data: Name of a dataset.
        axes: Ranges and alternatives are searched, single values are fixed.
        epochs: As ``condition_for`` has it.
        seeds: Networks per trial; its objective is their mean validation loss.
        together: Trials of a batch.
        first: First replica.
    """

    data: str
    axes: tuple[Axis, ...]
    epochs: int
    seeds: int
    together: int = TOGETHER
    first: int = REGISTERED

    def __post_init__(self) -> None:
        if not any(axis.scale for axis in self.axes):
            raise ChainruleError(
                "E401",
                "--search has nothing to search.",
                "None of the settings is a range; alternatives alone are a grid.",
                "for example lr=0.001..0.1:log, or leave --search out",
            )
        if self.together < 2:
            raise ChainruleError(
                "E406", f"a batch of {self.together} trials is out of range.", "At least 2 can be compared.", "16"
            )

    @property
    def name(self) -> str:
        """The study: another search has another one."""
        axes = [[axis.name, axis.scale, axis.low, axis.high, [] if axis.scale else axis.values] for axis in self.axes]
        rest = [self.epochs, self.seeds, self.together, self.first, ROOT, REDUCTION, RUNGS]
        return "chainrule-" + key({"search": axes, "of": rest, "data": dataset.load(self.data).hash})[:16]

    @property
    def space(self) -> dict[str, Any]:
        """The axes that vary, as Optuna's distributions."""
        kinds = library().distributions
        space = {}
        for axis in self.axes:
            if axis.scale and axis.whole:
                space[axis.name] = kinds.IntDistribution(int(axis.low), int(axis.high), log=axis.scale == "log")
            elif axis.scale:
                space[axis.name] = kinds.FloatDistribution(axis.low, axis.high, log=axis.scale == "log")
            elif axis.varies:
                space[axis.name] = kinds.CategoricalDistribution(axis.values)
        return space

    def settings(self, proposed: dict[str, object]) -> dict[str, str]:
        """A proposal with the fixed settings, as ``train`` takes them."""
        return {axis.name: str(proposed.get(axis.name, axis.values[0] if axis.values else "")) for axis in self.axes}

    def condition(self, proposed: dict[str, object], rung: int) -> Condition:
        """The networks of a proposal on a rung: the last one has all epochs, each one before a third of the next."""
        whole = condition_for(self.data, self.settings(proposed), self.epochs)
        epoch = max(epoch_steps(whole, self.first), 1)
        epochs = max(1, round(whole.steps / epoch / REDUCTION ** (RUNGS - 1 - rung)))
        return whole if rung == RUNGS - 1 else msgspec.structs.replace(whole, steps=min(whole.steps, epochs * epoch))


def search(
    plan: Plan, trials: int, storage: str, store: Store, executor: Executor | None = None
) -> Generator[Progress, None, Sweep]:
    """Search until a study has so many finished trials, then choose among those that were trained to the end.

    Args:
        plan: What is searched.
        trials: Finished trials, those of earlier commands with the same plan included.
        storage: URL of a relational database as SQLAlchemy has it: ``sqlite:////path/to/file``.
        store: Where networks are kept; what is there is not trained again.
        executor: Where they are trained; in this process if none is given.

    Yields:
        Progress in trials.

    Returns:
        The trials, the best first, and the test of the chosen one.

    Raises:
        ChainruleError: E406 for fewer trials than one, E704 for a storage that cannot be used; as ``condition_for``.
    """
    if trials < 1:
        raise ChainruleError("E406", f"--search {trials} is out of range.", "At least 1 trial is.", "--search 200")
    with opened(storage, plan.name) as study:
        while len(history := finished(study)) < trials:
            yield Progress(len(history), trials, 0, 1)
            start, count = pending(history, min(plan.together, trials - len(history)))
            proposals = proposed(plan, history[:start], count)
            told = yield from counted(halved(plan, proposals, start, store, executor), len(history), trials)
            for trial in told[len(finished(study)) - start :]:  # another process may have told some of them meanwhile
                study.add_trial(trial)
    return (yield from gathered(plan, history[:trials], store))


def pending(history: Sequence[Any], count: int) -> tuple[int, int]:
    """Start and length of the next batch, or of the last one if an interruption has left it half told.

    Each trial carries both numbers of its own batch, so ``count`` may differ from command to command.
    """
    if history:
        start, length = history[-1].user_attrs["batch"]
        if len(history) < start + length:
            return int(start), int(length)
    return len(history), count


def proposed(plan: Plan, history: Sequence[Any], count: int) -> list[dict[str, object]]:
    """The next proposals: a function of the plan, of the finished trials and of the root seed alone."""
    seed = int(stream(plan.first, "search", epoch=len(history)).integers(2**31))
    optuna = library()
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True))
    study.add_trials(history)
    space = plan.space
    asked = [study.ask(space).params for _ in range(count)]
    return [{name: rounded(value, space[name]) for name, value in params.items()} for params in asked]


def rounded(value: object, distribution: Any) -> object:
    """A number with few digits, still within its range: whoever reads it can type it."""
    if not isinstance(value, float):
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), distribution.low), distribution.high)


def halved(
    plan: Plan, proposals: Sequence[dict[str, object]], start: int, store: Store, executor: Executor | None
) -> Generator[Progress, None, list[Any]]:
    """Train a batch rung by rung; a trial with a diverged network, or beyond the best third, goes no further."""
    losses: list[dict[int, float]] = [{} for _ in proposals]
    diverged = [False] * len(proposals)
    going = list(range(len(proposals)))
    for rung in range(RUNGS):
        conditions = [plan.condition(proposals[i], rung) for i in going]
        comparable(conditions)
        outcomes = yield from trained(conditions, plan.seeds, store, plan.first, executor)
        for i, outcome in zip(going, outcomes, strict=True):
            mean = tried({}, outcome, plan.first).loss.mean
            diverged[i] = mean is None
            if mean is not None:
                losses[i][rung] = mean
        alive = sorted((i for i in going if not diverged[i]), key=lambda i: losses[i][rung])
        if rung < RUNGS - 1:
            going = sorted(alive[: -(-len(going) // REDUCTION)])
    optuna = library()
    return [
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.COMPLETE if RUNGS - 1 in losses[i] else optuna.trial.TrialState.PRUNED,
            value=losses[i].get(RUNGS - 1),
            params=proposals[i],
            distributions=plan.space,
            # the sampler puts a pruned trial without readings behind all others: there a diverged one belongs
            intermediate_values={} if diverged[i] else losses[i],
            user_attrs={"batch": [start, len(proposals)], "rung": max(losses[i], default=-1) + diverged[i]},
        )
        for i in range(len(proposals))
    ]


def counted(work: Generator[Progress, None, list[Any]], done: int, trials: int) -> Generator[Progress, None, list[Any]]:
    """The progress of a batch in trials: ``done`` lie behind it."""
    while True:
        try:
            at = next(work)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        yield Progress(done, trials, at.step, at.steps)


def gathered(plan: Plan, history: Sequence[Any], store: Store) -> Generator[Progress, None, Sweep]:
    """The trials of a study as a sweep: each with the networks of its last rung, read from the store."""
    rungs = [int(trial.user_attrs["rung"]) for trial in history]
    conditions = [plan.condition(trial.params, rung) for trial, rung in zip(history, rungs, strict=True)]
    outcomes = yield from trained(conditions, plan.seeds, store, plan.first)
    rows = [
        tried(plan.settings(trial.params), outcome, plan.first, stopped=rung < RUNGS - 1)
        for trial, outcome, rung in zip(history, outcomes, rungs, strict=True)
    ]
    order = sorted(range(len(rows)), key=lambda i: rank(rows[i]))
    spent = 0.0
    for trial, rung in zip(history, rungs, strict=True):
        trainings = [plan.condition(trial.params, r) for r in range(RUNGS)]
        # where a training has so few epochs that two rungs coincide, it is done once
        spent += sum({c: c.steps for c in trainings[: rung + 1]}.values()) / max(trainings[-1].steps, 1)
    saved = 1 - spent / len(history)
    best_first = tuple(rows[i] for i in order)
    ordered = [outcomes[i] for i in order]
    return (yield from described(best_first, ordered, plan.seeds, store, plan.first, saved))


def rank(row: Tried) -> tuple[bool, float, float]:
    """To sort by: trained to the end first, then the longer ones, each by its loss; diverged ones last."""
    return row.loss.mean is None or row.stopped, -row.epochs, float("inf") if row.loss.mean is None else row.loss.mean


# the storage ───────────────────────────────────────────────────────────────────────────


@contextmanager
def opened(url: str, name: str) -> Iterator[Any]:
    """The study in a database, made if need be; the connection is closed at the end.

    Raises:
        ChainruleError: E704.
    """
    optuna = library()
    from sqlalchemy.exc import SQLAlchemyError  # Optuna brings it

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = optuna.storages.RDBStorage(url)
        try:
            yield optuna.create_study(study_name=name, storage=storage, load_if_exists=True)
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (SQLAlchemyError, ImportError, optuna.exceptions.OptunaError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ChainruleError(
            "E704",
            f"the storage {re.sub('//.*@', '//…@', url)!r} of the search cannot be used: {reason}",
            "It is a relational database by its URL; trials that were told are kept, and so are all networks.",
            "for example --storage sqlite:///search.sqlite, or leave it out",
        ) from error


def beside(store: Store) -> str:
    """The URL of the database that searches use unless told otherwise: a file in the store's folder."""
    return f"sqlite:///{store.folder.resolve() / 'search.sqlite'}"


def refuse_storage(url: str) -> None:
    """Refuse a storage without a search.

    Raises:
        ChainruleError: E407.
    """
    if url:
        raise ChainruleError(
            "E407", "--storage has no effect without --search.", "It keeps the trials of a search.", "add --search 200"
        )


def library() -> ModuleType:
    """Optuna.

    Raises:
        ChainruleError: E702 if it is not installed.
    """
    try:
        import optuna
    except ImportError as missing:
        raise ChainruleError(
            "E702",
            f"a search needs Optuna: {missing}.",
            "It is an optional library.",
            'pip install "chainrule[search]"',
        ) from missing
    return optuna  # type: ignore[no-any-return]


def finished(study: Any) -> list[Any]:
    """The finished trials of this search, in their order."""
    return [trial for trial in study.get_trials(deepcopy=False) if "batch" in trial.user_attrs]
