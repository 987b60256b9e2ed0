"""One contender, one process: pinned, told how many threads it may use, and asked in the end how many it had.

The parent starts workers with ``Worker`` and asks each for one repeat at a time, so that the contenders of a table take
turns while the others sleep. Both sides speak JSON, a line at a time.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")


class Absent(Exception):
    """A contender cannot be timed; the reason in words."""


@dataclass(frozen=True)
class Job:
    """What a worker prepares: something to repeat, and something to ask in the end.

    Args:
        run: One repeat. What it returns travels as JSON.
        finish: Called once, after the last repeat; its value travels too.
    """

    run: Callable[[], object]
    finish: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Repeat:
    """One repeat: seconds by the clock, seconds of processor time, and what it returned.

    Less processor time than clock time in a worker of one thread says that something else had the core. ``stayed`` is
    false where somebody took the pin away in the meantime.
    """

    seconds: float
    processor: float
    value: Any
    stayed: bool = True


class Worker:
    """A process that has prepared one job.

    Args:
        job: ``module:function``, called with ``arguments``; returns a ``Job``.
        arguments: Of that function, as JSON.
        cores: Cores it may run on; empty where the system cannot pin.
        threads: Threads of its numerical libraries.

    Raises:
        Absent: From ``ready``: the job cannot be prepared here, and why.
    """

    def __init__(self, job: str, arguments: Mapping[str, object], cores: Sequence[int], threads: int = 1) -> None:
        environment = os.environ | dict.fromkeys(THREADS, str(threads)) | peers(threads)
        command = [sys.executable, "-m", "bench.worker"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.prepared = 0.0
        self.tell({"job": job, "arguments": dict(arguments), "cores": list(cores), "threads": threads})

    def tell(self, message: object) -> None:
        """Send a line."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # the next answer says how it ended
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def heard(self) -> dict[str, Any]:
        """Wait for a line.

        Raises:
            Absent: If it says that it cannot, or ends without a word, as one does that is killed for its memory.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Absent(f"the process ended with status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "absent" in answer:
            raise Absent(answer["absent"])
        return answer

    def ready(self) -> float:
        """Wait until the job is prepared; the seconds of preparation: imports, data, compilation, warm-up."""
        self.prepared = float(self.heard()["prepared"])
        return self.prepared

    def begin(self) -> None:
        """Ask for one repeat."""
        self.tell("run")

    def end(self) -> Repeat:
        """Wait for the repeat."""
        answer = self.heard()
        return Repeat(answer["seconds"], answer["processor"], answer["value"], answer["stayed"])

    def repeat(self) -> Repeat:
        """One repeat, from asking to answer."""
        self.begin()
        return self.end()

    def finish(self) -> dict[str, Any]:
        """Ask for what remains: the job's last value, threads by library, and the most memory that was resident."""
        self.tell("finish")
        answer = self.heard()
        self.close()
        return answer

    def close(self) -> None:
        """End the process."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                with suppress(BrokenPipeError):
                    pipe.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def peers(threads: int) -> dict[str, str]:
    """Settings that peers read from the environment before they are imported."""
    several = str(threads > 1).lower()
    return {
        "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu"),
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={several}",
        "KERAS_BACKEND": "jax",
        "PYTHONWARNINGS": "ignore",
    }


def cores() -> list[int]:
    """Cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def pins() -> bool:
    """Whether a process can be pinned to a core here; macOS cannot."""
    return hasattr(os, "sched_setaffinity")


def pin(own: Sequence[int]) -> None:
    """Keep every thread of this process on the given cores: those that a library has made before, too."""
    if not own or not pins():
        return
    threads = Path("/proc/self/task")
    for thread in [int(place.name) for place in threads.iterdir()] if threads.is_dir() else [0]:
        with suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(thread, own)


# the other side ──────────────────────────────────────────────────────────────────────────


def serve(lines: IO[str], answers: IO[str]) -> None:
    """Prepare the job that the first line asks for, then answer the others."""

    def answer(message: dict[str, object]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    order = json.loads(lines.readline())
    pin(order["cores"])
    began = time.perf_counter()
    try:
        job = prepared(order["job"], order["arguments"])
        limit_torch(order["threads"])
        answer({"prepared": time.perf_counter() - began})
        for line in lines:
            if json.loads(line) == "run":
                pin(order["cores"])
                start, used = time.perf_counter(), time.process_time()
                value = job.run()
                seconds, processor = time.perf_counter() - start, time.process_time() - used
                stayed = not (order["cores"] and pins()) or cores() == sorted(order["cores"])
                answer({"seconds": seconds, "processor": processor, "value": value, "stayed": stayed})
            else:
                value = job.finish()
                answer({"value": value, "threads": threads_in_use(order["threads"]), "peak": peak_memory()})
    except (Absent, ImportError, MemoryError) as error:
        answer({"absent": str(error) or type(error).__name__})
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is one contender's failure, not the benchmark's
        answer({"absent": f"{type(error).__name__}: {error}"})


def prepared(name: str, arguments: Mapping[str, Any]) -> Job:
    """The job ``module:function`` with its arguments."""
    module, _, function = name.partition(":")
    job: Job = getattr(importlib.import_module(module), function)(**arguments)
    return job


def limit_torch(threads: int) -> None:
    """PyTorch reads its number of threads at import; a job that changed it is not what was asked for."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        raise Absent(f"torch has {torch.get_num_threads()} threads and was given {threads}")


def threads_in_use(allowed: int) -> dict[str, int]:
    """Threads of each numerical library that is loaded, by the name of its file.

    Raises:
        Absent: If one has more than it was given, which makes the timing worthless.
    """
    from threadpoolctl import threadpool_info  # after the job's own imports: what is loaded later is seen as well

    found = {
        f"{pool['internal_api']} {pool['version'] or ''}".strip(): pool["num_threads"] for pool in threadpool_info()
    }
    more = {name: count for name, count in found.items() if count > allowed}
    if more:
        raise Absent(f"more than {allowed} thread(s): {more}")
    return found


def peak_memory() -> int:
    """The most bytes that were resident. The system's own high-water mark of the program, not that of its parent."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Serve on the pipes, and send everything that libraries print to where errors go."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
