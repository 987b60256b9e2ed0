"""Laws of choosing: validation rows decide, test rows cannot, and every part of the rows has one use."""

from dataclasses import replace

import numpy as np
import pytest

from chainrule import dataset
from chainrule.experiment.training import finish
from chainrule.store.objects import open_store
from chainrule.workflows.defaults import condition_for
from chainrule.workflows.members import Members, fit

TASKS = ("digits", "diabetes")


def trained(name: str, folder) -> Members:
    """Two small networks; large steps without a schedule, so that the last epoch is not the best one."""
    changes = {"widths": "12", "schedule": "constant", "lr": "0.05", "optimiser": "adam"}
    return finish(fit(condition_for(name, changes, 8), 2, open_store(folder)))


def spoilt(data: dataset.Data, rows: np.ndarray) -> dataset.Data:
    """The data with other targets in some rows: turned round in their order. The hash, which names the split, stays."""
    y = data.y.copy()
    y[rows] = y[rows][::-1]
    return replace(data, y=y)


@pytest.fixture(params=TASKS)
def name(request: pytest.FixtureRequest) -> str:
    """A dataset of each task."""
    return request.param


@pytest.fixture
def one_division(monkeypatch: pytest.MonkeyPatch):
    """Every replica gets the division of replica 0 of the unspoilt rows, so that rows can be spoilt by their use."""
    real, divisions = dataset.split, {}
    load = dataset.load

    def fixed(data: dataset.Data, replica: int) -> dataset.Split:
        if data.name not in divisions:
            divisions[data.name] = real(load(data.name), 0)
        return divisions[data.name]

    monkeypatch.setattr(dataset, "split", fixed)
    return fixed


def test_the_kept_network_has_the_lowest_validation_loss(name: str, tmp_path) -> None:
    """The kept step is the first minimum of the validation loss over all epochs, and not always the last."""
    members = trained(name, tmp_path)
    loss = members.curve("validation", 0)
    steps = np.array(members.run.steps)
    assert (members.run.chosen_step[0] == steps[loss.argmin(1)]).all()
    assert members.run.chosen_step[0].min() < steps[-1]


def test_test_targets_change_no_network(name: str, tmp_path, one_division, monkeypatch) -> None:
    """Spoiling the targets of the test rows leaves parameters, choice and curves bit for bit as they were."""
    data = dataset.load(name)
    before = trained(name, tmp_path / "a")
    changed = spoilt(data, one_division(data, 0).test)
    monkeypatch.setattr(dataset, "load", lambda _: changed)
    after = trained(name, tmp_path / "b")
    assert (before.data.y != after.data.y).any()
    assert before.run.final == after.run.final
    assert (before.run.chosen_step == after.run.chosen_step).all()
    for part in ("training", "validation"):
        assert np.array_equal(before.run.readings[part], after.run.readings[part])


def test_validation_targets_change_the_choice_and_not_the_training(name, tmp_path, one_division, monkeypatch) -> None:
    """Spoiling the targets of the validation rows moves the chosen epoch and no training curve."""
    data = dataset.load(name)
    before = trained(name, tmp_path / "a")
    changed = spoilt(data, one_division(data, 0).validation)
    monkeypatch.setattr(dataset, "load", lambda _: changed)
    after = trained(name, tmp_path / "b")
    assert np.array_equal(before.run.readings["training"], after.run.readings["training"])
    assert (before.run.chosen_step != after.run.chosen_step).any()


def test_the_parts_are_disjoint_and_whole(name: str, tmp_path) -> None:
    """Training, validation and test rows of every network divide the data."""
    members = trained(name, tmp_path)
    for split in members.splits:
        together = np.concatenate([split.train, split.validation, split.test])
        assert sorted(together) == list(range(len(members.data.x)))


def test_a_network_does_not_depend_on_its_company(name: str, tmp_path) -> None:
    """Asking for more seeds changes none of the first: the same bytes, the same outputs."""
    few = trained(name, tmp_path / "a")
    changes = {"widths": "12", "schedule": "constant", "lr": "0.05", "optimiser": "adam"}
    many = finish(fit(condition_for(name, changes, 8), 12, open_store(tmp_path / "b")))
    assert many.run.final[0][:2] == few.run.final[0]
    for own, other in zip(few.outputs, many.outputs, strict=False):
        assert np.array_equal(own, other)
