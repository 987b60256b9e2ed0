"""Jobs on Dask: worker processes of this machine, or a cluster that stands."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from chainrule.experiment.executors.job import (
    ONE_THREAD,
    PATIENCE,
    Executor,
    Job,
    Progress,
    Work,
    not_installed,
    packed,
    perform,
    unless_refused,
    worker_died,
)
from chainrule.experiment.executors.memory import at_once
from chainrule.experiment.executors.on_processes import cores

AHEAD = 256  # jobs that the scheduler holds at once: enough for a cluster to grow by, few enough for any driver


def on_dask(workers: int = 0, address: str = "", memory: int = 0) -> Executor:
    """An executor of Dask workers; without an address a cluster on the loopback interface, without a dashboard.

    Args:
        workers: Processes of a local cluster; 0 for one per core.
        address: ``tcp://host:port`` of a standing scheduler. Its workers need the same chainrule and the same folders.
        memory: Budget [bytes] of a local cluster; 0 for half of what is free.

    Raises:
        ChainruleError: E702 if Dask is not installed.
    """
    distributed = library()

    def execute(work: Work) -> Iterator[Progress]:
        with ExitStack() as stack:
            where = address or stack.enter_context(local_cluster(distributed, work, workers, memory))
            client = stack.enter_context(distributed.Client(where, set_as_default=False))
            waiting = iter(work.jobs)
            running: dict[str, Job] = {}
            results = distributed.as_completed(loop=client.loop)

            def hand_out() -> bool:
                job = next(waiting, None)
                if job is not None:
                    future = client.submit(perform, packed(job), pure=False)
                    running[future.key] = job
                    results.add(future)
                return job is not None

            while len(running) < AHEAD and hand_out():
                pass
            for done, future in enumerate(results):
                job = running.pop(future.key)
                try:
                    unless_refused(future.result())
                except distributed.KilledWorker:
                    raise worker_died(job) from None
                yield Progress(done + 1, work.count, 0, 1)
                hand_out()

    return execute


def local_cluster(distributed: Any, work: Work, workers: int, memory: int) -> Any:
    """Workers on this machine that only this machine can reach."""
    width = at_once(work, workers or cores(), memory)
    import dask

    with dask.config.set({"distributed.scheduler.allowed-failures": PATIENCE - 1}):
        return distributed.LocalCluster(
            n_workers=width,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=None,  # the budget has been kept already, and Dask's own would end workers at 95 % of it
            env=ONE_THREAD,
            silence_logs="CRITICAL",
        )


def library() -> Any:
    """``dask.distributed``, which is optional."""
    try:
        import distributed
    except ImportError:
        raise not_installed("dask") from None
    return distributed
