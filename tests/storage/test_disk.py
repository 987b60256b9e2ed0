"""The primitives of the disk: what they promise, and the words of their errors."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from chainrule.errors import ChainruleError
from chainrule.store import disk


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make every change fail with an error number: ``refuse(errno.EIO)``."""

    def make(number: int) -> None:
        def operation(kind: str, *paths: Path) -> None:
            if kind in disk.CHANGES:
                raise OSError(number, os.strerror(number))

        monkeypatch.setattr(disk, "operation", operation)

    return make


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "no space"), (errno.EDQUOT, "no space")])
def test_a_full_disk_is_told(number: int, words: str, refuse: Callable[[int], None], tmp_path: Path) -> None:
    """E201 names the file, the bytes needed and the bytes free, and promises that the rerun continues."""
    refuse(number)
    path = tmp_path / "x"
    with pytest.raises(ChainruleError) as caught:
        disk.write_synced(path, bytes(3_140_000))
    what, why, fix = str(caught.value).splitlines()
    free = disk.spelled(disk.free_bytes(path)).split()[1]
    assert what.startswith(f"error E201: {words} left on {path}: needed 3.1 MB, free ")
    assert what.endswith(f" {free}.")
    assert why == "  What is finished is safe; nothing is half-written."
    assert (
        fix == "  fix: free space (or: chainrule verify --gc --dry-run), then run the same command again; it continues."
    )
    assert caught.value.exit_status == 74


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_place_where_nothing_may_be_written_is_told(
    number: int, refuse: Callable[[int], None], tmp_path: Path
) -> None:
    """E204 names the path and the reason; the exit status says that a store cannot be created."""
    refuse(number)
    with pytest.raises(ChainruleError) as caught:
        disk.make_folder(tmp_path / "x")
    assert str(caught.value) == (
        f"error E204: cannot make the folder {tmp_path / 'x'}: {os.strerror(number)}.\n"
        "  The store must be a folder in which you may make, read and rename files; nothing is half-written.\n"
        "  fix: set CHAINRULE_STORE to a folder of your own (or mend its permissions), then run the same command again."
    )
    assert caught.value.exit_status == 73


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENODEV])
def test_a_failing_disk_is_told(number: int, refuse: Callable[[int], None], tmp_path: Path) -> None:
    """E203 names the path and the reason."""
    refuse(number)
    with pytest.raises(ChainruleError) as caught:
        disk.append(tmp_path / "x", b"line")
    assert str(caught.value) == (
        f"error E203: cannot append to {tmp_path / 'x'}: {os.strerror(number)}.\n"
        "  The disk, or the network to it, did not do what was asked. "
        "What is finished is safe; nothing is half-written.\n"
        "  fix: check the disk (chainrule verify sets unreadable results aside), then run the same command again."
    )
    assert caught.value.exit_status == 74


def test_every_primitive_announces_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each primitive names its kind and its paths before it acts, in the order that makes a document durable."""
    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        disk,
        "operation",
        lambda kind, *paths: seen.append((kind, *(str(path.relative_to(tmp_path)) for path in paths))),
    )
    monkeypatch.setattr(disk, "temporary_name", lambda: "temporary")
    new = tmp_path / "new"
    written = [("create", "x"), ("write", "x"), ("write rest", "x"), ("sync", "x")]
    expected: list[tuple[Callable[[], object], list[tuple[str, ...]]]] = [
        (lambda: disk.make_folder(new), [("look", "new"), ("look", "."), ("mkdir", "new"), ("sync folder", ".")]),
        (lambda: disk.make_folder(new / "a", synced=False), [("look", "new/a"), ("look", "new"), ("mkdir", "new/a")]),
        (lambda: disk.write_synced(tmp_path / "x", b"x"), written),
        (lambda: disk.append(tmp_path / "x", b"x"), [("append", "x")]),
        (lambda: disk.read_bytes(tmp_path / "x"), [("read", "x")]),
        (lambda: disk.read_or_empty(tmp_path / "x"), [("read", "x")]),
        (lambda: disk.is_file(tmp_path / "x"), [("look", "x")]),
        (lambda: disk.is_folder(tmp_path / "x"), [("look", "x")]),
        (lambda: disk.names(new), [("list", "new")]),
        (lambda: disk.rename(tmp_path / "x", new / "x"), [("rename", "x", "new/x")]),
        (lambda: disk.read_folder(new), [("list", "new"), ("look", "new/a"), ("look", "new/x"), ("read", "new/x")]),
        (lambda: disk.remove_file(new / "x"), [("remove", "new/x")]),
        (lambda: disk.sync_folder(new), [("sync folder", "new")]),
        (
            lambda: disk.write_atomic(new / "y", b"text"),
            [("look", "new"), ("list", "new")]
            + [(kind, "new/temporary") for kind in ("create", "write", "write rest", "sync")]
            + [("rename", "new/temporary", "new/y"), ("sync folder", "new")],
        ),
    ]
    for act, operations in expected:
        seen.clear()
        act()
        assert seen == operations
    assert {kind for _, operations in expected for kind, *_ in operations} == disk.READS | disk.CHANGES


def test_reading_what_is_absent(tmp_path: Path) -> None:
    """Absent folders are empty, absent files too where that is asked for; else they are error E203."""
    absent = tmp_path / "absent"
    assert disk.names(absent) == []
    assert disk.read_folder(absent) == {}
    assert disk.read_or_empty(absent) == b""
    assert not disk.is_file(absent)
    assert not disk.is_folder(absent)
    with pytest.raises(ChainruleError, match="E203"):
        disk.read_bytes(absent)
    (tmp_path / "file").write_bytes(b"x")
    assert disk.names(tmp_path / "file") == []
    assert disk.read_or_empty(tmp_path / "file" / "below") == b""


def test_read_folder_takes_files_only(tmp_path: Path) -> None:
    """Folders, dangling links and pipes appear with a slash and no contents; none of them blocks the reader."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert disk.read_folder(tmp_path) == {"dangling/": b"", "file": b"x", "folder/": b"", "pipe/": b""}


def test_a_new_file_replaces_none(tmp_path: Path) -> None:
    """``write_synced`` makes new files only, with the permissions asked for less the umask."""
    disk.write_synced(tmp_path / "x", b"data", 0o444)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o444
    with pytest.raises(ChainruleError, match="E204"):
        disk.write_synced(tmp_path / "x", b"other")
    assert disk.read_bytes(tmp_path / "x") == b"data"
    (tmp_path / "ordinary").touch()  # as any program makes a file under this umask
    disk.write_atomic(tmp_path / "document", b"text")
    disk.append(tmp_path / "journal", b"line")
    assert len({(tmp_path / name).stat().st_mode for name in ("ordinary", "document", "journal")}) == 1


@pytest.mark.parametrize("size", [0, 1, 2, 3, 1000])
def test_every_byte_is_written(size: int, tmp_path: Path) -> None:
    """Both halves of a file arrive, whatever its length, even if the system takes one byte at a time."""
    data = os.urandom(size)
    disk.write_synced(tmp_path / "whole", data)
    assert disk.read_bytes(tmp_path / "whole") == data


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may take fewer bytes than offered."""
    write = os.write
    monkeypatch.setattr("os.write", lambda handle, data: write(handle, data[:7]))
    disk.write_synced(tmp_path / "x", bytes(range(100)))
    assert disk.read_bytes(tmp_path / "x") == bytes(range(100))


def test_make_folder_twice(tmp_path: Path) -> None:
    """Folders that are there stay; a file in the way is error E204."""
    disk.make_folder(tmp_path / "a" / "b")
    disk.make_folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "file").write_bytes(b"x")
    with pytest.raises(ChainruleError, match="E204"):
        disk.make_folder(tmp_path / "a" / "file")


def test_two_processes_make_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that appears between looking and making is welcome."""

    def operation(kind: str, *paths: Path) -> None:
        if kind == "mkdir":
            paths[0].mkdir()

    monkeypatch.setattr(disk, "operation", operation)
    disk.make_folder(tmp_path / "a")
    assert (tmp_path / "a").is_dir()


def test_a_folder_that_cannot_be_synced_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems that know no sync of folders say EINVAL; a disk that fails says EIO, and that counts."""

    def failing(number: int) -> None:
        def fsync(handle: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("os.fsync", fsync)

    failing(errno.EINVAL)
    disk.sync_folder(tmp_path)
    failing(errno.EIO)
    with pytest.raises(ChainruleError, match="E203"):
        disk.sync_folder(tmp_path)


def test_renaming_says_who_was_first(tmp_path: Path) -> None:
    """A rename onto a folder with contents, onto a file by a folder, or of nothing, changes nothing: False."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"x")
    (tmp_path / "new").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    assert not disk.rename(tmp_path / "new", tmp_path / "full")
    assert not disk.rename(tmp_path / "new", tmp_path / "file")
    assert not disk.rename(tmp_path / "absent", tmp_path / "other")
    assert disk.rename(tmp_path / "new", tmp_path / "other")
    assert disk.names(tmp_path) == ["file", "full", "other"]


def test_only_temporaries_are_removed(tmp_path: Path) -> None:
    """``remove_folder`` refuses any name that is not that of a temporary, and does not mind an absent one."""
    with pytest.raises(ValueError, match="not a temporary"):
        disk.remove_folder(tmp_path)
    assert tmp_path.exists()
    disk.remove_folder(tmp_path / disk.temporary_name())
    disk.remove_file(tmp_path / "absent")


def test_a_failed_document_keeps_the_old_one(tmp_path: Path) -> None:
    """If a document cannot be replaced (a folder has its name), nothing is left beside it."""
    (tmp_path / "document").mkdir()
    with pytest.raises(ChainruleError) as caught:
        disk.write_atomic(tmp_path / "document", b"text")
    assert caught.value.code == "E204"
    assert disk.names(tmp_path) == ["document"]


def test_space_is_asked_for_early(tmp_path: Path) -> None:
    """Twice the bytes needed must be free; a folder that is not there yet is asked of its parents' disk."""
    disk.require_space(tmp_path / "not" / "yet", 1)
    free = disk.free_bytes(tmp_path)
    with pytest.raises(ChainruleError, match="E201"):
        disk.require_space(tmp_path / "not" / "yet", free)


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_940, "999.9 kB"),
        (999_960, "1.0 MB"),
        (2**50, "1125899.9 GB"),
    ],
)
def test_bytes_are_spelled(n_bytes: int, words: str) -> None:
    """Decimal units, one decimal place, never 1000.0 of a smaller unit."""
    assert disk.spelled(n_bytes) == words


def test_temporaries_name_their_owner() -> None:
    """A temporary of this process has a living owner; no two have the same name; other names are no temporaries."""
    names = {disk.temporary_name() for _ in range(100)}
    assert len(names) == 100
    assert all(disk.TEMPORARY.fullmatch(name) and not disk.is_orphan(name) for name in names)
    assert not any(disk.is_orphan(name) or disk.is_foreign(name) for name in (".tmp-1", "x", ".tmp-1-2-3-4"))
    assert disk.start_of(os.getpid()) == disk.start_of(os.getpid())
    assert disk.start_of(os.getppid()) != ""


@pytest.mark.parametrize("name", sorted(disk.PLANNED_ERRORS))
def test_a_planned_error_comes_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``NAME@2`` fails the second change and no other; with ``/all`` reads are counted too."""
    disk.planned_fault.cache_clear()
    monkeypatch.setenv("CHAINRULE_FAULT", f"{name}@2")
    disk.names(tmp_path)
    disk.append(tmp_path / "x", b"1")
    with pytest.raises(ChainruleError) as caught:
        disk.append(tmp_path / "x", b"2")
    assert caught.value.__cause__.errno == disk.PLANNED_ERRORS[name]
    disk.append(tmp_path / "x", b"3")
    assert (tmp_path / "x").read_bytes() == b"13"
    monkeypatch.setenv("CHAINRULE_FAULT", f"{name}@2/all")
    disk.append(tmp_path / "x", b"4")
    with pytest.raises(ChainruleError):
        disk.names(tmp_path)


@pytest.mark.parametrize(("plan", "written"), [("kill@3", b"a"), ("torn@1", b"a"), ("kill@1", None)])
def test_a_planned_death_comes_in_time(
    plan: str, written: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is killed before the operation; a torn file holds the first half."""

    def kill(process: int, how: int) -> None:
        raise KeyboardInterrupt(process, how)

    disk.planned_fault.cache_clear()
    monkeypatch.setenv("CHAINRULE_FAULT", plan)
    monkeypatch.setattr("os.kill", kill)
    with pytest.raises(KeyboardInterrupt) as caught:
        disk.write_synced(tmp_path / "x", b"ab")
    assert caught.value.args == (os.getpid(), signal.SIGKILL)
    assert ((tmp_path / "x").read_bytes() if (tmp_path / "x").exists() else None) == written


@pytest.mark.parametrize("plan", ["kill", "kill@0", "eio@-1", "hang@3", "kill@3/reads", "kill@3 "])
def test_a_plan_that_is_none_is_told(plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelled plan is error E401, not a test that never fails."""
    monkeypatch.setenv("CHAINRULE_FAULT", plan)
    with pytest.raises(ChainruleError) as caught:
        disk.names(tmp_path)
    assert str(caught.value) == (
        f"error E401: CHAINRULE_FAULT={plan!r} is not a planned fault.\n"
        "  It is kill, torn or one of nospace, quota, eio, readonly, then @ and the number of an operation.\n"
        "  fix: unset CHAINRULE_FAULT; only tests of the store need it"
    )


def test_a_process_that_tells_nothing_is_taken_to_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's process runs; where starts are not told, the number alone decides, and nothing is removed."""

    def forbidden(process: int, signal_number: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.kill", forbidden)
    assert disk.start_of(os.getpid()).isdigit()
    assert disk.start_of(999_999_999) == "0"
    assert not disk.is_orphan(f".tmp-999999999-5-{disk.machine()}-01234567")


def test_orphans_on_a_failing_disk_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing may be written orphans are left in peace; where the disk fails that is an error."""
    orphan = tmp_path / f".tmp-999999999-5-{disk.machine()}-01234567"
    orphan.write_bytes(b"half")

    def failing(number: int) -> None:
        def operation(kind: str, *paths: Path) -> None:
            if kind == "remove":
                raise OSError(number, os.strerror(number))

        monkeypatch.setattr(disk, "operation", operation)

    failing(errno.EROFS)
    disk.remove_orphans(tmp_path)
    failing(errno.EIO)
    with pytest.raises(ChainruleError, match="E203"):
        disk.remove_orphans(tmp_path)
    assert orphan.exists()
    monkeypatch.undo()
    disk.remove_orphans(tmp_path)
    assert not orphan.exists()


def test_a_rename_that_fails_is_told(tmp_path: Path) -> None:
    """A folder cannot be moved into itself: error E203, and it stays."""
    (tmp_path / "a").mkdir()
    with pytest.raises(ChainruleError, match="E203"):
        disk.rename(tmp_path / "a", tmp_path / "a" / "b")
    assert disk.names(tmp_path) == ["a"]


def test_a_disk_that_does_not_say_has_nothing_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no folder above the path tells its free space, it is 0, and the error of the moment is told all the same."""

    def unknown(path: Path) -> None:
        raise OSError(errno.EIO, "no answer")

    monkeypatch.setattr("shutil.disk_usage", unknown)
    assert disk.free_bytes(tmp_path / "x") == 0
