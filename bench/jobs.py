"""What workers do: train and be timed, multiply matrices, reach a target, fill memory."""

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import torch

from bench.contenders import Contender, chainrule, default_engine, held_out, mean_loss, task
from bench.rows import condition_of
from bench.worker import Absent, Job, peak_memory
from chainrule.experiment.cohort import assemble
from chainrule.experiment.engines import initial
from chainrule.experiment.kept import pack
from chainrule.experiment.protocol import Protocol
from chainrule.experiment.training import shards

CONTENDERS = {
    "chainrule": "bench.contenders:chainrule",
    "chainrule, torch engine": "bench.contenders:chainrule_torch",
    "PyTorch loop": "bench.peers:torch_loop",
    "PyTorch DataLoader": "bench.peers:torch_loader",
    "scikit-learn": "bench.peers:sklearn_mlp",
    "JAX scan": "bench.peers:jax_scan",
    "JAX vmap": "bench.peers:jax_vmap",
    "Keras": "bench.peers:keras_fit",
}
ON_A_DEVICE = {"chainrule on the device": "bench.contenders:chainrule_on_device"}


def contender(name: str) -> Callable[..., Contender]:
    """The function of a contender; its libraries are imported in here and nowhere earlier."""
    module, _, function = (CONTENDERS | ON_A_DEVICE)[name].partition(":")
    found: Callable[..., Contender] = getattr(importlib.import_module(module), function)
    return found


def training(
    name: str, condition: Mapping[str, object], epochs: int, replicas: Sequence[int], device: str = "cpu"
) -> Job:
    """Train; in the end, the mean training loss of the first member, by which one sees that all did the same work."""
    settings = condition_of(condition)
    more = {} if device == "cpu" else {"device": device}
    one = contender(name)(settings, epochs, tuple(replicas), **more)

    def loss() -> float:
        plain = task(msgspec.structs.replace(settings, optimiser="sgd", momentum=0.9, weight_decay=0.0), 1, (0,))
        return float(mean_loss(settings, one.outputs(plain.x)[:1], plain.y)[0])

    return Job(one.run, loss)


# the fastest matrix products ─────────────────────────────────────────────────────────────


def rates(shapes: Sequence[Sequence[int]], seconds: float) -> Job:
    """Rates of float32 matrix products [m, k] @ [k, n] by numpy's BLAS and by torch's [operations / s]."""

    def run() -> list[dict[str, object]]:
        return [rate(m, k, n, seconds) for m, k, n in shapes]

    return Job(run)


def rate(m: int, k: int, n: int, seconds: float) -> dict[str, object]:
    """The best of many timings of one shape in each library: what the machine can do when nothing disturbs it."""
    draw = np.random.Generator(np.random.PCG64(0))
    a, b = draw.standard_normal((m, k), dtype=np.float32), draw.standard_normal((k, n), dtype=np.float32)
    out = np.empty((m, n), dtype=np.float32)
    ta, tb, tout = torch.from_numpy(a), torch.from_numpy(b), torch.empty(m, n)
    times = {
        "numpy": best(lambda: np.matmul(a, b, out=out), seconds),
        "torch": best(lambda: torch.mm(ta, tb, out=tout), seconds),
    }
    return {"shape": [m, k, n], **{library: 2.0 * m * k * n / time for library, time in times.items()}}


def best(product: Callable[[], object], seconds: float) -> float:
    """Seconds of one call: the smallest mean over short series, so that the clock's own cost does not count."""
    product()
    start = time.perf_counter()
    product()
    series = max(1, int(0.002 / max(time.perf_counter() - start, 1e-7)))
    lowest, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(series):
            product()
        lowest = min(lowest, (time.perf_counter() - start) / series)
    return lowest


# to a target ─────────────────────────────────────────────────────────────────────────────


def to_accuracy(name: str, condition: Mapping[str, object], replica: int, target: float, epochs: int) -> Job:
    """Epochs of training until the test accuracy is reached, one network; only training is timed."""
    settings = condition_of(condition)
    one = contender(name)(settings, 1, (replica,))
    x, y = held_out(settings, replica, "test")

    def run() -> dict[str, object]:
        seconds, curve = 0.0, []
        for _ in range(epochs):
            start = time.perf_counter()
            one.run()
            seconds += time.perf_counter() - start
            curve.append(float((one.outputs(x)[0].argmax(1) == y.argmax(1)).mean()))
            if curve[-1] >= target:
                break
        return {"seconds": seconds, "epochs": len(curve), "reached": curve[-1] >= target, "accuracy": curve}

    return Job(run)


def to_best_validation(name: str, condition: Mapping[str, object], replicas: Sequence[int], epochs: int) -> Job:
    """A fixed number of epochs with a look at the validation rows after each; the lowest loss of every network."""
    settings = condition_of(condition)
    one = contender(name)(settings, 1, tuple(replicas))
    x, y = held_out(settings, 0, "validation")

    def run() -> dict[str, object]:
        start, curve = time.perf_counter(), []
        for _ in range(epochs):
            one.run()
            curve.append(mean_loss(settings, one.outputs(x), y))
        seconds = time.perf_counter() - start
        losses = np.stack(curve)  # [epochs, seeds]
        chosen = losses.argmin(0) + 1
        return {"seconds": seconds, "epochs": float(chosen.mean()), "loss": float(losses.min(0).mean())}

    return Job(run)


# memory ──────────────────────────────────────────────────────────────────────────────────


def memory_of_shards(condition: Mapping[str, object], networks: int, steps: int) -> Job:
    """chainrule: a cohort shard by shard, each member's parameters kept packed, as a run keeps them."""
    settings = msgspec.structs.replace(condition_of(condition), steps=steps)
    engine = default_engine()
    kept: list[bytes] = []

    def run() -> dict[str, object]:
        before = peak_memory()
        for shard in shards(Protocol((settings,), seeds=networks, first=0)):
            state = engine(initial(assemble(shard.conditions, shard.replicas)), steps)
            kept.extend(pack(state.params, state.moments, 0, s) for s in range(len(shard.replicas)))
        return {"networks": len(kept), "before": before, "bytes": sum(len(member) for member in kept)}

    return Job(run)


def memory_of_a_stack(condition: Mapping[str, object], networks: int, steps: int) -> Job:
    """JAX: all networks as one vmap, a few steps; one network's initial weights for all, which costs the same."""
    import jax
    import jax.numpy as jnp

    settings = condition_of(condition)
    given = task(settings, 1, (0,))
    x, y = jnp.asarray(given.x), jnp.asarray(given.y)

    def loss(params: list[Any], inputs: Any, targets: Any) -> Any:
        h = inputs
        for w, b in params[:-1]:
            h = jnp.maximum(h @ w + b, 0)
        w, b = params[-1]
        return 0.5 * jnp.square(h @ w + b - targets).sum(-1).mean()

    def trained(params: Any, order: Any) -> Any:
        def step(params: Any, rows: Any) -> Any:
            slope = jax.grad(loss)(params, x[rows], y[rows])
            return jax.tree.map(lambda p, g: p - settings.lr * g, params, slope), None

        return jax.lax.scan(step, params, order)[0]

    def run() -> dict[str, object]:
        before = peak_memory()
        draw = np.random.Generator(np.random.PCG64(0))
        params = [
            (jnp.broadcast_to(w, (networks, *w.shape)), jnp.broadcast_to(b, (networks, *b.shape)))
            for w, b in zip(given.weights[0], given.biases[0], strict=True)
        ]
        order = draw.integers(0, len(given.x), (networks, steps, settings.batch), dtype=np.int32)
        done = jax.jit(jax.vmap(trained), donate_argnums=0)(params, order)
        jax.block_until_ready(done)
        return {"networks": networks, "before": before, "bytes": sum(a.nbytes for pair in done for a in pair)}

    return Job(run)


def memory_of_a_loop(condition: Mapping[str, object], networks: int, steps: int) -> Job:
    """The PyTorch loop: one network after the other, each kept as its state."""
    settings = condition_of(condition)
    given = task(settings, 1, (0,))
    x, y = torch.tensor(given.x), torch.tensor(given.y)
    kept: list[dict[str, torch.Tensor]] = []

    def run() -> dict[str, object]:
        from bench.peers import networks as built
        from bench.peers import optimiser, torch_loss

        before, (loss, _) = peak_memory(), torch_loss(given)
        for _ in range(networks):
            model = built(given)[0]
            step = optimiser(given, model)
            order = torch.randperm(len(x))
            for i in range(steps):
                rows = order[i * settings.batch : (i + 1) * settings.batch]
                step.zero_grad()
                loss(model(x[rows]), y[rows]).backward()
                step.step()
            kept.append({name: t.detach() for name, t in model.state_dict().items()})
        held = sum(t.numel() * t.element_size() for state in kept for t in state.values())
        return {"networks": networks, "before": before, "bytes": held}

    return Job(run)


# options ─────────────────────────────────────────────────────────────────────────────────


def options(
    condition: Mapping[str, object], changes: Mapping[str, Mapping[str, object]], epochs: int, members: int
) -> Job:
    """The default engine of chainrule on a row with some settings changed: a repeat times all variants, in turns."""
    variants = {
        name: chainrule(condition_of({**condition, **change}), epochs, tuple(range(members)))
        for name, change in changes.items()
    }

    def run() -> dict[str, float]:
        seconds = {}
        for name, variant in variants.items():
            start = time.perf_counter()
            variant.run()
            seconds[name] = time.perf_counter() - start
        return seconds

    return Job(run)


def on_the_gpu(name: str, condition: Mapping[str, object], epochs: int, members: int) -> Job:
    """A contender on the first CUDA device."""
    if not torch.cuda.is_available():
        raise Absent("no CUDA device")
    return training(name, condition, epochs, range(members), device="cuda")
