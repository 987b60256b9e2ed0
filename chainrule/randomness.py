"""Streams of random numbers that are pure functions of a key: nothing that is drawn can shift anything else.

This is a file of its own, below every layer, because two of them draw: ``dataset`` (splits) and ``experiment``
(weights, batch order, masks, noise).
"""

import hashlib

import numpy as np

ROOT = 20260


def stream(replica: int, purpose: str, epoch: int = 0, root: int = ROOT) -> np.random.Generator:
    """The stream of one purpose: equal keys give equal numbers, whatever else is drawn.

    The key of the counter-based generator Philox-4x64 is the first 128 bits of
    sha256("root/replica/purpose/epoch"); two of 10⁶ keys coincide with probability 2e-27.

    Args:
        replica: Index on the seed axis. All conditions share it, which pairs them.
        purpose: A short phrase: ``"weights/3"``, ``"split"``, ``"batch order"``.
        epoch: Pass over the data, or step, within the purpose.
        root: Root seed of the whole study.

    Returns:
        A generator of its own. numpy promises the bits of Philox for ever, the normals made of them by version.

    Source:
        Salmon, Moraes, Dror & Shaw (2011), Parallel random numbers: as easy as 1, 2, 3.

    Example:
        >>> bool(stream(0, "split").random() == stream(0, "split").random())
        True
    """
    key = hashlib.sha256(f"{root}/{replica}/{purpose}/{epoch}".encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
