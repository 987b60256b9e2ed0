"""Bad input: each gets its code, its exit status and exactly these three sentences."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from chainrule import dataset, own_data, sources
from chainrule.errors import ChainruleError

GOOD = "".join(f"{i % 7},{i * i % 11},{i / 4 + 0.1:.2f}\n" for i in range(30))


class Bad(NamedTuple):
    """A table that is refused, how it was to be read, and what is said about it."""

    content: bytes | str
    code: str
    what: str
    why: str
    fix: str
    target: str = "price"
    task: str = "auto"
    missing: str = "error"


def table(*lines: str, header: str = "rooms,age,price") -> str:
    """The good table with other first lines."""
    return "\n".join((header, *lines)) + "\n" + GOOD


CLEAN = "clean the file, or choose  --missing drop-rows | median  (the choice is written into the report)."
CLEAN_ONLY_DROP = "clean the file, or choose  --missing drop-rows  (the choice is written into the report)."
NAN = "A network trained on them would give NaN."
EXPORT = "check that the export worked"
NAMES = "Columns are known by their names."
CELL = "A cell with quotes, separators or line ends must stand in double quotes."
PANDAS = "A column of row numbers, as pandas writes it, is no feature; any other column needs a name."
TEN = "Train, validation and test need 10 together, and many more to mean anything."
ENCODE = "replace the text by numbers (one 0/1 column for each value is usual), or remove the column"
DECISION = "Features must be numbers; how to encode text is your decision, not the program's."
GUESS = "Another encoding would have to be guessed, and names could come out wrong."
ICONV = "save it as CSV UTF-8, or:  iconv -f latin1 -t utf-8 OLD.csv > NEW.csv"
COLUMNS = "Columns: rooms, age, price."

TABLES = {
    "empty": Bad("", "E307", "t.csv is empty.", "A line of column names and lines of numbers are needed.", EXPORT),
    "blank": Bad(
        "\n\n , ,\n", "E307", "t.csv is empty.", "A line of column names and lines of numbers are needed.", EXPORT
    ),
    "header only": Bad(
        "rooms,age,price\n", "E307", "t.csv has column names but no rows.", "There is nothing to learn from.", EXPORT
    ),
    "no header": Bad(
        GOOD,
        "E307",
        "t.csv: the first line holds numbers (0, 0, 0.10), not column names.",
        NAMES,
        "add a first line with a name for each column",
    ),
    "same name twice": Bad(
        table(header="rooms,rooms,price"),
        "E307",
        't.csv: 2 columns are called "rooms".',
        NAMES,
        "rename or remove one of them",
    ),
    "column without name": Bad(
        table(header=",age,price"),
        "E307",
        "t.csv: column 1 has no name.",
        PANDAS,
        "remove the column (pandas: to_csv(index=False)), or name it",
    ),
    "ragged": Bad(
        table("1,2,3,4"),
        "E307",
        "t.csv: line 2 has 4 cells, the header has 3.",
        "Cells are separated by commas, as in the header.",
        "correct line 2",
    ),
    "ragged later": Bad(
        table() + "1,2\n",
        "E307",
        "t.csv: line 32 has 2 cells, the header has 3.",
        "Cells are separated by commas, as in the header.",
        "correct line 32",
    ),
    "open quote": Bad(
        table() + '1,"2,3\n', "E307", "t.csv: line 32 is not CSV (unexpected end of data).", CELL, "correct line 32"
    ),
    "latin-1": Bad(
        table(header="rooms,âge,price").encode("latin-1"),
        "E307",
        "t.csv is not UTF-8 text (line 1: byte 0xe2).",
        GUESS,
        ICONV,
    ),
    "utf-16": Bad(table().encode("utf-16"), "E307", "t.csv is not UTF-8 text (line 1: byte 0xff).", GUESS, ICONV),
    "zero bytes": Bad(
        "rooms,age,price\n\0\0\0",
        "E307",
        "t.csv is not text: it holds zero bytes.",
        "It may be UTF-16 or a binary file.",
        "save it as CSV UTF-8",
    ),
    "web page": Bad(
        "<!DOCTYPE html><html><body>Please log in</body></html>",
        "E307",
        "t.csv is a web page (HTML), not a table.",
        "A login page or proxy often answers in place of the file.",
        "open it in a browser, download the file itself, and try again",
    ),
    "workbook": Bad(
        b"PK\x03\x04" + bytes(100),
        "E307",
        "t.csv is a workbook or an archive, not a CSV file.",
        "A table is read from plain text.",
        "save the sheet as CSV (UTF-8) and name that file",
    ),
    "truncated gzip": Bad(
        gzip.compress(table().encode(), mtime=0)[:60],
        "E307",
        "t.csv is damaged or ends too early.",
        "It cannot be unpacked.",
        "copy or download it again",
    ),
    "no such column": Bad(
        table(),
        "E308",
        't.csv has no column "prize".',
        f"Did you mean 'price'? {COLUMNS}",
        "name one of them with --target",
        target="prize",
    ),
    "column name with escape codes": Bad(
        table(header="rooms,\x1b[31mage,price"),
        "E308",
        't.csv has no column "zzz".',
        "Columns: rooms, \\u001b[31mage, price.",
        "name one of them with --target",
        target="zzz",
    ),
    "only a target": Bad(
        "price\n1\n2\n",
        "E308",
        "t.csv has only the target.",
        "At least one feature is needed.",
        "add columns to the file",
    ),
    "text feature": Bad(
        table("1,NEAR BAY,3"),
        "E308",
        't.csv: column "age" holds text (first: "NEAR BAY", line 2).',
        DECISION,
        ENCODE,
    ),
    "underscored number": Bad(
        table("1_000,2,3"), "E308", 't.csv: column "rooms" holds text (first: "1_000", line 2).', DECISION, ENCODE
    ),
    "decimal comma between commas": Bad(
        table('"1,5",2,3'), "E308", 't.csv: column "rooms" holds text (first: "1,5", line 2).', DECISION, ENCODE
    ),
    "text target": Bad(
        table("1,2,cheap"),
        "E308",
        't.csv: target "price" holds text (first: "cheap", line 2).',
        "A regression predicts a number.",
        "choose --task classification, or another --target",
        task="regression",
    ),
    "fractional classes": Bad(
        table("1,2,3"),
        "E308",
        't.csv: target "price" holds fractions (first: 0.10, line 3).',
        "A class is a text or a whole number.",
        "choose --task regression",
        task="classification",
    ),
    "a name in every row": Bad(
        "x,y\n" + "".join(f"{i},house {i}\n" for i in range(30)),
        "E308",
        't.csv: target "y" has 30 different values in 30 rows.',
        "Most classes would have a single row; it looks like a name or a number of the row.",
        "choose another --target",
        target="y",
    ),
    "a number in every row": Bad(
        "x,y\n" + "".join(f"{i},{i}\n" for i in range(30)),
        "E308",
        't.csv: target "y" has 30 different values in 30 rows.',
        "Most classes would have a single row; it looks like a name or a number of the row.",
        "choose --task regression, or another --target",
        target="y",
        task="classification",
    ),
    "one class": Bad(
        "x,kind\n" + "".join(f"{i},cat\n" for i in range(100)),
        "E303",
        't.csv has 1 class ("cat") after the split; classification needs at least 2.',
        "Rows: train 70, validation 15, test 15.",
        'check the label column ("kind"), or use --task regression for a numeric target.',
        target="kind",
    ),
    "one class, a number": Bad(
        "x,kind\n" + "".join(f"{i},1\n" for i in range(100)),
        "E303",
        't.csv has 1 class ("1") after the split; classification needs at least 2.',
        "Rows: train 70, validation 15, test 15.",
        'check the label column ("kind"), or use --task regression for a numeric target.',
        target="kind",
    ),
    "constant target": Bad(
        "x,y\n" + "".join(f"{i},2.5\n" for i in range(30)),
        "E308",
        't.csv: target "y" is 2.5 in every row.',
        "There is nothing to predict.",
        "choose another --target",
        target="y",
    ),
    "one row": Bad("rooms,age,price\n1,2,3\n", "E308", "t.csv has 1 usable row.", TEN, "add rows"),
    "nine rows": Bad(
        "x,price\n" + "".join(f"{i},{i / 2}\n" for i in range(9)),
        "E308",
        "t.csv has 9 usable rows.",
        TEN,
        "add rows",
    ),
    "empty cells": Bad(
        table("1,,3", "1,2,3", "1,,3"),
        "E302",
        't.csv: column "age" has 2 missing or non-finite values (first: line 2).',
        NAN,
        CLEAN,
    ),
    "NaN cells": Bad(
        table("1,2,3", "NaN,2,3"),
        "E302",
        't.csv: column "rooms" has 1 missing or non-finite values (first: line 3).',
        NAN,
        CLEAN,
    ),
    "infinite cells": Bad(
        table("1,2,3", "1,-inf,3", "1,Infinity,3"),
        "E302",
        't.csv: column "age" has 2 missing or non-finite values (first: line 3).',
        NAN,
        CLEAN,
    ),
    "beyond float32": Bad(
        table("1e39,2,3"),
        "E302",
        't.csv: column "rooms" has 1 missing or non-finite values (first: line 2).',
        NAN,
        CLEAN,
    ),
    "missing target": Bad(
        table("1,2,?"),
        "E302",
        't.csv: column "price" has 1 missing or non-finite values (first: line 2).',
        NAN,
        CLEAN,
    ),
    "missing target, median": Bad(
        table("1,2,"),
        "E302",
        't.csv: column "price" has 1 missing or non-finite values (first: line 2).',
        "A target that is not known is never invented.",
        CLEAN_ONLY_DROP,
        missing="median",
    ),
    "nothing but gaps, median": Bad(
        "x,y,price\n" + "".join(f"NA,{i},{i / 2}\n" for i in range(30)),
        "E302",
        't.csv: column "x" has 30 missing or non-finite values (first: line 2).',
        "It has no median.",
        CLEAN_ONLY_DROP,
        missing="median",
    ),
    "nothing but gaps, dropped": Bad(
        "x,y,price\n" + "".join(f"NA,{i},{i / 2}\n" for i in range(30)),
        "E308",
        "t.csv has 0 usable rows.",
        TEN,
        "add rows",
        missing="drop-rows",
    ),
    "seconds since 1970": Bad(
        "time,price\n" + "".join(f"{1_700_000_000 + i},{i / 2}\n" for i in range(30)),
        "E308",
        't.csv: column "time" varies by only 8.66 around 1.7e+09.',
        "In float32 its cells would be wrong by up to 3.4 standard deviations.",
        "subtract a constant from the column",
    ),
    "unknown task": Bad(
        table(),
        "E402",
        "task='regresion' is not known.",
        "Did you mean 'regression'? Known: auto, classification, regression.",
        "correct the name; to add one, add a row to chainrule/own_data.py",
        task="regresion",
    ),
    "unknown treatment": Bad(
        table(),
        "E402",
        "missing='drop' is not known.",
        "Did you mean 'drop-rows'? Known: error, drop-rows, median.",
        "correct the name; to add one, add a row to chainrule/own_data.py",
        missing="drop",
    ),
}

EXIT = {"E301": 69, "E305": 69, "E402": 78}


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store, and no CHAINRULE_DATA."""
    monkeypatch.setenv("CHAINRULE_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    return tmp_path / "store"


@pytest.mark.parametrize("case", TABLES.values(), ids=TABLES)
def test_a_bad_table_is_refused_in_three_sentences(tmp_path: Path, store: Path, case: Bad) -> None:
    """Code, exit status and all three sentences are as written here, and nothing is kept."""
    path = tmp_path / "t.csv"
    path.write_bytes(case.content.encode() if isinstance(case.content, str) else case.content)
    with pytest.raises(ChainruleError) as caught:
        dataset.add_csv(path, case.target, case.task, case.missing)
    error = caught.value
    assert (error.code, error.what, error.why, error.fix) == (case.code, case.what, case.why, case.fix)
    assert error.exit_status == EXIT.get(case.code, 65)
    assert not store.exists()


def refusal(act: Callable[[], object]) -> tuple[str, str, str, str]:
    """What is said when something is refused."""
    with pytest.raises(ChainruleError) as caught:
        act()
    error = caught.value
    assert error.exit_status == EXIT.get(error.code, 65)
    return error.code, error.what, error.why, error.fix


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there, and a folder in its place, are told apart."""
    gone = tmp_path / "gone.csv"
    assert refusal(lambda: dataset.add_csv(gone, "y")) == (
        "E307",
        f"{gone} is not there.",
        "No file has this name.",
        "check the spelling and the folder",
    )
    assert refusal(lambda: dataset.add_csv(tmp_path, "y")) == (
        "E307",
        f"{tmp_path} is a folder.",
        "A file is needed here.",
        "name the file inside it",
    )


def test_text_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gzip file of a table larger than the limit is refused at the limit, not after unpacking all of it."""
    monkeypatch.setattr(own_data, "LARGEST", 2**20)
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(bytes(2**26), mtime=0))
    assert refusal(lambda: dataset.add_csv(path, "y")) == (
        "E307",
        "bomb.csv.gz holds more than 1 MiB of text.",
        "Tables are held in memory as a whole.",
        "use a part of it",
    )


def test_two_tables_under_one_name_are_told_apart(tmp_path: Path, store: Path) -> None:
    """A short name that fits two tables, and a full name that another file has taken, are E304."""
    path = tmp_path / "t.csv"
    path.write_text(table())
    first = dataset.add_csv(path, "price")
    path.write_text(table("1,2,3"))
    second = dataset.add_csv(path, "price")
    names = sorted((first, second))
    assert refusal(lambda: dataset.load("t")) == (
        "E304",
        f"data='t' names 2 different tables: {names[0]}, {names[1]}.",
        "They have the same file name and different content, target or treatment of missing values.",
        f"write the full name, for example data={names[0]}",
    )
    record = store / "data" / second / "about.json"
    digest = sources.sha256(path.read_bytes())
    record.write_text(record.read_text().replace(digest, "0" * 64))
    assert refusal(lambda: dataset.add_csv(path, "price")) == (
        "E304",
        f"the name {second} belongs to another file (sha256 0000…, this one has {digest[:4]}…).",
        "Results refer to data by name, so a name stands for one file for ever.",
        "rename your file and add it again",
    )


def test_an_unknown_dataset_names_its_neighbours() -> None:
    """A misspelt dataset gets the nearest name, all names, and the way to one's own table."""
    known = ", ".join(dataset.catalogue())
    assert refusal(lambda: dataset.load("mnits")) == (
        "E402",
        "data='mnits' is not known.",
        f"Did you mean 'mnist'? Known: {known}.",
        "correct the name; for a table of your own:  --data FILE.csv --target COLUMN",
    )
    assert refusal(lambda: dataset.fetch("mnits", lambda *_: None)) == (
        "E402",
        "data='mnits' is not known.",
        f"Did you mean 'mnist'? Known: {known}.",
        "correct the name; chainrule data list  shows what each one is",
    )


def test_a_dataset_that_is_not_here_says_how_to_get_it(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The places searched, the command, the variable and the embedded stand-in are all named."""
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "elsewhere"))
    assert refusal(lambda: dataset.load("mnist")) == (
        "E305",
        "the dataset mnist is not here: train-images-idx3-ubyte was not found.",
        f"Looked in {tmp_path / 'elsewhere'} and {store / 'data'}, there also in mnist, MNIST/raw, "
        "for the file (plain, .gz or .xz) or its archive.",
        "chainrule data fetch mnist, or set CHAINRULE_DATA to a folder that holds it, "
        "or use --data mnist_5k (built in)",
    )


def zipped(**members: bytes) -> bytes:
    """A zip file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(member: tarfile.TarInfo, content: bytes = b"") -> bytes:
    """A tar.gz file of one member."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def link(name: str, to: str) -> tarfile.TarInfo:
    """A symbolic link in a tar file."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, to
    return member


MEMBER = "CaliforniaHousing/cal_housing.data"
SIZE = 2_071_484
OFFICIAL = {
    "wrong hash": (
        "cal_housing.data",
        b"1,2,3\n",
        f"sha256 mismatch (got {sources.sha256(b'1,2,3' + bytes([10]))[:4]}…, want a2b4…)",
    ),
    "HTML as a data file": ("cal_housing.data", b"<html>403</html>", "it is a web page (HTML)"),
    "HTML as an archive": ("cal_housing.tgz", b"\n<!DOCTYPE html><title>x</title>", "it is a web page (HTML)"),
    "HTML in gzip": ("cal_housing.data.gz", gzip.compress(b"<html>"), "it is a web page (HTML)"),
    "truncated gzip": ("cal_housing.data.gz", gzip.compress(bytes(9999))[:40], "it is damaged or ends too early"),
    "truncated xz": ("cal_housing.data.xz", b"\xfd7zXZ\x00\x00\x04\xe6", "it is damaged or ends too early"),
    "gzip bomb": ("cal_housing.data.gz", gzip.compress(bytes(2**24)), f"it unpacks to more than {SIZE} bytes"),
    "zip bomb": (
        "cal_housing.tgz",
        zipped(**{MEMBER: bytes(2**24)}),
        f"its member '{MEMBER}' unpacks to more than {SIZE} bytes",
    ),
    "zip without the member": ("cal_housing.tgz", zipped(other=b"x"), f"the archive holds no file '{MEMBER}'"),
    "damaged zip": ("cal_housing.tgz", b"PK\x03\x04" + bytes(60), "it is damaged or ends too early"),
    "link in a tar": ("cal_housing.tgz", tarred(link(MEMBER, "/etc/passwd")), f"the archive holds no file '{MEMBER}'"),
    "path out of a tar": (
        "cal_housing.tgz",
        tarred(tarfile.TarInfo(f"../../{MEMBER}"), b"x"),
        f"the archive holds no file '{MEMBER}'",
    ),
    "wrong member": (
        "cal_housing.tgz",
        tarred(tarfile.TarInfo(MEMBER), b"1,2,3\n"),
        f"sha256 mismatch (got {sources.sha256(b'1,2,3' + bytes([10]))[:4]}…, want a2b4…)",
    ),
    "empty": ("cal_housing.data", b"", "sha256 mismatch (got e3b0…, want a2b4…)"),
}


@pytest.mark.parametrize(("name", "content", "reason"), OFFICIAL.values(), ids=OFFICIAL)
def test_what_is_not_the_official_file_is_not_parsed(store: Path, tmp_path: Path, name, content, reason) -> None:
    """In the data folder and handed to `data add`, a wrong file is refused with the reason, before it is parsed."""
    folder = store / "data" / "california"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    assert refusal(lambda: dataset.load("california")) == (
        "E306",
        f"{folder / name} is not the official file of california: {reason}.",
        "Another file would give other numbers than those published, so nothing was read from it.",
        "chainrule data fetch california  gets the official file (the hash is checked)",
    )
    given = tmp_path / "given"
    given.write_bytes(content)
    before = sorted(store.rglob("*"))
    assert refusal(lambda: dataset.add("california", given)) == (
        "E306",
        f"{given} is not an official file of california: {reason}.",
        "Expected: cal_housing.data (plain, .gz, .xz) or the archive. Nothing was kept.",
        "download https://ndownloader.figshare.com/files/5976036 again, then  chainrule data add california FILE",
    )
    assert sorted(store.rglob("*")) == before


def test_a_folder_in_place_of_a_file_is_refused(store: Path) -> None:
    """A folder called like the file is not opened."""
    path = store / "data" / "california" / "cal_housing.data"
    path.mkdir(parents=True)
    assert refusal(lambda: dataset.load("california"))[1] == (
        f"{path} is not the official file of california: it is a folder."
    )


def test_adding_to_an_embedded_dataset_is_refused(tmp_path: Path) -> None:
    """What comes with a library needs no file."""
    (tmp_path / "f").write_bytes(b"x")
    assert refusal(lambda: dataset.add("digits", tmp_path / "f")) == (
        "E306",
        "digits needs no file.",
        "It comes with chainrule.",
        "use it:  chainrule train data=digits",
    )


def test_no_mutation_of_an_archive_gets_past_the_hash() -> None:
    """Of 600 damaged gzip, zip and tar.gz files each gives the official content or a refusal, never anything else."""
    content = GOOD.encode()
    source = sources.Source("f", sources.sha256(content), len(content), member="f", archives=("a",))
    draw = np.random.Generator(np.random.Philox(1))
    packed = [gzip.compress(content, mtime=0), zipped(f=content), tarred(tarfile.TarInfo("f"), content)]
    refused = 0
    for i in range(600):
        raw = bytearray(packed[i % 3])
        raw[draw.integers(len(raw))] ^= 1 << draw.integers(8)
        cut = len(raw) if i % 2 else int(draw.integers(1, len(raw)))
        try:
            assert sources.unpack(bytes(raw[:cut]), [source]) == {"f": content}
        except sources.Refusal:
            refused += 1
    assert refused > 300  # every second file is cut short, and most flipped bits are in the content
