"""Stored bytes that change by themselves: every change is found, and none is ever served."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chainrule.store.keys import FORMAT, canonical, digest, key
from chainrule.store.objects import (
    MANIFEST,
    FileRecord,
    Manifest,
    Store,
    contents_hash,
    difference,
    format_text,
    open_store,
    sealed,
)

MUTATIONS = 1024
CELLS = {
    key({"replica": replica}): {
        "cell.safetensors": random.Random(replica).randbytes(700 + replica),
        "cell.json": canonical({"loss": 0.5**replica}),
    }
    for replica in range(4)
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Four objects; without waiting for the disk, since no power is lost here."""
    monkeypatch.setattr("os.fsync", lambda handle: None)
    store = open_store(tmp_path / "store")
    for name, files in CELLS.items():
        store.put(name, files, "cell")
    return store


def overwrite(path: Path, data: bytes) -> None:
    """Change a file that is read-only."""
    path.chmod(0o644)
    path.write_bytes(data)


def flip(path: Path, dice: random.Random) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    overwrite(path, bytes(data))


def truncate(path: Path, dice: random.Random) -> None:
    """Lose the end."""
    data = path.read_bytes()
    overwrite(path, data[: dice.randrange(1, len(data))])


def empty(path: Path, dice: random.Random) -> None:
    """Lose everything but the name."""
    overwrite(path, b"")


def delete(path: Path, dice: random.Random) -> None:
    """Lose the file."""
    path.unlink()


def lengthen(path: Path, dice: random.Random) -> None:
    """Gain one byte."""
    overwrite(path, path.read_bytes() + dice.choice([b"\n", b"\0", b" "]))


def swap(path: Path, dice: random.Random) -> None:
    """Exchange this file's object with another one (the file FORMAT with a manifest)."""
    others = (
        [other for other in path.parents[2].glob("??/*") if other != path.parent] if path.parent.name in CELLS else []
    )
    one, other = (path.parent, dice.choice(others)) if others else (path, next(path.parent.glob("objects/??/*/*.json")))
    aside = path.parents[0].parent / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def intrude(path: Path, dice: random.Random) -> None:
    """A file that nobody wrote (beside FORMAT, where documents may lie: the file is replaced by a folder)."""
    if path.parent.name in CELLS:
        (path.parent / "intruder.bin").write_bytes(b"")
    else:
        path.unlink()
        path.mkdir()


def replace_by_folder(path: Path, dice: random.Random) -> None:
    """A folder where a file should be."""
    path.unlink()
    path.mkdir()


KINDS = ["FORMAT", MANIFEST, "cell.safetensors", "cell.json"]
WAYS: list[Callable[[Path, random.Random], None]] = [
    flip,
    truncate,
    empty,
    delete,
    lengthen,
    swap,
    intrude,
    replace_by_folder,
]


def test_every_mutation_is_found_and_none_is_served(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 1024 changes to stored bytes ``verify`` finds all, and ``obtain`` returns what was written, all the same."""
    dice = random.Random("corruption")
    found = served = 0
    for i in range(MUTATIONS):
        kind, way = KINDS[i % len(KINDS)], WAYS[i // len(KINDS) % len(WAYS)]
        place = store.folder if kind == "FORMAT" else store.place(dice.choice(list(CELLS)))
        way(place / kind, dice)
        found += bool(store.verify())
        reopened = open_store(store.folder)
        served += all(reopened.obtain(name, "cell", lambda name=name: CELLS[name]) == CELLS[name] for name in CELLS)
        assert store.verify() == [], (kind, way)
        if i % 50 == 0:
            shutil.rmtree(store.folder / "quarantine")
    with capsys.disabled():
        print(f"\n  corruption: {found} found, {served} survived / {MUTATIONS} tried", end="")
    assert found == served == MUTATIONS


def test_every_bit_of_a_manifest_and_of_the_format_counts(store: Store) -> None:
    """No single flipped bit of MANIFEST.json passes for the manifest, none of FORMAT for another version."""
    name, files = next(iter(CELLS.items()))
    manifest = (store.place(name) / MANIFEST).read_bytes()
    assert difference(name, {**files, MANIFEST: manifest}) == ""
    for bit in range(8 * len(manifest)):
        changed = bytearray(manifest)
        changed[bit // 8] ^= 1 << bit % 8
        assert difference(name, {**files, MANIFEST: bytes(changed)}) != "", bit
    text = format_text(FORMAT)
    versions = {format_text(version) for version in range(100)}
    for bit in range(8 * len(text)):
        changed = bytearray(text)
        changed[bit // 8] ^= 1 << bit % 8
        assert bytes(changed) not in versions


def test_the_clause_says_what_differs(store: Store) -> None:
    """Each kind of damage has its own words."""
    name, files = next(iter(CELLS.items()))
    whole = {**files, MANIFEST: (store.place(name) / MANIFEST).read_bytes()}
    newer = sealed(Manifest({}, FORMAT + 1, name, "cell"))
    other = sealed(Manifest({"cell.json": FileRecord("0" * 64, 1)}, FORMAT, "f" * 64, "cell"))
    clauses = {
        "MANIFEST.json is missing": files,
        "MANIFEST.json cannot be read": whole | {MANIFEST: b"\xff{"},
        "MANIFEST.json has been changed": whole | {MANIFEST: newer},
        f"it is the object {'f' * 64}, in the place of another": whole | {MANIFEST: other},
        "more.bin does not belong to it": whole | {"more.bin": b""},
        "cell.json is missing": {file: data for file, data in whole.items() if file != "cell.json"},
        "cell.json has 1 bytes instead of 10": whole | {"cell.json": b"{"},
        "cell.json has the sha256 5d5f0c… instead of": whole | {"cell.json": b'{"loss":2}'},
    }
    for clause, found in clauses.items():
        assert difference(name, found).startswith(clause.partition("5d5f0c")[0])


def test_a_damaged_object_is_kept_and_the_journal_tells(store: Store) -> None:
    """The damaged folder moves into quarantine unchanged, and warning W203 names both hashes."""
    name = next(iter(CELLS))
    overwrite(store.place(name) / "cell.json", b'{"loss":2}')
    assert store.obtain(name, "cell", lambda: CELLS[name]) == CELLS[name]
    assert (store.folder / "quarantine" / f"{name}-0" / "cell.json").read_bytes() == b'{"loss":2}'
    was, found = (digest(text)[:12] for text in (CELLS[name]["cell.json"], b'{"loss":2}'))
    old, new = (contents_hash(files)[:12] for files in (CELLS[name] | {"cell.json": b'{"loss":2}'}, CELLS[name]))
    (note,) = store.notes()
    assert json.loads(note) == {
        "code": "W203",
        "what": f"the cell {name[:12]}… was damaged and has been computed again: "
        f"cell.json has the sha256 {found}… instead of {was}….",
        "why": f"Its contents had the sha256 {old}…, now {new}…; the damaged ones are in quarantine/{name}-0.",
        "fix": "nothing needs to be done; if it happens again, check the disk (chainrule verify).",
    }


def test_verify_changes_nothing_and_set_aside_takes_damage_out_of_use(store: Store) -> None:
    """After ``set_aside`` of all that ``verify`` found the store is sound and holds the rest."""
    names = sorted(CELLS)
    overwrite(store.place(names[0]) / MANIFEST, b"")
    (store.folder / "objects" / "stray.txt").write_bytes(b"x")
    (store.folder / "objects" / "zz").mkdir()
    (store.folder / "objects" / "zz" / "stray").mkdir()
    before = sorted(store.folder.rglob("*"))
    damages = store.verify()
    assert sorted(store.folder.rglob("*")) == before
    assert [damage.path.name for damage in damages] == [names[0], "stray.txt", "stray"]
    store.set_aside(damages)
    assert store.verify() == []
    assert store.keys("cell") == names[1:]


def test_a_file_in_the_place_of_an_object_is_set_aside(store: Store) -> None:
    """What is no folder cannot be an object; a new object takes its place."""
    name = next(iter(CELLS))
    shutil.rmtree(store.place(name))
    store.place(name).write_bytes(b"no folder")
    assert store.verify() != []
    assert store.obtain(name, "cell", lambda: CELLS[name]) == CELLS[name]
    assert (store.folder / "quarantine" / f"{name}-0").read_bytes() == b"no folder"
    assert store.verify() == []
