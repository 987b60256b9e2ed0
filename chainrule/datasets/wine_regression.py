"""Wine Quality as a regression: the mark of the tasters as a number."""

from collections.abc import Mapping

import numpy as np

from chainrule.dataset import Dataset
from chainrule.datasets.wine import FEATURES, SOURCES, wines


def read(files: Mapping[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Measurements and colour [6497, 12], mark [6497, 1]."""
    x, marks = wines(files)
    return x, marks[:, None]


dataset = Dataset(
    title="Wine Quality (marks)",
    task="regression",
    description=(
        "The same wines with the mark as a number: an ordered target with much noise, so the distance between a linear "
        "model and a network is small and must be measured with care."
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    citation="Cortez, Cerdeira, Almeida, Matos & Reis (2009), Modeling wine preferences by data mining",
    features=FEATURES,
    targets=("quality",),
    units="mark (0 to 10)",
    read=read,
    sources=SOURCES,
    split=(0.64, 0.16, 0.2),
    folders=("uci", "wine_quality"),
    stand_in="diabetes",
)
