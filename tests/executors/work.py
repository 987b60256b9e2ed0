"""What the tests of the executors compute: small protocols whose instruments a worker can find, and ways to be slow."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from chainrule.errors import ChainruleError
from chainrule.experiment.condition import Condition, grid
from chainrule.experiment.engines import State
from chainrule.experiment.executors.job import Progress
from chainrule.experiment.observe import training_loss
from chainrule.experiment.protocol import Case, Draw, Protocol, Schedule, Trials

BASE = Condition(widths=(64, 8, 10), data="digits", n_train=64, batch=16, steps=20)


def networks(seeds: int, steps: int = 20) -> Protocol:
    """Two learning rates, a shard for every ten seeds."""
    conditions = grid(BASE, {"lr": [0.05, 0.1], "steps": [steps]})
    return Protocol(tuple(conditions), seeds, {"loss": training_loss}, Schedule(every=10))


def drawn(case: Case, draw: Draw) -> np.ndarray:
    """The mean of n normal numbers, and where it was drawn: nothing of the machine."""
    return np.array([draw("noise").standard_normal(int(case["n"])).mean()])


TRIALS = Trials(({"n": 10.0}, {"n": 1000.0}), seeds=10, trial=drawn)


def slow_loss(state: State) -> Tensor:
    """The training loss, a while later: time enough to be killed in. Beside the store stands who has computed."""
    pids = Path(os.environ["CHAINRULE_STORE"]).parent / "pids"
    pids.mkdir(exist_ok=True)
    (pids / str(os.getpid())).touch()
    time.sleep(0.25)
    return training_loss(state)


def slow() -> Protocol:
    """Eight shards of half a second."""
    return Protocol((BASE,), 80, {"loss": slow_loss})


def remember(folder: str, name: str) -> Iterator[Progress]:
    """A job that writes the number of its process into a file."""
    (Path(folder) / name).write_text(str(os.getpid()))
    yield Progress(0, 1, 1, 1)


def threads(folder: str) -> Iterator[Progress]:
    """A job that writes how many threads the numerical libraries have."""
    import torch
    from threadpoolctl import threadpool_info

    counts = {torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info())}
    (Path(folder) / "threads").write_text(f"{sorted(counts)} {os.environ.get('CHAINRULE_DATA')}")
    yield Progress(0, 1, 1, 1)


def refuse(number: int) -> Iterator[Progress]:
    """A job that is refused."""
    raise ChainruleError("E999", f"job {number} was refused.", "It always is: αβγ.", "do not ask")
    yield


def die() -> Iterator[Progress]:
    """A job at which every worker dies."""
    os.kill(os.getpid(), signal.SIGKILL)
    yield


def workers(folder: Path) -> list[int]:
    """The processes that have computed ``slow`` for a store in this folder."""
    return sorted(int(path.name) for path in folder.glob("pids/*"))


def running(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent to ask does not."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (ProcessLookupError, FileNotFoundError):
        return False


def tree(folder: Path) -> dict[str, bytes]:
    """Every byte of the objects of a store; what a killed writer left is no object."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / "objects").rglob("*"))
        if path.is_file() and ".tmp-" not in str(path)
    }
