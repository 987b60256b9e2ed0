"""The two workflows from end to end: what they store, what they print, and what they hand to other programs."""

import json
from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load as tensors_from_bytes
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.metrics import f1_score, roc_auc_score

from chainrule import dataset
from chainrule.calculus.activations import ACTIVATIONS
from chainrule.calculus.losses import HEADS
from chainrule.errors import ChainruleError
from chainrule.evidence.evaluation import Evaluation, Quantity
from chainrule.evidence.figure import Cells, Figure, Images
from chainrule.experiment.training import finish
from chainrule.store.objects import Store, open_store
from chainrule.workflows import baselines, classification, regression
from chainrule.workflows.defaults import RATES, STARTS, condition_for
from chainrule.workflows.export import HEAD_MODULES, MODULES, to_torch
from chainrule.workflows.members import Members, fit
from chainrule.workflows.summary import over_seeds
from chainrule.workflows.train import evaluate

SMALL = {"widths": "16"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One store for the tests of this file: what one has trained, the next reads."""
    return open_store(tmp_path_factory.mktemp("workflows"))


@pytest.fixture(scope="module")
def digits(store: Store) -> Evaluation:
    """Three small networks on digits."""
    return finish(evaluate(condition_for("digits", SMALL, 6), 3, store))


@pytest.fixture(scope="module")
def diabetes(store: Store) -> Evaluation:
    """Three small networks on diabetes, with five folds."""
    return finish(evaluate(condition_for("diabetes", SMALL, 6), 3, store))


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[dataset.Data], None]:
    """Put other rows in the place of a dataset."""
    real = dataset.load

    def put(data: dataset.Data) -> None:
        monkeypatch.setattr(dataset, "load", lambda name: data if name == data.name else real(name))

    return put


def cell(evaluation: Evaluation, title: str, row: str, column: str) -> Quantity:
    """One quantity of a sheet whose title begins so."""
    sheet = next(s for s in evaluation.sheets if s.title.startswith(title))
    return next(q for q in dict(sheet.rows)[row] if q.name == column)


# the record ────────────────────────────────────────────────────────────────────────────


def test_a_second_call_reads_and_computes_nothing(store: Store, digits: Evaluation) -> None:
    """What is stored is returned, equal in every field, without a single step of progress."""
    again = evaluate(condition_for("digits", SMALL, 6), 3, store)
    with pytest.raises(StopIteration) as stop:
        next(again)
    assert stop.value.value == digits
    assert store.has(digits.run)


def test_an_interrupted_workflow_ends_in_the_same_bytes(tmp_path) -> None:
    """Stopping after any progress and starting again gives the record of the undisturbed run."""
    condition = condition_for("diabetes", {"widths": "4"}, 2)
    whole = open_store(tmp_path / "whole")
    expected = finish(evaluate(condition, 2, whole, folds=0))
    broken = open_store(tmp_path / "broken")
    for stop_after in (1, 2, 4):
        work = evaluate(condition, 2, broken, folds=0)
        for _ in range(stop_after):
            next(work)
        work.close()
    assert finish(evaluate(condition, 2, broken, folds=0)) == expected
    assert broken.get(expected.run) == whole.get(expected.run)


def test_the_key_follows_the_settings(store: Store, digits: Evaluation) -> None:
    """Another number of seeds, another setting or another dataset is another record; networks in common are reused."""
    fewer = finish(evaluate(condition_for("digits", SMALL, 6), 2, store))
    assert fewer.run != digits.run
    assert fewer.facts["test accuracy"].mean != digits.facts["test accuracy"].mean


def test_progress_never_falls_and_ends_at_the_whole(tmp_path) -> None:
    """The bar of the command line moves forward only."""
    seen = list(evaluate(condition_for("diabetes", {"widths": "4"}, 2), 2, open_store(tmp_path)))
    done = [(p.shard + p.step / max(p.steps, 1)) / p.shards for p in seen]
    assert done == sorted(done)
    assert done[-1] == 1
    assert len({p.shards for p in seen}) == 1


def test_the_record_survives_json(digits: Evaluation, diabetes: Evaluation) -> None:
    """Every number of a record is finite or None, so JSON carries it without loss."""
    for evaluation in (digits, diabetes):
        assert msgspec.json.decode(msgspec.json.encode(evaluation), type=Evaluation) == evaluation


def test_every_panel_names_its_axes_and_every_caption_says_how_many(digits: Evaluation, diabetes: Evaluation) -> None:
    """Axes carry labels with units, captions the dataset's title."""
    for evaluation in (digits, diabetes):
        for figure in evaluation.figures.values():
            assert figure.caption.startswith(evaluation.title)
            for panel in figure.panels:
                pictures = any(isinstance(mark, Images) for mark in panel.marks)
                assert pictures or (panel.x and panel.y)
        assert "[" in evaluation.figures["learning curves"].panels[0].y


# classification ────────────────────────────────────────────────────────────────────────


def test_the_weighted_recall_is_the_accuracy(digits: Evaluation) -> None:
    """Weighting the recall of each class by its rows counts every row once."""
    accuracy = digits.facts["test accuracy"].mean
    assert cell(digits, "Test rows by class", "mean weighted by rows", "recall").mean == pytest.approx(
        accuracy, abs=1e-12
    )


def test_accuracy_carries_the_binomial_interval_of_its_test_rows(digits: Evaluation) -> None:
    """The second interval is Wilson's for the number of test rows, as scipy has it."""
    q = digits.facts["test accuracy"]
    rows = digits.rows[2]
    expected = stats.binomtest(round(q.mean * rows), rows).proportion_ci(0.95, method="wilson")
    assert (q.binomial_low, q.binomial_high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_rows_of_the_confusion_matrix_are_whole(digits: Evaluation) -> None:
    """Each true class is named somehow: a row sums to 100 %, to the rounding of ten cells at 0.005 each."""
    (panel,) = digits.figures["confusion matrix"].panels
    (cells,) = panel.marks
    assert isinstance(cells, Cells)
    assert np.sum(cells.values, axis=1) == pytest.approx(np.full(10, 100.0), abs=0.05)


def test_chance_is_one_over_the_classes(digits: Evaluation) -> None:
    """A uniform guess is right once in ten; the most frequent class is right for its share of the rows."""
    assert digits.facts["uniform guess accuracy"].mean == 0.1
    assert digits.facts["most frequent class accuracy"].mean == pytest.approx(0.1, abs=0.02)  # classes differ by 5 %


def test_scores_of_two_classes_equal_those_of_scikit_learn(store: Store) -> None:
    """F1 and the area under the ROC curve, recomputed by another library from the same outputs."""
    members = finish(fit(condition_for("moons", SMALL, 4), 2, store))
    sheet = classification.against_baselines(members, {})
    network = {q.name: q.mean for q in sheet.rows[0][1]}
    true = classification.truth(members)
    f1 = [f1_score(t, s, average="macro") for t, s in zip(true, classification.named(members), strict=True)]
    area = [roc_auc_score(t, o[:, 1]) for t, o in zip(true, members.outputs, strict=True)]
    assert network["macro F1"] == pytest.approx(np.mean(f1), abs=1e-12)
    assert network["ROC AUC"] == pytest.approx(np.mean(area), abs=1e-12)
    assert "ROC curve" in classification.figures(members, sheet)


def test_one_sigmoid_output_gives_two_columns(store: Store) -> None:
    """Binary cross-entropy has one output; its record has the scores of both classes, which sum to one."""
    members = finish(fit(condition_for("moons", SMALL | {"loss": "binary_cross_entropy"}, 4), 2, store))
    assert members.condition.widths[-1] == 1
    for outputs in members.outputs:
        assert outputs.shape[1] == 2
        assert outputs.sum(1) == pytest.approx(1, abs=1e-6)  # float32


def test_the_worst_mistakes_are_mistakes(digits: Evaluation, store: Store) -> None:
    """Every listed test row is missed by half of its networks at least, the surest first."""
    members = finish(fit(condition_for("digits", SMALL, 6), 3, store))
    found = classification.worst(members)
    assert found
    assert [own for *_, own, _, _ in found] == sorted(own for *_, own, _, _ in found)
    for row, taken, own, other, share in found:
        assert taken != members.data.y[row]
        assert share >= 0.5
        assert own < other or share < 1
        assert any(row in split.test for split in members.splits)
    (panel,) = digits.figures["worst mistakes"].panels
    (images,) = panel.marks
    assert isinstance(images, Images)
    assert {len(p) for p in images.pixels} == {64}


# regression ────────────────────────────────────────────────────────────────────────────


def test_the_mean_has_no_r2_and_linear_regression_does_not_see_units(diabetes: Evaluation) -> None:
    """Predicting the training mean explains nothing; least squares is the same in standardised and raw columns."""
    assert diabetes.facts["mean of the targets R²"].mean <= 0
    data = dataset.load("diabetes")
    scores = []
    for replica in (1000, 1001, 1002):
        rows = dataset.split(data, replica)
        model = LinearRegression().fit(data.x[rows.train].astype(float), data.y[rows.train])
        scores.append(model.score(data.x[rows.test].astype(float), data.y[rows.test]))
    # the float32 standardisation leaves 1e-6 of a column's spread
    assert diabetes.facts["linear regression R²"].mean == pytest.approx(np.mean(scores), abs=1e-5)


def test_a_gain_is_the_difference_of_the_means(digits: Evaluation, diabetes: Evaluation) -> None:
    """Pairing by seed narrows the interval and leaves the mean."""
    facts = digits.facts
    gain = facts["test accuracy"].mean - facts["logistic regression accuracy"].mean
    assert facts["gain over logistic regression"].mean == pytest.approx(gain, abs=1e-12)
    facts = diabetes.facts
    gain = facts["test R²"].mean - facts["linear regression R²"].mean
    assert facts["R² gain over linear regression"].mean == pytest.approx(gain, abs=1e-12)


def test_ridge_chooses_its_penalty_on_validation_rows() -> None:
    """Where the target is linear without noise, the smallest penalty wins and little is left unexplained."""
    data = dataset.load("diabetes")
    weights = np.linspace(1, 2, data.x.shape[1])[:, None]
    scaled = (data.x - data.x.mean(0)) / data.x.std(0)
    data = replace(data, y=scaled.astype(np.float64) @ weights)
    rows = dataset.split(data, 0)
    error = baselines.ridge(data, rows) - data.y[rows.test]
    # shrinking each coefficient by λ/(n s²) ≤ 0.01/(265 · 0.008), s² the least eigenvalue of the correlation matrix
    assert np.abs(error).max() < 0.01 * np.abs(data.y).max()


def test_rmse_is_the_root_of_mse_for_one_network(store: Store) -> None:
    """MSE, RMSE, MAE and R² of one network agree with one another: RMSE² = MSE ≥ MAE², R² = 1 - MSE / variance."""
    members = finish(fit(condition_for("diabetes", SMALL, 6), 2, store))
    true, said = regression.truth(members)[0][:, 0], regression.said(members)[0][:, 0]
    mse, rmse, mae, r2 = regression.errors(true, said)
    assert rmse**2 == pytest.approx(mse, rel=1e-12)
    assert mae <= rmse
    assert r2 == pytest.approx(1 - mse / true.var(), abs=1e-12)


def test_every_row_is_tested_in_one_fold(store: Store) -> None:
    """Five folds divide the rows; every network is tested on rows that it neither learnt nor chose by."""
    condition = condition_for("diabetes", SMALL | {"folds": "5"}, 2)
    members = finish(fit(condition, 5, store))
    tested = np.concatenate([split.test for split in members.splits])
    assert sorted(tested) == list(range(442))
    for split in members.splits:
        assert not set(split.test) & (set(split.train) | set(split.validation))


def test_cross_validation_is_part_of_the_record_of_small_data(diabetes: Evaluation) -> None:
    """The mean of the folds is their mean."""
    folds = [cell(diabetes, "5-fold", f"fold {i}", "RMSE").mean for i in range(1, 6)]
    assert cell(diabetes, "5-fold", "mean of 5 folds", "RMSE").mean == pytest.approx(np.mean(folds), rel=1e-12)


def test_folds_of_classes_are_refused(store: Store) -> None:
    """A setting without effect is refused before anything is trained."""
    with pytest.raises(ChainruleError, match="folds=5") as refusal:
        finish(evaluate(condition_for("digits", SMALL, 1), 2, store, folds=5))
    assert refusal.value.code == "E401"


def test_several_targets_have_a_table_and_two_panels_each(tmp_path, pretend: Callable[[dataset.Data], None]) -> None:
    """A second target that is the first in another unit has errors in that unit, and the same R² for the baselines."""
    data = dataset.load("diabetes")
    twice = np.concatenate([data.y, 1000 * data.y], axis=1)
    pretend(replace(data, y=twice, targets=("one", "other"), hash="two targets"))
    found = finish(evaluate(condition_for("diabetes", SMALL, 3), 2, open_store(tmp_path), folds=0))
    assert found.facts["linear regression RMSE, other"].mean == pytest.approx(
        1000 * found.facts["linear regression RMSE, one"].mean, rel=1e-9
    )
    assert found.facts["ridge regression R², other"].mean == pytest.approx(
        found.facts["ridge regression R², one"].mean, abs=1e-9
    )
    assert len(found.figures["residuals"].panels) == 4


def test_places_make_a_map(tmp_path, pretend: Callable[[dataset.Data], None]) -> None:
    """Features named longitude and latitude place every tested row."""
    data = dataset.load("diabetes")
    pretend(replace(data, features=("Longitude", "Latitude", *data.features[2:])))
    members = finish(fit(condition_for("diabetes", SMALL, 2), 2, open_store(tmp_path)))
    figure = regression.error_map(members)
    assert isinstance(figure, Figure)
    tested = set(members.splits[0].test) | set(members.splits[1].test)
    assert len(figure.panels[0].marks[0].x) == len(tested)


# failures ──────────────────────────────────────────────────────────────────────────────

WILD = {"widths": "8", "optimiser": "sgd", "lr": "1e6", "schedule": "constant"}


def test_diverged_numbers_leave_no_mean(tmp_path) -> None:
    """A diverged network has no R², and no mean is made of the others; the table says why."""
    found = finish(evaluate(condition_for("diabetes", WILD, 2), 2, open_store(tmp_path), folds=0))
    assert found.diverged == 2
    assert found.facts["test R²"].mean is None
    assert "diverged (2 of 2 seeds)" in found.facts["test R²"].note
    assert found.facts["linear regression R²"].mean is not None
    assert "residuals" not in found.figures
    assert "2 of 2 networks diverged" in found.figures["learning curves"].caption


def test_diverged_classes_count_as_chance(tmp_path) -> None:
    """A diverged network names the most frequent class: it stays in the mean, as good as no network."""
    loss = {"loss": "squared_error", "lr": "1e12"}
    members = finish(fit(condition_for("digits", WILD | loss, 2), 2, open_store(tmp_path)))
    assert members.diverged == (True, True)
    usual = [baselines.most_frequent(members.data, split).argmax(-1) for split in members.splits]
    for said, expected in zip(classification.named(members), usual, strict=True):
        assert (said == expected).all()


# quantities ────────────────────────────────────────────────────────────────────────────


def test_seeds_that_share_their_rows_are_averaged_first(store: Store) -> None:
    """Six seeds on three divisions have the interval of three numbers."""
    members = finish(fit(condition_for("diabetes", SMALL | {"splits": "3"}, 2), 6, store))
    assert members.groups == (1, 2, 0, 1, 2, 0)
    assert (members.splits[0].test == members.splits[3].test).all()
    values = np.array([5.0, 1.0, 2.0, 7.0, 3.0, 4.0])
    pooled = over_seeds("x", values, members.groups)
    means = over_seeds("x", [6.0, 2.0, 3.0], range(3))
    assert (pooled.mean, pooled.low, pooled.high) == pytest.approx((means.mean, means.low, means.high), rel=1e-12)


def test_an_interval_stays_within_the_possible() -> None:
    """A share lies between 0 and 1, and so do the ends of its interval."""
    q = over_seeds("share", [1.0, 0.9], (0, 1), within=(0.0, 1.0))
    assert (q.low, q.high) == (pytest.approx(0.95 - stats.t.ppf(0.975, 1) * 0.05, abs=1e-9), 1.0)


# settings ──────────────────────────────────────────────────────────────────────────────


def test_widths_are_the_hidden_ones() -> None:
    """The data give the first and the last width, the epochs the steps: 1078 rows in batches of 32 are 33 steps."""
    condition = condition_for("digits", {"widths": "32,16", "batch": "32"}, 3)
    assert condition.widths == (64, 32, 16, 10)
    assert condition.steps == 3 * 33
    assert condition_for("digits", {"widths": ""}, 1).widths == (64, 10)
    assert condition_for("digits", {"steps": "7"}, 3).steps == 7
    assert condition_for("digits", {"n_train": "100", "batch": "32"}, 2).steps == 2 * 3


@pytest.mark.parametrize("optimiser", list(RATES))
def test_every_optimiser_can_be_asked_for_alone(optimiser: str) -> None:
    """Settings of a row that another optimiser does not read are dropped; the user's own are not."""
    assert condition_for("diabetes", {"optimiser": optimiser}, 1).optimiser == optimiser
    with pytest.raises(ChainruleError, match="has no effect"):
        condition_for("diabetes", {"optimiser": "sgd", "beta2": "0.9"}, 1)


def test_every_row_of_the_table_is_a_condition() -> None:
    """A row names a task or a dataset of the catalogue; those that need no files make a condition."""
    known = dataset.catalogue()
    assert set(STARTS) - {"classification", "regression"} <= set(known)
    for name, described in known.items():
        if not described.sources:
            assert condition_for(name, {}, 0).steps > 0


# export ────────────────────────────────────────────────────────────────────────────────


def loaded(files: dict[str, bytes], replica: int) -> tuple[torch.nn.Sequential, torch.nn.Module, dict]:
    """A plain Sequential with the exported parameters, its head, and the standardisation: what a stranger would do."""
    about = json.loads(files["network.json"])
    net = torch.nn.Sequential(*(getattr(torch.nn, name)(**arguments) for name, arguments in about["layers"]))
    net.load_state_dict(tensors_from_bytes(files[f"seed-{replica}.safetensors"]))
    name, arguments = about["head"]
    return net.eval(), getattr(torch.nn, name)(**arguments), about["seeds"][str(replica)]


def exported(condition, store: Store) -> tuple[Members, dict[str, bytes]]:
    """Networks and their files."""
    evaluation = finish(evaluate(condition, 2, store, folds=0))
    return finish(fit(condition, 2, store)), to_torch(store, evaluation.run)


@pytest.mark.parametrize("changes", [{}, {"batch_norm": "true", "activation": "tanh"}, {"widths": "", "l2": "0.01"}])
@pytest.mark.parametrize("data", ["digits", "diabetes"])
def test_a_plain_sequential_gives_the_same_outputs(data: str, changes: dict[str, str], store: Store) -> None:
    """Parameters, layers and standardisation suffice to repeat the test outputs: to 1e-6 of their scale in float32."""
    members, files = exported(condition_for(data, SMALL | changes, 2), store)
    for s, replica in enumerate(members.replicas):
        net, head, scale = loaded(files, replica)
        features = torch.tensor(members.data.x[members.splits[s].test]).float()
        with torch.no_grad():
            said = head(net((features - torch.tensor(scale["input_mean"])) / torch.tensor(scale["input_std"])))
        if data == "diabetes":
            said = said * torch.tensor(scale["target_std"]) + torch.tensor(scale["target_mean"])
        size = np.abs(members.outputs[s]).max()
        assert np.abs(said.numpy() - members.outputs[s]).max() < 1e-6 * size


def test_every_activation_and_head_has_its_module() -> None:
    """Each φ of the table and its module of torch.nn are the same function, in float64 to 1e-12."""
    z = torch.linspace(-6, 6, 101, dtype=torch.float64)
    assert list(MODULES) == list(ACTIVATIONS)
    assert list(HEAD_MODULES) == list(HEADS)
    for name, row in ACTIVATIONS.items():
        kind, arguments = MODULES[name]
        assert getattr(torch.nn, kind)(**arguments)(z) == pytest.approx(row.value(z), abs=1e-12)


def test_only_trained_runs_can_be_exported(store: Store) -> None:
    """Another object of the store is refused with a sentence."""
    store.put("0" * 64, {"a.json": b"{}"}, "other")
    with pytest.raises(ChainruleError, match="holds no trained networks"):
        to_torch(store, "0" * 64)
