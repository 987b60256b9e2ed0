"""What every contender is given and gives back, and chainrule's own two: its default engine and its torch engine."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bench.worker import Absent
from chainrule.calculus.network import forward
from chainrule.experiment.captured import captured
from chainrule.experiment.cohort import Cohort, assemble, division, initial_params, moved
from chainrule.experiment.condition import Condition
from chainrule.experiment.engines import Engine, State, initial, manual
from chainrule.experiment.training import carry_out, seed_block


@dataclass(frozen=True)
class Contender:
    """Networks in training.

    Args:
        run: Train all members some epochs more.
        outputs: Outputs [members, n, k] for inputs [n, d].
    """

    run: Callable[[], object]
    outputs: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Task:
    """What a peer is given.

    Args:
        condition: Settings.
        epochs: Passes in one call of ``run``.
        x: Standardised training inputs of replica 0, rows that fill whole batches [N, d].
        y: Targets [N, k], one-hot for classes.
        weights: Initial weights of every member and layer, [n_in, n_out].
        biases: Initial biases, [n_out].
    """

    condition: Condition
    epochs: int
    x: np.ndarray
    y: np.ndarray
    weights: list[list[np.ndarray]]
    biases: list[list[np.ndarray]]

    @property
    def classes(self) -> bool:
        """Whether the targets are classes."""
        return self.condition.loss == "cross_entropy"

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self.x) // self.condition.batch

    @property
    def halved(self) -> float:
        """Learning rate where the loss is the mean square without our factor 1/2: the updates are the same."""
        gradient_counts = self.condition.optimiser != "adam"
        return self.condition.lr / 2 if gradient_counts and not self.classes else self.condition.lr


def task(condition: Condition, epochs: int, replicas: Sequence[int]) -> Task:
    """The task of a peer: the rows of the first replica for all members, initial weights of each replica."""
    if condition.optimiser not in ("sgd", "heavy_ball", "adam"):
        raise Absent(f"the peers are not written for optimiser={condition.optimiser}")
    cohort = assemble((condition,), replicas[:1])
    rows = cohort.train[:, : cohort.epoch * cohort.batch]
    params = initial_params(assemble((condition,), replicas))
    members = range(len(replicas))
    return Task(
        condition,
        epochs,
        cohort.inputs(rows)[0, 0].numpy(),
        cohort.targets(rows)[0, 0].numpy(),
        [[w[0, s].numpy() for w in params.weights] for s in members],
        [[b[0, s, 0].numpy() for b in params.biases] for s in members],
    )


def held_out(condition: Condition, replica: int, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Standardised inputs and targets of the ``validation`` or ``test`` rows of a replica."""
    cohort = assemble((condition,), (replica,))
    chosen = getattr(division(condition, cohort.data, replica), part)
    rows = torch.from_numpy(np.asarray(chosen))[None]
    return cohort.inputs(rows)[0, 0].numpy(), cohort.targets(rows)[0, 0].numpy()


def mean_loss(condition: Condition, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The loss of every member [members] by outputs [members, n, k], in one form for all contenders."""
    z = z.astype(np.float64)
    if condition.loss == "squared_error":
        loss: np.ndarray = 0.5 * np.square(z - y).sum(-1).mean(-1)
        return loss
    top = z.max(-1, keepdims=True)
    log_sum = np.log(np.exp(z - top).sum(-1)) + top[..., 0]
    loss = (log_sum - (z * y).sum(-1)).mean(-1)
    return loss


# chainrule ───────────────────────────────────────────────────────────────────────────────


def default_engine() -> Engine:
    """The engine that a user gets who names none."""
    engine: Engine = inspect.signature(carry_out).parameters["engine"].default
    return engine


def engine_name(engine: Engine) -> str:
    """An engine as the tables name it."""
    if engine is manual:
        return "chainrule.experiment.engines.manual"
    return f"{engine.__module__}.{getattr(engine, '__name__', type(engine).__name__)}"


def chainrule(condition: Condition, epochs: int, replicas: Sequence[int], engine: Engine | None = None) -> Contender:
    """The default engine of chainrule, on cohorts of as many seeds as ``carry_out`` computes together."""
    engine = engine or default_engine()
    block = min(seed_block(condition), len(replicas))
    blocks = [tuple(replicas[i : i + block]) for i in range(0, len(replicas), block)]
    engine(initial(assemble((condition,), blocks[0])), 2)  # compiles, and is thrown away
    states = [initial(assemble((condition,), one)) for one in blocks]

    def run() -> None:
        for i, state in enumerate(states):
            states[i] = engine(state, epochs * state.cohort.epoch)

    def outputs(x: np.ndarray) -> np.ndarray:
        return np.concatenate([predicted(state, x) for state in states])

    return Contender(run, outputs)


def chainrule_on_device(condition: Condition, epochs: int, replicas: Sequence[int], device: str = "cuda") -> Contender:
    """The recorded torch engine: all replicas as one stack on the device, each segment replayed without the host."""
    cohort = moved(assemble((condition,), tuple(replicas)), device)
    captured(initial(cohort), 2)  # records, and is thrown away
    state = initial(cohort)

    def run() -> None:
        nonlocal state
        state = captured(state, epochs * cohort.epoch)
        if device == "cuda":
            torch.cuda.synchronize()

    def outputs(x: np.ndarray) -> np.ndarray:
        inputs = torch.from_numpy(x)[None, None].to(cohort.device)
        moments = state.moments if condition.batch_norm else None
        return forward(state.params, inputs, cohort.objective.activation, moments=moments).output[0].cpu().numpy()

    return Contender(run, outputs)


def predicted(state: State, x: np.ndarray) -> np.ndarray:
    """Outputs [S, n, k] of a cohort of one condition."""
    cohort: Cohort = state.cohort
    moments = state.moments if cohort.condition.batch_norm else None
    z = forward(state.params, torch.from_numpy(x)[None, None], cohort.objective.activation, moments=moments).output
    return z[0].numpy()


def chainrule_torch(condition: Condition, epochs: int, replicas: Sequence[int]) -> Contender:
    """The torch engine of chainrule: stacked tensors and gradients derived by hand."""
    return chainrule(condition, epochs, replicas, manual)
