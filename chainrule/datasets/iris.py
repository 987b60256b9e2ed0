"""Fisher's irises: 150 flowers of three species, as scikit-learn carries them."""

from collections.abc import Mapping

import numpy as np

from chainrule.dataset import Dataset


def read(files: Mapping[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Four lengths in cm [150, 4], and the species [150]."""
    from sklearn.datasets import load_iris

    x, y = load_iris(return_X_y=True)
    return x.astype(np.float32), y.astype(np.int64)


dataset = Dataset(
    title="Iris",
    task="classification",
    description=(
        "Four features and three classes, one of them linearly separable: small enough to check every gradient by "
        "hand. With 30 test flowers an accuracy is known to a few per cent at best."
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    citation="Fisher (1936), The use of multiple measurements in taxonomic problems",
    features=("sepal length", "sepal width", "petal length", "petal width"),
    targets=("species",),
    classes=("setosa", "versicolor", "virginica"),
    read=read,
    split=(0.6, 0.2, 0.2),
    hidden=(16,),
)
