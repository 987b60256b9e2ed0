"""The engine for a GPU: one step is recorded as a CUDA graph and replayed for a whole segment, without the host.

A replay repeats the recorded operations on the same memory with the same Python numbers. So everything that changes
from step to step (rows, dropout, learning rates, the count of steps) is prepared for many steps at once and lies on the
device, where the step finds its place by a counter that it increments itself; losses are written by the same counter.
On the CPU the same step is called instead of replayed.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from chainrule.calculus.backprop import manual_gradient
from chainrule.calculus.network import Moments, Params
from chainrule.experiment.cohort import Cohort, moved
from chainrule.experiment.engines import (
    State,
    first_failure,
    learning_rate_factors,
    manual,
    running_moments,
    take_step,
)

STEPS = 256  # prepared at once, or fewer, so that what is prepared takes
BYTES = 2**28  # at most, if one step does not take more
WARM_UP = 3  # steps before the recording, in which libraries allocate what they need


@dataclass(frozen=True)
class Recording:
    """A step of a cohort on a device, in memory that is never given back: the graph has its addresses.

    Args:
        cohort: The cohort on the device.
        params: Parameters.
        memory: The optimiser's slots.
        moments: Running moments of batch normalisation.
        given: What the coming n steps need, each [n, …], as ``prepared`` makes it.
        losses: Their losses [n, C, S].
        place: Which of the n steps is the next.
        step: Take it; recorded on a GPU.
    """

    cohort: Cohort
    params: Params
    memory: tuple[dict[str, Tensor], ...]
    moments: Moments
    given: dict[str, Tensor]
    losses: Tensor
    place: Int[Tensor, "1"]
    step: Callable[[], object]


def captured(state: State, steps: int, device: torch.device | None = None) -> State:
    """``steps`` steps of training by a step that is recorded once per cohort.

    Noise on inputs or gradients, and moved pixels, are as large as what they act on and are not prepared: a cohort with
    these is trained by the reference, where its State is.

    Args:
        state: Where to start; its tensors are overwritten, and stay on their device.
        steps: How many steps.
        device: Where to compute; where the cohort is, if none is given.

    Returns:
        The State after them, on the device of ``state``.

    Error:
        Equal to the reference engine to the rounding of the dtype, accumulated along the trajectory.
    """
    cohort, where = state.cohort, device or state.cohort.device
    if cohort.uses("input_noise") or cohort.uses("gradient_noise") or cohort.condition.augment != "none":
        return manual(state, steps)
    recording = cohort.keep(f"recording on {where}", 0, lambda: record(state, where))
    moments = Moments(*(tuple(m.clone() for m in part) for part in (state.moments.means, state.moments.variances)))
    own = list(changing(state.params, state.memory, moments))
    recorded = list(changing(recording.params, recording.memory, recording.moments))
    losses = torch.empty(steps, *state.diverged_at.shape, dtype=cohort.dtype, device=cohort.device)
    copy(own, recorded)
    most = len(recording.losses)
    for done in range(0, steps, most):
        count = min(most, steps - done)
        for name, values in prepared(recording.cohort, state.step + done, count).items():
            recording.given[name][:count].copy_(values)
        recording.place.zero_()
        for _ in range(count):
            recording.step()
        losses[done : done + count] = recording.losses[:count]
    copy(recorded, own)
    return replace(
        state, step=state.step + steps, moments=moments, losses=losses, diverged_at=first_failure(state, losses)
    )


def changing(params: Params, memory: tuple[dict[str, Tensor], ...], moments: Moments) -> Iterator[Tensor]:
    """All tensors that a step changes, in a fixed order."""
    yield from params.tensors()
    for slots in memory:
        yield from slots.values()
    yield from (*moments.means, *moments.variances)


def copy(source: list[Tensor], target: list[Tensor]) -> None:
    """Copy tensors into others, from one device to another where they differ."""
    for old, new in zip(source, target, strict=True):
        new.copy_(old)


def prepared(cohort: Cohort, start: int, steps: int) -> dict[str, Tensor]:
    """What ``steps`` steps need, on the cohort's device: a function of (cohort, step) alone.

    Returns:
        ``t`` [n], the number of each step from 1; ``lr`` [n, C, 1, 1, 1]; ``rows`` [n, S, B], but not for full batches,
        which are the same at every step; ``uniforms`` [n, S, units, B] where members drop units.
    """
    times = range(start, start + steps)
    given = {
        "t": torch.arange(start + 1, start + steps + 1, dtype=torch.float64, device=cohort.device),
        "lr": cohort.hyper["lr"] * learning_rate_factors(cohort, start, steps),
    }
    if cohort.batch < cohort.rows:
        given["rows"] = torch.stack([cohort.batch_rows(t) for t in times])
    if cohort.uses("dropout"):
        given["uniforms"] = torch.stack([cohort.uniforms(t) for t in times])
    return given


def record(state: State, device: torch.device) -> Recording:
    """A step of a cohort in tensors of its own on a device; what they hold is filled in by ``captured``."""
    cohort = moved(state.cohort, device)
    params = state.params.like(torch.zeros_like(t, device=device) for t in state.params.tensors())
    memory = tuple({name: torch.zeros_like(t, device=device) for name, t in slots.items()} for slots in state.memory)
    parts = (state.moments.means, state.moments.variances)
    moments = Moments(*(tuple(torch.zeros_like(m, device=device) for m in part) for part in parts))
    one = prepared(cohort, 0, 1)
    n = max(1, min(STEPS, cohort.condition.steps, BYTES // sum(t.nbytes for t in one.values())))
    given = {name: t.repeat(n, *[1] * (t.ndim - 1)) for name, t in one.items()}
    losses = torch.zeros(n, *state.diverged_at.shape, dtype=cohort.dtype, device=device)
    place = torch.zeros(1, dtype=torch.int64, device=device)
    order = torch.arange(n, device=device).reshape(-1, 1, 1)

    def step() -> None:
        now = {name: t.index_select(0, place).squeeze(0) for name, t in given.items()}
        rows = now.get("rows", cohort.train)
        masks = cohort.mask_factors(now["uniforms"]) if "uniforms" in now else ()
        loss, slope, run = manual_gradient(params, cohort.inputs(rows), cohort.targets(rows), cohort.objective, masks)
        # a choice at every place instead of a write to one: deterministic index_put may ask the host
        losses.copy_(torch.where(order == place, loss, losses))
        take_step(cohort, params, slope.tensors(), memory, now["t"], now["lr"])
        newer = running_moments(moments, run, rows.shape[-1])
        copy([*newer.means, *newer.variances], [*moments.means, *moments.variances])
        place.add_(1)

    return Recording(cohort, params, memory, moments, given, losses, place, repeatable(step, place))


def repeatable(step: Callable[[], None], place: Int[Tensor, "1"]) -> Callable[[], object]:
    """The replay of a step as a CUDA graph, where its tensors are on a GPU; elsewhere the step itself.

    Source:
        https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs: a warm-up on a side stream, then the capture.
    """
    if place.device.type != "cuda":
        return step
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS refuses to be deterministic
    with torch.cuda.device(place.device):
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                step()
                place.zero_()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
    return graph.replay
