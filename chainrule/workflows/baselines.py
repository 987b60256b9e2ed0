"""What a network must beat: chance and logistic regression; the mean, linear regression and ridge.

Each is fitted on the training rows of the same division as the network of its seed, standardised in the same way.
"""

import warnings
from collections.abc import Callable, Generator
from functools import partial

import numpy as np
from jaxtyping import Float
from safetensors.numpy import load as tensors_from_bytes
from safetensors.numpy import save as bytes_from_tensors

from chainrule import dataset
from chainrule.experiment.training import Progress
from chainrule.store.keys import key
from chainrule.store.objects import Store
from chainrule.workflows.members import Members

FORMAT = 1  # of the stored outputs; raised when a baseline changes
LARGE = 20_000_000  # numbers in the training rows beyond which logistic regression is limited
ITERATIONS = {False: 1000, True: 50}  # of L-BFGS; where 50 are too few to converge, the table says that it was limited
SEEDS_WHEN_LARGE = 3
STRENGTHS = tuple(10.0**e for e in range(-2, 6))  # λ of ridge on standardised columns [rows]


def fitted(
    members: Members, store: Store, done: int, total: int
) -> Generator[Progress, None, dict[str, list[np.ndarray]]]:
    """Outputs of every baseline on the test rows of each seed, in the form of ``Members.outputs``.

    Args:
        members: Whose divisions of the rows are used.
        store: Where outputs are kept.
        done: Stages of the workflow that lie behind.
        total: Stages in all.

    Yields:
        Progress, one per seed.

    Returns:
        Name → [S] arrays [T, k]; fewer than S where the data are large.
    """
    rows = CLASSIFIERS if members.data.task == "classification" else REGRESSIONS
    result: dict[str, list[np.ndarray]] = {name: [] for name in rows}
    for s in range(seeds_used(members)):
        for name, fit in rows.items():
            address = key({
                "kind": "baseline", "name": name, "format": FORMAT, "data": members.data.hash,
                "replica": members.replicas[s], "splits": members.condition.splits, "folds": members.condition.folds,
                "n_train": members.condition.n_train,
            })  # fmt: skip
            files = store.obtain(address, "baseline", partial(_packed, fit, members.data, members.splits[s]))
            result[name].append(tensors_from_bytes(files["outputs.safetensors"])["outputs"])
        yield Progress(done, total, s + 1, seeds_used(members))
    return result


def seeds_used(members: Members) -> int:
    """All seeds, but for large data the first three: only the division of the rows differs between them."""
    return min(len(members.replicas), SEEDS_WHEN_LARGE) if large(members) else len(members.replicas)


def large(members: Members) -> bool:
    """True if an iteration over the training rows is dear."""
    return bool(len(members.splits[0].train) * members.data.x.shape[1] > LARGE)


def notes(members: Members) -> dict[str, str]:
    """What is to be said beside each baseline."""
    if not large(members):
        return {}
    return {"logistic regression": f"{ITERATIONS[True]} iterations of L-BFGS, {seeds_used(members)} seeds"}


Fit = Callable[[dataset.Data, dataset.Split], Float[np.ndarray, "T k"]]


def _packed(fit: Fit, data: dataset.Data, split: dataset.Split) -> dict[str, bytes]:
    return {"outputs.safetensors": bytes_from_tensors({"outputs": np.ascontiguousarray(fit(data, split))})}


def inputs(data: dataset.Data, split: dataset.Split) -> tuple[Float[np.ndarray, "M d"], ...]:
    """Training, validation and test inputs, standardised by the training rows; float32, as the networks see them."""
    mean, std = dataset.scaling(data, split.train)
    x = dataset.inputs(data)
    centre, spread = mean.astype(np.float32), std.astype(np.float32)
    return tuple((x[rows].astype(np.float32) - centre) / spread for rows in (split.train, split.validation, split.test))


def most_frequent(data: dataset.Data, split: dataset.Split) -> Float[np.ndarray, "T K"]:
    """The shares of the classes among the training rows, whatever the input: names the most frequent class."""
    shares = np.bincount(data.y[split.train], minlength=len(data.classes)) / len(split.train)
    return np.tile(shares, (len(split.test), 1))


def logistic(data: dataset.Data, split: dataset.Split) -> Float[np.ndarray, "T K"]:
    """Probabilities of multinomial logistic regression with L2 penalty ½|w|², as scikit-learn has it by default."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    train, _, test = inputs(data, split)
    model = LogisticRegression(max_iter=ITERATIONS[train.size > LARGE])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the limit of iterations is said beside the number
        model.fit(train, data.y[split.train])
    said = np.zeros((len(test), len(data.classes)))
    said[:, model.classes_] = model.predict_proba(test)
    return said


def mean(data: dataset.Data, split: dataset.Split) -> Float[np.ndarray, "T k"]:
    """The mean of the training targets, whatever the input: R² = 0 up to the difference of two means."""
    return np.tile(data.y[split.train].mean(0, dtype=np.float64), (len(split.test), 1))


def linear(data: dataset.Data, split: dataset.Split) -> Float[np.ndarray, "T k"]:
    """Least squares."""
    from sklearn.linear_model import LinearRegression

    train, _, test = (part.astype(np.float64) for part in inputs(data, split))
    said: np.ndarray = LinearRegression().fit(train, data.y[split.train]).predict(test)
    return said.reshape(len(test), -1)


def ridge(data: dataset.Data, split: dataset.Split) -> Float[np.ndarray, "T k"]:
    """Least squares with λ|w|², λ of ``STRENGTHS`` with the lowest squared error on the validation rows."""
    from sklearn.linear_model import Ridge

    train, validation, test = (part.astype(np.float64) for part in inputs(data, split))
    _, spread = dataset.target_scaling(data, split.train)
    goal = data.y[split.train]
    models = [Ridge(alpha=strength).fit(train, goal) for strength in STRENGTHS]
    # one target comes back without its axis
    guesses = [model.predict(validation).reshape(len(validation), -1) for model in models]
    errors = [np.mean(((guess - data.y[split.validation]) / spread) ** 2) for guess in guesses]
    said: np.ndarray = models[int(np.argmin(errors))].predict(test)
    return said.reshape(len(test), -1)


CLASSIFIERS: dict[str, Fit] = {"logistic regression": logistic, "most frequent class": most_frequent}
REGRESSIONS: dict[str, Fit] = {"ridge regression": ridge, "linear regression": linear, "mean of the targets": mean}
