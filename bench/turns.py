"""Workers that take turns: single ones on one core, and crews that share the seeds of a row between them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.rows import Row, spelled
from bench.worker import Absent, Repeat, Worker, cores

Record = dict[str, object]
Say = Callable[[str], None]


@contextmanager
def employed(say: Say) -> Iterator[Callable[..., Worker | str]]:
    """Start workers that end with the block; one that cannot be prepared is the reason instead."""
    workers: list[Worker] = []

    def start(job: str, arguments: Mapping[str, object], on: Sequence[int], threads: int = 1) -> Worker | str:
        worker = Worker(job, arguments, on, threads)
        workers.append(worker)
        try:
            worker.ready()
        except Absent as reason:
            return str(reason)
        say("+")
        return worker

    try:
        yield start
    finally:
        for worker in workers:
            worker.close()


def one_core() -> list[int]:
    """The core that every single worker is pinned to: the last, since interrupts like the first."""
    return cores()[-1:]


def in_turns(workers: Mapping[str, Worker | str], repeats: int, say: Say) -> dict[str, Record]:
    """Repeats of all workers, round and round, after a first one each that is told apart.

    Returns:
        Name → ``{"prepared", "first", "seconds", "processor", "value", "finish", "threads", "peak"}``, or
        ``{"absent": reason}``.
    """
    found: dict[str, Record] = {}
    done: dict[str, list[Repeat]] = {name: [] for name in workers}
    for turn in range(repeats + 1):
        for name, worker in workers.items():
            if name in found:
                continue
            if isinstance(worker, str):
                found[name] = {"absent": worker}
                continue
            try:
                done[name].append(worker.repeat())
            except Absent as reason:
                found[name] = {"absent": str(reason)}
        say("." if turn else "|")
    for name, worker in workers.items():
        if name in found or isinstance(worker, str):
            continue
        try:
            last = worker.finish()
        except Absent as reason:
            found[name] = {"absent": str(reason)}
            continue
        first, *rest = done[name]
        found[name] = {
            "prepared": worker.prepared,
            "first": first.seconds,
            "seconds": [r.seconds for r in rest],
            "processor": [r.processor for r in rest],
            "stayed": all(r.stayed for r in rest),
            "value": rest[-1].value if rest else first.value,
            "finish": last["value"],
            "threads": last["threads"],
            "peak": last["peak"],
        }
    return found


def once(job: str, arguments: Mapping[str, object], say: Say) -> Record:
    """One repeat of one job on one core, and its value; or the reason why not."""
    with employed(say) as start:
        worker = start(job, arguments, one_core())
        if isinstance(worker, str):
            return {"absent": worker}
        try:
            repeat = worker.repeat()
            last = worker.finish()
        except Absent as reason:
            return {"absent": str(reason)}
    say(".")
    return {"prepared": worker.prepared, "run": repeat.seconds, "peak": last["peak"], "value": repeat.value}


# several processes for many seeds ────────────────────────────────────────────────────────


def arguments(name: str, row: Row, epochs: int, replicas: Sequence[int]) -> Record:
    """Of the job ``training``."""
    return {"name": name, "condition": spelled(row.condition), "epochs": epochs, "replicas": list(replicas)}


@dataclass(frozen=True)
class Crew:
    """Workers that train the seeds of a row between them.

    Args:
        name: Contender, number of processes, threads of each.
        workers: The processes, prepared.
        waited: Seconds from their start to the moment when all were ready.
    """

    name: str
    workers: tuple[Worker, ...]
    waited: float

    def repeat(self) -> float:
        """Seconds from asking the first to the answer of the last."""
        start = time.perf_counter()
        for worker in self.workers:
            worker.begin()
        for worker in self.workers:
            worker.end()
        return time.perf_counter() - start

    def finish(self) -> list[object]:
        """What each tells of its threads, in the end.

        Raises:
            Absent: If one had more than it was given.
        """
        return [worker.finish()["threads"] for worker in self.workers]

    def close(self) -> None:
        """End them."""
        for worker in self.workers:
            worker.close()


def crew(contender: str, row: Row, processes: int, threads: int, seeds: int) -> Crew:
    """Processes that share the seeds, each on cores of its own.

    Raises:
        Absent: If one cannot be prepared.
    """
    began, allowed = time.perf_counter(), cores()
    name = f"{contender}, {processes} process{'es' * (processes > 1)} of {threads} thread{'s' * (threads > 1)}"
    workers = []
    for i in range(processes):
        own = [allowed[(i * threads + j) % len(allowed)] for j in range(threads)]
        replicas = range(seeds * i // processes, seeds * (i + 1) // processes)
        given = arguments(contender, row, row.seeds_epochs, replicas)
        workers.append(Worker("bench.jobs:training", given, sorted(set(own)), threads))
    try:
        for worker in workers:
            worker.ready()
    except Absent:
        Crew(name, tuple(workers), 0.0).close()
        raise
    return Crew(name, tuple(workers), time.perf_counter() - began)


def begun(contender: str, row: Row, processes: int, threads: int, seeds: int) -> tuple[Crew, float]:
    """A crew and the seconds of its first run.

    Raises:
        Absent: If it cannot be prepared, or fails.
    """
    one = crew(contender, row, processes, threads, seeds)
    try:
        return one, one.repeat()
    except Absent:
        one.close()
        raise
