"""Sweeps: the grid is trained once, chosen on validation, tested for the chosen condition alone, and told in files."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chainrule import cli
from chainrule.errors import ChainruleError
from chainrule.evidence.figure import Cells, Line, Points
from chainrule.experiment.training import finish
from chainrule.report.draw import svg
from chainrule.store.objects import Store, open_store
from chainrule.workflows import sweep as sweeping
from chainrule.workflows import sweep_files
from chainrule.workflows.axes import read_axes
from chainrule.workflows.defaults import condition_for
from chainrule.workflows.members import fit
from chainrule.workflows.summary import exact, undefined
from chainrule.workflows.sweep import Sweep, Tried, allowed, choice, protocols, sheet, size, sweep
from chainrule.workflows.sweep_figure import figure
from chainrule.workflows.train import evaluate

AXES = read_axes({"lr": "0.001..0.1:log3", "widths": "4|6,4", "batch": "64"})
EPOCHS, SEEDS = 2, 4
WILD = read_axes({"lr": "0.01|1e6", "optimiser": "sgd", "schedule": "constant", "widths": "8"})


@pytest.fixture(scope="module", autouse=True)
def unsynced() -> Iterator[None]:
    """What survives a power loss is tested elsewhere; here thousands of small files need not reach the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The store of the grid below."""
    return open_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def found(store: Store) -> Sweep:
    """Six conditions of two structures, four seeds each."""
    return finish(sweep("moons", AXES, EPOCHS, SEEDS, store))


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Two conditions of a regression, of which the second diverges."""
    return finish(sweep("diabetes", WILD, EPOCHS, 2, open_store(tmp_path_factory.mktemp("wild"))))


def column(found: Sweep, name: str) -> list:
    """One column of the networks."""
    place = [name for name, _ in found.columns].index(name)
    return [row[place] for row in found.networks]


def trained_so_far(store: Store) -> tuple[list[str], list[str]]:
    """What changes when something is trained: the networks, and the journal with a line for each shard."""
    return sorted(store.keys("network")), store.notes()


# the grid ──────────────────────────────────────────────────────────────────────────────


def test_a_grid_is_what_train_would_train(found: Sweep, store: Store) -> None:
    """A condition of the grid and the same settings of ``train`` are the same networks, with the same numbers."""
    before = trained_so_far(store)
    for row in found.tried[:2]:
        evaluation = finish(evaluate(condition_for("moons", row.settings, EPOCHS), SEEDS, store))
        assert evaluation.facts["validation loss"].mean == pytest.approx(row.loss.mean, rel=1e-12)
        assert evaluation.facts["validation accuracy"].low == pytest.approx(row.metric.low, rel=1e-12)
        assert evaluation.facts["chosen epoch"].mean == row.epoch.mean
    assert trained_so_far(store)[0] == before[0]


def test_a_rerun_trains_nothing(found: Sweep, store: Store) -> None:
    """The second time everything is read, and the same is found; one more value trains that value alone."""
    before = trained_so_far(store)
    assert finish(sweep("moons", AXES, EPOCHS, SEEDS, store)) == found
    assert trained_so_far(store) == before
    finish(sweep("moons", read_axes({"lr": "0.01|0.02", "widths": "4", "batch": "64"}), EPOCHS, SEEDS, store))
    assert len(store.keys("network")) == len(before[0]) + 10  # a block of seeds


@pytest.mark.slow
def test_an_interrupted_grid_goes_on(found: Sweep, tmp_path: Path) -> None:
    """Abandoned within its second structure and begun again, the grid is that of an undisturbed run."""
    store = open_store(tmp_path)
    work = sweep("moons", AXES, EPOCHS, SEEDS, store)
    while not store.keys("network"):
        next(work)
    work.close()
    assert finish(sweep("moons", AXES, EPOCHS, SEEDS, store)) == found


def test_a_grid_is_one_protocol_per_length_of_the_epoch() -> None:
    """Structures share a protocol; batches do not, since networks are looked at after each epoch."""
    conditions = [condition_for("moons", {"widths": widths}, 2) for widths in ("4", "8", "4,4")]
    (plan,) = protocols(conditions, 2)
    assert plan.conditions == tuple(conditions)
    batches = [condition_for("moons", {"batch": batch}, 2) for batch in ("16", "32", "16")]
    plans = protocols(batches, 2)
    assert [len(plan.conditions) for plan in plans] == [1, 1]
    for plan in plans:
        assert plan.conditions[0].steps == 2 * plan.at.every


def test_defaults_follow_what_varies() -> None:
    """Each optimiser starts from its own learning rate, as with ``train``."""
    (plan,) = protocols([condition_for("digits", {"optimiser": name}, 1) for name in ("sgd", "adam")], 2)
    assert [condition.lr for condition in plan.conditions] == [0.1, 1e-3]


# the choice ────────────────────────────────────────────────────────────────────────────


def test_the_lowest_validation_loss_is_chosen_and_only_that_is_tested(found: Sweep, store: Store) -> None:
    """The chosen row has the lowest mean; the test column is filled for its networks and empty for all others."""
    losses = [row.loss.mean for row in found.tried]
    assert found.chosen == int(np.argmin(losses))
    condition = condition_for("moons", found.tried[found.chosen].settings, EPOCHS)
    members = finish(fit(condition, SEEDS, store))
    right = [
        float(np.mean(members.data.y[split.test] == said.argmax(-1)))
        for split, said in zip(members.splits, members.outputs, strict=True)
    ]
    expected = [None] * len(found.tried) * SEEDS
    expected[found.chosen * SEEDS : (found.chosen + 1) * SEEDS] = right
    assert column(found, "test_accuracy") == expected
    (name, quantities), *_ = found.test.rows
    assert name == "network"
    assert quantities[0].mean == pytest.approx(np.mean(right), rel=1e-12)


def test_networks_and_rows_say_the_same(found: Sweep) -> None:
    """Means of the networks are those of the rows; gaps to the chosen condition are paired by seed."""
    losses = np.reshape(column(found, "validation_loss"), (-1, SEEDS))
    assert [row.loss.mean for row in found.tried] == pytest.approx(losses.mean(1), rel=1e-12)
    gaps = losses - losses[found.chosen]
    for row, gap in zip(found.tried, gaps, strict=True):
        assert row.above.mean == pytest.approx(gap.mean(), abs=1e-12)
        assert (row.above.high - row.above.low) / 2 == pytest.approx(
            3.182446305284263 * gap.std(ddof=1) / SEEDS**0.5, rel=1e-9  # t(0.975; 3)
        )  # fmt: skip
    assert column(found, "seed") == [1000, 1001, 1002, 1003] * len(found.tried)
    assert dict(found.columns)["widths"] == "text"
    assert column(found, "widths")[::SEEDS] == ["2,4,2", "2,6,4,2"] * 3
    assert "batch" not in dict(found.columns)  # it does not vary


def test_a_diverged_condition_has_no_mean_and_is_never_chosen(wild: Sweep) -> None:
    """Its networks are told with their steps; a condition with one of them cannot win."""
    assert wild.chosen == 0
    assert [row.diverged for row in wild.tried] == [0, 2]
    assert wild.tried[1].loss.mean is None
    assert wild.tried[1].above.mean is None
    assert column(wild, "diverged_at")[:2] == [None, None]
    assert min(column(wild, "diverged_at")[2:]) >= 0
    assert column(wild, "test_r2")[2:] == [None, None]
    (warning,) = sweeping.warnings(wild)
    assert "1 of 2 conditions have diverged networks (2 in all)" in warning


def test_where_everything_diverges_nothing_is_chosen(tmp_path: Path) -> None:
    """No choice, no test, and a picture that says so."""
    axes = read_axes({"lr": "1e6|1e7", "optimiser": "sgd", "schedule": "constant", "widths": "8"})
    found = finish(sweep("diabetes", axes, EPOCHS, 2, open_store(tmp_path)))
    assert (found.chosen, found.test) == (None, None)
    assert column(found, "test_r2") == [None] * 4
    picture = figure(found, axes)
    assert "none was chosen" in picture.caption
    assert svg(picture)
    assert sheet(found, 30).rows[0][1][0].note == "undefined: diverged (2 of 2 seeds)"


def row(loss: float | None, stopped: bool = False) -> Tried:
    """A condition with a mean validation loss."""
    quantity = undefined("loss", "diverged") if loss is None else exact("loss", loss)
    return Tried({}, quantity, quantity, quantity, int(loss is None), 9, stopped)


def test_what_was_stopped_early_is_not_chosen() -> None:
    """A short training may have the lowest loss of all; it is not what was asked for."""
    assert choice([row(3.0), row(2.0), row(1.0, stopped=True), row(None)]) == 1
    assert choice([row(1.0, stopped=True), row(None)]) is None


def test_losses_of_two_functions_are_not_compared(store: Store) -> None:
    """Nothing is trained before that is told."""
    before = trained_so_far(store)
    with pytest.raises(ChainruleError, match=r"loss='cross_entropy\|squared_error' cannot be compared") as refusal:
        finish(sweep("moons", read_axes({"loss": "cross_entropy|squared_error"}), 1, 2, store))
    assert refusal.value.code == "E401"
    assert trained_so_far(store) == before


# how much it is ────────────────────────────────────────────────────────────────────────


def test_the_size_is_told_before(found: Sweep, store: Store, tmp_path: Path) -> None:
    """Networks to the last one, bytes on the disk within a fifth, operations as their sum is written."""
    lonely = open_store(tmp_path)
    finish(sweep("moons", AXES, EPOCHS, SEEDS, lonely))
    told = size("moons", AXES, EPOCHS, SEEDS)
    assert told.conditions == 6
    assert told.networks == len(lonely.keys("network")) == 60  # blocks of ten seeds
    taken = sum(-(-path.stat().st_size // 4096) * 4096 for path in lonely.folder.glob("objects/*/*/*"))
    taken += 4096 * told.networks  # the folder itself
    assert told.n_bytes == pytest.approx(taken, rel=0.2)
    one = size("moons", read_axes({"widths": "4", "batch": "64"}), EPOCHS, 10)
    steps = condition_for("moons", {"widths": "4", "batch": "64"}, EPOCHS).steps
    parameters = 3 * 4 + 5 * 2
    assert one.seconds == pytest.approx(10 * (6 * parameters - 2 * 2 * 4) * 64 * steps / sweeping.RATE, rel=1e-12)


def test_a_grid_too_large_is_refused_unless_agreed() -> None:
    """Its number, space and time are told at once; 100,000 networks are the limit."""
    huge = size("digits", read_axes({"lr": "0.001..0.1:log100", "dropout": "0..0.5:100"}), 0, 20)
    assert huge.conditions == 10_000
    assert huge.networks == 200_000
    with pytest.raises(
        ChainruleError, match=r"10,000 conditions, 200,000 networks: about .* GB in the store, and .* of"
    ) as no:
        allowed(huge, agreed=False)
    assert (no.value.code, no.value.fix) == ("E406", "fewer points or seeds, --search 200, or --yes")
    assert allowed(huge, agreed=True) is huge
    assert allowed(sweeping.Size(10, 100_000, 1.0, 1.0), agreed=False)


def test_a_size_in_words() -> None:
    """Units that fit; no time where it is no matter."""
    assert sweeping.in_words(sweeping.Size(2, 20, 5e6, 0.5)) == "2 conditions, 20 networks: about 5.0 MB in the store"
    assert sweeping.in_words(sweeping.Size(2, 20, 5e9, 7200)).endswith(
        "5.0 GB in the store, and 2 hours of one core at least"
    )


# files ─────────────────────────────────────────────────────────────────────────────────


def test_a_csv_file_has_every_network(found: Sweep) -> None:
    """Read back, it is the table: numbers to the last bit, empty cells where there is no value."""
    rows = list(csv.reader(io.StringIO(sweep_files.as_csv(found).decode())))
    assert rows[0] == [name for name, _ in found.columns]
    read = {"number": float, "whole": int, "truth": "true".__eq__, "text": str}
    kinds = [read[kind] for _, kind in found.columns]
    back = [tuple(kind(text) if text else None for kind, text in zip(kinds, line, strict=True)) for line in rows[1:]]
    assert tuple(back) == found.networks


def test_a_parquet_file_has_the_same_rows_and_types(found: Sweep, tmp_path: Path) -> None:
    """DuckDB reads back what it wrote; equal tables are equal bytes."""
    library = pytest.importorskip("duckdb", reason="DuckDB (the extra `track`) is not installed")
    axes = read_axes({"batch_norm": "true|false", "lr": "0.01|0.02"})
    for one in (found, finish(sweep("moons", axes, 1, 2, open_store(tmp_path / "store")))):
        contents = sweep_files.files(one)["results.parquet"]
        assert contents == sweep_files.files(one)["results.parquet"]
        (tmp_path / "results.parquet").write_bytes(contents)
        table = library.sql(f"FROM '{tmp_path / 'results.parquet'}'")
        assert tuple(table.fetchall()) == one.networks
        assert [str(kind) for kind in table.types] == [sweep_files.SQL[kind] for _, kind in one.columns]
        assert table.columns == [name for name, _ in one.columns]


def test_without_duckdb_the_other_files_are_written(found: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason and the remedy are told."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    contents = sweep_files.files(found)
    assert sorted(contents) == ["results.csv", "results.json"]
    (words,) = sweep_files.without_parquet(contents)
    assert words.startswith("warning W702: results.parquet was not written.")
    assert 'pip install "chainrule[track]"' in words
    assert sweep_files.without_parquet({"results.parquet": b""}) == []


# pictures ──────────────────────────────────────────────────────────────────────────────


def test_lines_along_a_geometric_axis(found: Sweep) -> None:
    """Loss and metric against lr on a logarithmic axis, a line for each architecture, the choice marked."""
    picture = figure(found, AXES)
    assert [panel.y for panel in picture.panels] == ["validation loss [nat]", "validation accuracy [1]"]
    for panel, name in zip(picture.panels, ("loss", "metric"), strict=True):
        assert (panel.x, panel.log) == ("lr", "x")
        lines = [mark for mark in panel.marks if isinstance(mark, Line)]
        assert [line.label for line in lines] == ["widths=4", "widths=6,4"]
        assert lines[1].x == (0.001, 0.01, 0.1)
        assert lines[1].y == tuple(getattr(row, name).mean for row in found.tried[1::2])
        chosen = panel.marks[-1]
        assert isinstance(chosen, Points)
        assert chosen.y == (getattr(found.tried[found.chosen], name).mean,)
    assert picture.caption.startswith("Two moons: ")
    assert svg(picture).startswith(b"<?xml")


def test_names_have_places_and_no_lines(tmp_path: Path) -> None:
    """Nothing lies between two activations."""
    axes = read_axes({"activation": "relu|tanh"})
    picture = figure(finish(sweep("moons", axes, 1, 2, open_store(tmp_path))), axes)
    assert picture.panels[0].ticks == ("relu", "tanh")
    assert not any(isinstance(mark, Line) for panel in picture.panels for mark in panel.marks)


def test_two_numbers_make_a_map(tmp_path: Path) -> None:
    """A cell is how far its mean loss lies above the lowest, in percent: zero at the choice, never below."""
    axes = read_axes({"lr": "0.01|0.02|0.04", "dropout": "0..0.4:3", "batch": "64"})
    found = finish(sweep("moons", axes, 1, 1, open_store(tmp_path)))
    (panel,) = figure(found, axes).panels
    (cells,) = panel.marks
    assert isinstance(cells, Cells)
    assert (panel.y, panel.x, cells.rows, cells.columns) == (
        "lr",
        "dropout",
        ("0.01", "0.02", "0.04"),
        ("0", "0.2", "0.4"),
    )
    values = np.array(cells.values)
    assert values.min() == 0
    assert values.ravel().argmin() == found.chosen
    means = np.array([row.loss.mean for row in found.tried]).reshape(3, 3)
    assert values == pytest.approx((means / means.min() - 1) * 100, abs=1e-9)


def test_a_single_condition_is_a_sweep_too(store: Store) -> None:
    """Nothing varies: one row, one point."""
    axes = read_axes({"lr": "0.01", "widths": "4", "batch": "64"})
    found = finish(sweep("moons", axes, EPOCHS, SEEDS, store))
    assert (len(found.tried), found.chosen) == (1, 0)
    assert svg(figure(found, axes))


# the command ───────────────────────────────────────────────────────────────────────────


def call(*words: str) -> int:
    """The exit status of a command, run in this process."""
    sys.argv = ["chainrule", *words]
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


GRID = ["sweep", "data=moons", "lr=0.01..0.1:log2", "widths=4|8", "seeds=3", "--epochs", "2"]

MISTAKES: list[tuple[list[str], str, str]] = [
    # words, code, a piece of the text that helps
    (["lr=0.1.."], "E406", "for example lr=0.003..0.3:log9"),
    (["lr=0.1..1"], "E406", "lr=0.1..1:log9, or --search 100"),
    (["lrr=0.1..1:3"], "E401", "Did you mean 'lr'?"),
    (["widths=4;8"], "E406", "whole numbers joined by commas"),
    (["optimiser=sgd|sdg"], "E402", "Did you mean 'sgd'?"),
    (["data=moons|iris"], "E401", "one sweep for each"),
    (["data=moon"], "E402", "Did you mean 'moons'?"),
    (["seeds=0"], "E406", "seeds must be between 1 and 100000"),
    (["seeds=x"], "E406", "seeds=20"),
    (["lr=0.1|0.2", "--storage", "sqlite:///x"], "E407", "add --search 200"),
    (["lr=0.01..0.1:200", "dropout=0..0.5:100"], "E406", "20,000 conditions, 200,000 networks"),
    (["lr=0.1|0.2", "--executor", "slurm"], "E402", "Known: auto"),
]


@pytest.mark.parametrize(("words", "code", "helps"), MISTAKES)
def test_a_mistake_is_three_lines(words: list[str], code: str, helps: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Told before anything is trained, with the exit status of a setting."""
    assert call("sweep", *words) == 78
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"error {code}: " in captured.err
    assert helps in captured.err


def test_the_command_prints_writes_and_repeats_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table with the choice and its test, files, JSON for a script, and the same bytes the second time."""
    assert call(*GRID, "--to", str(tmp_path / "one")) == 0
    captured = capsys.readouterr()
    assert "4 conditions, 40 networks: about " in captured.err
    assert captured.out.count("(chosen)") == 1
    assert "Test rows, the chosen condition alone" in captured.out
    assert "Next: chainrule train data=moons lr=0." in captured.out
    assert call(*GRID, "--to", str(tmp_path / "two"), "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    names = {"results.csv", "results.json", "figure.svg", "figure.png", "figure.txt"}
    assert names <= {path.name for path in (tmp_path / "one").iterdir()}
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes()
    assert printed == json.loads((tmp_path / "one" / "results.json").read_text())
    assert len(printed["tried"]) == 4
    assert printed["tried"][printed["chosen"]]["above"]["mean"] == 0
    assert printed["test"]["columns"][0] == "accuracy"
