"""MNIST: 70,000 handwritten digits of 28 × 28 pixels, four official files."""

from collections.abc import Mapping

import numpy as np

from chainrule.dataset import Dataset
from chainrule.sources import Source

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")


def idx(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The bytes of an IDX file of known shape: a header of 4 + 4 · rank bytes, then the values row by row."""
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def read(files: Mapping[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels 0 … 255 [70000, 784], and the class [70000]; the last 10,000 rows are the official test set."""
    x = [idx(files[f"{part}-images-idx3-ubyte"], (rows, 28, 28)) for part, rows in PARTS]
    y = [idx(files[f"{part}-labels-idx1-ubyte"], (rows,)) for part, rows in PARTS]
    return np.concatenate(x).reshape(-1, 784), np.concatenate(y).astype(np.int64)


PARTS = (("train", 60_000), ("t10k", 10_000))
HASHES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
SIZES = {"train-images": 47_040_016, "train-labels": 60_008, "t10k-images": 7_840_016, "t10k-labels": 10_008}


def official(hashes: Mapping[str, str], mirrors: tuple[str, ...]) -> tuple[Source, ...]:
    """The four files of a collection in the form of MNIST."""
    return tuple(
        Source(
            name=name,
            sha256=hash_,
            size=SIZES[name.partition("-idx")[0]],
            urls=tuple(f"{mirror}{name}.gz" for mirror in mirrors),
        )
        for name, hash_ in hashes.items()
    )


dataset = Dataset(
    title="MNIST",
    task="classification",
    description=(
        "The common yardstick: sixty thousand training images, an official test set, and published accuracies for "
        "every kind of network."
    ),
    licence="CC BY-SA 3.0 as stated by the usual mirrors; © Yann LeCun and Corinna Cortes",
    citation="LeCun, Bottou, Bengio & Haffner (1998), Gradient-based learning applied to document recognition",
    features=tuple(f"pixel {i},{j}" for i in range(28) for j in range(28)),
    targets=("digit",),
    classes=tuple("0123456789"),
    read=read,
    sources=official(HASHES, MIRRORS),
    scaling="global",
    shape=(28, 28),
    split=(55 / 70, 5 / 70, 10 / 70),
    test_rows=10_000,
    folders=("MNIST/raw",),
    stand_in="mnist_5k",
    hidden=(256, 128),
)
