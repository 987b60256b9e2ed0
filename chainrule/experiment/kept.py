"""Which parameters of a training are kept, how they are packed, and how they are read again when they are needed."""

from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from safetensors.numpy import load as tensors_from_bytes
from safetensors.numpy import save as bytes_from_tensors
from torch import Tensor

from chainrule.calculus.network import Moments, Params
from chainrule.experiment.cohort import Cohort
from chainrule.experiment.engines import State
from chainrule.experiment.observe import validation_loss
from chainrule.store.objects import Store

PARAMS = "params.safetensors"


class Kept:
    """The parameters of each member at its lowest validation loss so far: model choice on validation only.

    Args:
        cohort: The members.
    """

    def __init__(self, cohort: Cohort) -> None:
        lead = (len(cohort.conditions), len(cohort.replicas))
        self.patience = torch.tensor([c.patience for c in cohort.conditions]).unsqueeze(1)
        self.epoch = cohort.epoch
        self.lowest = torch.full(lead, float("inf"), dtype=torch.float64)
        self.step = torch.zeros(lead, dtype=torch.int64)
        self.stopped = torch.zeros(lead, dtype=torch.bool)
        self.params: Params
        self.moments: Moments

    def look(self, state: State) -> None:
        """Take over the members that have improved; stop those whose patience is over."""
        if state.step == 0:
            self.params, self.moments = state.params.clone(), state.moments
        loss = validation_loss(state)
        better = (loss < self.lowest) & ~self.stopped
        self.lowest = torch.where(better, loss, self.lowest)
        self.step = torch.where(better, state.step, self.step)
        chosen = better[..., None, None]
        pairs = zip(state.params.tensors(), self.params.tensors(), strict=True)
        self.params = self.params.like(torch.where(chosen, new, old) for new, old in pairs)
        self.moments = Moments(
            *(
                tuple(torch.where(chosen, n, o) for n, o in zip(new, old, strict=True))
                for new, old in (
                    (state.moments.means, self.moments.means),
                    (state.moments.variances, self.moments.variances),
                )
            )
        )
        waited = (state.step - self.step) > self.patience * self.epoch
        self.stopped |= (self.patience > 0) & waited | state.diverged

    def unless_stopped(self, reading: Tensor) -> Tensor:
        """[C, S, *] with NaN for members that have stopped: how long others go on must not show in their readings."""
        return reading.masked_fill(self.stopped.reshape(*self.stopped.shape, *[1] * (reading.ndim - 2)), float("nan"))

    def all_stopped(self, every: int) -> bool:
        """True where every member has stopped and so nothing more can be kept."""
        return every > 0 and bool(self.stopped.all()) and bool((self.patience > 0).all())


def pack(params: Params, moments: Moments, c: int, s: int) -> bytes:
    """One member's parameters as safetensors: ``weights.0`` [n_in, n_out], ``biases.0`` [n_out] and so on."""
    named = {f"weights.{l}": w[c, s] for l, w in enumerate(params.weights)}
    for kind, rows in (
        ("biases", params.biases),
        ("gains", params.gains),
        ("shifts", params.shifts),
        ("means", moments.means),
        ("variances", moments.variances),
    ):
        named |= {f"{kind}.{l}": row[c, s, 0] for l, row in enumerate(rows)}
    packed: bytes = bytes_from_tensors({name: t.contiguous().numpy() for name, t in named.items()})
    return packed


def unpack(members: list[bytes]) -> tuple[Params, Moments]:
    """Parameters of S stored members, stacked [1, S, …]: the inverse of ``pack``."""
    read = [tensors_from_bytes(member) for member in members]

    def rows(kind: str) -> tuple[Tensor, ...]:
        count = sum(name.startswith(kind + ".") for name in read[0])
        found = []
        for l in range(count):
            stacked = torch.from_numpy(np.stack([r[f"{kind}.{l}"] for r in read])).unsqueeze(0)
            found.append(stacked if kind == "weights" else stacked.unsqueeze(-2))
        return tuple(found)

    return Params(rows("weights"), rows("biases"), rows("gains"), rows("shifts")), Moments(
        rows("means"), rows("variances")
    )


class OnDisk(Sequence[bytes]):
    """Kept parameters of S networks, read from the store one by one: those of 10,000 networks need not be in memory.

    Args:
        store: Where they are.
        keys: S keys of networks.
    """

    def __init__(self, store: Store, keys: Sequence[str]) -> None:
        self.store, self.keys = store, tuple(keys)

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[bytes, ...]: ...
    def __getitem__(self, at: int | slice) -> bytes | tuple[bytes, ...]:
        """The parameters of one network, or of some (safetensors)."""
        if isinstance(at, slice):
            return tuple(self.store.get(key)[PARAMS] for key in self.keys[at])
        return self.store.get(self.keys[at])[PARAMS]

    def __len__(self) -> int:
        return len(self.keys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(self.keys)
