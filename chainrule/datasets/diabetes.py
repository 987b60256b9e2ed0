"""Progression of diabetes within a year of ten measurements, as scikit-learn carries it."""

from collections.abc import Mapping

import numpy as np

from chainrule.dataset import Dataset


def read(files: Mapping[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Measurements in their own units [442, 10], and the score of progression [442, 1]."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True, scaled=False)
    return x.astype(np.float32), y.astype(np.float64)[:, None]


dataset = Dataset(
    title="Diabetes",
    task="regression",
    description=(
        "442 patients: so few rows and so noisy a target that a linear model is hard to beat. It shows where a network "
        "does not pay and what regularisation is for."
    ),
    licence="no formal licence; distributed with scikit-learn",
    citation="Efron, Hastie, Johnstone & Tibshirani (2004), Least angle regression",
    features=(
        "age",
        "sex",
        "body mass index",
        "blood pressure",
        "total cholesterol",
        "LDL",
        "HDL",
        "cholesterol / HDL",
        "log triglycerides",
        "glucose",
    ),
    targets=("progression",),
    units="score",
    read=read,
    split=(0.6, 0.2, 0.2),
    hidden=(32,),
)
