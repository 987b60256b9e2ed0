"""CIFAR-10: 60,000 colour images of 32 × 32 pixels in ten classes, the binary version."""

from collections.abc import Mapping

import numpy as np

from chainrule.dataset import Dataset
from chainrule.sources import Source

HASHES = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
ROWS, PIXELS = 10_000, 3 * 32 * 32  # of one file, of one image


def read(files: Mapping[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels 0 … 255 [60000, 3072], red, green and blue plane, and the class [60000]; the last 10,000 rows are test."""
    x = np.empty((ROWS * len(HASHES), PIXELS), dtype=np.uint8)
    y = np.empty(len(x), dtype=np.int64)
    for i, name in enumerate(HASHES):
        # a record is one byte of label and one image
        records = np.frombuffer(files[name], dtype=np.uint8).reshape(ROWS, 1 + PIXELS)
        y[i * ROWS : (i + 1) * ROWS], x[i * ROWS : (i + 1) * ROWS] = records[:, 0], records[:, 1:]
    return x, y


dataset = Dataset(
    title="CIFAR-10",
    task="classification",
    description=(
        "Photographs: the set on which fully connected networks fail to see what convolutional ones see, so it shows "
        "the limit of the networks studied here."
    ),
    licence="none stated; free use with citation",
    citation="Krizhevsky (2009), Learning multiple layers of features from tiny images",
    features=tuple(f"{colour} {i},{j}" for colour in ("red", "green", "blue") for i in range(32) for j in range(32)),
    targets=("object",),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    read=read,
    sources=tuple(
        Source(
            name=name,
            sha256=sha256,
            size=ROWS * (1 + PIXELS),
            urls=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
            member=f"cifar-10-batches-bin/{name}",
            archives=("cifar-10-binary.tar.gz", "cifar-10-binary.tar"),
        )
        for name, sha256 in HASHES.items()
    ),
    scaling="global",
    shape=(3, 32, 32),
    split=(45 / 60, 5 / 60, 10 / 60),
    test_rows=10_000,
    folders=("cifar-10-batches-bin",),
    stand_in="mnist_5k",
    hidden=(512, 256),
)
