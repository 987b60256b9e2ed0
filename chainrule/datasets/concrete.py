"""Concrete: compressive strength of 1,030 mixtures, from the official workbook (.xls)."""

import struct
from collections.abc import Iterator, Mapping

import numpy as np

from chainrule.dataset import Dataset
from chainrule.sources import Source

CSV = Source(
    name="concrete.csv",
    sha256="6c7101cd8e26d2934bf6024b37ec8570400b8fb149f5ca4d5fd720b98e1444a0",
    size=60_207,
)
XLS = Source(
    name="Concrete_Data.xls",
    sha256="710076c66b9ca3f8050e7942f3dcbdbe04013534daeb0077ffd3079a52d8e0c4",
    size=124_928,
    urls=(
        "https://archive.ics.uci.edu/static/public/165/concrete+compressive+strength.zip",
        "https://archive.ics.uci.edu/ml/machine-learning-databases/concrete/compressive/Concrete_Data.xls",
    ),
    member="Concrete_Data.xls",
    archives=("concrete+compressive+strength.zip", "concrete_compressive_strength.zip"),
    conversions=(CSV,),
)
SECTOR = 512
NUMBER, RK, MULTIPLE_RK = 0x0203, 0x027E, 0x00BD  # the three records of BIFF8 that hold numbers


def workbook(file: bytes) -> bytes:
    """The stream ``Workbook`` of a compound file, its sectors joined in the order of the allocation table.

    Source:
        Microsoft, [MS-CFB] Compound File Binary File Format: header, FAT, directory entry.
    """

    def chain(sector: int) -> bytes:
        """The sectors of a chain, joined; an entry above 0xFFFFFFFA ends it."""
        joined = b""
        while sector < 0xFFFFFFFA:
            joined += file[(sector + 1) * SECTOR : (sector + 2) * SECTOR]
            sector = following[sector]
        return joined

    tables = [n for n in struct.unpack_from("<109I", file, 76) if n < 0xFFFFFFFA]
    following = [n for t in tables for n in struct.unpack_from("<128I", file, (t + 1) * SECTOR)]
    directory = chain(struct.unpack_from("<I", file, 48)[0])
    for entry in range(0, len(directory), 128):
        if directory[entry : entry + 16] == "Workbook".encode("utf-16le"):
            start, size = struct.unpack_from("<II", directory, entry + 116)
            return chain(start)[:size]
    return b""


def compressed(rk: int) -> float:
    """The number in the 32 bits of an RK value: 30 bits of a float or an integer, perhaps in hundredths."""
    bits = rk & 0xFFFFFFFC
    value: float = (bits - (bits >> 31 << 32)) >> 2 if rk & 2 else struct.unpack("<d", struct.pack("<Q", bits << 32))[0]
    return value / 100 if rk & 1 else value


def numbers(stream: bytes) -> Iterator[tuple[int, int, float]]:
    """Row, column and value of every numeric cell.

    Source:
        Microsoft, [MS-XLS] Excel Binary File Format: records Number, RK, MulRk.
    """
    at = 0
    while at + 4 <= len(stream):
        kind, length = struct.unpack_from("<HH", stream, at)
        row, column = struct.unpack_from("<HH", stream, at + 4) if length >= 4 else (0, 0)
        if kind == NUMBER:
            yield row, column, struct.unpack_from("<d", stream, at + 10)[0]
        elif kind == RK:
            yield row, column, compressed(struct.unpack_from("<I", stream, at + 10)[0])
        elif kind == MULTIPLE_RK:
            for i in range((length - 6) // 6):
                yield row, column + i, compressed(struct.unpack_from("<I", stream, at + 10 + 6 * i)[0])
        at += 4 + length


def table(files: Mapping[str, bytes]) -> np.ndarray:
    """The nine columns [1030, 9], from the workbook or its conversion."""
    if CSV.name in files:
        return np.loadtxt(files[CSV.name].decode().splitlines()[1:], delimiter=",")
    cells = np.full((1031, 9), np.nan)  # row 0 holds the names
    for row, column, value in numbers(workbook(files[XLS.name])):
        cells[row, column] = value
    return cells[1:]


def read(files: Mapping[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Parts in kg/m³ and age in days [1030, 8], strength in MPa [1030, 1]."""
    values = table(files)
    return values[:, :-1].astype(np.float32), values[:, -1:]


dataset = Dataset(
    title="Concrete strength",
    task="regression",
    description=(
        "Laboratory measurements of a strongly non-linear law (strength grows like the logarithm of age and falls with "
        "the ratio of water to cement): a thousand rows on which a small network beats a line by far."
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    citation="Yeh (1998), Modeling of strength of high performance concrete using artificial neural networks",
    features=(
        "cement",
        "blast furnace slag",
        "fly ash",
        "water",
        "superplasticizer",
        "coarse aggregate",
        "fine aggregate",
        "age",
    ),
    targets=("compressive strength",),
    units="MPa",
    read=read,
    sources=(XLS,),
    split=(0.64, 0.16, 0.2),
    folders=("uci",),
    stand_in="diabetes",
)
