"""Augmentation: exact where it can be, and a pure function of its key."""

import numpy as np
import torch

from chainrule.experiment.augmentation import SHIFT, displacements, shifts, warp
from tests.cases import normals


def test_whole_pixel_shifts_move_pixels() -> None:
    """An image shifted by whole pixels is the image moved, with zeros where it came from outside."""
    images = normals("images", 4, 1, 8, 8)
    for dx, dy in ((0, 0), (1, 0), (0, -2), (2, 2)):
        moved = warp(images, torch.tensor([dx, dy]).float().reshape(1, 1, 1, 2))
        padded = np.pad(images.numpy(), ((0, 0), (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
        window = padded[:, :, SHIFT + dy : SHIFT + dy + 8, SHIFT + dx : SHIFT + dx + 8]
        assert torch.allclose(moved, torch.from_numpy(window), atol=1e-6)  # coordinates are float32: 8 pixels · 2⁻²³


def test_shifts_are_uniform_within_their_bound() -> None:
    """All 25 displacements occur about equally often (χ² below its 99.99 % quantile)."""
    drawn = torch.cat([shifts(0, t, 500) for t in range(10)]).reshape(-1, 2).long() + SHIFT
    counts = torch.bincount(drawn[:, 0] * 5 + drawn[:, 1], minlength=25).double()
    assert ((counts - 200).square() / 200).sum().item() < 62.4  # χ²₂₄ at .9999


def test_elastic_fields_are_smooth_and_have_their_size() -> None:
    """Neighbouring displacements are alike, and the field has the standard deviation that blurring leaves.

    Uniform noise on [-1, 1] has variance 1/3; a Gaussian blur of width σ in two dimensions leaves 1/(4πσ²) of it.
    """
    field = displacements(0, 0, 400, 28, 28)
    inner = field[:, 8:20, 8:20]  # away from the edges, where the blur meets zeros
    predicted = 34 * np.sqrt(1 / 3 / (4 * np.pi * 16))
    assert abs(inner.std().item() / predicted - 1) < 0.03  # some 400 · 144 / (4π 16) independent values per component
    step = (field[:, 1:] - field[:, :-1]).square().mean() / field.square().mean()
    assert step.item() < 0.1  # a white field would have 2


def test_draws_depend_on_their_key_alone() -> None:
    """The same replica and step give the same fields, another step others."""
    assert torch.equal(displacements(3, 5, 2, 8, 8), displacements(3, 5, 2, 8, 8))
    assert not torch.equal(displacements(3, 5, 2, 8, 8), displacements(3, 6, 2, 8, 8))
