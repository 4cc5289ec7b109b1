"""Training of the pocket image networks: pocket-net with labels here, pocket-net-ssl in `train_net_ssl`.

    content     binary cross-entropy, as several things may be shown
    c.a         cross-entropy where exactly one thing of category c is shown
    position    smooth absolute error of its box

    loss = content + mean of the attributes + position_weight position

Pictures are blurred, made noisy, lighter and darker at random, so that a verdict on generated pictures does not hang on
their finest grain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from brainenc.core.types import DataError
from brainenc.nn.training import Recipe, train
from brainenc.pocket.cards import Made
from brainenc.pocket.image_net import (
    Heads,
    Labels,
    NetShape,
    as_input,
    build,
    find_heads,
    label,
    load_network,
    save_network,
)
from brainenc.pocket.making import facts_of, shorten
from brainenc.pocket.net_scores import FLOORS, net_scores, quick_scores
from brainenc.pocket.scene_choice import draw_rows, numpy_generator, scene_weights
from brainenc.pocket.scenes_cache import ScenesCache, open_scenes, renderer_checksum


@dataclass(frozen=True)
class NetRecipe:
    """Size of the network, its examples, course of its training."""

    shape: NetShape = NetShape()
    n_scenes: int = 60_000
    n_scored: int = 200
    least_examples: int = 30
    batch_size: int = 128
    crowds: float = 0.5
    categories: tuple[tuple[str, float], ...] = (("word", 2.0),)
    position_weight: float = 5.0
    altered: float = 0.6
    course: Recipe = field(
        default_factory=lambda: Recipe(
            steps=4_000,
            learning_rate=2e-3,
            warmup=100,
            weight_decay=0.05,
            betas=(0.9, 0.99),
            ema=0.998,
            validate_every=500,
            checkpoint_every=500,
        )
    )


def altered(images: Tensor, generator: torch.Generator, share: float = 0.6) -> Tensor:
    """Blur, noise, light and contrast at random, in a share of the images (n_images, 3, size, size)."""
    n_images = len(images)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n_images, 1, 1, 1, generator=generator)

    size = images.shape[-2:]
    soft = functional.interpolate(functional.avg_pool2d(images, 2), size=size, mode="bilinear")
    changed = images + draw(0, 1) * (soft - images)
    changed = draw(0.8, 1.2) * changed + draw(-0.15, 0.15)
    changed = changed + draw(0, 0.1) * torch.randn(images.shape, generator=generator)
    return torch.where(draw(0, 1) < share, changed, images)


def supervised_loss(outputs: Tensor, labels: Labels, heads: Heads, position_weight: float = 5.0) -> Tensor:
    """The loss of the page's head; outputs (n_scenes, heads.n_outputs), labels of the same scenes."""
    total = functional.binary_cross_entropy_with_logits(
        outputs[:, heads.columns("content")], torch.from_numpy(labels.content).to(outputs.device)
    )
    parts = []
    for column, name in enumerate(heads.attributes):
        values = torch.from_numpy(labels.values[:, column]).to(outputs.device)
        if (values >= 0).any():
            parts.append(functional.cross_entropy(outputs[:, heads.columns(name)], values, ignore_index=-1))
    if parts:
        total = total + torch.stack(parts).mean()
    known = torch.from_numpy(np.isfinite(labels.position)).to(outputs.device)
    if known.any():
        came = outputs[:, heads.columns("position")][known]
        wanted = torch.from_numpy(labels.position).to(outputs.device)[known]
        total = total + position_weight * functional.smooth_l1_loss(came, wanted, beta=0.1)
    return total


def step_loss(
    network: Any, scenes: ScenesCache, labels: Labels, heads: Heads, recipe: NetRecipe
) -> Callable[[int, torch.Generator], tuple[Tensor, dict[str, float]]]:
    """The function that `training.train` minimises."""
    device = next(network.parameters()).device
    shown = [[thing.category for thing in scene] for scene in scenes.things]
    cumulated = np.cumsum(scene_weights(shown, recipe.crowds, dict(recipe.categories)))

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = draw_rows(cumulated, recipe.batch_size, numpy_generator(generator))
        given = altered(as_input(scenes.images[rows]), generator, recipe.altered)
        outputs = network(given.to(device, memory_format=torch.channels_last)).float()
        return supervised_loss(outputs, labels.of(rows), heads, recipe.position_weight), {}

    return loss


def make(
    name: str,
    out: Path,
    cache: Path,
    steps: int | None = None,
    resume: bool = False,
    recipe: Any = None,
    device: str = "cpu",
) -> Made:
    """Train ``pocket-net`` or ``pocket-net-ssl`` and write its folder ``out/<name>``; see `train_clip.make`.

    ``recipe`` is a `NetRecipe`, or a `train_net_ssl.SslRecipe`.

    Raises
    ------
    DataError
        Another name; see also `training.train` and `open_scenes`.
    """
    if name == "pocket-net-ssl":
        from brainenc.pocket.train_net_ssl import make_ssl

        return make_ssl(name, out, cache, steps, resume, recipe, device)
    if name != "pocket-net":
        raise DataError(f"{name!r} is no image network, wanted 'pocket-net' or 'pocket-net-ssl': use its own page.")
    recipe, seed = recipe or NetRecipe(), 0
    recipe = replace(recipe, course=shorten(recipe.course, steps))
    scenes, held_out = open_scenes(cache, "train", recipe.n_scenes), open_scenes(cache, "validation", 1_000)
    heads = find_heads(scenes.things, recipe.least_examples)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(heads.n_outputs, recipe.shape).to(device, memory_format=torch.channels_last)
    log = train(
        {"net": network},
        step_loss(network, scenes, label(scenes.things, heads), heads, recipe),
        recipe.course,
        out / f"training-{name}",
        seed,
        validate=lambda: quick_scores(network, heads, held_out),
        resume=resume,
        facts=facts_of(recipe, "n_scored"),
    )
    save_network(network.cpu(), out / name, recipe.shape, heads)
    shipped, _ = load_network(out / name)
    scores = net_scores(shipped, heads, recipe.n_scored)
    data = {"scenes": recipe.n_scenes, "first_seed": int(scenes.seeds[0]), "renderer": renderer_checksum()}
    return Made(out / name, data, asdict(recipe), seed, log, scores, FLOORS)
