"""What people would otherwise use: the PyTorch loop, its DataLoader, scikit-learn, JAX, Keras.

Each function prepares one contender: the same training rows, the same initial weights, the same loss, batch size and
learning rate, float32, batches in a new random order every epoch. Each is written as well as we know to within its own
manners; where one has a faster form, both are here. A library that is not installed is an ``ImportError``: the table
says so and goes on.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from bench.contenders import Contender, Task, task
from bench.worker import Absent
from chainrule.experiment.condition import Condition

# PyTorch ─────────────────────────────────────────────────────────────────────────────────


def networks(task: Task) -> list[torch.nn.Sequential]:
    """The members as ``torch.nn.Sequential``."""
    found = []
    for weights, biases in zip(task.weights, task.biases, strict=True):
        layers: list[torch.nn.Module] = []
        for w, b in zip(weights, biases, strict=True):
            linear = torch.nn.Linear(*w.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.tensor(w.T))
                linear.bias.copy_(torch.tensor(b))
            layers += [linear, torch.nn.ReLU()]
        found.append(torch.nn.Sequential(*layers[:-1]))
    return found


def optimiser(task: Task, model: torch.nn.Module) -> torch.optim.Optimizer:
    """PyTorch's form of the condition's optimiser."""
    c = task.condition
    if c.optimiser == "adam":
        return torch.optim.Adam(model.parameters(), lr=task.halved, betas=(c.momentum, c.beta2))
    return torch.optim.SGD(model.parameters(), task.halved, momentum=c.momentum if c.optimiser == "heavy_ball" else 0.0)


def torch_loss(task: Task) -> tuple[torch.nn.Module, torch.Tensor]:
    """PyTorch's loss, and the targets in the form that it is fastest with."""
    if task.classes:
        return torch.nn.CrossEntropyLoss(), torch.tensor(task.y.argmax(1))
    return torch.nn.MSELoss(), torch.tensor(task.y)


def torch_outputs(models: Sequence[torch.nn.Module], device: str = "cpu") -> Callable[[np.ndarray], np.ndarray]:
    """Predictions of some models."""

    def outputs(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.stack([model(torch.tensor(x, device=device)).cpu().numpy() for model in models])

    return outputs


def torch_loop(condition: Condition, epochs: int, replicas: Sequence[int], device: str = "cpu") -> Contender:
    """The plain PyTorch loop: one network after the other, batches by a permutation."""
    given = task(condition, epochs, replicas)
    models = [model.to(device) for model in networks(given)]
    optimisers = [optimiser(given, model) for model in models]
    loss, y = torch_loss(given)
    x, y, batch = torch.tensor(given.x, device=device), y.to(device), condition.batch

    def train(model: torch.nn.Module, step: torch.optim.Optimizer, steps: int) -> None:
        order = torch.randperm(len(x), device=device)
        for i in range(steps):
            rows = order[i * batch : (i + 1) * batch]
            step.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            step.step()

    warm = copy.deepcopy(models[0])
    train(warm, optimiser(given, warm), 2)

    def run() -> None:
        for _ in range(epochs):
            for model, step in zip(models, optimisers, strict=True):
                train(model, step, given.steps)
        if device != "cpu":
            torch.cuda.synchronize()

    return Contender(run, torch_outputs(models, device))


def torch_loader(condition: Condition, epochs: int, replicas: Sequence[int]) -> Contender:
    """The loop of the tutorials: batches from a ``DataLoader``."""
    given = task(condition, epochs, replicas)
    models = networks(given)
    optimisers = [optimiser(given, model) for model in models]
    loss, y = torch_loss(given)
    rows = torch.utils.data.TensorDataset(torch.tensor(given.x), y)
    loader = torch.utils.data.DataLoader(rows, batch_size=condition.batch, shuffle=True, drop_last=True)
    next(iter(loader))

    def run() -> None:
        for _ in range(epochs):
            for model, step in zip(models, optimisers, strict=True):
                for inputs, targets in loader:
                    step.zero_grad()
                    loss(model(inputs), targets).backward()
                    step.step()

    return Contender(run, torch_outputs(models))


# scikit-learn ────────────────────────────────────────────────────────────────────────────


def sklearn_mlp(condition: Condition, epochs: int, replicas: Sequence[int]) -> Contender:
    """scikit-learn's multi-layer perceptron, whose loss has our factor 1/2."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    given = task(condition, epochs, replicas)
    y = given.y.argmax(1) if given.classes else given.y[:, 0]
    settings: dict[str, Any] = {
        "hidden_layer_sizes": condition.widths[1:-1],
        "solver": "adam" if condition.optimiser == "adam" else "sgd",
        "alpha": 0.0,
        "batch_size": condition.batch,
        "learning_rate_init": condition.lr,
        "max_iter": 1,
        "tol": 0.0,
        "n_iter_no_change": 10**9,
        "momentum": condition.momentum if condition.optimiser == "heavy_ball" else 0.0,
        "nesterovs_momentum": False,
        "beta_1": condition.momentum,
        "beta_2": condition.beta2,
        "warm_start": True,
    }
    form = MLPClassifier if given.classes else MLPRegressor
    models = []
    some = len(given.x) if condition.batch * 8 > len(given.x) else condition.batch * 8
    for weights, biases in zip(given.weights, given.biases, strict=True):
        model = form(**settings)
        model.fit(given.x[:some], y[:some])  # makes its arrays, which then take our initial weights
        if given.classes and len(model.classes_) != condition.widths[-1]:
            raise Absent("the first batches lack a class")
        model.coefs_, model.intercepts_ = [w.copy() for w in weights], [b.copy() for b in biases]
        model.max_iter = epochs
        del model._optimizer  # or partial_fit would go on with the momentum of the first batches
        models.append(model)

    def run() -> None:
        for model in models:
            if condition.optimiser == "sgd":
                model.n_iter_ = 0
                model.fit(given.x, y)
            else:  # fit would forget the optimiser's memory
                for _ in range(epochs):
                    model.partial_fit(given.x, y)

    def outputs(x: np.ndarray) -> np.ndarray:
        if given.classes:
            # the probabilities' logarithms are the outputs up to a constant, to which the loss is blind
            return np.stack([np.log(np.maximum(model.predict_proba(x), 1e-30)) for model in models])
        return np.stack([model.predict(x)[:, None] for model in models])

    return Contender(run, outputs)


# JAX ─────────────────────────────────────────────────────────────────────────────────────


def jax_scan(condition: Condition, epochs: int, replicas: Sequence[int]) -> Contender:
    """JAX, an epoch in one compiled scan, one network after the other."""
    return jax_epochs(condition, epochs, replicas, stacked=False)


def jax_vmap(condition: Condition, epochs: int, replicas: Sequence[int]) -> Contender:
    """JAX, an epoch in one compiled scan over all networks at once."""
    return jax_epochs(condition, epochs, replicas, stacked=True)


def jax_epochs(condition: Condition, epochs: int, replicas: Sequence[int], stacked: bool) -> Contender:
    """An epoch as one program, compiled before it is timed; batch orders by numpy, since sorting is slow in XLA."""
    import jax
    import jax.numpy as jnp

    given = task(condition, epochs, replicas)
    x, y, batch, steps = jnp.asarray(given.x), jnp.asarray(given.y), condition.batch, given.steps

    def outputs_of(params: list[Any], inputs: Any) -> Any:
        h = inputs
        for w, b in params[:-1]:
            h = jnp.maximum(h @ w + b, 0)
        w, b = params[-1]
        return h @ w + b

    def loss(params: list[Any], inputs: Any, targets: Any) -> Any:
        z = outputs_of(params, inputs)
        if given.classes:
            return -(targets * jax.nn.log_softmax(z)).sum(-1).mean()
        return 0.5 * jnp.square(z - targets).sum(-1).mean()

    update, slots = jax_update(condition)

    def epoch(params: Any, memory: Any, t: Any, order: Any, x: Any, y: Any) -> Any:
        def step(carry: Any, rows: Any) -> Any:
            params, memory, t = carry
            slope = jax.grad(loss)(params, x[rows], y[rows])
            return (*update(params, slope, memory, t + 1), t + 1), None

        return jax.lax.scan(step, (params, memory, t), order)[0]

    members = [
        [(jnp.asarray(w), jnp.asarray(b)) for w, b in zip(weights, biases, strict=True)]
        for weights, biases in zip(given.weights, given.biases, strict=True)
    ]
    draw = np.random.Generator(np.random.PCG64(0))

    def order() -> np.ndarray:
        return draw.permutation(len(given.x)).astype(np.int32)[: steps * batch].reshape(steps, batch)

    def begun(params: Any) -> tuple[Any, Any, Any]:
        zeros = tuple(jax.tree.map(jnp.zeros_like, params) for _ in range(slots))
        return params, zeros, jnp.float32(0)

    if stacked:
        whole = jax.vmap(epoch, in_axes=(0, 0, None, 0, None, None), out_axes=(0, 0, None))
        groups = [begun(jax.tree.map(lambda *leaves: jnp.stack(leaves), *members))]
    else:
        whole = epoch
        groups = [begun(params) for params in members]

    def orders() -> np.ndarray:
        return np.stack([order() for _ in members]) if stacked else order()

    program = jax.jit(whole, donate_argnums=(0, 1)).lower(*groups[0], orders(), x, y).compile()

    def run() -> None:
        for _ in range(epochs):
            for i, group in enumerate(groups):
                groups[i] = program(*group, orders(), x, y)
        jax.block_until_ready(groups)

    def outputs(inputs: np.ndarray) -> np.ndarray:
        if stacked:
            return np.asarray(jax.vmap(outputs_of, in_axes=(0, None))(groups[0][0], inputs))
        return np.stack([np.asarray(outputs_of(group[0], inputs)) for group in groups])

    return Contender(run, outputs)


def jax_update(condition: Condition) -> tuple[Callable[..., Any], int]:
    """The condition's optimiser on trees, as (params, gradient, memory, step) → (params, memory); and its slots."""
    import jax
    import jax.numpy as jnp

    lr, beta, beta2 = condition.lr, condition.momentum, condition.beta2

    def sgd(params: Any, slope: Any, memory: Any, t: Any) -> Any:
        return jax.tree.map(lambda p, g: p - lr * g, params, slope), memory

    def heavy_ball(params: Any, slope: Any, memory: Any, t: Any) -> Any:
        velocity = jax.tree.map(lambda v, g: beta * v + g, memory[0], slope)
        return jax.tree.map(lambda p, v: p - lr * v, params, velocity), (velocity,)

    def adam(params: Any, slope: Any, memory: Any, t: Any) -> Any:
        mean = jax.tree.map(lambda m, g: beta * m + (1 - beta) * g, memory[0], slope)
        square = jax.tree.map(lambda s, g: beta2 * s + (1 - beta2) * g * g, memory[1], slope)
        first, second = 1 - beta**t, 1 - beta2**t

        def moved(p: Any, m: Any, s: Any) -> Any:
            return p - lr * (m / first) / (jnp.sqrt(s / second) + 1e-8)

        return jax.tree.map(moved, params, mean, square), (mean, square)

    return {"sgd": (sgd, 0), "heavy_ball": (heavy_ball, 1), "adam": (adam, 2)}[condition.optimiser]


# Keras ───────────────────────────────────────────────────────────────────────────────────


def keras_fit(condition: Condition, epochs: int, replicas: Sequence[int]) -> Contender:
    """Keras on JAX, its own ``fit``."""
    import keras

    given = task(condition, epochs, replicas)

    def compiled(weights: list[np.ndarray], biases: list[np.ndarray]) -> Any:
        inner = [keras.layers.Dense(n, activation="relu") for n in condition.widths[1:-1]]
        model = keras.Sequential(
            [keras.layers.Input((condition.widths[0],)), *inner, keras.layers.Dense(condition.widths[-1])]
        )
        model.set_weights([a for pair in zip(weights, biases, strict=True) for a in pair])
        if condition.optimiser == "adam":
            rule = keras.optimizers.Adam(given.halved, condition.momentum, condition.beta2, epsilon=1e-8)
        else:
            momentum = condition.momentum if condition.optimiser == "heavy_ball" else 0.0
            rule = keras.optimizers.SGD(given.halved, momentum=momentum)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True) if given.classes else "mean_squared_error"
        model.compile(optimizer=rule, loss=loss)
        return model

    models = [compiled(w, b) for w, b in zip(given.weights, given.biases, strict=True)]
    for model in models:  # each traces its own program; a batch compiles it, then all is put back
        model.optimizer.build(model.trainable_variables)
        variables = [*model.variables, *model.optimizer.variables]
        before = [np.array(variable) for variable in variables]
        model.train_on_batch(given.x[: condition.batch], given.y[: condition.batch])
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)

    def run() -> None:
        for model in models:
            model.fit(given.x, given.y, batch_size=condition.batch, epochs=epochs, shuffle=True, verbose=0)

    def outputs(x: np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(model.predict(x, batch_size=4096, verbose=0)) for model in models])

    return Contender(run, outputs)
