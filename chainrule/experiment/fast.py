"""The default engine: compiled where that is possible, the reference where it is not, and why; on a GPU if asked."""

import os
from functools import cache, partial

import torch

from chainrule.errors import ChainruleError
from chainrule.experiment.captured import captured
from chainrule.experiment.engines import Engine, State, manual


@cache
def unavailable() -> str:
    """Why nothing can be compiled here; empty where it can."""
    try:
        from chainrule.experiment import compiled  # noqa: F401
    except ImportError as error:
        return f"numba cannot be used ({error}): training takes the engine of plain PyTorch, which is slower"
    return ""


def device() -> torch.device:
    """Where ``fast`` trains: on the CPU, or where the environment variable ``CHAINRULE_DEVICE`` says.

    Raises:
        ChainruleError: E410 for a device that is neither ``cpu`` nor ``cuda``, E705 if there is no CUDA device.
    """
    asked = os.environ.get("CHAINRULE_DEVICE") or "cpu"
    if asked not in ("cpu", "cuda"):
        raise ChainruleError(
            "E410",
            f"CHAINRULE_DEVICE={asked!r} is no device.",
            "Networks are trained on the cpu, or with cuda on the first NVIDIA GPU.",
            "unset CHAINRULE_DEVICE, or CHAINRULE_DEVICE=cuda",
        )
    if asked == "cuda" and not torch.cuda.is_available():
        raise ChainruleError(
            "E705",
            f"CHAINRULE_DEVICE='cuda', and torch {torch.__version__} finds no CUDA device.",
            "It needs an NVIDIA GPU with its driver, and a torch that was built for CUDA. Nothing is trained elsewhere "
            "than asked.",
            "unset CHAINRULE_DEVICE to train on the CPU, or install torch for CUDA (https://pytorch.org)",
        )
    return torch.device(asked)


def name() -> str:
    """The engine of this machine, for the provenance of a result."""
    if device().type == "cuda":
        return f"captured, {torch.cuda.get_device_name()}"
    return "torch" if unavailable() else "compiled"


def engine_for(state: State) -> Engine:
    """The engine that ``fast`` uses for a cohort."""
    if (where := device()).type == "cuda":
        return partial(captured, device=where)
    if unavailable():
        return manual
    from chainrule.experiment.compiled import compiled, covers

    return compiled if covers(state.cohort) else manual


def fast(state: State, steps: int) -> State:
    """``steps`` steps of training by the fastest engine that covers the cohort.

    All engines compute the same equations; their trajectories differ by rounding. On the CPU, batch normalisation,
    noise on inputs or gradients and moved pixels are always trained by the reference, as is everything where numba is
    missing. With ``CHAINRULE_DEVICE=cuda`` segments are computed on the GPU, and the State comes back to where it was,
    so that every instrument reads it on the CPU.

    Args:
        state: Where to start; its tensors are overwritten.
        steps: How many steps.

    Returns:
        The State after them.
    """
    return engine_for(state)(state, steps)
