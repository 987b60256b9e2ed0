"""A small run of the store, and every way of stopping it: a process dies, the power fails, the disk says no.

Run as a program, ``python sweep.py NAME FOLDER``: it loads the store alone, without the rest of the package (so no
torch and no threads), and forks once or twice per fault. It prints ``n passed / n tried`` and ends with 1 on a miss.
"""

import gc
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "chainrule"
sys.modules["chainrule"] = types.ModuleType("chainrule")  # an empty package: its own __init__ would load everything
sys.modules["chainrule"].__path__ = [str(PACKAGE)]

from chainrule.errors import ChainruleError  # noqa: E402  (after the empty package)
from chainrule.store import disk  # noqa: E402
from chainrule.store.keys import canonical, digest, key  # noqa: E402
from chainrule.store.objects import Store, open_store  # noqa: E402

CELLS = {
    key({"kind": "cell", "replica": replica}): {
        "cell.safetensors": bytes(range(256)) * (replica + 1),
        "cell.json": canonical({"loss": 0.1 * replica}),
    }
    for replica in range(4)
}
DOCUMENT = "findings/first.json"
UNEXPECTED, RECOMPUTED, BAD_TEXT = 99, 98, 97
ERROR_STATUS = {"nospace": 74, "quota": 74, "eio": 74, "readonly": 73}


# -------------------------------------------------------------------------------------------------------------- the run


def work(folder: Path, order: Iterable[str] = CELLS, finished: frozenset[str] = frozenset()) -> None:
    """Four objects and one document made of them; what is ``finished`` must not be computed again."""

    def compute(name: str) -> Callable[[], dict[str, bytes]]:
        def computed() -> dict[str, bytes]:
            if name in finished:
                os._exit(RECOMPUTED)
            return CELLS[name]

        return computed

    store = open_store(folder)
    found = {name: store.obtain(name, "cell", compute(name)) for name in order}
    hashes = {name: digest(b"".join(files[file] for file in sorted(files))) for name, files in found.items()}
    disk.write_atomic(folder / DOCUMENT, canonical(hashes))
    store.note('{"seconds":1.5}')


def tree(folder: Path) -> dict[str, str]:
    """Path → sha256 of every file and the word "folder" of every folder, but for what nothing depends on."""
    return {
        str(path.relative_to(folder)): "folder" if path.is_dir() else digest(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.name != "journal.jsonl" and "quarantine" not in path.relative_to(folder).parts
    }


def temporaries(folder: Path) -> list[Path]:
    """What a writer has left."""
    return list(folder.rglob(".tmp-*"))


def started(task: Callable[[], None]) -> int:
    """Start a task in a forked process; its number."""
    child = os.fork()
    if child == 0:
        status = UNEXPECTED
        try:
            task()
            status = 0
        except ChainruleError as error:
            status = error.exit_status if well_told(error) else BAD_TEXT
            print(error, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(status)  # whatever happened, nothing of the parent runs twice
    return child


def ended(child: int) -> int:
    """Wait for a process; its exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_a_process(task: Callable[[], None]) -> int:
    """Carry out a task in a forked process; how it ended."""
    return ended(started(task))


def well_told(error: ChainruleError) -> bool:
    """Three lines that name a path, and for a full disk how much was needed and how much is free."""
    full = "needed" in error.what and "free" in error.what
    return len(str(error).splitlines()) == 3 and "/" in error.what and (error.code != "E201" or full)


# ----------------------------------------------------------------------------------------------------------- the faults


def faulty(folder: Path, install: Callable[[], None]) -> None:
    """The run, after a fault has been installed."""
    install()
    work(folder)


def planned(plan: str) -> Callable[[], None]:
    """The fault that the package itself carries out."""

    def install() -> None:
        os.environ["CHAINRULE_FAULT"] = plan

    return install


def persistent(fault: str, at: int) -> Callable[[], None]:
    """From the given operation on, every one fails: a disk that is gone, cleaning up included."""
    number = disk.PLANNED_ERRORS[fault]
    seen = [0]

    def operation(kind: str, *paths: Path) -> None:
        seen[0] += 1
        if seen[0] >= at:
            raise OSError(number, os.strerror(number))

    def install() -> None:
        disk.operation = operation

    return install


def power_loss(at: int, names_too: bool, syncs_count: bool = True) -> Callable[[], None]:
    """Before the given change everything that was not synced is lost: contents, and if asked the names too.

    A file's contents are safe once it is synced; a name (made or renamed) once its folder is.
    """
    contents: set[Path] = set()
    unsynced: list[tuple[str, Path, Path]] = []
    seen = [0]

    def lose() -> None:
        for path in contents:
            if path.exists():
                os.truncate(path, 0)
        for kind, path, old in reversed(unsynced if names_too else []):
            if kind == "rename":
                path.rename(old)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def operation(kind: str, *paths: Path) -> None:
        if kind not in disk.CHANGES:
            return
        seen[0] += 1
        if seen[0] == at:
            lose()
        path = paths[-1]
        if kind == "create":
            contents.add(path)
        if kind in ("create", "mkdir"):
            unsynced.append((kind, path, path))
        if kind == "sync" and syncs_count:
            contents.discard(path)
        if kind == "rename":
            moved = {file for file in contents if file == paths[0] or paths[0] in file.parents}
            contents.difference_update(moved)
            contents.update(path / file.relative_to(paths[0]) for file in moved)
            unsynced.append((kind, path, paths[0]))
        if kind == "sync folder":
            unsynced[:] = [entry for entry in unsynced if entry[1].parent != path]

    def install() -> None:
        disk.operation = operation

    return install


def counted(kinds: frozenset[str], folder: Path, task: Callable[[], None]) -> int:
    """How many operations of these kinds a task consists of."""
    seen: list[str] = []
    ordinary = disk.operation
    disk.operation = lambda kind, *paths: seen.append(kind)
    task()
    disk.operation = ordinary
    shutil.rmtree(folder)
    return len([kind for kind in seen if kind in kinds])


# ----------------------------------------------------------------------------------------------------------- the sweeps


def misses_after(folder: Path, reference: dict[str, str], quarantines: bool = False) -> list[str]:
    """What is wrong after a fault: an invalid object that can be seen, finished work done again, another tree."""
    store, misses = Store(folder), []
    damages = [damage for damage in store.verify() if damage.path.name != "FORMAT" or damage.path.exists()]
    if damages and not quarantines:
        misses.append(f"visible: {damages}")
    intact = [name for name in CELLS if store.has(name)] if not damages else []
    misses += [f"{name} is another" for name in intact if store.get(name) != CELLS[name]]
    if status := in_a_process(lambda: work(folder, finished=frozenset(intact))):
        misses.append(f"the rerun ended with {status}")
    if tree(folder) != reference:
        misses.append(f"another tree: {sorted(set(tree(folder).items()) ^ set(reference.items()))}")
    if store.verify():
        misses.append(f"damaged after the rerun: {store.verify()}")
    return misses


def trials(name: str, folder: Path) -> Iterator[tuple[str, Callable[[], None], int]]:
    """All faults of one sweep: what it is called, how it is installed, the status with which the run must end."""
    changes = counted(disk.CHANGES, folder, lambda: work(folder))
    everything = counted(disk.CHANGES | disk.READS, folder, lambda: work(folder))
    files = counted(frozenset({"write rest"}), folder, lambda: work(folder))
    killed = -signal.SIGKILL
    if name == "kill":
        yield from ((f"kill@{n}", planned(f"kill@{n}"), killed) for n in range(1, changes + 1))
        yield from ((f"torn@{n}", planned(f"torn@{n}"), killed) for n in range(1, files + 1))
    if name == "power":
        for names_too in (False, True):
            for n in range(1, changes + 1):
                yield f"power loss at {n}, names {names_too}", power_loss(n, names_too), killed
    if name in ERROR_STATUS:
        for n in range(1, everything + 1):
            yield f"{name}@{n}", planned(f"{name}@{n}/all"), ERROR_STATUS[name]
    if name in ("persistent eio", "persistent readonly"):
        fault = name.split()[1]
        yield from (
            (f"{name} from {n}", persistent(fault, n), ERROR_STATUS[fault]) for n in range(1, everything + 1, 3)
        )


def sweep(name: str, base: Path) -> tuple[int, int]:
    """A fault at every operation, one run each, and a rerun: (passed, tried)."""
    folder, reference = base / "store", reference_tree(base)
    tried = passed = 0
    for label, install, expected in trials(name, folder):
        status = in_a_process(partial(faulty, folder, install))
        misses = [f"the run ended with {status}"] if status != expected else []
        if name in ERROR_STATUS and temporaries(folder):
            misses.append(f"left behind: {temporaries(folder)}")
        misses += misses_after(folder, reference)
        tried, passed = tried + 1, passed + (not misses)
        told(label, misses)
        shutil.rmtree(folder)
    return passed, tried


def recovery(base: Path) -> tuple[int, int]:
    """A second fault in the rerun after a first one, and a third run: (passed, tried), only faults that landed."""
    folder, reference = base / "store", reference_tree(base)
    changes = counted(disk.CHANGES, folder, lambda: work(folder))
    tried = passed = 0
    for n in range(1, changes):
        first = planned(f"kill@{1 + 7 * n % changes}")
        at = 1 + 5 * n % changes
        second = [planned(f"kill@{at}"), power_loss(at, True), planned(f"eio@{at}"), planned(f"readonly@{at}")][n % 4]
        in_a_process(partial(faulty, folder, first))
        status = in_a_process(partial(faulty, folder, second))
        if status != 0:  # a rerun has less to do, so that some second faults come too late
            misses = misses_after(folder, reference)
            if status in (UNEXPECTED, BAD_TEXT, RECOMPUTED):
                misses.append(f"the faulty rerun ended with {status}")
            tried, passed = tried + 1, passed + (not misses)
            told(f"pair {n}", misses)
        shutil.rmtree(folder)
    return passed, tried


def unsynced(base: Path) -> tuple[int, int]:
    """The negative control: where syncs are without effect the power model must produce visible damage.

    Even then no run serves it, since every read compares hashes: (reruns passed, power losses with visible damage).
    """
    folder, reference = base / "store", reference_tree(base)
    changes = counted(disk.CHANGES, folder, lambda: work(folder))
    tried = passed = 0
    for n in range(1, changes + 1):
        in_a_process(partial(faulty, folder, power_loss(n, names_too=False, syncs_count=False)))
        if [damage for damage in Store(folder).verify() if damage.path.name in CELLS]:
            misses = misses_after(folder, reference, quarantines=True)
            tried, passed = tried + 1, passed + (not misses)
            told(f"unsynced {n}", misses)
        shutil.rmtree(folder, ignore_errors=True)
    return passed, tried


def writers(base: Path) -> tuple[int, int]:
    """Two to eight writers at once, each in its own order: (passed, rounds).

    In one round of three a writer is killed, in another one they find a damaged object.
    """
    folder, reference = base / "store", reference_tree(base)
    changes = counted(disk.CHANGES, folder, lambda: work(folder))
    passed, rounds = 0, 42
    for r in range(rounds):
        if damaged := r % 3 == 1:
            work(folder)
            file = Store(folder).place(list(CELLS)[r % len(CELLS)]) / "cell.json"
            file.chmod(0o644)
            file.write_bytes(b"{}")
        victims = int(r % 3 == 0)
        children = []
        for writer in range(2 + r % 7):
            killed_at = 1 + 11 * r % changes if writer < victims else 0
            children.append(started(partial(one_of_many, folder, random.Random(f"{r}/{writer}"), killed_at)))
        statuses = [ended(child) for child in children]
        misses = [f"ended with {statuses}"] if any(statuses[victims:]) else []
        if not damaged and (folder / "quarantine").exists():
            misses.append(f"set aside: {list(folder.glob('quarantine/*'))}")
        if victims:  # the dead one's temporary is removed by whoever opens the store next
            misses += misses_after(folder, reference)
        if tree(folder) != reference or Store(folder).verify():
            misses.append(f"another tree: {sorted(set(tree(folder).items()) ^ set(reference.items()))}")
        if damaged and not list(folder.glob("quarantine/*/cell.json")):
            misses.append("the damaged object was not kept")
        passed += not misses
        told(f"round {r}", misses)
        shutil.rmtree(folder)
    return passed, rounds


def one_of_many(folder: Path, dice: random.Random, killed_at: int) -> None:
    """One writer, which lets the others go first before some of its operations."""
    seen = [0]

    def operation(kind: str, *paths: Path) -> None:
        if dice.random() < 0.3:
            time.sleep(dice.random() * 1e-3)
        seen[0] += kind in disk.CHANGES
        if killed_at and seen[0] == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    disk.operation = operation
    work(folder, order=dice.sample(list(CELLS), len(CELLS)))


def full_disk(base: Path) -> tuple[int, int]:
    """A limit on the size of files, kept by the operating system itself: (passed, tried)."""
    folder, reference = base / "store", reference_tree(base)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sizes, passed = [1, 100, 300, 500, 900], 0
    for size in sizes:
        limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))
        status = in_a_process(partial(faulty, folder, limit))
        misses = [f"the run ended with {status}"] if status != ERROR_STATUS["nospace"] else []
        if temporaries(folder):
            misses.append(f"left behind: {temporaries(folder)}")
        misses += misses_after(folder, reference)
        passed += not misses
        told(f"limit {size}", misses)
        shutil.rmtree(folder)
    return passed, len(sizes)


def reference_tree(base: Path) -> dict[str, str]:
    """The tree of a run to which nothing happens."""
    work(base / "reference")
    return tree(base / "reference")


def told(label: str, misses: list[str]) -> None:
    """Print what went wrong."""
    if misses:
        print(f"MISS {label}: {'; '.join(misses)}", flush=True)


OTHERS = {"recovery": recovery, "unsynced": unsynced, "writers": writers, "full disk": full_disk}

if __name__ == "__main__":
    if loaded := {"torch", "numpy", "duckdb"} & set(sys.modules):
        sys.exit(f"the store has loaded {loaded}")
    # Whether fsync is called at the right moments is what the power model judges; waiting for the disk adds nothing.
    os.fsync = lambda handle: None
    gc.freeze()  # so that the children share their parent's memory instead of copying it
    name, base = sys.argv[1], Path(sys.argv[2])
    n_passed, n_tried = OTHERS[name](base) if name in OTHERS else sweep(name, base)
    print(f"{name}: {n_passed} passed / {n_tried} tried")
    sys.exit(n_passed != n_tried)
