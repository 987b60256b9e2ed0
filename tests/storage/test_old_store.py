"""Stores of every released format stay readable."""

import shutil
from pathlib import Path

import pytest

from chainrule.store.keys import key
from chainrule.store.objects import open_store

GOLDEN = Path(__file__).parent / "golden_store_1"
# Written once, by format 1, and never again: a change of these files is a change of everybody's stores.
CONTENTS = {
    key({"golden": "cell"}): ("cell", {"cell.json": b'{"loss":0.125}', "cell.safetensors": bytes(range(256))}),
    key({"golden": "plan"}): ("plan", {"empty": b"", "plan.json": '{"statement":"η ≤ 2/λ"}'.encode()}),
}


def test_a_store_of_format_1_is_read(tmp_path: Path) -> None:
    """The objects that the first version wrote are found by the same keys, intact, and are not rewritten."""
    store = open_store(shutil.copytree(GOLDEN, tmp_path / "store"))
    assert store.verify() == []
    for name, (kind, files) in CONTENTS.items():
        assert store.get(name) == files
        assert store.keys(kind) == [name]
    assert store.notes() == ['{"seconds":0.25}']
    here, there = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (GOLDEN, store.folder)
    )
    assert here == there


@pytest.mark.parametrize("name", CONTENTS)
def test_this_version_writes_format_1(name: str, tmp_path: Path) -> None:
    """A new store of the same objects has the same bytes."""
    kind, files = CONTENTS[name]
    place = open_store(tmp_path / "store").place(name)
    open_store(tmp_path / "store").put(name, files, kind)
    golden = GOLDEN / place.relative_to(tmp_path / "store")
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {
        path.name: path.read_bytes() for path in golden.iterdir()
    }
