"""Memory: how much a computation may take, and how many jobs fit into it at once."""

import os
import re
from contextlib import suppress
from pathlib import Path

from chainrule.errors import ChainruleError
from chainrule.experiment.executors.job import Work
from chainrule.store import disk

PROCESS = 400_000_000  # bytes of a worker that has loaded its libraries and a small data set
CONTROL_GROUPS = (  # limit, use, and what of the use is only a cache of files: version 2 and version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def free_memory() -> int:
    """Bytes that can still be taken: what Linux calls available, within a container's limit; elsewhere half of all."""
    available = number(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo")) * 1024
    if not available:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    for limit, use, stat in CONTROL_GROUPS:
        if allowed := number(r"(\d+)", Path(limit)):
            cached = number(r"inactive_file (\d+)", Path(stat))
            available = min(available, max(allowed - number(r"(\d+)", Path(use)) + cached, 0))
    return available


def number(pattern: str, path: Path) -> int:
    """The number that a pattern finds in one of the system's files; 0 where there is none."""
    with suppress(ChainruleError):
        if found := re.search(pattern, disk.read_or_empty(path).decode(errors="replace")):
            return int(found[1])
    return 0


def stated(text: str) -> int:
    """A budget as it is written, ``"2GB"`` or ``"500 MB"``, in bytes; 0 for an empty text.

    Raises:
        ChainruleError: E401.

    Example:
        >>> stated("1.5 GB"), stated("")
        (1500000000, 0)
    """
    form = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kKmMgG][bB])?", text.strip() or "0")
    if form is None:
        raise ChainruleError(
            "E401", f"{text!r} is no amount of memory.", "It is a number with kB, MB or GB.", "for example --memory 2GB"
        )
    return int(float(form[1]) * UNITS[(form[2] or "").upper()])


def check_budget(need: int, memory: int = 0, what: str = "a job") -> int:
    """The budget, once it is sure that the largest job fits into it.

    Args:
        need: Bytes of the largest job.
        memory: The stated budget [bytes]; 0 for half of what is free.
        what: The largest job in words.

    Returns:
        The budget [bytes].

    Raises:
        ChainruleError: E502.
    """
    free = free_memory()
    budget = memory or free // 2
    if need > budget:
        origin = "as stated" if memory else f"half of the {disk.spelled(free)} that are free"
        raise ChainruleError(
            "E502",
            f"{what} needs {disk.spelled(need)} of memory, the budget is {disk.spelled(budget)} ({origin}).",
            "A shard is computed whole, since which networks share it is part of their bits.",
            f"free memory, state a larger budget (--memory {-(-need // 10**9)}GB), or take narrower widths or smaller "
            "batches",
        )
    return budget


def at_once(work: Work, workers: int, memory: int) -> int:
    """How many workers the budget allows, at least one.

    Args:
        work: What is to be done; no more workers than jobs.
        workers: How many are wished.
        memory: The stated budget [bytes]; 0 for half of what is free.

    Raises:
        ChainruleError: E502 if one job alone does not fit.
    """
    budget = check_budget(work.need, memory, work.what)
    return max(1, min(workers, work.count, budget // (PROCESS + work.need)))
