"""Searches: proposals that repeat themselves, halving that spares what it says, and studies that can be interrupted."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from chainrule import cli
from chainrule.errors import ChainruleError
from chainrule.experiment.condition import Condition
from chainrule.experiment.training import finish
from chainrule.report.draw import svg
from chainrule.store.objects import Store, open_store
from chainrule.workflows import search as searching
from chainrule.workflows.axes import read_axes
from chainrule.workflows.search import Plan, beside, pending, search
from chainrule.workflows.sweep import Outcome, Sweep, sheet, warnings
from chainrule.workflows.sweep_figure import figure

optuna = pytest.importorskip("optuna", reason="Optuna (the extra `search`) is not installed")

AXES = read_axes({"lr": "0.0001..10:log", "dropout": "0..0.5", "activation": "relu|tanh", "widths": "4"})
PLAN = Plan("moons", AXES, epochs=9, seeds=2, together=6)
LITTLE = Plan("moons", AXES, epochs=3, seeds=2, together=4)  # two batches of it are trained in a second or two
EPOCH = 18  # steps


@pytest.fixture(scope="module", autouse=True)
def unsynced() -> Iterator[None]:
    """What survives a power loss is tested elsewhere; here thousands of small files need not reach the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


def bowl(condition: Condition) -> float:
    """A loss whose minimum is known, at lr = 0.03, and which a longer training lowers everywhere by the same."""
    return 1 + math.log10(condition.lr / 0.03) ** 2 + condition.dropout - 0.01 * condition.steps


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[list[Condition]]:
    """``trained`` replaced by the bowl; what it was asked for, call by call. Rates above 3 diverge."""
    calls: list[list[Condition]] = []

    def trained(conditions, seeds, store, first, executor=None):
        calls.append(list(conditions))
        yield searching.Progress(0, 1, 0, 1)
        nobody, everybody = np.full(seeds, -1), np.full(seeds, 5)
        return [
            Outcome(c, EPOCH, np.full(seeds, bowl(c)), np.zeros(seeds), nobody, everybody if c.lr > 3 else nobody)
            for c in conditions
        ]

    def described(rows, outcomes, seeds, store, first, saved):
        yield searching.Progress(1, 1, 0, 1)
        return rows, outcomes, saved

    monkeypatch.setattr(searching, "trained", trained)
    monkeypatch.setattr(searching, "described", described)
    return calls


# halving ───────────────────────────────────────────────────────────────────────────────


def test_a_batch_is_halved_by_thirds(trainings: list[list[Condition]], tmp_path: Path) -> None:
    """Of 18 trials 18 are trained for 1 epoch, the 6 best for 3, the 2 best of those for 9: the rest is spared."""
    axes = read_axes({"lr": "0.0001..1:log", "widths": "4"})
    plan = Plan("moons", axes, epochs=9, seeds=2, together=18)
    rows, outcomes, saved = finish(search(plan, 18, f"sqlite:///{tmp_path / 's'}", open_store(tmp_path / "store")))
    first, second, third, everything = trainings
    assert [len(call) for call in trainings] == [18, 6, 2, 18]
    assert [{c.steps for c in call} for call in trainings[:3]] == [{EPOCH}, {3 * EPOCH}, {9 * EPOCH}]
    by_loss = sorted((c.lr for c in first), key=lambda lr: abs(math.log10(lr / 0.03)))
    assert {c.lr for c in second} == set(by_loss[:6])
    assert {c.lr for c in third} == set(by_loss[:2])
    assert saved == pytest.approx(1 - (18 * 1 / 9 + 6 * 3 / 9 + 2) / 18, rel=1e-12)
    assert sorted(row.epochs for row in rows) == [1.0] * 12 + [3.0] * 4 + [9.0] * 2
    assert [row.stopped for row in rows] == [False] * 2 + [True] * 16
    assert rows[0].settings["lr"] == str(by_loss[0])
    assert [c.lr for c in everything] != [o.condition.lr for o in outcomes]  # asked in their order, told from the best


def test_a_diverged_trial_goes_no_further_and_ranks_last(trainings: list[list[Condition]], tmp_path: Path) -> None:
    """It has no objective; the sampler hears that it was as bad as can be."""
    url = f"sqlite:///{tmp_path / 's'}"
    axes = read_axes({"lr": "0.1..1000:log", "widths": "4"})
    rows, *_ = finish(search(Plan("moons", axes, 9, 2, together=9), 9, url, open_store(tmp_path / "store")))
    assert all(c.lr <= 3 for call in trainings[1:3] for c in call)
    failed = [row for row in rows if row.diverged]
    assert failed == list(rows[-len(failed) :])
    assert all(row.loss.mean is None and float(row.settings["lr"]) > 3 for row in failed)
    study = optuna.load_study(study_name=None, storage=url)
    told = [trial for trial in study.trials if trial.params["lr"] > 3]
    assert len(told) == len(failed) > 0
    assert all(t.state == optuna.trial.TrialState.PRUNED and t.intermediate_values == {} for t in told)


def test_trainings_of_few_epochs_are_not_done_twice(trainings: list[list[Condition]], tmp_path: Path) -> None:
    """Of one epoch nothing can be spared: all three rungs are the same network."""
    plan = Plan("moons", read_axes({"lr": "0.001..1:log", "widths": "4"}), epochs=1, seeds=2, together=4)
    *_, saved = finish(search(plan, 4, f"sqlite:///{tmp_path / 's'}", open_store(tmp_path / "store")))
    assert {c.steps for call in trainings for c in call} == {EPOCH}
    assert saved == 0


def test_the_search_learns_from_its_trials(trainings: list[list[Condition]], tmp_path: Path) -> None:
    """After 48 trials over five decades the best is nearer to lr = 0.03, dropout = 0 than the best of 48 uniform ones.

    u² + v < t has the probability (4/3) t^1.5 / (5 · 0.5) for uniform u of 5 decades and v of [0, 0.5], so the least of
    n draws has the mean Γ(5/3) (0.533 n)^(-2/3) = 0.104.
    """
    plan = Plan("moons", AXES, epochs=9, seeds=2, together=16)
    rows, *_ = finish(search(plan, 48, f"sqlite:///{tmp_path / 's'}", open_store(tmp_path / "store")))
    best = rows[0].settings
    assert math.log10(float(best["lr"]) / 0.03) ** 2 + float(best["dropout"]) < 0.104


# proposals ─────────────────────────────────────────────────────────────────────────────


def test_proposals_are_a_function_of_the_past() -> None:
    """The same plan and history propose the same; another first replica something else; all lie in their ranges."""
    one = searching.proposed(PLAN, [], 8)
    assert searching.proposed(PLAN, [], 8) == one
    assert searching.proposed(PLAN, [], 5) == one[:5]
    assert searching.proposed(Plan("moons", AXES, 9, 2, 6, first=0), [], 8) != one
    for proposal in one:
        assert set(proposal) == {"lr", "dropout", "activation"}
        assert 0.0001 <= proposal["lr"] <= 10
        assert float(f"{proposal['lr']:.6g}") == proposal["lr"]
        assert PLAN.condition(proposal, 2).widths == (2, 4, 2)


def test_whole_numbers_and_ends_with_many_digits() -> None:
    """A batch stays a whole number; rounding never leaves the range."""
    plan = Plan("moons", read_axes({"batch": "16..64:log", "lr": "0.12345678..0.12345679"}), 1, 2)
    for proposal in searching.proposed(plan, [], 6):
        assert isinstance(proposal["batch"], int)
        assert 0.12345678 <= proposal["lr"] <= 0.12345679
        assert plan.condition(proposal, 0).batch == proposal["batch"]


def test_another_search_is_another_study() -> None:
    """Whatever changes the trials changes the name; the number of points of a grid does not."""
    changed = [
        Plan("moons", read_axes({"lr": "0.0001..10:log", "dropout": "0..0.6"}), 9, 2, 6),
        Plan("moons", AXES, 8, 2, 6),
        Plan("moons", AXES, 9, 3, 6),
        Plan("moons", AXES, 9, 2, 7),
        Plan("iris", AXES, 9, 2, 6),
    ]
    assert len({plan.name for plan in (PLAN, *changed)}) == 6
    texts = {"lr": "0.0001..10:log9", "dropout": "0..0.5:4", "activation": "relu|tanh", "widths": "4"}
    assert Plan("moons", read_axes(texts), 9, 2, 6).name == PLAN.name


# interruptions ─────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A real search of two batches."""
    store = open_store(tmp_path_factory.mktemp("store"))
    return finish(search(LITTLE, 8, beside(store), store))


def test_a_search_is_a_sweep(undisturbed: Sweep) -> None:
    """Only trials that were trained to the end can be chosen, and only the chosen one is tested."""
    assert len(undisturbed.tried) == 8
    assert undisturbed.chosen == 0
    assert not undisturbed.tried[0].stopped
    tested = [row[[name for name, _ in undisturbed.columns].index("test_accuracy")] for row in undisturbed.networks]
    assert [value is not None for value in tested] == [True] * 2 + [False] * 14
    assert dict(undisturbed.columns)["steps"] == "whole"
    picture = figure(undisturbed, AXES)
    assert [(panel.x, panel.log) for panel in picture.panels] == [("lr", "xy"), ("dropout", "y")]
    assert svg(picture)
    assert "were stopped early, which spared" in warnings(undisturbed)[-1]
    assert len(sheet(undisturbed, 5).rows) == 5
    assert sheet(undisturbed, 5).title.endswith("the 5 best of 8")


def test_a_finished_search_trains_nothing(undisturbed: Sweep, tmp_path: Path) -> None:
    """The same command again reads; a smaller number shows the first trials; a larger one goes on from there."""
    store = open_store(tmp_path)
    few = finish(search(LITTLE, 4, beside(store), store))
    assert finish(search(LITTLE, 8, beside(store), store)) == undisturbed
    notes = store.notes()
    assert finish(search(LITTLE, 8, beside(store), store)) == undisturbed
    assert finish(search(LITTLE, 4, beside(store), store)) == few
    assert store.notes() == notes


@pytest.mark.slow
def test_a_search_stopped_while_training_goes_on(undisturbed: Sweep, tmp_path: Path) -> None:
    """Abandoned in its second batch, it ends with the trials of an undisturbed search."""
    store = open_store(tmp_path)
    work = search(LITTLE, 8, beside(store), store)
    while (at := next(work)).shard == 0 or at.step == 0:
        pass
    work.close()
    assert finish(search(LITTLE, 8, beside(store), store)) == undisturbed


def test_a_batch_told_by_half_is_told_to_its_end(
    undisturbed: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between two trials of the first batch, the search goes on with the third, and nothing is told twice."""
    store = open_store(tmp_path)
    told, add = [], optuna.Study.add_trial

    def third_fails(study, trial):
        if study.study_name == LITTLE.name and len(told) == 2:
            raise KeyboardInterrupt
        if study.study_name == LITTLE.name:
            told.append(trial)
        add(study, trial)

    monkeypatch.setattr(optuna.Study, "add_trial", third_fails)
    with pytest.raises(KeyboardInterrupt):
        finish(search(LITTLE, 8, beside(store), store))
    monkeypatch.setattr(optuna.Study, "add_trial", add)
    assert finish(search(LITTLE, 8, beside(store), store)) == undisturbed
    study = optuna.load_study(study_name=LITTLE.name, storage=beside(store))
    assert len(study.trials) == 8


def test_where_the_next_batch_begins() -> None:
    """After a whole batch a new one; after a part of one the same, at the length that it had."""

    def told(*batch: int):
        return optuna.trial.create_trial(value=0.0, user_attrs={"batch": list(batch)})

    assert pending([], 16) == (0, 16)
    assert pending([told(0, 2)], 16) == (0, 2)
    assert pending([told(0, 2)] * 2, 16) == (2, 16)
    assert pending([told(0, 2)] * 2 + [told(2, 5)], 1) == (2, 5)


COMMAND = [
    "sweep", "data=moons", "lr=0.0001..10:log", "dropout=0..0.5", "widths=4", "seeds=2", "--epochs", "3",
    "--search", "20", "--executor", "in_process",
]  # fmt: skip


@pytest.mark.slow
def test_a_search_that_is_killed_repeats_its_bytes(tmp_path: Path) -> None:
    """Killed by its number within each of its two batches and begun again, it writes what an undisturbed one does."""

    def begin(name: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"CHAINRULE_STORE": str(tmp_path / f"store-{name}")}
        words = [sys.executable, "-m", "chainrule", *COMMAND, "--to", str(tmp_path / name)]
        return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    assert begin("whole").wait() == 0
    for networks in (100, 200):  # the first batch trains 180, both together 230
        process = begin("killed")
        while process.poll() is None and len(list(tmp_path.glob("store-killed/objects/*/*/cell.json"))) < networks:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert begin("killed").wait() == 0
    assert len(list((tmp_path / "whole").iterdir())) >= 5
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "killed" / path.name).read_bytes() == path.read_bytes()


# refusals ──────────────────────────────────────────────────────────────────────────────


def refused(work: Callable[[], object]) -> ChainruleError:
    """The error of some work."""
    with pytest.raises(ChainruleError) as refusal:
        work()
    return refusal.value


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty one."""
    return open_store(tmp_path / "store")


def test_a_search_needs_a_range_trials_and_company(store: Store) -> None:
    """Each is told with what to type."""
    error = refused(lambda: Plan("moons", read_axes({"lr": "0.1|0.2"}), 9, 2))
    assert (error.code, error.fix) == ("E401", "for example lr=0.001..0.1:log, or leave --search out")
    error = refused(lambda: finish(search(PLAN, 0, beside(store), store)))
    assert (error.code, error.what) == ("E406", "--search 0 is out of range.")
    error = refused(lambda: Plan("moons", AXES, 9, 2, together=1))
    assert (error.code, error.what) == ("E406", "a batch of 1 trials is out of range.")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "'nonsense'"),
        ("nosuchdatabase://name:secret@host/x", "nosuchdatabase://…@host/x"),
        ("sqlite:////no/such/folder/x.sqlite", "cannot be used"),
    ],
)
def test_a_storage_that_cannot_be_used(url: str, words: str, store: Store) -> None:
    """The reason is told, the password is not."""
    error = refused(lambda: finish(search(PLAN, 6, url, store)))
    assert (error.code, error.exit_status) == ("E704", 69)
    assert words in error.what
    assert "secret" not in str(error)
    assert not store.keys("network")


def test_without_optuna(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing and how to get it."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    error = refused(lambda: finish(search(PLAN, 6, beside(store), store)))
    assert (error.code, error.fix, error.exit_status) == ("E702", 'pip install "chainrule[search]"', 69)


def test_the_command_searches(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    """By default the trials lie beside the networks; elsewhere if one says so."""
    words = ["sweep", "data=moons", "lr=0.001..1:log", "widths=4", "seeds=2", "--epochs", "3", "--search", "4"]
    for more, place in (
        ([], tmp_path / "store" / "search.sqlite"),
        (["--storage", f"sqlite:///{tmp_path}/x"], tmp_path / "x"),
    ):
        monkeypatch.setattr(sys, "argv", ["chainrule", *words, *more])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
        assert place.is_file()
        assert "4 conditions, 2 seeds each" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["chainrule", "sweep", "lr=0.1|0.2", "--search", "4"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 78
