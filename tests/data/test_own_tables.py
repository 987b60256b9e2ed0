"""A user's own table: what is accepted, what it becomes, and that it stays what it was."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from chainrule import dataset, own_data
from chainrule.errors import ChainruleError


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store."""
    monkeypatch.setenv("CHAINRULE_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    return tmp_path / "store"


def written(folder: Path, content: str | bytes, name: str = "houses.csv") -> Path:
    """A file with this content."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def houses(rows: int = 40, separator: str = ",") -> str:
    """A sound table: two features, a fractional target."""
    lines = [separator.join(("rooms", "age", "price"))]
    lines += [separator.join((str(i % 7), str(i * i % 11), f"{100 + i / 4}")) for i in range(rows)]
    return "\n".join(lines) + "\n"


def test_numbers_come_back_as_written(tmp_path: Path) -> None:
    """Every cell of the loaded table is the number in the file, features in float32 and targets in float64."""
    data = dataset.load(dataset.add_csv(written(tmp_path, houses()), "price"))
    expected = np.loadtxt(houses().splitlines(), delimiter=",", skiprows=1)
    np.testing.assert_array_equal(data.x, expected[:, :2].astype(np.float32))
    np.testing.assert_array_equal(data.y, expected[:, 2:])
    assert (data.features, data.targets, data.task) == (("rooms", "age"), ("price",), "regression")


@pytest.mark.parametrize(
    "spelling",
    [
        lambda t: "\ufeff" + t,
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t.replace("\n", "\r"),
        lambda t: t + "\n\n,,\n",
        lambda t: t.replace(",", ", "),
        lambda t: t.replace(",", "\t"),
        lambda t: t.replace(",", ";").replace(".", ","),
        lambda t: "\n".join(line + ",," for line in t.split("\n")),
        lambda t: "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in t.strip().split("\n")),
        lambda t: gzip.compress(t.encode(), mtime=0),
    ],
    ids=["bom", "crlf", "cr", "blank-lines", "spaces", "tabs", "german", "trailing", "quotes", "gzip"],
)
def test_spellings_of_one_table_agree(tmp_path: Path, spelling) -> None:
    """Byte order mark, line ends, separators, decimal comma, quotes and gzip change no number."""
    plain = dataset.load(dataset.add_csv(written(tmp_path, houses()), "price"))
    other = dataset.load(dataset.add_csv(written(tmp_path, spelling(houses()), "other.csv"), "price"))
    assert other.hash == plain.hash


def test_true_and_false_are_one_and_zero(tmp_path: Path) -> None:
    """A column of booleans is a column of 0 and 1."""
    text = "new,price\n" + "".join(f"{'True' if i % 3 else 'FALSE'},{i / 3}\n" for i in range(12))
    data = dataset.load(dataset.add_csv(written(tmp_path, text), "price"))
    assert data.x[:, 0].tolist() == [float(bool(i % 3)) for i in range(12)]


@pytest.mark.parametrize(
    ("cells", "task", "expected", "classes"),
    [
        (["cat", "dog"], "auto", "classification", ("cat", "dog")),
        (["3", "12"], "auto", "classification", ("3", "12")),
        (["3.0", "-1"], "auto", "classification", ("-1", "3")),
        (["true", "false"], "auto", "classification", ("0", "1")),
        (["0.5", "2"], "auto", "regression", ()),
        (["3", "12"], "regression", "regression", ()),
        ([str(i) for i in range(20)], "auto", "classification", tuple(str(i) for i in range(20))),
        ([str(i) for i in range(21)], "auto", "regression", ()),
    ],
)
def test_the_target_decides_the_task(tmp_path: Path, cells, task, expected, classes) -> None:
    """Text and at most 20 whole numbers are classes, in the order of their values; everything else is a quantity."""
    text = "x,y\n" + "".join(f"{i},{cells[i % len(cells)]}\n" for i in range(84))
    data = dataset.load(dataset.add_csv(written(tmp_path, text), "y", task))
    assert (data.task, data.classes) == (expected, classes)
    if classes:
        spelled = {"true": "1", "false": "0", "3.0": "3"}
        assert [classes[c] for c in data.y[: len(cells)]] == [spelled.get(cell, cell) for cell in cells]


def test_rows_with_gaps_are_dropped_on_demand(tmp_path: Path) -> None:
    """drop-rows leaves exactly the rows without gaps, and a note that says how many went."""
    lines = houses().splitlines()
    lines[3], lines[7], lines[9] = ",1,100.5", "2,inf,101.5", "2,3,NA"
    data = dataset.load(dataset.add_csv(written(tmp_path, "\n".join(lines)), "price", "auto", "drop-rows"))
    clean = [lines[i] for i in range(1, 41) if i not in (3, 7, 9)]
    np.testing.assert_array_equal(data.x, np.loadtxt(clean, delimiter=",")[:, :2].astype(np.float32))
    assert data.notes == ("3 of 40 rows had missing or non-finite values and were left out.",)


def test_gaps_get_the_median_on_demand(tmp_path: Path) -> None:
    """Median fills a gap with the median of the other cells of its column and changes nothing else."""
    lines = houses().splitlines()
    lines[3] = f"nan,{lines[3].split(',', 1)[1]}"
    data = dataset.load(dataset.add_csv(written(tmp_path, "\n".join(lines)), "price", "auto", "median"))
    rooms = [float(line.split(",")[0]) for line in lines[1:]]
    assert data.x[2, 0] == np.float32(np.median([r for i, r in enumerate(rooms) if i != 2]))
    assert np.delete(data.x[:, 0], 2).tolist() == [r for i, r in enumerate(rooms) if i != 2]
    assert data.notes[0].startswith("1 missing or non-finite values in 1 columns were replaced by the median")


def test_huge_and_tiny_numbers_are_numbers(tmp_path: Path) -> None:
    """Cells of 1e30 and 1e-30 are kept, and their columns standardise to finite numbers."""
    text = "a,b,y\n" + "".join(f"{i}e30,{i}e-30,{i / 2}e200\n" for i in range(1, 31))
    data = dataset.load(dataset.add_csv(written(tmp_path, text), "y"))
    rows = np.arange(30)
    mean, std = dataset.scaling(data, rows)
    np.testing.assert_allclose((data.x - mean).std(0) / std, 1, rtol=1e-6)  # float32 cells: 6e-8 relative
    mean, std = dataset.target_scaling(data, rows)
    np.testing.assert_allclose(((data.y - mean) / std).std(0), 1, rtol=1e-12)


def test_adding_again_changes_nothing(tmp_path: Path, store: Path) -> None:
    """The same file with the same choices gives the same name and touches no file; other choices another name."""
    path = written(tmp_path, houses())
    name = dataset.add_csv(path, "price")
    before = {p: p.stat().st_mtime_ns for p in store.rglob("*")}
    assert dataset.add_csv(path, "price") == name
    assert {p: p.stat().st_mtime_ns for p in store.rglob("*")} == before
    assert dataset.add_csv(path, "age") != name
    assert dataset.add_csv(path, "price", "regression") != name


def test_the_copy_outlives_the_file(tmp_path: Path) -> None:
    """Once added, a table is loaded from its canonical copy, whatever becomes of the file."""
    path = written(tmp_path, houses())
    name = dataset.add_csv(path, "price")
    path.unlink()
    dataset.load_from.cache_clear()
    assert dataset.load(name).x.shape == (40, 2)


def test_a_unique_name_needs_no_hash(tmp_path: Path) -> None:
    """data='houses' means the only table of that file name; with two of them it is an error, never a guess."""
    name = dataset.add_csv(written(tmp_path, houses()), "price")
    assert dataset.load("houses").name == name
    dataset.add_csv(written(tmp_path, houses(50)), "price")
    with pytest.raises(ChainruleError) as caught:
        dataset.load("houses")
    assert caught.value.code == "E304"
    assert dataset.load(name).x.shape == (40, 2)


@pytest.mark.parametrize("victim", ["x.npy", "y.npy", "about.json"])
def test_one_flipped_bit_of_the_copy_is_noticed(tmp_path: Path, store: Path, victim: str) -> None:
    """Every bit of the arrays is covered by a hash, and a record that is no record is refused."""
    name = dataset.add_csv(written(tmp_path, houses()), "price")
    path = store / "data" / name / victim
    raw = bytearray(path.read_bytes())
    raw[0 if victim == "about.json" else len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))
    dataset.load_from.cache_clear()
    with pytest.raises(ChainruleError) as caught:
        dataset.load(name)
    assert caught.value.code == "E306"


def test_an_interrupted_copy_is_no_copy(tmp_path: Path, store: Path) -> None:
    """Without its record, which is written last, a copy does not count; adding the file again completes it."""
    path = written(tmp_path, houses())
    name = dataset.add_csv(path, "price")
    (store / "data" / name / "about.json").unlink()
    assert own_data.names(store / "data") == []
    assert dataset.add_csv(path, "price") == name
    assert own_data.names(store / "data") == [name]


@pytest.mark.parametrize(
    ("file", "stem"),
    [
        ("houses.csv", "houses"),
        ("Häuser in Köln.csv", "H-user-in-K-ln"),
        ("../../etc.csv", "etc"),
        ("a.b.csv.gz", "a.b"),
        ("💥.csv", "table"),
        ("x" * 200 + ".csv", "x" * 40),
    ],
)
def test_names_are_plain(file: str, stem: str) -> None:
    """A name consists of letters, digits, dots, dashes and underscores, whatever the file is called."""
    name = own_data.name_of(Path(file), b"", "y", "auto", "error")
    assert name[:-9] == stem
    assert name[-9] == "-"
