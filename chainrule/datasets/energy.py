"""Energy efficiency: heating and cooling load of 768 simulated buildings, from the official workbook."""

import io
import re
import zipfile
from collections.abc import Mapping
from xml.etree import ElementTree

import numpy as np

from chainrule.dataset import Dataset
from chainrule.sources import Source

CSV = Source(
    name="energy_efficiency.csv",
    sha256="d5bab99f6040c80027412743b4940bfc91be2b05464bd067053a9c8192569db0",
    size=39_253,
)
XLSX = Source(
    name="ENB2012_data.xlsx",
    sha256="0089fcffc1415e41e2ff63730cca5280efe54fc43d722dfde1b0aaa808e35dc4",
    size=76_189,
    urls=(
        "https://archive.ics.uci.edu/static/public/242/energy+efficiency.zip",
        "https://archive.ics.uci.edu/ml/machine-learning-databases/00242/ENB2012_data.xlsx",
    ),
    member="ENB2012_data.xlsx",
    archives=("energy+efficiency.zip", "energy_efficiency.zip"),
    conversions=(CSV,),
)
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def table(files: Mapping[str, bytes]) -> np.ndarray:
    """The ten columns [768, 10], from the workbook or its conversion."""
    if CSV.name in files:
        return np.loadtxt(files[CSV.name].decode().splitlines()[1:], delimiter=",")
    with zipfile.ZipFile(io.BytesIO(files[XLSX.name])) as book:
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    cells = np.full((769, 10), np.nan)  # row 0 holds the names; the sheet goes on with empty rows
    for cell in sheet.iter(f"{SHEET}c"):
        value, place = cell.findtext(f"{SHEET}v"), re.fullmatch(r"([A-J])(\d+)", cell.get("r", ""))
        if value and place and cell.get("t", "n") == "n":
            cells[int(place[2]) - 1, ord(place[1]) - ord("A")] = float(value)
    return cells[1:]


def read(files: Mapping[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Eight properties of the building [768, 8]; heating and cooling load [768, 2]."""
    values = table(files)
    return values[:, :8].astype(np.float32), values[:, 8:]


dataset = Dataset(
    title="Energy efficiency",
    task="regression",
    description=(
        "Two targets at once, computed by a building simulator and so almost free of noise: what is left of the error "
        "is the network's own. Only twelve shapes of building occur, so random splits are easy."
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    citation="Tsanas & Xifara (2012), Accurate quantitative estimation of energy performance of residential buildings",
    features=(
        "relative compactness",
        "surface area",
        "wall area",
        "roof area",
        "height",
        "orientation",
        "glazing area",
        "glazing distribution",
    ),
    targets=("heating load", "cooling load"),
    units="kWh/m²",
    read=read,
    sources=(XLSX,),
    split=(0.64, 0.16, 0.2),
    folders=("uci",),
    stand_in="diabetes",
)
