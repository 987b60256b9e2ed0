"""Jobs one after the other, in this process."""

from collections.abc import Iterator

from chainrule.experiment.executors.job import Executor, Progress, Work, begun
from chainrule.experiment.executors.memory import check_budget


def in_process(memory: int = 0) -> Executor:
    """An executor that starts nothing.

    Args:
        memory: Budget [bytes]; 0 for half of what is free.
    """

    def execute(work: Work) -> Iterator[Progress]:
        check_budget(work.need, memory, work.what)
        for done, job in enumerate(work.jobs):
            for at in begun(job):
                yield Progress(done, work.count, at.step, at.steps, at.note)
            yield Progress(done + 1, work.count, 0, 1)

    return execute
