"""Where a store may lie, and what it must not depend on."""

import errno
import hashlib
import os
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest

from chainrule.errors import ChainruleError
from chainrule.store import disk
from chainrule.store.keys import key
from chainrule.store.objects import Store, open_store

OBJECTS = {key(number): {"a.bin": bytes([number]) * 10} for number in range(3)}


def use(folder: Path) -> Store:
    """Open a store, fill it, write a document, read everything again."""
    store = open_store(folder)
    for name, files in OBJECTS.items():
        assert store.obtain(name, "cell", lambda files=files: files) == files
    disk.write_atomic(folder / "findings" / "x.json", b"{}")
    assert store.verify() == []
    assert store.keys("cell") == sorted(OBJECTS)
    return store


def tree(folder: Path) -> dict[str, str]:
    """Path → sha256 of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        unicodedata.normalize("NFC", "Kettenregel-é-ü"),
        unicodedata.normalize("NFD", "Kettenregel-é-ü"),
        "連鎖律 📈",
        'quote\'s "and" $HOME `x` * ?',
        "-rf",
        "a" * 255,
        "new\nline",
        "deep/" * 20 + "end",
    ],
)
def test_any_folder_will_do(name: str, tmp_path: Path) -> None:
    """A store works in a folder of any name, and its contents are the same as elsewhere."""
    use(tmp_path / name)
    use(tmp_path / "plain")
    assert tree(tmp_path / name) == tree(tmp_path / "plain")


def test_a_store_behind_a_link(tmp_path: Path) -> None:
    """A link to a folder, or a linked folder of objects, is as good as the folder."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    use(tmp_path / "link")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "objects").symlink_to(tmp_path / "elsewhere")
    use(tmp_path / "other")
    assert (tmp_path / "other" / "objects").is_symlink()


def test_a_store_needs_no_home(tmp_path: Path) -> None:
    """Without HOME, USER or any other variable the store is a folder in the current one."""
    program = (
        "from chainrule.store import disk; from chainrule.store.objects import open_store\n"
        "open_store(disk.home()).put('0' * 64, {'a': b''}, 'cell'); print(disk.home())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={}, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == tmp_path / "chainrule-store"
    assert (tmp_path / "chainrule-store" / "objects" / "00" / ("0" * 64)).is_dir()


@pytest.mark.parametrize(("setting", "expected"), [("", "chainrule-store"), ("mine", "mine"), ("/data/x", "/data/x")])
def test_the_environment_names_the_store(
    setting: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``CHAINRULE_STORE`` is the store; empty means not set; the path is absolute."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_STORE", setting)
    assert disk.home() == tmp_path / expected
    monkeypatch.delenv("CHAINRULE_STORE")
    assert disk.home() == tmp_path / "chainrule-store"


def forbid_changes(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let every change fail, as on a read-only disk or in another user's folder."""

    def operation(kind: str, *paths: Path) -> None:
        if kind in disk.CHANGES:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(disk, "operation", operation)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_store_can_be_read_where_nothing_may_be_written(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A complete store is opened, read and verified, orphans and all; writing to it is error E204, exit 73."""
    use(tmp_path / "store")
    orphan = tmp_path / "store" / "objects" / f".tmp-{os.getpid()}-1-{disk.machine()}-01234567"
    orphan.mkdir()
    forbid_changes(monkeypatch, number)
    store = open_store(tmp_path / "store")
    assert {name: store.obtain(name, "cell", dict) for name in OBJECTS} == OBJECTS
    assert store.verify() == []
    for write in (
        lambda: store.put("0" * 64, {}, "cell"),
        lambda: store.note("{}"),
        lambda: open_store(tmp_path / "new"),
    ):
        with pytest.raises(ChainruleError) as caught:
            write()
        assert (caught.value.code, caught.value.exit_status) == ("E204", 73)
        assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("bad", ["file", "file/below", "b" * 256, "loop"])
def test_a_place_that_cannot_be_a_folder_is_told(bad: str, tmp_path: Path) -> None:
    """A file, a place below a file, a name that is too long, a link to itself: error E204, exit 73."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ChainruleError) as caught:
        open_store(tmp_path / bad)
    assert (caught.value.code, caught.value.exit_status) == ("E204", 73)


@pytest.mark.parametrize("moment", [0.0, 1e9, 4e9])
def test_the_clock_does_not_matter(moment: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the clock stopped in 1970, 2001 or 2096 and file times from other years, the bytes are the same."""
    use(tmp_path / "now")
    for clock in ("time", "time_ns", "monotonic", "monotonic_ns"):
        monkeypatch.setattr(time, clock, lambda: moment)
    store = use(tmp_path / "then")
    for path in sorted(store.folder.rglob("*"), reverse=True):
        os.utime(path, (moment, moment))
    use(tmp_path / "then")
    assert tree(tmp_path / "then") == tree(tmp_path / "now")


def test_a_store_can_be_moved(tmp_path: Path) -> None:
    """Nothing in a store names the place where it lies."""
    use(tmp_path / "here")
    before = tree(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    use(tmp_path / "there")
    assert tree(tmp_path / "there") == before


def test_unreadable_objects_are_reported_not_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad sector: ``verify`` reports the object and goes on; reading it is error E203, exit 74."""
    store = use(tmp_path / "store")
    bad = sorted(OBJECTS)[0]

    def operation(kind: str, *paths: Path) -> None:
        if kind == "read" and bad in paths[0].parts:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(disk, "operation", operation)
    (damage,) = store.verify()
    assert damage.path == store.place(bad)
    assert "cannot read" in damage.what
    with pytest.raises(ChainruleError) as caught:
        store.get(bad)
    assert (caught.value.code, caught.value.exit_status) == ("E203", 74)
    store.set_aside([damage])
    assert not store.has(bad)
