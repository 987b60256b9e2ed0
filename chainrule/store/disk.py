"""Every file operation of the package: small primitives that a test can count, fail or stop at any point.

Before it acts, each primitive calls ``operation(kind, *paths)``, looked up in this module at that moment. It does
nothing, unless ``CHAINRULE_FAULT`` plans a fault or a test has put a function of its own in its place. What the
operating system refuses becomes a ``ChainruleError`` that names the path: E201 (no space), E204 (not allowed),
E203 (anything else). POSIX only: a rename is atomic, and a folder can be synced.
"""

import errno
import hashlib
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path

from chainrule.errors import ChainruleError

READS = frozenset({"look", "list", "read"})
CHANGES = frozenset({"mkdir", "create", "write", "write rest", "sync", "sync folder", "append", "rename", "remove"})

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
NOT_ALLOWED = frozenset(
    {errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
)
# What a rename meets when another process was first: the place is taken, or there is nothing left to move.
OVERTAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.ENOENT})

PLANNED_ERRORS = {"nospace": errno.ENOSPC, "quota": errno.EDQUOT, "eio": errno.EIO, "readonly": errno.EROFS}

TEMPORARY = re.compile(r"\.tmp-(?P<pid>\d{1,9})-(?P<start>\d{1,20})-(?P<machine>[0-9a-f]{8})-[0-9a-f]{8}")


# ---------------------------------------------------------------------------------------------------------- faults


def operation(kind: str, *paths: Path) -> None:
    """Stand before every file operation, named by its kind and its paths (a rename has two).

    Args:
        kind: One of ``READS`` or ``CHANGES``.
        paths: What the operation is about to touch.

    Raises:
        OSError: The fault that ``CHAINRULE_FAULT`` plans for this operation.
    """
    if plan := os.environ.get("CHAINRULE_FAULT"):
        planned_fault(plan)(kind)


@cache
def planned_fault(plan: str) -> Callable[[str], None]:
    """The fault that ``CHAINRULE_FAULT=plan`` describes, as a function that counts the operations of this process.

    ``kill@17`` ends the process before its 17th change, ``torn@3`` in the middle of the third file that it writes.
    ``nospace@17``, ``quota@17``, ``eio@17`` and ``readonly@17`` fail that change, once. With ``/all`` reads count too.

    Args:
        plan: A fault, ``@`` and a number from 1, optionally ``/all``.

    Raises:
        ChainruleError: E401, if the plan is not of that form.
    """
    form = re.fullmatch(r"(kill|torn|nospace|quota|eio|readonly)@([1-9]\d*)(/all)?", plan)
    if form is None:
        raise ChainruleError(
            "E401",
            f"CHAINRULE_FAULT={plan!r} is not a planned fault.",
            f"It is kill, torn or one of {', '.join(PLANNED_ERRORS)}, then @ and the number of an operation.",
            "unset CHAINRULE_FAULT; only tests of the store need it",
        )
    fault, at = form[1], int(form[2])
    counted = {"write rest"} if fault == "torn" else CHANGES | READS if form[3] else CHANGES
    number = count(1)

    def fail_at_the_number(kind: str) -> None:
        if kind in counted and next(number) == at:
            if fault in PLANNED_ERRORS:
                raise OSError(PLANNED_ERRORS[fault], os.strerror(PLANNED_ERRORS[fault]))
            os.kill(os.getpid(), signal.SIGKILL)

    return fail_at_the_number


# ---------------------------------------------------------------------------------------------------------- errors


def spelled(n_bytes: int) -> str:
    """A number of bytes in decimal units.

    Example:
        >>> spelled(312), spelled(3_140_000)
        ('312 bytes', '3.1 MB')
    """
    if n_bytes < 1000:
        return f"{n_bytes} bytes"
    size, units = n_bytes / 1000, ["kB", "MB", "GB"]
    while size >= 999.95 and units[1:]:
        size, units = size / 1000, units[1:]
    return f"{size:.1f} {units[0]}"


def no_space(path: Path, needed: int, free: int) -> ChainruleError:
    """E201 for ``path``; ``needed`` and ``free`` in bytes."""
    return ChainruleError(
        "E201",
        f"no space left on {path}: needed {spelled(needed)}, free {spelled(free)}.",
        "What is finished is safe; nothing is half-written.",
        "free space (or: chainrule verify --gc --dry-run), then run the same command again; it continues.",
    )


def refused(error: OSError, verb: str, path: Path, needed: int) -> ChainruleError:
    """What the operating system refused, as an error that says what to do; ``needed`` in bytes."""
    if error.errno in NO_SPACE:
        return no_space(path, needed, free_bytes(path))
    reason = error.strerror or type(error).__name__
    if error.errno in NOT_ALLOWED:
        return ChainruleError(
            "E204",
            f"cannot {verb} {path}: {reason}.",
            "The store must be a folder in which you may make, read and rename files; nothing is half-written.",
            "set CHAINRULE_STORE to a folder of your own (or mend its permissions), then run the same command again.",
        )
    return ChainruleError(
        "E203",
        f"cannot {verb} {path}: {reason}.",
        "The disk, or the network to it, did not do what was asked. What is finished is safe; nothing is half-written.",
        "check the disk (chainrule verify sets unreadable results aside), then run the same command again.",
    )


@contextmanager
def told(verb: str, path: Path, needed: int = 0) -> Iterator[None]:
    """Turn an ``OSError`` within the block into the ``ChainruleError`` that a user can act on."""
    try:
        yield
    except OSError as error:
        raise refused(error, verb, path, needed) from error


# ----------------------------------------------------------------------------------------------------------- reads


def home() -> Path:
    """The store's folder: ``CHAINRULE_STORE``, else ``chainrule-store`` in the current folder."""
    return Path(os.environ.get("CHAINRULE_STORE") or "chainrule-store").absolute()


def is_file(path: Path) -> bool:
    """Whether ``path`` is a file, or a link to one.

    Raises:
        ChainruleError: E203, E204.
    """
    with told("look at", path):
        operation("look", path)
        return path.is_file()


def is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder, or a link to one.

    Raises:
        ChainruleError: E203, E204.
    """
    with told("look at", path):
        operation("look", path)
        return path.is_dir()


def names(folder: Path) -> list[str]:
    """Sorted names of what a folder contains; none if there is no such folder.

    Raises:
        ChainruleError: E203, E204.
    """
    with told("list", folder):
        operation("list", folder)
        try:
            return sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []


def read_bytes(path: Path) -> bytes:
    """The contents of a file.

    Raises:
        ChainruleError: E203 (also if there is no such file), E204.
    """
    with told("read", path):
        operation("read", path)
        return path.read_bytes()


def read_or_empty(path: Path) -> bytes:
    """The contents of a file; empty if there is no such file.

    Raises:
        ChainruleError: E203, E204.
    """
    with told("read", path):
        operation("read", path)
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return b""


def read_folder(folder: Path) -> dict[str, bytes]:
    """The contents of all files of a folder, by name; empty if there is no such folder.

    What is no file appears as ``name/`` without contents. A file that another process removes meanwhile is left out.

    Raises:
        ChainruleError: E203, E204.
    """
    contents = {}
    for name in names(folder):
        if is_file(folder / name):
            with told("read", folder / name), suppress(FileNotFoundError):
                operation("read", folder / name)
                contents[name] = (folder / name).read_bytes()
        else:
            contents[name + "/"] = b""
    return contents


def free_bytes(path: Path) -> int:
    """Free bytes on the disk that holds, or would hold, ``path``; 0 if the disk does not say."""
    for place in (path, *path.parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return 0


def require_space(path: Path, needed: int) -> None:
    """Refuse early if the disk has not twice the ``needed`` bytes.

    Raises:
        ChainruleError: E201.
    """
    if (free := free_bytes(path)) < 2 * needed:
        raise no_space(path, needed, free)


# --------------------------------------------------------------------------------------------------------- changes


def make_folder(path: Path, *, synced: bool = True) -> None:
    """Make a folder and the folders above it; nothing if it is there.

    Args:
        path: The folder.
        synced: Wait until the disk has it. A temporary need not outlast a loss of power.

    Raises:
        ChainruleError: E201, E203, E204.
    """
    missing = []
    while not is_folder(path):
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with told("make the folder", folder):
            operation("mkdir", folder)
            try:
                folder.mkdir()
            except FileExistsError:
                if not folder.is_dir():
                    raise
        if synced:
            sync_folder(folder.parent)


def write_synced(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a new file and wait until the disk has it.

    Args:
        path: A name that is not yet taken.
        data: Its contents.
        mode: Permissions, of which the umask is taken away.

    Raises:
        ChainruleError: E201, E203, E204. A part of the file may then be there: the caller removes it.
    """
    half = len(data) // 2
    with told("write", path, len(data)):
        operation("create", path)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            # In two halves with an operation between: so a torn file is one of the states that faults can produce.
            for kind, rest in (("write", data[:half]), ("write rest", data[half:])):
                operation(kind, path)
                while rest:
                    rest = rest[os.write(handle, rest) :]
            operation("sync", path)
            os.fsync(handle)
        finally:
            os.close(handle)


def append(path: Path, data: bytes) -> None:
    """Append to a file in one write, without waiting for the disk; the file is made if need be.

    Raises:
        ChainruleError: E201, E203, E204.
    """
    with told("append to", path, len(data)):
        operation("append", path)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)


def sync_folder(path: Path) -> None:
    """Wait until the disk has the names that a folder contains.

    Raises:
        ChainruleError: E201, E203, E204.
    """
    with told("sync", path):
        operation("sync folder", path)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        except OSError as error:
            # Some network file systems cannot sync a folder and say so; their renames are as durable as they get.
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(handle)


def rename(old: Path, new: Path) -> bool:
    """Rename atomically; an existing *file* is replaced.

    Returns:
        False, and nothing has changed, if another process was first: ``new`` is a folder with contents, or ``old``
        is gone.

    Raises:
        ChainruleError: E201, E203, E204.
    """
    with told("rename", old):
        operation("rename", old, new)
        try:
            old.rename(new)
        except OSError as error:
            if error.errno in OVERTAKEN:
                return False
            raise
    return True


def remove_file(path: Path) -> None:
    """Remove a file; nothing if it is gone already.

    Raises:
        ChainruleError: E203, E204.
    """
    with told("remove", path):
        operation("remove", path)
        path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder of our own temporaries with all it contains; nothing if it is gone already.

    Raises:
        ChainruleError: E203, E204.
        ValueError: ``path`` has not the name of a temporary: nothing else is ever removed.
    """
    if TEMPORARY.fullmatch(path.name) is None:
        raise ValueError(f"{path} is not a temporary folder of chainrule.")
    for name in names(path):
        remove_file(path / name)
    with told("remove", path):
        operation("remove", path)
        with suppress(FileNotFoundError):
            path.rmdir()


def write_atomic(path: Path, data: bytes) -> None:
    """Write or replace a document, so that a reader sees the old one or the new one, never a part.

    Temporaries that dead processes left in the same folder are removed first.

    Raises:
        ChainruleError: E201, E203, E204. The old document is then still there, and no temporary is left.
    """
    make_folder(path.parent)
    remove_orphans(path.parent)
    temporary = path.parent / temporary_name()
    try:
        write_synced(temporary, data)
        with told("write", path, len(data)):
            operation("rename", temporary, path)
            temporary.replace(path)
    except BaseException:
        # Ctrl-C too leaves nothing behind. A second error says less than the first, so the first one is told.
        with suppress(ChainruleError):
            remove_file(temporary)
        raise
    sync_folder(path.parent)


# ----------------------------------------------------------------------------------------------------- temporaries


def start_of(pid: int) -> str:
    """When a process began, in ticks since the machine did; ``"0"`` if that is not told, ``""`` if it does not run.

    Together with its number it names a process: numbers are used again, in a container after every restart.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass  # another user's process: it runs
    try:
        # The name of the program stands in brackets and may contain anything; the fields behind it are numbers.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"


def machine() -> str:
    """Eight hexadecimal digits for the machine, or the container, in which process numbers mean something."""
    namespace = ""
    with suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{os.uname().nodename}/{namespace}".encode()).hexdigest()[:8]


def temporary_name() -> str:
    """A name that no other process uses, and from which its owner can be told: ``.tmp-PID-START-MACHINE-RANDOM``."""
    return f".tmp-{os.getpid()}-{start_of(os.getpid())}-{machine()}-{os.urandom(4).hex()}"


def is_orphan(name: str) -> bool:
    """Whether a temporary belongs to a process of this machine that has ended; by its owner, never by its age."""
    form = TEMPORARY.fullmatch(name)
    return form is not None and form["machine"] == machine() and start_of(int(form["pid"])) not in (form["start"], "0")


def is_foreign(name: str) -> bool:
    """Whether a temporary belongs to another machine, of whose processes nothing is known here."""
    form = TEMPORARY.fullmatch(name)
    return form is not None and form["machine"] != machine()


def remove_orphans(folder: Path) -> None:
    """Remove what dead processes of this machine left in a folder; nothing in a folder that is read-only.

    Raises:
        ChainruleError: E203.
    """
    for name in names(folder):
        if is_orphan(name):
            try:
                remove_temporary(folder / name)
            except ChainruleError as error:
                # What may be read but not written can still be used, orphans and all.
                if error.code != "E204":
                    raise


def remove_temporary(path: Path) -> None:
    """Remove a temporary, be it a file or a folder.

    Raises:
        ChainruleError: E203, E204.
    """
    if is_folder(path):
        remove_folder(path)
    else:
        remove_file(path)
