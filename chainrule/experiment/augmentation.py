"""Random transformations of image inputs, one new draw per seed and step, shared by all conditions."""

import torch
from jaxtyping import Float
from torch import Tensor

from chainrule.experiment.cohort import Cohort
from chainrule.randomness import stream

SHIFT = 2  # pixels; MNIST digits are centred by mass in a margin of 4
ELASTIC_SMOOTHNESS = 4.0  # pixels, and
ELASTIC_STRENGTH = 34.0  # both from Simard, Steinkraus & Platt (2003), section 2


def augmented(cohort: Cohort, pixels: Float[Tensor, "S B d"], step: int) -> Float[Tensor, "S B d"]:
    """Images of one batch after the condition's random transformation, before standardisation.

    Args:
        cohort: Says which transformation, and which replicas.
        pixels: Flat images as they were read, one set per seed.
        step: Key of the draw.

    Returns:
        Transformed images, edges filled with zeros (the background before standardisation).
    """
    shape = cohort.data.shape
    kind = cohort.condition.augment
    channels, height, width = shape if len(shape) == 3 else (1, *shape)
    moved = []
    for s, replica in enumerate(cohort.replicas):
        images = pixels[s].reshape(-1, channels, height, width)
        flow = (
            shifts(replica, step, len(images))
            if kind == "shift"
            else displacements(replica, step, len(images), height, width)
        )
        moved.append(warp(images, flow.to(images.device)).reshape(len(images), -1))
    return torch.stack(moved)


def shifts(replica: int, step: int, count: int) -> Float[Tensor, "B 1 1 2"]:
    """Whole-pixel displacements, uniform in [-2, 2]² [pixels]."""
    drawn = stream(replica, "augment/shift", step).integers(-SHIFT, SHIFT + 1, (count, 1, 1, 2))
    return torch.from_numpy(drawn).float()


def displacements(replica: int, step: int, count: int, height: int, width: int) -> Float[Tensor, "B H W 2"]:
    """Smooth random displacement fields [pixels]: uniform noise in [-1, 1], blurred by a Gaussian, scaled by α.

    Source:
        Simard, Steinkraus & Platt (2003), Best practices for convolutional neural networks, section 2: σ = 4, α = 34.
    """
    drawn = stream(replica, "augment/elastic", step).uniform(-1, 1, (count * 2, 1, height, width))
    noise = torch.from_numpy(drawn).float()
    reach = min(int(3 * ELASTIC_SMOOTHNESS), min(height, width) - 1)
    offsets = torch.arange(-reach, reach + 1).float()
    kernel = torch.exp(-offsets.square() / (2 * ELASTIC_SMOOTHNESS**2))
    kernel = kernel / kernel.sum()
    smooth = torch.nn.functional.conv2d(noise, kernel.reshape(1, 1, -1, 1), padding=(reach, 0))
    smooth = torch.nn.functional.conv2d(smooth, kernel.reshape(1, 1, 1, -1), padding=(0, reach))
    return ELASTIC_STRENGTH * smooth.reshape(count, 2, height, width).permute(0, 2, 3, 1)


def warp(images: Float[Tensor, "B c H W"], flow: Float[Tensor, "#B h w 2"]) -> Float[Tensor, "B c H W"]:
    """Each image read at (column, row) + flow, bilinearly, zero outside.

    Example:
        >>> image = torch.arange(9.0).reshape(1, 1, 3, 3)
        >>> warp(image, torch.tensor([[[[1.0, 0.0]]]]))[0, 0, 1]
        tensor([4., 5., 0.])
    """
    height, width = images.shape[-2:]
    rows, columns = (torch.arange(n, device=images.device).float() for n in (height, width))
    rows, columns = torch.meshgrid(rows, columns, indexing="ij")
    place = torch.stack([columns, rows], dim=-1) + flow  # [B, H, W, 2] in pixels
    ends = torch.tensor([width - 1.0, height - 1.0], device=images.device)
    grid = (2 * place / ends - 1).to(images.dtype)  # as grid_sample wants it
    return torch.nn.functional.grid_sample(images, grid.expand(len(images), -1, -1, -1), align_corners=True)
