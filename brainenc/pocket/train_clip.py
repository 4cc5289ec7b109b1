"""The pocket CLIPs: images and captions of the embedded world in one space.

    L = -1/2 mean_i sum_j P_ij [log softmax_j(s u_i v_j) + log softmax_j(s v_i u_j)]

with unit embeddings u of images and v of captions, a learnt scale s <= 100, and P_ij = 1 / (number of equal captions)
where captions i and j are the same sentence: equal captions are no negatives of each other.

Sources: Radford et al. 2021, arXiv:2103.00020; Khosla et al. 2020 (several positives), arXiv:2004.11362.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainenc.core.types import DataError
from brainenc.nn.recipe import joined
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


def _course(steps: int, learning_rate: float) -> Recipe:
    return Recipe(
        steps=steps,
        learning_rate=learning_rate,
        warmup=100,
        weight_decay=0.05,
        betas=(0.9, 0.98),
        clip=1.0,
        ema=0.998,
        validate_every=500,
        checkpoint_every=500,
    )


@dataclass(frozen=True)
class Stage:
    """A part of a training: scenes, batches, course. The next stage begins with what this one leaves."""

    n_scenes: int
    mixture: Mixture
    course: Recipe


FIRST = Stage(100_000, Mixture(), _course(5_000, 1.5e-3))
# Second: scenes with two things, and plain names of what is shown, both rare in the first.
SECOND = Stage(
    200_000,
    Mixture(
        hard=0.12,
        asking=0.08,
        crowded=0.3,
        zoomed=0.2,
        styles=(
            ("full", 0.28),
            ("things", 0.20),
            ("attributes", 0.10),
            ("sentence", 0.08),
            ("short", 0.14),
            ("category", 0.09),
            ("list", 0.06),
            ("placed", 0.05),
        ),
    ),
    _course(5_000, 1e-3),
)


@dataclass(frozen=True)
class ClipRecipe:
    """How a pocket CLIP is made: its stages, and the scenes that score it."""

    n_validation: int = 1_000
    n_test: int = 4_000
    stages: tuple[Stage, ...] = (FIRST, SECOND)

    def shortened(self, steps: int | None) -> ClipRecipe:
        """The recipe with ``steps`` in all, at least one in each stage, in the stages' proportions."""
        if steps is None:
            return self
        share = steps / sum(stage.course.steps for stage in self.stages)
        stages = [
            replace(stage, course=shorten(stage.course, max(1, round(share * stage.course.steps))))
            for stage in self.stages
        ]
        return replace(self, stages=tuple(stages))


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
    recipe = recipe.shortened(steps)
    n_scenes = max(stage.n_scenes for stage in recipe.stages)
    scenes = open_scenes(cache, "train", n_scenes)
    held_out = open_scenes(cache, "validation", recipe.n_validation)
    tokenizer = train_tokenizer(caption for scene in scenes.captions[:N_FOR_TOKENIZER] for caption in scene)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(design, tokenizer).to(device)
    logs = []
    for number, stage in enumerate(recipe.stages):
        batches = Batches(scenes[: stage.n_scenes], tokenizer, stage.mixture)
        logs.append(
            train(
                {"clip": model},
                step_loss(model, batches),
                stage.course,
                out / f"training-{name}" / f"stage-{number + 1}",
                seed + 10 * number,
                validate=lambda: quick_scores(model, tokenizer, held_out),
                resume=resume,
                facts={
                    "name": name,
                    "n_scenes": stage.n_scenes,
                    "renderer": renderer_checksum(),
                    **asdict(stage.mixture),
                },
            )
        )
    save_clip(model, design, tokenizer, out / name)
    shipped, tokenizer = load_clip(out / name)
    test = open_scenes(cache, "test", recipe.n_test)
    scores = score_clip(shipped, tokenizer, test, design.token_layer, np.random.default_rng(seed))
    data = {"scenes": n_scenes, "first_seed": int(scenes.seeds[0]), "renderer": renderer_checksum()}
    return Made(out / name, data, asdict(recipe), seed, joined(logs), scores, FLOORS)
