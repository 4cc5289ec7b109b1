"""The self-supervised twin of pocket-net: the same kind of network, no labels (VICReg).

Two random views of each scene (cut, mirrored, with other colours, blurred) go through the network and a wide expander,
giving z and z' (n, d); the expander is thrown away afterwards. The views must agree, no column may become constant, and
no two columns may say the same:

    loss = 25 mean |z - z'|^2 + 25 [v(z) + v(z')] / 2 + [c(z) + c(z')]
    v(z) = mean over columns of max(0, 1 - deviation),   c(z) = sum of squared covariances off the diagonal / d

Source: Bardes, Ponce & LeCun 2022, arXiv:2105.04906.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainenc.nn.training import Recipe, train
from brainenc.pocket.cards import Made
from brainenc.pocket.image_net import NetShape, as_input, build, load_network, save_network
from brainenc.pocket.making import facts_of, shorten
from brainenc.pocket.net_scores import SSL_FLOORS, probe_scores
from brainenc.pocket.scene_choice import numpy_generator
from brainenc.pocket.scenes_cache import open_scenes, renderer_checksum
from brainenc.pocket.train_net import altered


@dataclass(frozen=True)
class SslRecipe:
    """Size of the network and of its expander, strength of the views, course of its training."""

    shape: NetShape = NetShape(channels=(32, 48, 80, 112))
    n_scenes: int = 60_000
    expander_width: int = 512
    batch_size: int = 128
    smallest_cut: float = 0.5
    colour_strength: float = 0.3
    course: Recipe = field(
        default_factory=lambda: Recipe(
            steps=8_000,
            learning_rate=2e-3,
            warmup=200,
            weight_decay=1e-4,
            betas=(0.9, 0.99),
            ema=0.998,
            validate_every=1_000,
            checkpoint_every=500,
        )
    )


def build_pair(recipe: SslRecipe) -> tuple[Any, nn.Module]:
    """Return the untrained network without classifier, and its expander; seed torch before."""
    network = build(0, recipe.shape)
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


def view(images: Tensor, generator: torch.Generator, recipe: SslRecipe) -> Tensor:
    """A random view of each image (n_images, 3, size, size) in -1..1, of the same shape.

    A square cut of ``smallest_cut`` to 1 of the side, mirrored half of the time; each colour channel stretched and
    moved; then blur, noise and light as for pocket-net.
    """
    n_images = len(images)

    def draw(low: float, high: float, *shape: int) -> Tensor:
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
    return altered(cut, generator, share=1.0)


def vicreg_loss(first: Tensor, second: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The loss of the page's head from two expanded views (n_samples, width), and its three parts."""
    agreement = functional.mse_loss(first, second)
    spread = (_spread_missing(first) + _spread_missing(second)) / 2
    overlap = _overlap(first) + _overlap(second)
    parts = {"agreement": agreement.item(), "spread": spread.item(), "overlap": overlap.item()}
    return 25 * agreement + 25 * spread + overlap, parts


def _spread_missing(values: Tensor) -> Tensor:
    return functional.relu(1 - (values.var(0) + 1e-4).sqrt()).mean()


def _overlap(values: Tensor) -> Tensor:
    centred = values - values.mean(0)
    covariance = centred.T @ centred / (len(values) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / values.shape[1]


def step_loss(
    network: Any, expander: nn.Module, images: np.ndarray, recipe: SslRecipe
) -> Callable[[int, torch.Generator], tuple[Tensor, dict[str, float]]]:
    """The function that `training.train` minimises."""
    device = next(network.parameters()).device

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = np.sort(numpy_generator(generator).integers(0, len(images), recipe.batch_size))
        given = as_input(images[rows])
        both = torch.cat([view(given, generator, recipe), view(given, generator, recipe)]).to(
            device, memory_format=torch.channels_last
        )
        first, second = expander(network(both)).float().chunk(2)
        return vicreg_loss(first, second)

    return loss


def make_ssl(
    name: str, out: Path, cache: Path, steps: int | None, resume: bool, recipe: SslRecipe | None, device: str
) -> Made:
    """Train ``pocket-net-ssl`` and write its folder ``out/<name>``; see `train_net.make`.

    Its scores are those of a linear probe, beside the same of an untrained twin.
    """
    recipe, seed = recipe or SslRecipe(), 0
    recipe = replace(recipe, course=shorten(recipe.course, steps))
    scenes, held_out = open_scenes(cache, "train", recipe.n_scenes), open_scenes(cache, "validation", 1_000)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network, expander = build_pair(recipe)
        network, expander = network.to(device, memory_format=torch.channels_last), expander.to(device)
        twin = build(0, recipe.shape).eval()
    log = train(
        {"net": network, "expander": expander},
        step_loss(network, expander, scenes.images, recipe),
        recipe.course,
        out / f"training-{name}",
        seed,
        validate=lambda: probe_scores(network, scenes, held_out, n_train=2_000),
        resume=resume,
        facts=facts_of(recipe),
    )
    save_network(network.cpu(), out / name, recipe.shape)
    test = open_scenes(cache, "test", 2_000)
    scores = probe_scores(load_network(out / name)[0], scenes, test)
    scores |= {f"untrained_{key}": value for key, value in probe_scores(twin, scenes, test).items()}
    data = {"scenes": recipe.n_scenes, "first_seed": int(scenes.seeds[0]), "renderer": renderer_checksum()}
    return Made(out / name, data, asdict(recipe), seed, log, scores, SSL_FLOORS)
