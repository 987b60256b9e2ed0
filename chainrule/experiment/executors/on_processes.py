"""Jobs on processes of this machine (loky), one torch thread each."""

import os
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import chain

from loky import ProcessPoolExecutor, cpu_count, get_reusable_executor

from chainrule.experiment.executors.job import (
    ONE_THREAD,
    PATIENCE,
    Executor,
    Job,
    Progress,
    Work,
    packed,
    perform,
    unless_refused,
    worker_died,
)
from chainrule.experiment.executors.memory import at_once

AHEAD = 2  # jobs handed out per worker, so that none waits for the next
IDLE = 30  # seconds after which a worker without a job ends


def on_processes(workers: int = 0, memory: int = 0) -> Executor:
    """An executor of worker processes.

    A worker that dies takes the others with it (loky then ends them all), and every job that was not finished is
    given out again. Workers end with this process, however it ends.

    Args:
        workers: How many; 0 for one per core.
        memory: Budget [bytes] that limits how many run at once; 0 for half of what is free.
    """

    def execute(work: Work) -> Iterator[Progress]:
        width = at_once(work, workers or cores(), memory)
        waiting, deaths, done = iter(work.jobs), Counter[str](), 0
        running: dict[Future[str], Job] = {}
        pool = started(width)
        whole = False
        try:
            while True:
                while len(running) < AHEAD * width and (job := next(waiting, None)) is not None:
                    running[pool.submit(perform, packed(job))] = job
                if not running:
                    whole = True
                    return
                lost: list[Job] = []
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    try:
                        unless_refused(future.result())
                    except BrokenProcessPool:
                        lost.append(job)
                    else:
                        done += 1
                        yield Progress(done, work.count, 0, 1)
                if lost:
                    lost += running.values()
                    running.clear()
                    deaths.update(packed(job) for job in lost)
                    if hopeless := [job for job in lost if deaths[packed(job)] >= PATIENCE]:
                        raise worker_died(hopeless[0])
                    pool.shutdown(wait=True, kill_workers=True)
                    pool = started(width)
                    waiting = chain(lost, waiting)
        finally:
            if not whole:
                # a pool that was interrupted while it started cannot be joined; its workers end with this process
                with suppress(Exception):
                    pool.shutdown(wait=True, kill_workers=True)

    return execute


def cores() -> int:
    """Cores that this process may use: affinity and the limit of a container considered."""
    return int(cpu_count())


def started(width: int) -> ProcessPoolExecutor:
    """Worker processes with one thread each: the first job starts them, the next work finds them, idle ones leave."""
    # loky replaces a worker that has grown by 300 MB, as one with a large data set has, and warns; no job is lost by it
    warnings.filterwarnings("ignore", "A worker was restarted while some jobs", UserWarning)
    return get_reusable_executor(
        max_workers=width, timeout=IDLE, env=ONE_THREAD, initializer=bound, initargs=(os.getpid(),)
    )


def bound(driver: int) -> None:
    """Tie a worker to the process that started it: Ctrl-C is that one's matter, and its end is the worker's end too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(1)
        os._exit(1)  # a killed driver cannot say goodbye; what is unfinished here leaves a temporary at most

    threading.Thread(target=watch, daemon=True).start()
