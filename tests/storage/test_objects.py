"""Write-once objects: what the store promises while nothing goes wrong, and while two processes meet."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

import chainrule.store
from chainrule.errors import ChainruleError
from chainrule.store import disk
from chainrule.store.keys import FORMAT, key
from chainrule.store.objects import MANIFEST, Store, format_text, open_store

KEY = key("an object")
FILES = {"a.bin": b"\0\1\2", "b.json": b"{}", "empty": b""}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return open_store(tmp_path / "store")


def never() -> dict[str, bytes]:
    """Compute what must not be computed."""
    raise AssertionError("it was computed again")


def dead_process() -> tuple[int, str]:
    """Number and start of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = disk.start_of(child.pid)
    child.communicate(b"\n")
    return child.pid, start


def test_what_is_put_is_got(store: Store) -> None:
    """``get`` returns the files of ``put``, byte for byte, without the manifest."""
    assert not store.has(KEY)
    store.put(KEY, FILES, "cell")
    assert store.has(KEY)
    assert store.get(KEY) == FILES


def test_an_object_is_durable_before_it_is_visible(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file and the temporary folder are synced before the rename, and the parent folder after it."""
    seen: list[str] = []
    monkeypatch.setattr(disk, "operation", lambda kind, *paths: seen.append(kind))
    store.put(KEY, {"a.bin": b"\0\1"}, "cell")
    file = ["create", "write", "write rest", "sync"]
    parent = ["mkdir", "sync folder"]
    assert [kind for kind in seen if kind in disk.CHANGES] == [
        *parent, "mkdir", *file, *file, "sync folder", "rename", "sync folder"
    ]  # fmt: skip


def test_an_object_is_written_once(store: Store) -> None:
    """A second ``put`` changes nothing and leaves nothing behind; ``obtain`` does not compute."""
    store.put(KEY, FILES, "cell")
    store.put(KEY, {"other": b"x"}, "cell")
    assert store.obtain(KEY, "cell", never) == FILES
    assert os.listdir(store.place(KEY).parent) == [KEY]


def test_files_of_an_object_are_read_only(store: Store) -> None:
    """No permission to write is set, and the manifest tells kind, hashes and sizes."""
    store.put(KEY, FILES, "cell")
    assert {path.stat().st_mode & 0o777 for path in store.place(KEY).iterdir()} == {0o444}
    manifest = json.loads((store.place(KEY) / MANIFEST).read_bytes())
    assert manifest["kind"] == "cell"
    assert {name: record["size"] for name, record in manifest["files"].items()} == {"a.bin": 3, "b.json": 2, "empty": 0}


def test_a_damaged_object_is_durably_set_aside(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both folders that a rename into quarantine changes are synced after it."""
    store.put(KEY, FILES, "cell")
    (store.place(KEY) / "a.bin").unlink()
    seen: list[tuple[str, Path]] = []
    monkeypatch.setattr(disk, "operation", lambda kind, *paths: seen.append((kind, paths[-1])))
    store.set_aside(store.verify())
    quarantine = store.folder / "quarantine"
    assert [(kind, path) for kind, path in seen if kind in disk.CHANGES] == [
        ("mkdir", quarantine),
        ("sync folder", store.folder),
        ("rename", quarantine / f"{KEY}-0"),
        ("sync folder", quarantine),
        ("sync folder", store.place(KEY).parent),
    ]


def test_obtain_computes_once(store: Store) -> None:
    """The first call computes and stores, the second one reads."""
    assert store.obtain(KEY, "cell", lambda: FILES) == FILES
    assert store.obtain(KEY, "cell", never) == FILES


def test_a_failed_computation_stores_nothing(store: Store) -> None:
    """An exception of ``compute`` passes through, and the object stays absent."""
    with pytest.raises(ZeroDivisionError):
        store.obtain(KEY, "cell", lambda: {"a": bytes(1 // 0)})
    assert not store.has(KEY)


def test_the_loser_of_a_race_uses_the_winners_object(store: Store) -> None:
    """Whoever publishes second gets what the first one wrote, although its own result differs."""

    def overtaken() -> dict[str, bytes]:
        Store(store.folder).put(KEY, {"winner": b"1"}, "cell")
        return {"loser": b"2"}

    assert store.obtain(KEY, "cell", overtaken) == {"winner": b"1"}
    assert os.listdir(store.place(KEY).parent) == [KEY]


def test_the_loser_of_a_race_replaces_a_damaged_winner(store: Store) -> None:
    """If the first one's object is damaged by the time the second one publishes, the second one's is kept."""

    def overtaken() -> dict[str, bytes]:
        Store(store.folder).put(KEY, {"winner": b"1"}, "cell")
        (store.place(KEY) / "winner").unlink()
        return {"second": b"2"}

    assert store.obtain(KEY, "cell", overtaken) == {"second": b"2"}
    assert store.verify() == []


def test_an_object_repaired_by_another_process_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an intact object takes the damaged one's place just before it is set aside, it is put back."""
    store.put(KEY, FILES, "cell")
    (store.place(KEY) / "a.bin").unlink()

    def operation(kind: str, *paths: Path) -> None:
        if kind == "rename" and paths[0] == store.place(KEY):
            monkeypatch.undo()
            (store.place(KEY) / "a.bin").write_bytes(FILES["a.bin"])

    monkeypatch.setattr(disk, "operation", operation)
    assert store.obtain(KEY, "cell", lambda: {"mine": b"later"}) == FILES
    assert store.notes() == []
    assert store.get(KEY) == FILES


def test_an_object_published_meanwhile_is_not_set_aside(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """``get`` of an absent object that appears at that moment reports it absent and leaves it where it is."""

    def operation(kind: str, *paths: Path) -> None:
        if kind == "list" and paths[0] == store.place(KEY):
            listed.append(kind)
        elif listed and not store.place(KEY).exists():
            monkeypatch.undo()
            store.put(KEY, FILES, "cell")

    listed: list[str] = []
    monkeypatch.setattr(disk, "operation", operation)
    with pytest.raises(ChainruleError, match="E205"):
        store.get(KEY)
    monkeypatch.undo()
    store.put(KEY, FILES, "cell")
    assert store.get(KEY) == FILES
    assert not (store.folder / "quarantine").exists()


def test_interrupting_a_writer_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before any change of a first ``put``, of a late one or of ``write_atomic`` leaves no temporary."""
    at, interrupted = 0, True
    while interrupted:
        at, interrupted = at + 1, False
        number = count(1)

        def operation(kind: str, *paths: Path, at: int = at, number: Iterator[int] = number) -> None:
            if kind in disk.CHANGES and next(number) == at:
                raise KeyboardInterrupt

        monkeypatch.setattr(disk, "operation", operation)
        try:
            store.put(key(at), FILES, "cell")
            store.put(key(at), FILES, "cell")
            disk.write_atomic(store.folder / "document", b"text")
        except KeyboardInterrupt:
            interrupted = True
        monkeypatch.undo()
        assert list(store.folder.rglob(".tmp-*")) == []
        assert store.verify() == []
    assert at > 40  # three files and a manifest, four changes each, twice; and the document


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a" * 65, "é", "a b", "a\n", MANIFEST])
def test_names_cannot_leave_the_folder(name: str, store: Store) -> None:
    """A file is named by at most 64 letters, digits and ``._-``, and is not the manifest."""
    with pytest.raises(ValueError, match="cannot name"):
        store.put(KEY, {name: b""}, "cell")
    with pytest.raises(ValueError, match="cannot name"):
        store.obtain(KEY, name, lambda: FILES)
    assert os.listdir(store.folder / "objects") == []


@pytest.mark.parametrize("name", ["", "../../etc", KEY.upper(), KEY + "0", KEY + "\n"])
def test_what_is_no_key_names_no_object(name: str, store: Store) -> None:
    """Only 64 hexadecimal digits make a path; anything else is an absent object."""
    for ask in (store.get, store.has, store.place):
        with pytest.raises(ChainruleError) as caught:
            ask(name)
        assert caught.value.code == "E205"


def test_keys_lists_one_kind_in_order(store: Store) -> None:
    """``keys`` returns the sorted keys of a kind; an object without a readable manifest belongs to none."""
    keys = [key(number) for number in range(12)]
    for number, name in enumerate(keys):
        store.put(name, FILES, "plan" if number % 3 else "cell")
    assert store.keys("cell") == sorted(keys[::3])
    (store.place(keys[0]) / MANIFEST).unlink()
    assert store.keys("cell") == sorted(keys[3::3])
    assert store.keys("other") == []


def test_a_torn_note_costs_one_line(store: Store) -> None:
    """Notes come back in order; a line that a dying writer left unfinished is passed over, the next one is kept."""
    assert store.notes() == []
    store.note('{"seconds":1.0}')
    with (store.folder / "journal.jsonl").open("ab") as journal:
        journal.write(b'\n{"seconds":2')
    store.note('{"seconds":3.0}')
    assert store.notes() == ['{"seconds":1.0}', '{"seconds":3.0}']
    with pytest.raises(ValueError, match="one line"):
        store.note("two\nlines")


@pytest.fixture
def abandoned() -> Callable[[Path], Path]:
    """Make a temporary object, as a dead process leaves it; returns its folder."""

    def make(folder: Path) -> Path:
        pid, start = dead_process()
        temporary = folder / f".tmp-{pid}-{start}-{disk.machine()}-01234567"
        temporary.mkdir(parents=True)
        (temporary / "a.bin").write_bytes(b"half")
        return temporary

    return make


def test_temporaries_of_dead_processes_go(store: Store, abandoned: Callable[[Path], Path]) -> None:
    """Opening a store removes what dead processes left, objects and documents, whatever the file times say."""
    temporary = abandoned(store.folder / "objects" / "ab")
    document = store.folder / "findings" / temporary.name
    document.parent.mkdir()
    document.write_bytes(b"half")
    os.utime(temporary, (4e9, 4e9))  # in the year 2096
    open_store(store.folder)
    assert not temporary.exists()
    assert not document.exists()


def test_temporaries_of_living_processes_stay(store: Store) -> None:
    """A living owner's temporary is kept, however old it looks; so is another machine's, until it is collected."""
    living = store.folder / "objects" / "ab" / disk.temporary_name()
    reused = store.folder / "objects" / "ab" / f".tmp-{os.getpid()}-1-{disk.machine()}-01234567"
    foreign = store.folder / "objects" / "ab" / f".tmp-{os.getpid()}-1-{'0' * 8}-01234567"
    for temporary in (living, reused, foreign):
        temporary.mkdir(parents=True)
        os.utime(temporary, (0, 0))
    open_store(store.folder)
    # The same number with another start is another process, which has ended.
    assert [living.exists(), reused.exists(), foreign.exists()] == [True, False, True]
    assert store.verify() == []
    assert store.collect_garbage(dry_run=True) == [foreign]
    assert foreign.exists()
    assert store.collect_garbage(dry_run=False) == [foreign]
    assert [living.exists(), foreign.exists()] == [True, False]


def test_a_document_is_replaced_whole(store: Store, abandoned: Callable[[Path], Path]) -> None:
    """``write_atomic`` replaces a document and clears its folder of what dead writers left."""
    document = store.folder / "reports" / "today" / "report.html"
    disk.write_atomic(document, b"old")
    abandoned(document.parent)
    disk.write_atomic(document, b"new")
    assert document.read_bytes() == b"new"
    assert os.listdir(document.parent) == ["report.html"]


def test_a_newer_store_is_refused(store: Store) -> None:
    """A store of format 2 is neither read nor changed."""
    (store.folder / "FORMAT").write_bytes(format_text(FORMAT + 1))
    before = sorted(store.folder.rglob("*"))
    with pytest.raises(ChainruleError) as caught:
        open_store(store.folder)
    assert str(caught.value) == (
        f"error E202: the store {store.folder} has format 2; this chainrule knows formats up to 1.\n"
        "  A newer version of chainrule made it. Nothing was read or changed.\n"
        "  fix: update chainrule, or set CHAINRULE_STORE to another folder."
    )
    assert caught.value.exit_status == 74
    assert sorted(store.folder.rglob("*")) == before


def test_an_absent_object_is_told(store: Store) -> None:
    """Asking for an object that is not there, or damaged, is error E205 with its remedy."""
    with pytest.raises(ChainruleError) as caught:
        store.get(KEY)
    assert str(caught.value) == (
        f"error E205: the store {store.folder} holds no object {KEY!r}.\n"
        "  It was never computed here, or it was found damaged and set aside in quarantine/.\n"
        "  fix: run the command that computes it again; what is finished is kept."
    )
    store.put(KEY, FILES, "cell")
    (store.place(KEY) / "b.json").unlink()
    with pytest.raises(ChainruleError, match="E205"):
        store.get(KEY)
    assert not store.has(KEY)
    assert os.listdir(store.folder / "quarantine") == [f"{KEY}-0"]


def test_the_store_reads_no_clock_and_stands_alone() -> None:
    """Its modules import neither a clock nor a lock nor another layer, and only ``disk`` touches files."""
    allowed = {"chainrule.errors", "chainrule.store", "chainrule.store.keys", "msgspec", "pathlib"}
    allowed |= {
        "collections.abc",
        "contextlib",
        "dataclasses",
        "functools",
        "hashlib",
        "itertools",
        "json",
        "math",
        "re",
    }
    files = {"errno", "os", "shutil", "signal"}
    ways = {"open", "read_text", "write_text", "write_bytes", "unlink", "rmdir", "exists", "iterdir", "rename", "stat"}
    for path in sorted(Path(chainrule.store.__path__[0]).glob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        imports = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        imports |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
        assert imports <= allowed | (files if path.name == "disk.py" else set()), path.name
        calls = [node.func for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
        direct = {call.attr for call in calls if ast.unparse(call.value) != "disk"}
        assert path.name == "disk.py" or not direct & ways, path.name


def test_what_vanishes_before_it_is_set_aside_is_no_loss(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another process sets a damaged object aside first, this one computes it, and no warning is noted twice."""
    store.put(KEY, FILES, "cell")
    (store.place(KEY) / "a.bin").unlink()

    def operation(kind: str, *paths: Path) -> None:
        if kind == "rename" and paths[0] == store.place(KEY):
            monkeypatch.undo()
            with pytest.raises(ChainruleError, match="E205"):
                Store(store.folder).get(KEY)

    monkeypatch.setattr(disk, "operation", operation)
    assert store.obtain(KEY, "cell", lambda: FILES) == FILES
    assert store.notes() == []
    assert os.listdir(store.folder / "quarantine") == [f"{KEY}-0"]


def test_a_place_freed_meanwhile_is_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the temporary vanishes before it is renamed (collected by another machine), the object is written again."""

    def operation(kind: str, *paths: Path) -> None:
        if kind == "rename" and paths[1] == store.place(KEY):
            monkeypatch.undo()
            disk.remove_folder(paths[0])

    monkeypatch.setattr(disk, "operation", operation)
    store.put(KEY, FILES, "cell")
    assert store.get(KEY) == FILES
