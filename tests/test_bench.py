"""The benchmark itself, at tiny sizes: no time is asserted here, only that what is told follows from what was seen."""

import importlib.util
import io
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench import __main__ as command
from bench import jobs, page, peers, report, results, rows, tables, turns, worker
from bench.contenders import chainrule, chainrule_on_device, chainrule_torch, mean_loss, task
from bench.tables import Settings
from bench.worker import Absent, Job, Repeat, Worker
from chainrule.experiment.condition import Condition

ROOT = Path(__file__).parents[1]


# the arithmetic that no program can avoid ────────────────────────────────────────────────


def test_operations_are_those_that_torch_counts():
    """Matrix products of an epoch, by the formula and by torch's counter on autograd: the same number."""
    condition = Condition(widths=(20, 12, 7, 3), batch=16)
    layers = [torch.nn.Linear(m, n, bias=False) for m, n in itertools.pairwise(condition.widths)]
    model = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    with FlopCounterMode(display=False) as counter:
        for _ in range(4):
            model(torch.zeros(16, 20)).sum().backward()
    assert rows.operations(condition, 64) == counter.get_total_flops()


def test_products_have_the_sizes_of_a_step():
    """Forward [B, m][m, n], weights [m, B][B, n], inputs [B, n][n, m]."""
    assert rows.products(Condition(widths=(5, 2), batch=7)) == {(7, 5, 2), (5, 7, 2), (7, 2, 5)}


@pytest.mark.parametrize(("name", "count"), [("64-32-10", 1408), ("40-100-100-10", 3776)])
def test_rows_that_fill_batches(name, count):
    """8/10 of 1,797 digits and 38/40 of 4,000 signals, less the rows that fill no batch."""
    assert rows.rows_used(rows.ROWS[name].condition) == count


def test_a_row_without_its_files_is_trained_on_others_of_its_shape(monkeypatch):
    """Without CHAINRULE_DATA: 16,512 rows of eight columns, 4,000 images; and a sentence that says so."""
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    table, told = rows.available(rows.ROWS["8-64-64-1"])
    assert told.startswith("8-64-64-1: the files of california are not at hand (CHAINRULE_DATA), trained on")
    assert rows.rows_used(table.condition) == 16_512
    images, told = rows.available(rows.ROWS["784-256-128-10"])
    assert told.endswith("trained on mnist_5k")
    assert rows.rows_used(images.condition) == 3968
    digits = rows.ROWS["64-32-10"]
    assert rows.available(digits) == (digits, "")


def test_a_condition_travels_as_json():
    """What a worker reads is the condition that was sent."""
    for row in rows.ROWS.values():
        assert rows.condition_of(json.loads(json.dumps(rows.spelled(row.condition)))) == row.condition


# the contenders train the same networks ──────────────────────────────────────────────────

WHOLE = {  # one batch of all rows: the order of the batches is the same for all, and so are the weights
    "classes": Condition(widths=(64, 8, 10), data="digits", n_train=100, batch=100, lr=0.05, steps=100),
    "numbers": Condition(
        widths=(10, 8, 6, 1), data="teacher", n_train=64, batch=64, lr=0.02, loss="squared_error", steps=100
    ),
}
OPTIMISERS = ({}, {"optimiser": "heavy_ball", "lr": 0.01}, {"optimiser": "adam", "lr": 0.003})
NEEDS = {"sklearn_mlp": "sklearn", "jax_scan": "jax", "jax_vmap": "jax", "keras_fit": "keras"}
REPLICAS = (0, 1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("changes", OPTIMISERS, ids=lambda c: str(c.get("optimiser", "sgd")))
@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize(
    "name",
    [
        "torch_loop",
        "torch_loader",
        "sklearn_mlp",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("jax_scan", "jax_vmap", "keras_fit")),
    ],
)
def test_every_contender_does_the_same_steps(name, kind, changes, monkeypatch):
    """From the same weights, six steps on all rows end in the same outputs to 1e-3 of their spread, in float32.

    A wrong factor in a loss, a learning rate or a momentum moves them by more than a tenth of it.
    """
    for variable, value in worker.peers(1).items():
        monkeypatch.setenv(variable, value)
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} comes with the extra `bench`")
    condition = msgspec.structs.replace(WHOLE[kind], **changes)
    given = task(condition, 1, (0,))
    ours = chainrule_torch(condition, 3, (0,))
    other = getattr(peers, name)(condition, 3, REPLICAS)
    for contender in (ours, other):
        contender.run()
        contender.run()
    a, b = ours.outputs(given.x)[0], other.outputs(given.x)
    assert b.shape == (len(REPLICAS), *a.shape)
    if kind == "classes":  # scikit-learn tells probabilities: outputs up to a constant per row
        a, b = (z - z.mean(-1, keepdims=True) for z in (a, b))
    assert np.abs(b[0] - a).max() < 1e-3 * a.std()
    assert np.abs(b[1] - b[0]).max() > 0.1 * a.std()


def test_many_seeds_are_blocks_of_cohorts():
    """Twelve seeds are a block of ten and one of two, with the bits of each alone, whichever of our engines."""
    condition = WHOLE["numbers"]
    for engine in (chainrule, chainrule_torch):
        together = engine(condition, 2, range(12))
        alone = engine(condition, 2, (10, 11))
        x = task(condition, 1, (0,)).x
        together.run()
        alone.run()
        assert np.array_equal(together.outputs(x)[10:], alone.outputs(x))


def test_the_stack_on_a_device_does_the_same_steps():
    """Tried on the CPU, where the recorded engine runs unrecorded: the outputs of the torch engine."""
    condition = Condition(widths=(64, 8, 10), batch=64, n_train=256, lr=0.05)
    x = task(condition, 1, (0,)).x
    stack, plain = chainrule_on_device(condition, 1, (0, 1), device="cpu"), chainrule_torch(condition, 1, (0, 1))
    stack.run(), plain.run()
    assert np.allclose(stack.outputs(x), plain.outputs(x), atol=1e-5)


def test_the_loss_is_that_of_torch():
    """The common yardstick of all contenders: cross-entropy from outputs, half the squared error."""
    z = np.random.Generator(np.random.PCG64(1)).standard_normal((2, 30, 4)) * 20
    y = np.eye(4)[np.arange(30) % 4]
    expected = [torch.nn.functional.cross_entropy(torch.tensor(one), torch.tensor(y)).item() for one in z]
    assert mean_loss(WHOLE["classes"], z, y) == pytest.approx(expected, rel=1e-12)
    assert mean_loss(WHOLE["numbers"], z, y) == pytest.approx(0.5 * np.square(z - y).sum(-1).mean(-1))


def test_a_peer_refuses_what_it_is_not_written_for():
    """An optimiser that the peers lack is told, not replaced."""
    condition = msgspec.structs.replace(WHOLE["classes"], optimiser="rmsprop")
    with pytest.raises(Absent, match="not written for optimiser=rmsprop"):
        task(condition, 1, (0,))


# workers ─────────────────────────────────────────────────────────────────────────────────


def served(job: str, *orders: str) -> list[dict[str, Any]]:
    """What a worker answers, in this process and without a pin."""
    first = json.dumps({"job": job, "arguments": {}, "cores": [], "threads": torch.get_num_threads()})
    answers = io.StringIO()
    worker.serve(io.StringIO("\n".join([first, *map(json.dumps, orders)])), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def counting() -> Job:
    """A job that counts its repeats."""
    counted = itertools.count(1)
    return Job(lambda: next(counted), lambda: "done")


def failing() -> Job:
    """A job that cannot be prepared."""
    raise Absent("no such device")


def breaking() -> Job:
    """A job whose repeat fails."""
    return Job(lambda: 1 / 0)


def test_a_worker_prepares_repeats_and_finishes():
    """One line for each order: seconds, processor time and value of a repeat; threads and memory in the end."""
    limits = pytest.importorskip("threadpoolctl", reason="threadpoolctl, of the extra bench, is not installed")
    with limits.threadpool_limits(1):
        ready, one, two, end = served("tests.test_bench:counting", "run", "run", "finish")
    assert ready["prepared"] >= 0
    assert [one["value"], two["value"], end["value"]] == [1, 2, "done"]
    assert one["processor"] >= 0
    assert end["peak"] > 10_000_000
    assert set(end["threads"].values()) == {1}


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("tests.test_bench:failing", "no such device"),
        ("tests.no_such_module:f", "No module named 'tests.no_such_module'"),
        ("tests.test_bench:breaking", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_contender_that_cannot_says_why(job, words):
    """Absent, not installed, broken in the middle: a reason in words, and no traceback that ends the benchmark."""
    assert served(job, "run")[-1] == {"absent": words}


def test_more_threads_than_allowed_are_refused(monkeypatch):
    """A library that runs more threads than it was given makes a timing worthless."""
    with pytest.raises(Absent, match=r"more than 0 thread\(s\): \{'"):
        worker.threads_in_use(0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(Absent, match="torch has 2 threads and was given 1"):
        worker.limit_torch(1)


def test_a_real_worker_is_pinned_and_multiplies():
    """A process of its own, on one core with one thread, measures a positive rate of both libraries."""
    one = Worker("bench.jobs:rates", {"shapes": [[8, 8, 8]], "seconds": 0.001}, turns.one_core())
    try:
        assert one.ready() > 0
        repeat = one.repeat()
        assert repeat.value[0]["shape"] == [8, 8, 8]
        assert min(repeat.value[0]["numpy"], repeat.value[0]["torch"]) > 0
        assert set(one.finish()["threads"].values()) == {1}
    finally:
        one.close()


def test_a_killed_worker_is_absent():
    """A process that dies without a word, as for want of memory, is a reason in the table."""
    one = Worker("bench.jobs:rates", {"shapes": [], "seconds": 0.0}, [])
    one.process.kill()
    with pytest.raises(Absent, match="the process ended with status -9"):
        one.ready()
    one.close()


class Told:
    """A worker that is none: repeats of given lengths, and then a failure."""

    def __init__(self, seconds: Sequence[float], log: list[str], name: str) -> None:
        self.seconds, self.log, self.name, self.prepared = list(seconds), log, name, 0.5

    def repeat(self) -> Repeat:
        """The next length."""
        self.log.append(self.name)
        if not self.seconds:
            raise Absent("out of memory")
        return Repeat(self.seconds.pop(0), 0.0, None)

    def finish(self) -> dict[str, Any]:
        """What a worker tells in the end."""
        return {"value": 0.1, "threads": {}, "peak": 1}


def test_contenders_take_turns():
    """Round and round, the first repeat apart; one that fails or is absent leaves the others alone."""
    log: list[str] = []
    workers: dict[str, Any] = {
        "a": Told([9, 1, 2], log, "a"),
        "b": Told([9, 3], log, "b"),
        "c": "not installed",
        "d": Told([9, 5, 6], log, "d"),
    }
    found = turns.in_turns(workers, 2, lambda text: None)
    assert log == ["a", "b", "d", "a", "b", "d", "a", "b", "d"]
    assert found["a"]["first"] == 9
    assert found["a"]["seconds"] == [1, 2]
    assert found["b"] == {"absent": "out of memory"}
    assert found["c"] == {"absent": "not installed"}


class Crowd:
    """A crew that is none: its repeats have given lengths, after which it fails."""

    def __init__(self, name: str, seconds: Sequence[float], closed: list[str]) -> None:
        self.name, self.seconds, self.closed, self.waited = name, list(seconds), closed, 1.0

    def repeat(self) -> float:
        """The next length."""
        if not self.seconds:
            raise Absent("out of memory")
        return self.seconds.pop(0)

    def finish(self) -> list[object]:
        """Threads."""
        return [{}]

    def close(self) -> None:
        """Told to the test."""
        self.closed.append(self.name)


def test_each_family_takes_part_in_its_best_setting(monkeypatch):
    """The better first run stays, the other ends at once; what fails or is missing is told; all are closed at last."""
    closed: list[str] = []
    lengths = {
        "chainrule 2x1": [1.0, 0.5, 0.6],
        "chainrule 1x1": [2.0, 1.0, 1.1],
        "PyTorch loop 2x1": [9.0],
        "PyTorch loop 1x2": [8.0, 7.0, 7.5],
        "JAX scan 2x1": [3.0],  # fails in the repeats
        "scikit-learn 2x1": [5.0, 4.0, 4.5],
        "scikit-learn 1x2": [6.0],
    }

    def begun(form: str, row: rows.Row, processes: int, threads: int, seeds: int) -> tuple[Crowd, float]:
        name = f"{form} {processes}x{threads}"
        if name not in lengths:
            raise Absent("not installed")
        return Crowd(name, lengths[name][1:], closed), lengths[name][0]

    monkeypatch.setattr(tables, "begun", begun)
    record = tables.seeds(replace(tables.QUICK, repeats=2), "64-32-10", lambda text: None)
    found: Any = record["contenders"]
    settings = {family: one.get("setting", one.get("absent")) for family, one in found.items()}
    assert settings == {
        "chainrule": "chainrule 2x1",
        "chainrule, one worker": "chainrule 1x1",
        "PyTorch loop": "PyTorch loop 1x2",
        "JAX": "out of memory",
        "scikit-learn": "scikit-learn 2x1",
    }
    assert found["PyTorch loop"]["seconds"] == [7.0, 7.5]
    assert sorted(closed) == sorted(lengths)
    assert results.seeds_ratio(record, "chainrule, one worker") == results.Spread(
        pytest.approx((2 + 11 / 6) / 2), pytest.approx(1.875), pytest.approx(1.9583333)
    )


# numbers from samples ────────────────────────────────────────────────────────────────────


def timed(*seconds: float) -> dict[str, Any]:
    """What is kept of a contender."""
    return {"seconds": list(seconds), "processor": [s * 0.99 for s in seconds], "prepared": 1.0, "finish": 0.25}


@pytest.fixture
def measured() -> dict[str, Any]:
    """A run of one row with round numbers: 2 epochs, 10 networks of ours, 1 of the loop, 8 of vmap."""
    network = {
        "data": "digits",
        "note": "64-32-10: trained on something else",
        "rows": 1408,
        "batch": 32,
        "loss": "cross_entropy",
        "epochs": 2,
        "members": {"chainrule": 10, "PyTorch loop": 1, "JAX scan": 1, "JAX vmap": 8, "scikit-learn": 1},
        "operations": 1e8,
        "contenders": {
            "chainrule": timed(2.0, 4.0, 2.0),  # 0.1, 0.2, 0.1 per network and epoch
            "PyTorch loop": timed(4.0, 4.0, 6.0),  # 2, 2, 3: quotients 20, 10, 30
            "JAX scan": timed(0.6, 0.6, 0.6),  # 0.3
            "JAX vmap": timed(3.2, 3.2, 3.2),  # 0.2: the better; quotients 2, 1, 2
            "scikit-learn": {"absent": "not installed"},
        },
    }
    seeds = {
        **{name: network[name] for name in ("data", "note", "rows", "batch", "loss")},
        "epochs": 1,
        "seeds": 20,
        "cores": 2,
        "trials": {},
        "contenders": {
            "chainrule": {"setting": "2 processes", "start": 1.0, "first": 0.5, "seconds": [1.0, 2.0]},
            "chainrule, one worker": {"setting": "1 process", "start": 1.0, "first": 0.5, "seconds": [1.9, 3.8]},
            "PyTorch loop": {"setting": "2 processes", "start": 1.0, "first": 0.5, "seconds": [30.0, 60.0]},
            "JAX": {"absent": "not installed"},
        },
    }
    options = {**seeds, "options": {"plain": timed(1.0, 2.0, 4.0), "Adam": timed(1.5, 4.0, 4.0)}}
    return {
        "format": 1,
        "engine": "an engine",
        "settings": {"repeats": 3},
        "machine": {
            "processor": "a processor",
            "architecture": "x",
            "cores": 2,
            "caches": {"L2": "1M"},
            "memory": 2**34,
            "system": "Linux",
            "python": "3.11",
            "libraries": {"torch": "2.13.0", "jax": ""},
            "matrix products": {"numpy": "openblas"},
            "commit": "abc",
            "started": "2026-11-23",
            "pinned": True,
            "load": 0.1,
        },
        "tables": {
            "network/64-32-10": network,
            "seeds/64-32-10": seeds,
            "options/64-32-10": options,
            "rates": {
                "products": [
                    {"shape": [512, 512, 512], "numpy": 1e9, "torch": 2e9},
                    {"shape": [32, 64, 32], "numpy": 1.5e9, "torch": 1e9},
                ],
                "rows": {"64-32-10": [[32, 64, 32]]},
            },
            "memory": {
                "steps": 5,
                "chainrule": {"peak": 2**30, "run": 1.0, "value": {"networks": 100, "before": 1, "bytes": 5}},
            },
            "gpu": {"absent": "not timed: no CUDA device"},
        },
    }


def test_ratios_are_medians_of_pairs(measured):
    """Per network and epoch; the quotient of each pair of repeats, then the median; the better form of JAX."""
    record = measured["tables"]["network/64-32-10"]
    assert results.per_network(record, "chainrule") == pytest.approx([0.1, 0.2, 0.1])
    assert results.ratio(record, "PyTorch loop") == results.Spread(
        pytest.approx(20.0), pytest.approx(15.0), pytest.approx(25.0)
    )
    assert results.better(record, results.JAX) == "JAX vmap"
    assert results.ratio(record, "scikit-learn") is None


def test_the_share_is_that_of_the_best_product(measured):
    """10⁸ operations at the best 2·10⁹ per second are 0.05 s, half of the median 0.1 s; a row's own best is less."""
    assert results.best_rate(measured) == 2e9
    assert results.best_rate(measured, "64-32-10") == 1.5e9
    assert results.arithmetic(measured, "64-32-10") == pytest.approx(0.05)
    assert results.share(measured, "64-32-10") == pytest.approx(0.5)
    assert results.undisturbed(measured) == pytest.approx(0.99)


def test_goals_are_met_missed_or_not_measured(measured):
    """Each goal says what was required and measured; what is absent is neither met nor missed."""
    found = {goal.words: goal for goal in results.goals(measured, ["Adam", "dropout 0.2"])}

    def verdict(words: str) -> tuple[float | None, bool | None]:
        goal = found[words]
        return goal.measured and round(goal.measured, 6), goal.met

    assert verdict("64-32-10: faster than the PyTorch loop") == (20.0, False)
    assert verdict("64-32-10: faster than JAX's better form") == (2.0, True)
    assert verdict("64-32-10: faster than scikit-learn") == (None, None)
    assert verdict("64-32-10: share of the best matrix-product rate") == (0.5, True)
    assert verdict("64-32-10, all seeds: faster than the PyTorch loop") == (30.0, True)
    assert verdict("64-32-10, all seeds: faster than JAX") == (None, None)
    assert verdict("64-32-10: two workers against one") == (1.9, True)
    assert verdict("64-32-10: Adam against plain descent") == (1.5, True)
    assert verdict("64-32-10: dropout 0.2 against plain descent") == (None, None)
    assert verdict("100 networks 8-64-64-1: peak memory") == (1.0, True)


def test_only_chooses_tables_rows_or_both():
    """Rows alone mean their tables; the table of single networks brings the fastest products along."""
    few = Settings(rows=("64-32-10", "8-64-64-1"))
    chosen = [unit[:2] for unit in tables.units(few, ["8-64-64-1"])]
    assert chosen == [("rates", ""), *((table, "8-64-64-1") for table in tables.BY_ROW)]
    assert [unit[:2] for unit in tables.units(few, ["gpu"])] == [("gpu", "")]
    assert len(tables.units(few, [])) == 2 * len(tables.BY_ROW) + len(tables.SINGLE)


def test_every_goal_has_its_row_and_every_bounded_option_is_measured():
    """No goal is lost by a name that nothing is measured under."""
    for bounds in (results.FASTER_THAN_LOOP, results.FASTER_THAN_JAX, results.SHARE):
        assert set(bounds) == set(rows.ROWS)
    assert set(results.SEEDS_FASTER_THAN_LOOP) < set(rows.ROWS)
    assert set(page.BOUNDED) < set(tables.OPTIONS)
    assert {contender for _, contender, _, _ in tables.SETTINGS} < set(jobs.CONTENDERS)
    assert set(tables.RACERS) < set(jobs.CONTENDERS)


# the page and the figure ─────────────────────────────────────────────────────────────────


def test_the_page_tells_what_was_measured(measured):
    """Every table of the run, the machine, absences with their reasons, and how to repeat it."""
    text = report.performance(measured)
    for heading in ("Machine", "One network on one core", "Options", "Memory", "GPU", "Goals", "To repeat it"):
        assert f"## {heading}" in text
    assert "| processor | a processor (x), 2 core(s) |" in text
    assert "| 64-32-10 | 20.00x (15.00 to 25.00) |" in text
    assert "not timed: no CUDA device" in text
    assert "trained on something else" in text
    assert "| 64-32-10: faster than the PyTorch loop | at least 25x | 20.00x | NO |" in text
    assert "BUSY" not in text


def test_a_lost_pin_is_told(measured):
    """A worker that somebody moved to other cores while it was timed is counted."""
    assert "pins lost" not in report.performance(measured)
    measured["tables"]["network/64-32-10"]["contenders"]["JAX scan"]["stayed"] = False
    assert "| pins lost | 1 worker(s) were moved to other cores while they were timed |" in report.performance(measured)


def test_a_busy_machine_is_told(measured):
    """Workers that had less than 97 % of their core: the page says that the timings say little."""
    measured["tables"]["network/64-32-10"]["contenders"]["JAX scan"]["processor"] = [0.3, 0.3, 0.3]
    assert "| least share of a core | 50 %: THE MACHINE WAS BUSY, these timings say little |" in report.performance(
        measured
    )


def test_the_page_of_nothing_is_a_page(measured):
    """A run of which nothing was measured yet has a machine and no tables."""
    measured["tables"] = {}
    assert "## Goals" not in report.performance(measured)


def test_the_figure_has_a_panel_for_each_row(measured, tmp_path):
    """SVG with the contenders' names as text, and PNG; without single networks there is none."""
    from bench.figure import draw

    svg, png = draw(measured, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert svg.read_text().count("PyTorch loop") == 1
    assert draw(measured | {"tables": {}}, tmp_path) == []


def test_columns_line_up():
    """On the screen every cell starts where its heading does."""
    sheet = page.Sheet("T", ("a", "long"), (("longer", "1"),), "note")
    assert page.plain(sheet).splitlines() == ["T", "note", "a       long", "------  ----", "longer  1"]


def test_the_page_in_the_documents_is_fresh():
    """docs/performance.md is what `python3 lab.py bench --page` writes from docs/performance.json."""
    numbers = ROOT / "docs" / "performance.json"
    if not numbers.is_file():
        pytest.skip("docs/performance.json is written by `python3 lab.py bench --page` after a run")
    assert (ROOT / "docs" / "performance.md").read_text() == report.performance(json.loads(numbers.read_text()))


# the command ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def places(tmp_path, monkeypatch) -> Path:
    """Results and documents in a folder of the test's own."""
    monkeypatch.setattr(command, "LAST", tmp_path / "last")
    monkeypatch.setattr(command, "DOCS", tmp_path / "docs")
    (tmp_path / "docs").mkdir()
    return tmp_path


@pytest.fixture
def two_units(monkeypatch) -> list[str]:
    """A benchmark of two parts, of which the second can be told to be interrupted; the parts that were measured."""
    done: list[str] = []

    def unit(settings: Settings, row: str, say: turns.Say) -> turns.Record:
        if row == "b" and "interrupt" in done:
            done.remove("interrupt")
            raise KeyboardInterrupt
        done.append(row)
        return {"absent": "nothing"}

    monkeypatch.setattr(command, "units", lambda settings, only: [("gpu", row, unit) for row in ("a", "b")])
    return done


def test_a_run_writes_prints_and_is_published(places, two_units, capsys):
    """JSON with every part, status 0; --print again; --page writes the page and the numbers behind it."""
    assert command.main(["--repeats", "2"]) == 0
    written = json.loads((places / "last" / "bench.json").read_text())
    assert written["complete"]
    assert written["settings"]["repeats"] == 2
    assert set(written["tables"]) == {"gpu/a", "gpu/b"}
    assert set(written["machine"]) >= {"processor", "cores", "caches", "libraries", "matrix products", "commit"}
    first = capsys.readouterr().out
    assert "bench: 0 of 0 goals met" in first
    assert command.main(["--print"]) == 0
    assert capsys.readouterr().out == first
    assert command.main(["--page"]) == 0
    assert (places / "docs" / "performance.md").read_text() == report.performance(written)
    assert json.loads((places / "docs" / "performance.json").read_text()) == written


def test_an_interrupted_run_goes_on(places, two_units, capsys):
    """Status 130; the same command does the rest; a complete run begins anew, and so do other settings."""
    two_units.append("interrupt")
    assert command.main([]) == 130
    assert "bench: stopped; the same command continues." in capsys.readouterr().err
    assert two_units == ["a"]
    assert command.main([]) == 0
    assert two_units == ["a", "b"]
    assert "1 of 2 parts are there from the interrupted run" in capsys.readouterr().err
    assert command.main([]) == 0
    assert two_units == ["a", "b", "a", "b"]
    two_units.append("interrupt")
    assert command.main([]) == 130
    assert command.main(["--quick"]) == 0
    assert two_units == [*"ababaab"]


def test_missed_goals_count_only_if_asked(places, measured, monkeypatch):
    """Status 0 whatever was missed; with --assert 1."""
    monkeypatch.setattr(command, "measure", lambda settings, only, fresh: measured)
    (places / "last").mkdir()
    assert command.main([]) == 0
    assert command.main(["--assert"]) == 1


def test_what_cannot_be_done_is_told(places, capsys):
    """No last run; an unknown part; no repeats."""
    assert command.main(["--page"]) == 69
    assert capsys.readouterr().err == "bench: there is no last run: call `python3 lab.py bench` first.\n"
    for words, told in ((["--only", "networks"], "--only networks is not known"), (["--repeats", "0"], "at least 1")):
        with pytest.raises(SystemExit) as leaving:
            command.main(words)
        assert leaving.value.code == 2
        assert told in capsys.readouterr().err


@pytest.mark.slow
def test_a_small_table_from_real_processes(monkeypatch):
    """Two contenders of the table of single networks, from start to goals."""
    row = rows.ROWS["64-32-10"]
    monkeypatch.setitem(tables.ROWS, "64-32-10", replace(row, epochs=1, seeds_epochs=1))
    few = {name: jobs.CONTENDERS[name] for name in ("chainrule, torch engine", "PyTorch loop")}
    monkeypatch.setattr(tables, "CONTENDERS", few)
    settings = replace(tables.QUICK, rows=("64-32-10",), seeds=2)
    record = json.loads(json.dumps(tables.network(settings, "64-32-10", lambda text: None)))
    ours, loop = (record["contenders"][name] for name in few)
    assert [len(one["seconds"]) for one in (ours, loop)] == [2, 2]
    assert ours["finish"] == pytest.approx(loop["finish"], rel=0.3)
    quotients = results.ratio(record, "PyTorch loop", "chainrule, torch engine")
    assert quotients is not None
    assert quotients.median > 0


# the front door ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def lab() -> ModuleType:
    """The file lab.py as a module."""
    spec = importlib.util.spec_from_file_location("lab", ROOT / "lab.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asked_for(lab: ModuleType, statuses: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What install_peers asks for, where commands that contain a word end with a status."""
    asked: list[str] = []

    def run(words: str, line: Sequence[object]) -> tuple[int, str]:
        asked.append(" ".join(map(str, line)))
        return next((status for part, status in statuses.items() if part in asked[-1]), 0), ""

    monkeypatch.setattr(lab.shutil, "which", lambda name: None)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    lab.install_peers(Path("/lab"), Path("/lab/.venv/bin/python"), run)
    return [line for line in asked if " install " in line]


def test_peers_that_are_there_are_left_alone(lab, monkeypatch):
    """Nothing is installed twice."""
    assert asked_for(lab, {}, monkeypatch) == []


def test_peers_never_bring_another_torch(lab, monkeypatch):
    """The extra under the pin of torch; curvlinops without its dependencies, of which one is torchvision."""
    extra, curvlinops = asked_for(lab, {"find_spec": 1}, monkeypatch)
    pins = f"-c {Path('/lab/constraints.txt')} -c {Path('/lab/.venv/torch.txt')}"
    assert extra.endswith(f"{pins} -e .[bench]")
    assert f"{pins} --no-deps curvlinops-for-pytorch" in curvlinops
    assert "torchvision" not in curvlinops


def test_without_an_index_the_benchmark_runs_without_peers(lab, monkeypatch, tmp_path, capsys):
    """An installation that fails is told in a sentence, and is no reason to stop."""
    monkeypatch.setattr(lab, "install", lambda *arguments: (_ for _ in ()).throw(lab.Stop("pip failed.", 69)))
    asked_for(lab, {"find_spec": 1}, monkeypatch)
    assert capsys.readouterr().err == "lab.py: pip failed. Those that are missing are left out.\n"


def test_the_verb_becomes_the_benchmark(lab, monkeypatch):
    """`lab.py bench --quick` sees to the peers, then turns into `python -m bench --quick` in chainrule's folder."""
    seen: list[Any] = []
    monkeypatch.setattr(lab, "prepare", lambda root, run: "py")
    monkeypatch.setattr(lab, "install_peers", lambda root, python, run: seen.append("peers"))
    monkeypatch.setattr(lab.os, "chdir", lambda folder: seen.append(folder))
    monkeypatch.setattr(lab, "become", lambda line: seen.append(line) or 0)
    assert lab.main(["bench", "--quick"]) == 0
    assert seen == ["peers", lab.ROOT, ["py", "-m", "bench", "--quick"]]
