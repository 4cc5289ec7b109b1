"""The pocket CLIPs: images and captions of the embedded world in one space.

    L = -1/2 mean_i sum_j P_ij [log softmax_j(s u_i v_j) + log softmax_j(s v_i u_j)]

with unit embeddings u of images and v of captions, a learnt scale s <= 100, and P_ij = 1 / (number of equal captions)
where captions i and j are the same sentence: equal captions are no negatives of each other.

Sources: Radford et al. 2021, arXiv:2103.00020; Khosla et al. 2020 (several positives), arXiv:2004.11362.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainenc.core.types import DataError
from brainenc.nn.training import Recipe, train
from brainenc.pocket import check_name
from brainenc.pocket.cards import Made
from brainenc.pocket.clip_batches import Batches, Mixture
from brainenc.pocket.clip_model import DESIGNS, build, load_clip, save_clip
from brainenc.pocket.clip_scores import FLOORS, quick_scores, score_clip
from brainenc.pocket.making import shorten
from brainenc.pocket.scenes_cache import open_scenes, renderer_checksum
from brainenc.pocket.tokenizer import train_tokenizer

N_FOR_TOKENIZER = 5_000  # scenes whose captions make the tokenizer: equal for both networks


@dataclass(frozen=True)
class ClipRecipe:
    """How a pocket CLIP is made: scenes, batches, course."""

    n_scenes: int = 100_000
    n_validation: int = 1_000
    n_test: int = 4_000
    mixture: Mixture = Mixture()
    course: Recipe = field(
        default_factory=lambda: Recipe(
            steps=5_000,
            learning_rate=1.5e-3,
            warmup=100,
            weight_decay=0.05,
            betas=(0.9, 0.98),
            clip=1.0,
            ema=0.998,
            validate_every=500,
            checkpoint_every=500,
        )
    )


SEEDS = {"pocket-clip": 0, "pocket-clip-b": 1}


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor, tokens: Tensor) -> Tensor:
    """The loss of this page's head.

    Parameters
    ----------
    images, texts : Tensor (n, width)
        Unit embeddings; row i belongs to row i.
    scale : scalar Tensor
    tokens : Tensor (n, context_length)
        Rows that are equal are the same caption.
    """
    same = torch.unique(tokens, dim=0, return_inverse=True)[1]
    positive = (same[:, None] == same[None]).float()
    positive = positive / positive.sum(1, keepdim=True)
    logits = scale * images.float() @ texts.float().T
    both: Tensor = logits.log_softmax(1) + logits.T.log_softmax(1)
    loss: Tensor = -0.5 * (positive * both).sum(1).mean()
    return loss


def step_loss(model: nn.Module, batches: Batches) -> Callable[[int, torch.Generator], tuple[Tensor, dict[str, float]]]:
    """The function that `training.train` minimises."""
    device = next(model.parameters()).device

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        pixels, tokens = (part.to(device) for part in batches.draw(generator))
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        images = model.encode_image(pixels, normalize=True)  # type: ignore[operator]
        texts = model.encode_text(tokens, normalize=True)  # type: ignore[operator]
        scale: Any = model.logit_scale
        scale = scale.clamp(max=math.log(100)).exp()
        with torch.autocast(device.type, enabled=False):
            return contrastive_loss(images, texts, scale.float(), tokens), {"scale": float(scale.detach())}

    return loss


def make(
    name: str,
    out: Path,
    cache: Path,
    steps: int | None = None,
    resume: bool = False,
    recipe: ClipRecipe | None = None,
    device: str = "cpu",
) -> Made:
    """Train ``pocket-clip`` or ``pocket-clip-b`` and write its folder ``out/<name>``.

    Parameters
    ----------
    name : str
    out : path
        Also holds log and checkpoints, in ``out/training-<name>``.
    cache : path
        Of rendered scenes.
    steps : int, optional
        Instead of the recipe's.
    resume : bool
        Go on from the last checkpoint.
    recipe : ClipRecipe, optional
    device : str

    Returns
    -------
    Made
        What the card says; scores are those of the files as written, on the test scenes.

    Raises
    ------
    DataError
        Unknown name; see also `training.train` and `open_scenes`.
    """
    if check_name(name) not in DESIGNS:
        raise DataError(f"{name!r} is no CLIP, wanted one of {', '.join(DESIGNS)}: use the page that trains it.")
    recipe, seed, design = recipe or ClipRecipe(), SEEDS[name], DESIGNS[name]
    recipe = replace(recipe, course=shorten(recipe.course, steps))
    scenes = open_scenes(cache, "train", recipe.n_scenes)
    held_out = open_scenes(cache, "validation", recipe.n_validation)
    tokenizer = train_tokenizer(caption for scene in scenes.captions[:N_FOR_TOKENIZER] for caption in scene)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(design, tokenizer).to(device)
    log = train(
        {"clip": model},
        step_loss(model, Batches(scenes, tokenizer, recipe.mixture)),
        recipe.course,
        out / f"training-{name}",
        seed,
        validate=lambda: quick_scores(model, tokenizer, held_out),
        resume=resume,
        facts={"name": name, "n_scenes": recipe.n_scenes, "renderer": renderer_checksum(), **asdict(recipe.mixture)},
    )
    save_clip(model, design, tokenizer, out / name)
    shipped, tokenizer = load_clip(out / name)
    test = open_scenes(cache, "test", recipe.n_test)
    scores = score_clip(shipped, tokenizer, test, design.token_layer, np.random.default_rng(seed))
    data = {"scenes": recipe.n_scenes, "first_seed": int(scenes.seeds[0]), "renderer": renderer_checksum()}
    return Made(out / name, data, asdict(recipe), seed, log, scores, FLOORS)
