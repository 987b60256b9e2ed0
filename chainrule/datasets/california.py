"""California housing: median house values of 20,640 districts in the census of 1990."""

from collections.abc import Mapping

import numpy as np

from chainrule.dataset import Dataset
from chainrule.sources import Source


def read(files: Mapping[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The eight features as scikit-learn defines them [20640, 8], and the value in 100 k$ [20640, 1]."""
    table = np.loadtxt(files["cal_housing.data"].decode().splitlines(), delimiter=",")
    longitude, latitude, age, rooms, bedrooms, people, households, income, value = table.T
    columns = (income, age, rooms / households, bedrooms / households, people, people / households, latitude, longitude)
    return np.stack(columns, axis=1).astype(np.float32), value[:, None] / 100_000


dataset = Dataset(
    title="California housing",
    task="regression",
    description=(
        "Real, large enough to average over splits, and strongly non-linear in place: a network beats the linear "
        "model clearly. Values are capped at 5.0, which limits every model. Five features spread over decades "
        "(AveOccup from 0.7 to 1,243) and enter every model, the linear ones too, by their logarithm."
    ),
    licence="none stated by StatLib; the figshare deposit is reported as CC BY 4.0",
    citation="Pace & Barry (1997), Sparse spatial autoregressions, Statistics and Probability Letters 33:291-297",
    features=("MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude"),
    targets=("MedHouseVal",),
    units="100 k$",
    logarithmic=("MedInc", "AveRooms", "AveBedrms", "Population", "AveOccup"),
    read=read,
    sources=(
        Source(
            name="cal_housing.data",
            sha256="a2b44dcc7e1c9091b43c4f458b25cbd1f7e8068d08edd26bc4703108d3fa6214",
            size=2_071_484,
            urls=(
                "https://ndownloader.figshare.com/files/5976036",
                "https://www.dcc.fc.up.pt/~ltorgo/Regression/cal_housing.tgz",
            ),
            member="CaliforniaHousing/cal_housing.data",
            archives=("cal_housing.tgz",),
            # the hash scikit-learn pins; the values of the member are certain, its line ends are not
            archive_sha256="aaa5c9a6afe2225cc2aed2723682ae403280c4a3695a2ddda4ffb5d8215ea681",
        ),
    ),
    split=(0.64, 0.16, 0.2),
    folders=("california_housing",),
    stand_in="diabetes",
    hidden=(256, 256, 128),
)
