"""Every dataset of the catalogue: what it must be, and the facts that are known about it."""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chainrule import dataset, sources
from chainrule.dataset import Data
from chainrule.datasets import mnist1d, teacher

EMBEDDED = ["boston", "diabetes", "digits", "iris", "mnist1d", "mnist_5k", "moons", "spirals", "teacher"]
FETCHED = [
    "air_quality",
    "california",
    "cifar10",
    "concrete",
    "energy",
    "fashion_mnist",
    "mnist",
    "wine",
    "wine_regression",
]

# sha256 of the arrays, so of every number that a network will see; a new value needs a reason in the changelog
HASHES = {
    "air_quality": "d8f9cf7f29f27444c549080230ee3ca94c33d36df9f4dbe65546a8a82ce6a3ca",
    "boston": "f8001a4d01c66833b20abe7e5816e11c4c34713792fea2ce47712f11f83301dc",
    "california": "b67265ef3ef9d5afe2cdc73af66d57ec8a9cd7e0da7306ef09f4cf6d492cbb5f",
    "cifar10": "0b0bddd84a02af3dd34914393b93de6f03b15e718a627f0c22c78fb18e07a158",
    "concrete": "5acf0b73fde945e57019a955431c21f5464b3cfee55c07c567f29d3a4969597e",
    "diabetes": "6fc3407e4a3178cb3ee0331f495d6a2241ebe4531ca358eb365d15db51c461bc",
    "digits": "f38847c6aba029dc9090407fce6a77fc8ed26fa4d379645c122bb560c49d7f83",
    "energy": "1b208f0c7549941c9d7cc3b46f655b6eb898f63c026645ff737f620965a7e368",
    "fashion_mnist": "88e86fff90684d823e310d3b9c6ff1980662da6855193bd92008a4a05096a0b7",
    "iris": "1bb0991ef4ec248ac2a27b5330b88836dfa7fe666950dfc728b7823c4aa92a53",
    "mnist": "aab2d3960bf1c60aa37e95536dc194732c103bb56ee19bda838082b237d282f2",
    "mnist1d": "121a6987cfd16d5aea9135ceb144744fe2dccd9c86b96ad8d2af5f96ab9bee25",
    "mnist_5k": "20fc3441c26a8d31749adbce750a9d85c0dfc1f806b8d71364d87df8b20e7d0c",
    "moons": "dd406bfe8a6245d84383f882bbef948211384bf34bfcc9af2b84807efe018d3b",
    "spirals": "1c4bfbb8dfb7da15c76e231e6dccb7c34608a754ab9a8433443a60be07ca4715",
    "teacher": "e9adde93532b4b7850a69e90ffc68d2ad9a62fe9154fc0243b516c163f6cce9e",
    "wine": "586459c7118ed04a7742da1861ddaa9f2da16968b7ba70e968dcf219b5033a97",
    "wine_regression": "066616d776abd77143f0a77f4f10453f2efc3c03026e6cd4915afe0c65d87528",
}

needs_data = pytest.mark.skipif(
    not os.environ.get("CHAINRULE_DATA"), reason="CHAINRULE_DATA names no folder with the official files"
)


@pytest.fixture(autouse=True, scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty store, the same for all tests of this file, so that each dataset is read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_STORE", str(tmp_path_factory.mktemp("store")))
        yield


def official(name: str) -> Data:
    """The rows of a fetched dataset, or a skipped test."""
    one = dataset.catalogue()[name]
    found, _ = sources.search(one.sources[:1], sources.within(dataset.roots(), (name, *one.folders)))
    if not found:
        pytest.skip(f"the files of {name} are not in CHAINRULE_DATA")
    return dataset.load(name)


def test_the_catalogue_is_what_the_folder_holds() -> None:
    """Embedded and fetched datasets together are all datasets."""
    assert list(dataset.catalogue()) == sorted(EMBEDDED + FETCHED)


@pytest.mark.parametrize("name", sorted(EMBEDDED + FETCHED))
def test_a_dataset_describes_itself(name: str) -> None:
    """Title, reason, licence and citation are there, fractions divide, and the stand-in needs no network."""
    one = dataset.catalogue()[name]
    assert all((one.title, one.description, one.licence, one.citation, one.features, one.targets, one.hidden))
    assert one.task in ("classification", "regression")
    assert (one.task == "classification") == bool(one.classes)
    assert (one.task == "regression") == bool(one.units)
    assert sum(one.split) == pytest.approx(1, abs=1e-12)
    assert one.scaling in ("columns", "global", "none")
    assert not one.shape or int(np.prod(one.shape)) == len(one.features)
    if one.sources:
        assert one.stand_in in EMBEDDED
        assert dataset.catalogue()[one.stand_in].task == one.task


def test_a_dataset_is_built_in_or_here_or_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state needs no reading: embedded sets are built in, a fetched one is here when all its files are."""
    assert dataset.state("digits") == "built in"
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path))
    assert dataset.state("wine") == "not here"
    (tmp_path / "uci").mkdir()
    (tmp_path / "uci" / "winequality-red.csv").touch()
    assert dataset.state("wine") == "not here"
    (tmp_path / "winequality-white.csv.gz").touch()
    assert dataset.state("wine") == "here"
    (tmp_path / "uci" / "concrete.csv").touch()
    assert dataset.state("concrete") == "here"


def check_rows(data: Data) -> None:
    """What holds for the rows of every dataset."""
    assert data.x.dtype in (np.float32, np.uint8)
    assert np.isfinite(data.x).all()
    assert data.x.shape == (len(data.y), len(data.features))
    if data.task == "classification":
        assert data.y.dtype == np.int64
        assert np.unique(data.y).tolist() == list(range(len(data.classes)))
    else:
        assert data.y.dtype == np.float64
        assert data.y.shape[1] == len(data.targets)
        assert np.isfinite(data.y).all()
        assert (data.y.std(0) > 0).all()
    parts = dataset.split(data, 0)
    assert len(parts.train) == pytest.approx(data.fractions[0] * len(data.x), abs=1)
    assert len(parts.test) == pytest.approx(data.fractions[2] * len(data.x), abs=1)
    mean, std = dataset.scaling(data, parts.train)
    assert np.isfinite(mean).all()
    assert (std > 0).all()


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_dataset_is_what_it_was(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without network and folder the rows are there, sound, and their hash is the recorded one."""
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    data = dataset.load(name)
    check_rows(data)
    assert data.hash == HASHES[name]


def test_loaded_rows_cannot_be_changed() -> None:
    """The rows are shared by all runs of a process, so writing to them is an error."""
    data = dataset.load("iris")
    assert dataset.load("iris") is data
    with pytest.raises(ValueError, match="read-only"):
        data.x[0, 0] = 1


def test_digits_has_three_constant_pixels() -> None:
    """1,797 images with pixels 0 … 16, three of them always 0; after standardisation they are 0, not NaN."""
    data = dataset.load("digits")
    assert data.x.shape == (1797, 64)
    assert (data.x.min(), data.x.max()) == (0, 16)
    constant = np.flatnonzero(np.ptp(data.x, axis=0) == 0)
    assert len(constant) == 3
    mean, std = dataset.scaling(data, np.arange(1797))
    assert (((data.x - mean) / std)[:, constant] == 0).all()


def test_mnist_5k_has_500_images_of_each_digit() -> None:
    """5,000 images of bytes, balanced."""
    data = dataset.load("mnist_5k")
    assert (data.x.shape, data.x.dtype) == ((5000, 784), np.uint8)
    assert np.bincount(data.y).tolist() == [500] * 10
    assert (data.x.min(), data.x.max()) == (0, 255)


def test_diabetes_is_in_its_own_units() -> None:
    """442 patients, not standardised beforehand: first row as published, ages 19 to 79, mean score 152.13."""
    data = dataset.load("diabetes")
    np.testing.assert_allclose(data.x[0], [59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87], rtol=1e-6)
    assert (data.x[:, 0].min(), data.x[:, 0].max()) == (19, 79)
    assert data.y.mean() == pytest.approx(152.1335, abs=1e-4)


def test_boston_begins_as_published() -> None:
    """506 rows, the first as in Harrison and Rubinfeld's table; values capped at 50."""
    data = dataset.load("boston")
    first = [0.00632, 18, 2.31, 0, 0.538, 6.575, 65.2, 4.09, 1, 296, 15.3, 396.9, 4.98]
    np.testing.assert_allclose(data.x[0], first, rtol=1e-6)
    assert (len(data.x), data.y[0, 0], data.y.max()) == (506, 24, 50)
    assert "Ethical note" in data.description


def test_mnist1d_follows_its_recipe() -> None:
    """500 rows of each digit; without noise, shift and shear a row is its template; the noise has its size."""
    data = dataset.load("mnist1d")
    assert np.bincount(data.y).tolist() == [500] * 10
    pattern = mnist1d.patterns()
    assert pattern.shape == (10, 12)
    np.testing.assert_allclose(pattern[:, 0], 0, atol=0)
    np.testing.assert_allclose(pattern.std(1), 1 / 6, rtol=1e-12)
    # smooth noise: white noise of variance s², filtered with weights w, has variance s² Σ w²
    weights = np.exp(-0.5 * (np.arange(-8, 9) / 2) ** 2)
    weights /= weights.sum()
    impulse = np.zeros((1, 41))
    impulse[0, 20] = 1
    np.testing.assert_allclose(mnist1d.smooth(impulse)[0, 12:29], weights, rtol=1e-12)
    np.testing.assert_allclose(mnist1d.smooth(np.ones((1, 30))), 1, rtol=1e-12)


def test_mnist1d_is_as_hard_as_published() -> None:
    """Logistic regression reaches the 32 % of Greydanus and Kobak (2020, table 1) within 4 standard errors."""
    from sklearn.linear_model import LogisticRegression

    data = dataset.load("mnist1d")
    x = data.x / data.x[:4000].std()
    accuracy = LogisticRegression(max_iter=300, tol=1e-3).fit(x[:4000], data.y[:4000]).score(x[4000:], data.y[4000:])
    # both the published and our figure come from 1,000 test rows: √2 · √(0.32 · 0.68 / 1000) = 0.021
    assert accuracy == pytest.approx(0.32, abs=4 * 0.021)


def test_the_teacher_is_known() -> None:
    """Targets minus the truth are noise of mean 0 and std 0.1, independent of the inputs."""
    data = dataset.load("teacher")
    noise = (data.y - teacher.truth(data.x.astype(np.float64)))[:, 0]
    n = len(noise)
    assert abs(noise.mean()) < 4 * teacher.NOISE / np.sqrt(n)
    assert noise.std() == pytest.approx(teacher.NOISE, rel=4 / np.sqrt(2 * n))
    assert np.abs(np.corrcoef(np.column_stack([noise, data.x]).T)[0, 1:]).max() < 4 / np.sqrt(n)
    assert data.y.var() > 50 * teacher.NOISE**2


def test_spirals_are_each_others_mirror_image() -> None:
    """Turned by 180 degrees one arm is the other up to noise, and both fill the disc evenly (r² is uniform)."""
    data = dataset.load("spirals")
    first, second = data.x[:500], data.x[500:]
    assert np.abs(first + second).max() < 0.03 * np.sqrt(2) * 5
    radius = np.sort((first**2).sum(1))
    assert np.abs(radius - np.linspace(0.02, 1, 500)).max() < 0.2


def test_moons_cannot_be_separated_by_a_line() -> None:
    """Least squares on two moons errs in 5 to 20 % of the rows; the nearest noise-free moon in fewer than 5 %."""
    data = dataset.load("moons")
    design = np.column_stack([data.x, np.ones(1000)])
    line = np.linalg.lstsq(design, 2.0 * data.y - 1, rcond=None)[0]
    assert 0.05 < ((design @ line > 0) != data.y).mean() < 0.2
    angle = np.linspace(0, np.pi, 200)
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    moons = (upper, np.array([1, 0.5]) - upper)
    distance = [np.linalg.norm(data.x[:, None] - moon, axis=2).min(1) for moon in moons]
    assert ((distance[1] < distance[0]) != data.y).mean() < 0.05


# official files ───────────────────────────────────────────────────────────────────────


@needs_data
@pytest.mark.parametrize("name", FETCHED)
def test_a_fetched_dataset_is_what_it_was(name: str) -> None:
    """The official files give sound rows with the recorded hash."""
    data = official(name)
    check_rows(data)
    assert data.hash == HASHES[name]


@needs_data
def test_mnist_is_mnist() -> None:
    """First labels, class counts of both official parts, and the published mean 0.1307 and std 0.3081 of train."""
    data = official("mnist")
    assert data.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(data.y[60_000:]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(data.y[:60_000])[:2].tolist() == [5923, 6742]
    mean, std = dataset.scaling(data, np.arange(60_000))
    assert (mean[0] / 255, std[0] / 255) == pytest.approx((0.1307, 0.3081), abs=5e-5)
    parts = dataset.split(data, 0)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [55_000, 5_000, 10_000]


@needs_data
def test_fashion_mnist_is_fashion_mnist() -> None:
    """First labels, 7,000 articles of each kind, and the published mean 0.2860 and std 0.3530 of train."""
    data = official("fashion_mnist")
    assert data.y[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert np.bincount(data.y).tolist() == [7000] * 10
    mean, std = dataset.scaling(data, np.arange(60_000))
    assert (mean[0] / 255, std[0] / 255) == pytest.approx((0.2860, 0.3530), abs=5e-5)


@needs_data
def test_cifar10_is_cifar10() -> None:
    """First labels, 1,000 test images of each class, and the published mean 0.4914 of train's red plane."""
    data = official("cifar10")
    assert data.y[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert np.bincount(data.y[50_000:]).tolist() == [1000] * 10
    red = data.x[:50_000, :1024]
    assert red.mean() / 255 == pytest.approx(0.4914, abs=5e-5)
    assert data.x[0, :3].tolist() == [59, 43, 50]


@needs_data
def test_california_is_scikit_learns() -> None:
    """Columns in scikit-learn's order and definition: first row, target mean and variance as in its documentation."""
    data = official("california")
    first = [8.3252, 41, 6.98412698, 1.02380952, 322, 2.55555556, 37.88, -122.23]
    np.testing.assert_allclose(data.x[0], first, rtol=1e-6)
    assert (data.y[0, 0], data.y.max()) == (4.526, 5.00001)
    assert (data.y.mean(), data.y.var()) == pytest.approx((2.0686, 1.3316), abs=5e-5)
    assert data.x[:, 2].mean() == pytest.approx(5.4290, abs=5e-5)
    parts = dataset.split(data, 0)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [13_210, 3_302, 4_128]


@needs_data
def test_wine_has_both_colours() -> None:
    """1,599 red and 4,898 white wines; the counts of the marks 3 … 9 are those of the publication."""
    data = official("wine")
    assert np.bincount(data.x[:, -1].astype(int)).tolist() == [1599, 4898]
    assert np.bincount(data.y).tolist() == [30, 216, 2138, 2836, 1079, 193, 5]
    marks = official("wine_regression")
    np.testing.assert_array_equal(marks.y[:, 0], data.y + 3)
    np.testing.assert_array_equal(marks.x, data.x)


@needs_data
def test_air_quality_has_no_gap() -> None:
    """7,344 of 9,357 hours are complete; no -200 is left; the first is 10 March 2004, 18 h."""
    data = official("air_quality")
    assert len(data.x) == 7344
    assert data.x.min() > -50
    np.testing.assert_allclose(data.x[0], [1360, 1046, 1056, 1692, 1268, 13.6, 48.9, 0.7578], rtol=1e-6)
    assert data.y[0, 0] == 2.6


@needs_data
@pytest.mark.parametrize(("name", "rows"), [("concrete", 1030), ("energy", 768)])
def test_a_workbook_and_its_conversion_agree(name: str, rows: int) -> None:
    """Every cell read from the official workbook is, to the last bit, the cell of the lossless csv."""
    source = dataset.catalogue()[name].sources[0]
    alternatives = (source, *source.conversions)
    folders = sources.within(dataset.roots(), ("uci",))
    read = dataset.catalogue()[name].read
    pairs = []
    for one in alternatives:
        plain = sources.Source(one.name, one.sha256, one.size, member=one.member, archives=one.archives)
        files, _ = sources.search((plain,), folders)
        if not files:
            pytest.skip(f"{one.name} is not in CHAINRULE_DATA")
        pairs.append(read(files))
    for one, two in zip(*pairs, strict=True):
        np.testing.assert_array_equal(one, two)
        assert len(one) == rows
        assert np.isfinite(one).all()


@needs_data
@pytest.mark.parametrize("name", ["concrete", "energy", "air_quality"])
def test_the_zip_alone_is_enough(name: str, tmp_path: Path) -> None:
    """With nothing but the official zip in the folder the rows are the same."""
    one = dataset.catalogue()[name]
    places = [f / a for f in sources.within(dataset.roots(), ("uci",)) for a in one.sources[0].archives]
    archive = next((place for place in places if place.is_file()), None)
    if archive is None:
        pytest.skip(f"the zip of {name} is not in CHAINRULE_DATA")
    assert zipfile.is_zipfile(archive)
    expected = official(name)
    (tmp_path / one.sources[0].archives[0]).write_bytes(archive.read_bytes())
    x, y = one.read(sources.read_all(name, one.sources, [tmp_path], (), "diabetes"))
    np.testing.assert_array_equal(x, expected.x)
    np.testing.assert_array_equal(y, expected.y)


@needs_data
def test_boston_is_the_withdrawn_file() -> None:
    """The values that mlxtend carries are those of UCI's housing.data."""
    path = Path(os.environ["CHAINRULE_DATA"]) / "uci" / "housing.data"
    if not path.is_file():
        pytest.skip("housing.data is not in CHAINRULE_DATA")
    table = np.loadtxt(path)
    data = dataset.load("boston")
    np.testing.assert_array_equal(data.x, table[:, :-1].astype(np.float32))
    np.testing.assert_array_equal(data.y, table[:, -1:])
