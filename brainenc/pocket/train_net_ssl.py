"""The self-supervised twin of pocket-net: the same kind of network, no labels (VICReg).

Two random views of each scene (cut, mirrored, with other colours, blurred) go through the network and a wide expander,
giving z and z' (n, d); the expander is thrown away afterwards. The views must agree, no column may become constant, and
no two columns may say the same:

    loss = 25 mean |z - z'|^2 + 25 [v(z) + v(z')] / 2 + [c(z) + c(z')]
    v(z) = mean over columns of max(0, 1 - deviation),   c(z) = sum of squared covariances off the diagonal / d

Source: Bardes, Ponce & LeCun 2022, arXiv:2105.04906.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from brainenc.pocket import train_net


@dataclass(frozen=True)
class Recipe:
    """Size of the network and of its expander, strength of the views, course of its training."""

    network: train_net.Recipe = field(
        default_factory=lambda: train_net.Recipe(layers=(2, 2, 2, 1), channels=(32, 48, 80, 112))
    )
    expander_width: int = 512
    n_steps: int = 10_000
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    smallest_cut: float = 0.5
    colour_strength: float = 0.3


def build(recipe: Recipe = Recipe()) -> tuple[Any, nn.Module]:
    """Return the untrained network without classifier, and its expander; seed torch before."""
    network = train_net.build(0, recipe.network)
    width = recipe.expander_width
    expander = nn.Sequential(
        nn.Linear(network.num_features, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Linear(width, width, bias=False),
    )
    return network, expander


def view(images: torch.Tensor, generator: torch.Generator, recipe: Recipe = Recipe()) -> torch.Tensor:
    """A random view of each image (n_images, 3, size, size) in -1..1, of the same shape.

    A square cut of ``smallest_cut`` to 1 of the side, mirrored half of the time; each colour channel stretched and moved;
    then blur, noise and light as for pocket-net.
    """
    n_images = len(images)

    def draw(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(n_images, *shape, generator=generator)

    side = draw(recipe.smallest_cut, 1.0)
    mirror = torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    rows = torch.zeros(n_images, 2, 3)
    rows[:, 0, 0], rows[:, 1, 1] = side * mirror, side
    rows[:, 0, 2], rows[:, 1, 2] = (1 - side) * draw(-1, 1), (1 - side) * draw(-1, 1)
    grid = functional.affine_grid(rows, list(images.shape), align_corners=False)
    cut = functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    strength = recipe.colour_strength
    cut = draw(1 - strength, 1 + strength, 3, 1, 1) * cut + draw(-strength, strength, 3, 1, 1)
    return train_net.altered(cut, generator, share=1.0)


def loss(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of the page's head from two expanded views (n_samples, width), and its three parts."""
    agreement = functional.mse_loss(first, second)
    spread = (_spread_missing(first) + _spread_missing(second)) / 2
    overlap = _overlap(first) + _overlap(second)
    parts = {"agreement": agreement.item(), "spread": spread.item(), "overlap": overlap.item()}
    return 25 * agreement + 25 * spread + overlap, parts


def _spread_missing(values: torch.Tensor) -> torch.Tensor:
    return functional.relu(1 - (values.var(0) + 1e-4).sqrt()).mean()


def _overlap(values: torch.Tensor) -> torch.Tensor:
    centred = values - values.mean(0)
    covariance = centred.T @ centred / (len(values) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / values.shape[1]
