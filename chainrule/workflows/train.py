"""A workflow from end to end: train many seeds, choose on validation, test once, compare with baselines, keep all."""

from collections.abc import Generator, Iterator
from pathlib import Path

import msgspec
import numpy as np
import sklearn

from chainrule import dataset
from chainrule.errors import ChainruleError
from chainrule.evidence.evaluation import Evaluation, Quantity, Sheet
from chainrule.evidence.figure import Figure
from chainrule.evidence.finding import to_json
from chainrule.experiment.cohort import assemble
from chainrule.experiment.condition import Condition
from chainrule.experiment.environment import versions
from chainrule.experiment.executors.job import Executor, Job, shared_store
from chainrule.experiment.protocol import REGISTERED
from chainrule.experiment.training import Progress, cell_key, shards
from chainrule.store import disk
from chainrule.store.keys import key
from chainrule.store.objects import Store
from chainrule.workflows import baselines, classification, curves, regression
from chainrule.workflows.defaults import folds_for
from chainrule.workflows.export import Network
from chainrule.workflows.members import Members, epoch_steps, fit, protocol, staged
from chainrule.workflows.summary import AT_MOST_ONE, POSITIVE, SHARE, over_seeds

FORMAT = 2  # of the record; raised when its tables, pictures or networks change
FROM_DATA = -1


def evaluate(
    condition: Condition,
    seeds: int,
    store: Store,
    folds: int = FROM_DATA,
    first: int = REGISTERED,
    executor: Executor | None = None,
) -> Generator[Progress, None, Evaluation]:
    """Train a condition by many seeds and describe the result: the record of ``chainrule train``.

    Every network is kept at its lowest validation loss; test rows are looked at after that, once. What is in the store
    is not computed again.

    Args:
        condition: Settings of the networks.
        seeds: Number of networks.
        store: Where networks, outputs of baselines and the record are kept.
        folds: Folds of an additional cross-validation of a regression; 0 for none, ``FROM_DATA`` for 5 where the data
            are small.
        first: First replica.
        executor: Where shards are computed; in this process if none is given.

    Yields:
        Progress.

    Returns:
        The record; ``Evaluation.run`` is its key in the store.

    Raises:
        ChainruleError: E102, E303 for a network that does not fit the data; E401 for folds of classes.
    """
    data = dataset.load(condition.data)
    folds = checked(folds_for(condition.data) if folds == FROM_DATA else folds, data)
    address = key({
        "kind": "evaluation", "condition": condition, "seeds": seeds, "first": first, "folds": folds, "data": data.hash,
        "format": FORMAT,
    })  # fmt: skip
    if kept := _kept(store, address):
        return kept[0]
    plans = [protocol(condition, seeds, first)]
    if folds:
        plans.append(protocol(folded(condition, folds), folds, first // folds * folds))
    stages = [len(shards(plan)) for plan in plans]
    total = sum(stages) + len(stages)
    members = yield from staged(fit(condition, seeds, store, first, executor), 0, total)
    others = yield from baselines.fitted(members, store, stages[0], total)
    validated: tuple[Sheet, ...] = ()
    if folds:
        sheet = yield from cross_validate(condition, store, folds, first, stages[0] + 1, total, executor)
        validated = (sheet,)
    evaluation = described(members, others, validated, address)
    files = {"evaluation.json": to_json(evaluation), "network.json": to_json(network(members, seeds, first))}
    store.put(address, files, "evaluation")
    return evaluation


def evaluation_job(condition: Condition, seeds: int, store: Store) -> Job:
    """A whole workflow as it travels: ``evaluate`` with its defaults."""
    plain = msgspec.json.decode(msgspec.json.encode(condition))
    folder = str(store.folder.absolute())
    return Job(f"{__name__}:evaluate_named", {"condition": plain, "seeds": seeds, "store": folder})


def evaluate_named(condition: dict[str, object], seeds: int, store: str) -> Iterator[Progress]:
    """Carry out a workflow in a worker; its record is stored before this ends.

    Raises:
        ChainruleError: E506 if the store is not that of the process that sent the job.
    """
    place = Store(Path(store))
    if not disk.is_file(place.folder / "FORMAT"):
        raise shared_store(place.folder)
    yield from evaluate(msgspec.convert(condition, Condition), seeds, place)


def cross_validate(
    condition: Condition,
    store: Store,
    folds: int,
    first: int = REGISTERED,
    done: int = 0,
    total: int = 1,
    executor: Executor | None = None,
) -> Generator[Progress, None, Sheet]:
    """k-fold cross-validation of a regression: fold i tests, the next one chooses the epoch, the others train.

    Args:
        condition: Settings of the networks.
        store: Where they are kept.
        folds: k.
        first: Replica near which the folds' replicas begin.
        done: Stages of a longer work that lie behind.
        total: Stages in all.
        executor: Where shards are computed; in this process if none is given.

    Yields:
        Progress.

    Returns:
        Errors on each fold and their mean, beside linear regression.
    """
    one = folded(condition, folds)
    members = yield from staged(fit(one, folds, store, first // folds * folds, executor), done, total)
    others = yield from baselines.fitted(members, store, total - 1, total)
    return regression.cross_validation(members, others)


def folded(condition: Condition, folds: int) -> Condition:
    """The condition with its rows divided into folds, and as many epochs as before."""
    once = msgspec.structs.replace(condition, splits=0, folds=folds)
    epochs = condition.steps / epoch_steps(condition)
    return msgspec.structs.replace(once, steps=round(epochs * epoch_steps(once)))


def checked(folds: int, data: dataset.Data) -> int:
    """The number of folds, refused for classes."""
    if folds and data.task != "regression":
        raise ChainruleError(
            "E401",
            f"folds={folds!r} has no effect for {data.title}.",
            "Cross-validation belongs to the workflow of regression; classes have an interval for their test rows.",
            "leave folds out",
        )
    return folds


def described(
    members: Members, others: dict[str, list[np.ndarray]], validated: tuple[Sheet, ...], address: str
) -> Evaluation:
    """Tables, facts and figures of trained networks."""
    data, split = members.data, members.splits[0]
    if data.task == "classification":
        sheets = classification.sheets(members, others)
        facts, figures = classification.facts(members, others, sheets[0]), classification.figures(members, sheets[0])
    else:
        sheets = regression.sheets(members, others)
        facts, figures = regression.facts(members, others, sheets), regression.figures(members)
    shown: dict[str, Figure] = {"learning curves": curves.figure(members)} | figures
    return Evaluation(
        data=data.name,
        title=data.title,
        description=data.description,
        licence=data.licence,
        citation=data.citation,
        data_hash=data.hash,
        task=data.task,
        condition={name: written(getattr(members.condition, name)) for name in Condition.__struct_fields__},
        seeds=len(members.replicas),
        rows=(len(split.train), len(split.validation), len(split.test)),
        parameters=members.condition.parameters,
        diverged=sum(members.diverged),
        chosen=chosen(members),
        sheets=(*sheets, curves.sheet(members), *validated),
        facts=facts | validation_facts(members),
        figures=shown,
        run=address,
        versions=versions() | {"scikit-learn": sklearn.__version__},
    )


def chosen(members: Members) -> str:
    """How the model was chosen, in words."""
    divided = (
        f"{members.condition.splits} divisions of the rows, shared by the seeds"
        if members.condition.splits
        else "a division of the rows of its own for each seed"
    )
    if members.data.test_rows:
        divided += ", beside the official test rows"
    return (
        f"Each network was kept at the end of the epoch with its lowest validation loss: "
        f"{curves.epochs_in_words(members)}; {divided}. "
        "Settings were chosen on validation rows; test rows were looked at once, after that."
    )


def validation_facts(members: Members) -> dict[str, Quantity]:
    """Facts of the choice: epoch, validation loss and metric there."""
    metric = "accuracy" if members.data.task == "classification" else "R²"
    share = SHARE if metric == "accuracy" else AT_MOST_ONE
    values = {
        "chosen epoch": (np.array(members.chosen_epochs), POSITIVE),
        "validation loss": (curves.at_chosen(members, "validation", 0), POSITIVE),
        f"validation {metric}": (curves.at_chosen(members, "validation", 1), share),
        f"training {metric}": (curves.at_chosen(members, "training", 1), share),
    }
    return {name: over_seeds(name, value, members.groups, "", within) for name, (value, within) in values.items()}


def written(value: object) -> str:
    """A setting as the command line takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def network(members: Members, seeds: int, first: int) -> Network:
    """Where the networks are, and what is needed to use them."""
    cohort = assemble((members.condition,), members.replicas)
    plan = protocol(members.condition, seeds, first)
    data = members.data
    units = f" [{data.units}]" if data.units else ""

    def few(row: np.ndarray) -> tuple[float, ...]:
        values = tuple(float(v) for v in row.reshape(-1))
        return values[:1] if len(set(values)) == 1 else values

    return Network(
        widths=members.condition.widths,
        activation=members.condition.activation,
        batch_norm=members.condition.batch_norm,
        head=cohort.objective.loss.head,
        inputs=data.features,
        logarithmic=data.logarithmic,
        outputs=data.classes or tuple(f"{target}{units}" for target in data.targets),
        cells={str(r): cell_key(plan, members.condition, r) for r in members.replicas},
        scales={
            str(r): {
                "input_mean": few(cohort.centre[s].numpy()),
                "input_std": few(cohort.spread[s].numpy()),
                "target_mean": few(cohort.target_centre[s].numpy()),
                "target_std": few(cohort.target_spread[s].numpy()),
            }
            for s, r in enumerate(members.replicas)
        },
    )


def _kept(store: Store, address: str) -> list[Evaluation]:
    """The stored record; none if it was damaged, which the store then has set aside."""
    try:
        return [msgspec.json.decode(store.get(address)["evaluation.json"], type=Evaluation)]
    except ChainruleError as error:
        if error.code != "E205":
            raise
        return []
