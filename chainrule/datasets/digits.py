"""Handwritten digits of 8 × 8 pixels, the test set of a UCI collection, as scikit-learn carries it."""

from collections.abc import Mapping

import numpy as np

from chainrule.dataset import Dataset


def read(files: Mapping[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Counts of dark pixels, 0 … 16, of 4 × 4 blocks [1797, 64], and the digit [1797]."""
    # scikit-learn takes a second to import: only those who ask for its data wait
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x.astype(np.float32), y.astype(np.int64)


dataset = Dataset(
    title="Digits (8 × 8)",
    task="classification",
    description=(
        "Small enough that hundreds of networks train in seconds, real enough that they over-fit, saturate and "
        "generalise. Three pixels are constant, which every standardisation must survive."
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    citation="Alpaydin & Kaynak (1998), Optical recognition of handwritten digits, UCI",
    features=tuple(f"pixel {i},{j}" for i in range(8) for j in range(8)),
    targets=("digit",),
    classes=tuple("0123456789"),
    read=read,
    shape=(8, 8),
    split=(0.6, 0.2, 0.2),
    hidden=(64,),
)
