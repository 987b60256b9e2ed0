"""Jobs on Ray: worker processes of this machine, or a cluster that stands."""

import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from chainrule.errors import ChainruleError
from chainrule.experiment.executors.job import (
    ONE_THREAD,
    PATIENCE,
    Executor,
    Job,
    Progress,
    Work,
    folders,
    not_installed,
    packed,
    perform,
    unless_refused,
    worker_died,
)
from chainrule.experiment.executors.memory import at_once
from chainrule.experiment.executors.on_processes import cores

OLDEST = (2, 52)  # before it a cluster had no token: whoever reached its ports could run code
AHEAD = 256  # jobs handed out at once


def on_ray(workers: int = 0, address: str = "", memory: int = 0) -> Executor:
    """An executor of Ray workers. Ray's token stays on, its dashboard and its statistics of use are off.

    A local Ray listens on every interface of the machine; the token is what keeps others out.

    Args:
        workers: Processes of a local cluster; 0 for one per core.
        address: ``host:port`` of a standing cluster. Its nodes need the same chainrule and the same folders.
        memory: Budget [bytes] of a local cluster; 0 for half of what is free.

    Raises:
        ChainruleError: E702 if Ray is not installed, E703 if it is older than 2.52.
    """
    ray = library()

    def execute(work: Work) -> Iterator[Progress]:
        if address:
            place: dict[str, Any] = {"address": address}
        else:
            width = at_once(work, workers or cores(), memory)
            place = {"address": "local", "num_cpus": width, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = ONE_THREAD | folders() | ({} if address else {"PYTHONPATH": paths})
        ray.init(**place, runtime_env={"env_vars": environment}, log_to_driver=False, logging_level="ERROR")
        try:
            remote = ray.remote(num_cpus=1, max_retries=PATIENCE - 1)(perform)
            waiting, done = iter(work.jobs), 0
            running: dict[Any, Job] = {}
            while True:
                while len(running) < AHEAD and (job := next(waiting, None)) is not None:
                    running[remote.remote(packed(job))] = job
                if not running:
                    return
                finished, _ = ray.wait(list(running), num_returns=1)
                for reference in finished:
                    job = running.pop(reference)
                    try:
                        unless_refused(ray.get(reference))
                    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError):
                        raise worker_died(job) from None
                    done += 1
                    yield Progress(done, work.count, 0, 1)
        finally:
            ray.shutdown()

    return execute


def library() -> Any:
    """Ray, which is optional, in a version that has tokens; it reads these settings when it is imported."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise not_installed("ray") from None
    check_version(ray.__version__)
    return ray


def check_version(version: str) -> None:
    """Refuse a Ray without tokens.

    Raises:
        ChainruleError: E703.
    """
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
        raise ChainruleError(
            "E703",
            f"Ray {version} is not safe to start.",
            "Before 2.52 its cluster had no token, and whoever reached its ports could run code on this machine.",
            "pip install -U 'chainrule[cluster]'",
        )
