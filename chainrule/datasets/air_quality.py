"""Air Quality: an electronic nose beside a reference analyser, hour by hour for a year in an Italian city."""

from collections.abc import Mapping

import numpy as np

from chainrule.dataset import Dataset
from chainrule.sources import Source

CSV = Source(
    name="AirQualityUCI.csv",
    sha256="13277ae5d8581e80b7be09d47c7d3d06fe9b8e957078f2cf6e859f955e62f996",
    size=785_065,
    urls=("https://archive.ics.uci.edu/static/public/360/air+quality.zip",),
    member="AirQualityUCI.csv",
    archives=("air+quality.zip", "air_quality.zip"),
)
MISSING = -200.0
# positions in the file: 2 is the carbon monoxide of the analyser, the others are the nose and the weather
TARGET, FEATURES = 2, (3, 6, 8, 10, 11, 12, 13, 14)


def read(files: Mapping[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Five sensors and the weather [7344, 8], carbon monoxide in mg/m³ [7344, 1]; rows with a gap are left out."""
    lines = files[CSV.name].decode("latin-1").replace(",", ".").splitlines()[1:]
    # 114 lines of separators close the file
    rows = [line.split(";") for line in lines if not line.startswith(";")]
    table = np.array([[float(row[j]) for j in (TARGET, *FEATURES)] for row in rows])
    table = table[(table != MISSING).all(1)]
    return table[:, 1:].astype(np.float32), table[:, :1]


dataset = Dataset(
    title="Air Quality",
    task="regression",
    description=(
        "A real calibration: carbon monoxide from cheap sensors. Benzene, the usual target, is a function of one "
        "sensor in this file and so no test. The other gases of the analyser are no features: a nose in the street "
        "would not have them, and NMHC is missing in 90 % of the rows. Of 9,357 rows, 2,013 with missing values "
        "(-200) are left out. Hours follow one another, so random splits flatter every model."
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    citation="De Vito, Massera, Piga, Martinotto & Di Francia (2008), On field calibration of an electronic nose",
    features=(
        "PT08.S1 (CO)",
        "PT08.S2 (NMHC)",
        "PT08.S3 (NOx)",
        "PT08.S4 (NO2)",
        "PT08.S5 (O3)",
        "temperature",
        "relative humidity",
        "absolute humidity",
    ),
    targets=("CO",),
    units="mg/m³",
    read=read,
    sources=(CSV,),
    split=(0.64, 0.16, 0.2),
    folders=("uci",),
    stand_in="diabetes",
)
