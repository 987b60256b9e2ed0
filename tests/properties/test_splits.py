"""How rows are divided and scaled: laws that hold for every table."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import dataset, randomness
from chainrule.dataset import Data
from chainrule.errors import ChainruleError


def table(x: np.ndarray, y: np.ndarray, test_rows: int = 0, fractions=(0.7, 0.15, 0.15), scaling="columns") -> Data:
    """Rows of a made-up dataset."""
    task = "classification" if y.dtype == np.int64 else "regression"
    classes = tuple(str(c) for c in range(int(y.max()) + 1)) if task == "classification" else ()
    return Data(
        name="made up",
        task=task,
        x=x,
        y=y,
        hash=dataset.sealed(x, y),
        test_rows=test_rows,
        fractions=fractions,
        title="made up",
        description="",
        licence="",
        citation="",
        features=tuple(f"x{j}" for j in range(x.shape[1])),
        targets=("y",),
        classes=classes,
        units="",
        scaling=scaling,
        shape=(),
        hidden=(),
    )


def labelled(sizes: list[int]) -> Data:
    """A classification with so many rows of each class."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    return table(np.arange(len(y), dtype=np.float32)[:, None], y)


# at least a fifth for train: a training set of one row has one class, which is refused
shares = st.tuples(st.integers(10, 20), st.integers(1, 20), st.integers(1, 20)).map(lambda w: np.array(w) / sum(w))
class_sizes = st.lists(st.integers(1, 40), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(class_sizes, st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 99))
def test_parts_cover_everything_once_and_are_stratified(sizes, weights, replica) -> None:
    """Parts are disjoint, cover all rows, have their sizes by largest remainder, and each class within one row."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    share = np.array(weights) / sum(weights)
    parts = dataset.divide(np.arange(len(y)), y, share, randomness.stream(replica, "test"))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(y)))
    assert [len(part) for part in parts] == dataset.apportion(len(y), share).tolist()
    for part, fraction in zip(parts, share, strict=True):
        counts = np.bincount(y[part], minlength=len(sizes))
        assert (np.abs(counts - fraction * np.array(sizes)) <= 1 + 1e-9).all()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 1000), min_size=1, max_size=9))
def test_apportioned_numbers_are_within_one_of_their_share(total, weights) -> None:
    """Largest remainders: the sum is exact and no number is a whole unit from its share."""
    share = np.array(weights) / sum(weights)
    parts = dataset.apportion(total, share)
    assert parts.sum() == total
    assert (np.abs(parts - total * share) < 1 + 1e-9).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), shares)
def test_a_split_is_a_pure_function_of_data_and_replica(replica, share) -> None:
    """The same (data, replica) gives the same rows, whatever else was drawn or divided in between."""
    data = labelled([20, 20])
    first = dataset.split(data, replica, tuple(share))
    randomness.stream(replica, "weights/1").standard_normal(100)
    dataset.split(labelled([30, 20]), replica)
    dataset.k_folds(data, replica, 4)
    second = dataset.split(replace(data, name="another name"), replica, tuple(share))
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(first, part), getattr(second, part))


def test_replicas_and_tables_have_splits_of_their_own() -> None:
    """200 replicas give 200 different training sets; one changed cell gives another split of the same replica."""
    data = labelled([50, 50])
    assert len({tuple(sorted(dataset.split(data, r).train)) for r in range(200)}) == 200
    other = table(data.x + 1, data.y.copy())
    assert sorted(dataset.split(data, 0).train) != sorted(dataset.split(other, 0).train)


def test_each_row_is_tested_equally_often() -> None:
    """Over 2,000 replicas a row is in the test part with its share 0.15; the largest deviation of 60 is below 4.5 σ."""
    data = labelled([30, 30])
    counts = np.zeros(60)
    for replica in range(2000):
        counts[dataset.split(data, replica).test] += 1
    expected = dataset.apportion(60, np.array([0.7, 0.15, 0.15]))[2] / 60
    sigma = np.sqrt(expected * (1 - expected) / 2000)
    assert np.abs(counts / 2000 - expected).max() < 4.5 * sigma  # P < 60 · 7e-6


def test_an_official_test_set_never_moves() -> None:
    """With an official test set the last rows are the test part of every replica, whatever fractions are asked for."""
    y = np.arange(70) % 2
    data = table(np.zeros((70, 1), np.float32), y, test_rows=10, fractions=(55 / 70, 5 / 70, 10 / 70))
    for replica in range(5):
        parts = dataset.split(data, replica)
        assert parts.test.tolist() == list(range(60, 70))
        assert (len(parts.train), len(parts.validation)) == (55, 5)
        assert dataset.split(data, replica, (0.5, 0.25, 0.25)).test.tolist() == list(range(60, 70))
    assert len(dataset.split(data, 0, (0.5, 0.25, 0.25)).train) == 40


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(8, 30), min_size=2, max_size=4), st.integers(3, 8), st.integers(0, 9))
def test_every_row_is_tested_in_exactly_one_fold(sizes, k, replica) -> None:
    """The test parts of k folds divide the rows, so do the validation parts, and each fold covers all rows once."""
    data = labelled(sizes)
    folds = dataset.k_folds(data, replica, k)
    everything = list(range(sum(sizes)))
    assert sorted(np.concatenate([f.test for f in folds]).tolist()) == everything
    assert sorted(np.concatenate([f.validation for f in folds]).tolist()) == everything
    for fold in folds:
        assert sorted(np.concatenate([fold.train, fold.validation, fold.test]).tolist()) == everything


def test_folds_leave_the_official_test_set_alone() -> None:
    """No fold holds a row of the official test set."""
    data = table(np.zeros((70, 1), np.float32), np.arange(70) % 2, test_rows=10)
    rows = [part for fold in dataset.k_folds(data, 0, 5) for part in (fold.train, fold.validation, fold.test)]
    assert np.concatenate(rows).max() == 59


@pytest.mark.parametrize(
    ("fractions", "code"),
    [((0.5, 0.5), "E401"), ((0.9, 0.9, 0.2), "E401"), ((1.2, -0.1, -0.1), "E401"), ((0.0, 0.5, 0.5), "E401"),
     ((float("nan"), 0.5, 0.5), "E401"), ((0.98, 0.01, 0.01), "E308")],
)  # fmt: skip
def test_fractions_that_divide_nothing_are_refused(fractions, code) -> None:
    """Fractions must be three, not negative, with sum 1 and some train; a part with a share must get a row."""
    with pytest.raises(ChainruleError) as caught:
        dataset.split(labelled([10, 10]), 0, fractions)
    assert caught.value.code == code


def test_two_folds_are_refused() -> None:
    """One fold tests and one validates, so two leave nothing to train on."""
    with pytest.raises(ChainruleError) as caught:
        dataset.k_folds(labelled([10, 10]), 0, 2)
    assert (caught.value.code, caught.value.exit_status) == ("E401", 78)


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 60), st.integers(1, 5), st.integers(-30, 30), st.booleans(), st.integers(0, 2**32))
def test_training_rows_become_standard(rows, width, exponent, together, seed) -> None:
    """(x - mean) / std has mean 0 and std 1 on the training rows, at every magnitude from 1e-30 to 1e30."""
    draw = np.random.Generator(np.random.Philox(seed))
    x = (10.0**exponent * (3 + draw.standard_normal((rows, width)))).astype(np.float32)
    data = table(x, draw.standard_normal((rows, 1)), scaling="global" if together else "columns")
    mean, std = dataset.scaling(data, np.arange(rows))
    z = (x.astype(np.float64) - mean) / std
    axis = None if together else 0
    # rounding of the mean, amplified by |mean| / std ≤ about 3 / smallest spread of two draws
    np.testing.assert_allclose(z.mean(axis), 0, atol=1e-9)
    np.testing.assert_allclose(z.std(axis), 1, rtol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.floats(-(2.0**100), 2.0**100, width=32), st.integers(1, 50))
def test_a_constant_column_becomes_zero(value, rows) -> None:
    """A column with one value has exactly this mean and std 1: it is 0 after standardisation, not NaN."""
    data = table(np.full((rows, 1), value, np.float32), np.zeros((rows, 1)))
    mean, std = dataset.scaling(data, np.arange(rows))
    assert mean.tolist() == [float(np.float32(value))]
    assert std.tolist() == [1.0]


def test_scaling_never_sees_other_rows() -> None:
    """Changing every row outside train, even to infinity, changes neither mean nor std by a bit."""
    draw = np.random.Generator(np.random.Philox(3))
    x, y = draw.standard_normal((100, 4)).astype(np.float32), draw.standard_normal((100, 2))
    data = table(x, y)
    train = dataset.split(data, 0).train
    other = np.setdiff1d(np.arange(100), train)
    changed_x, changed_y = x.copy(), y.copy()
    changed_x[other], changed_y[other] = np.inf, 1e300
    changed = table(changed_x, changed_y)
    for fitted in (dataset.scaling, dataset.target_scaling):
        for one, two in zip(fitted(data, train), fitted(changed, train), strict=True):
            np.testing.assert_array_equal(one, two)


def test_scaling_in_blocks_is_scaling_at_once() -> None:
    """Ten thousand rows, more than two blocks, give numpy's mean and std; bytes are not summed as bytes."""
    draw = np.random.Generator(np.random.Philox(4))
    x = draw.integers(0, 256, (10_000, 3), dtype=np.uint8)
    data = table(x, draw.integers(0, 2, 10_000))
    mean, std = dataset.scaling(data, np.arange(10_000))
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-13)
    np.testing.assert_allclose(std, x.std(0), rtol=1e-13)
    mean, std = dataset.scaling(replace(data, scaling="global"), np.arange(10_000))
    np.testing.assert_allclose((mean, std), (np.full(3, x.mean()), np.full(3, x.std())), rtol=1e-13)
    mean, std = dataset.scaling(replace(data, scaling="none"), np.arange(10_000))
    assert (mean.tolist(), std.tolist()) == ([0.0] * 3, [1.0] * 3)
