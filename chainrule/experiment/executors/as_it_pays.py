"""Jobs in this process as long as starting workers would cost more than it saves, then on processes."""

import time
from collections.abc import Iterator
from itertools import chain

from chainrule.experiment.executors.in_process import in_process
from chainrule.experiment.executors.job import Executor, Progress, Work
from chainrule.experiment.executors.on_processes import cores, on_processes

START = 8.0  # seconds that workers must save: they load torch and their data before they begin


def as_it_pays(workers: int = 0, memory: int = 0) -> Executor:
    """An executor that measures the first jobs and decides by what is left; results do not depend on its choice.

    Args:
        workers: Processes, if it comes to that; 0 for one per core.
        memory: Budget [bytes]; 0 for half of what is free.
    """

    def execute(work: Work) -> Iterator[Progress]:
        width = workers or cores()
        waiting, began = iter(work.jobs), time.perf_counter()
        for done, job in enumerate(waiting):
            each = (time.perf_counter() - began) / max(done, 1)
            if done and pays(each, work.count - done, width):
                rest = Work(chain([job], waiting), work.count - done, work.need, work.what)
                for at in on_processes(workers, memory)(rest):
                    yield Progress(done + at.shard, work.count, at.step, at.steps, at.note)
                return
            for at in in_process(memory)(Work([job], 1, work.need, work.what)):
                yield Progress(done + at.shard, work.count, at.step, at.steps, at.note)

    return execute


def pays(each: float, left: int, width: int) -> bool:
    """Whether workers save more than their start costs.

    Args:
        each: Seconds of a job, so far.
        left: Jobs that are left.
        width: Workers.

    Example:
        >>> pays(1.0, 30, 2), pays(1.0, 30, 1), pays(0.1, 30, 2), pays(60.0, 1, 2)
        (True, False, False, False)
    """
    shared = -(-left // width)  # jobs of the busiest worker
    return each * (left - shared) > START
