"""The default engine: compiled where that is possible, the reference where it is not, and why."""

from functools import cache

from chainrule.experiment.engines import Engine, State, manual


@cache
def unavailable() -> str:
    """Why nothing can be compiled here; empty where it can."""
    try:
        from chainrule.experiment import compiled  # noqa: F401
    except ImportError as error:
        return f"numba cannot be used ({error}): training takes the engine of plain PyTorch, which is slower"
    return ""


def name() -> str:
    """The engine of this machine, for the provenance of a result."""
    return "torch" if unavailable() else "compiled"


def engine_for(state: State) -> Engine:
    """The engine that ``fast`` uses for a cohort."""
    if unavailable():
        return manual
    from chainrule.experiment.compiled import compiled, covers

    return compiled if covers(state.cohort) else manual


def fast(state: State, steps: int) -> State:
    """``steps`` steps of training by the fastest engine that covers the cohort.

    Both engines compute the same equations; their trajectories differ by rounding. Batch normalisation, noise on inputs
    or gradients and moved pixels are always trained by the reference, as is everything where numba is missing.

    Args:
        state: Where to start; its tensors are overwritten.
        steps: How many steps.

    Returns:
        The State after them.
    """
    return engine_for(state)(state, steps)
