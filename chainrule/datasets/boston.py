"""Boston housing: median house values of 506 census tracts in 1970, as mlxtend carries them."""

from collections.abc import Mapping

import numpy as np

from chainrule.dataset import Dataset
from chainrule.sources import Source, read_shipped

# the values of UCI's housing.data, which UCI has withdrawn
CSV = Source(
    name="boston_housing.csv", sha256="8594f084258ead302f20a7479463f7a7584d33fe00042d442a7101530c8b46de", size=177_100
)


def read(files: Mapping[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Thirteen features [506, 13], and the value in 1,000 $ [506, 1]."""
    table = np.loadtxt(read_shipped("mlxtend", "data/data", CSV).decode().splitlines(), delimiter=",")
    return table[:, :-1].astype(np.float32), table[:, -1:]


dataset = Dataset(
    title="Boston housing",
    task="regression",
    description=(
        "Kept for comparison with older publications only. Ethical note: its column B encodes the share of Black "
        "residents by a formula that assumes segregation to raise prices, and the target was built to study air "
        "pollution; scikit-learn and UCI have withdrawn it. Use California housing for anything new."
    ),
    licence="public data from StatLib; withdrawn by UCI",
    citation="Harrison & Rubinfeld (1978), Hedonic housing prices and the demand for clean air",
    features=("CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE", "DIS", "RAD", "TAX", "PTRATIO", "B", "LSTAT"),
    targets=("MEDV",),
    units="1,000 $",
    read=read,
    split=(0.64, 0.16, 0.2),
    hidden=(32,),
)
