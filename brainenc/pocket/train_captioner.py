"""The pocket captioner: learns to write the captions of a scene from its pocket-clip embedding.

    loss = cross-entropy of each next token, given the prefix of  e'  and the words so far
    e' = unit(e + sigma n)

e is the embedding of the image, or in a share of the rows that of a caption of the same scene moved by the modality
gap; the noise n covers what is left between the two, and what a decoder of brain activity will get wrong.

Sources: Mokady et al. 2021 (ClipCap), arXiv:2111.09734; Nukrai et al. 2022 (CapDec: noise), arXiv:2211.00575.
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
from brainenc.pocket.captioner import Captioner, load_captioner, save_captioner
from brainenc.pocket.captioner_scores import FLOORS, captioner_scores, score_captions
from brainenc.pocket.cards import Made
from brainenc.pocket.clip_model import embed_images, embed_texts, load_clip
from brainenc.pocket.making import facts_of, find_network, shorten
from brainenc.pocket.scene_choice import choose_captions, draw_rows, numpy_generator, scene_weights
from brainenc.pocket.scenes_cache import ScenesCache, open_scenes, renderer_checksum
from brainenc.pocket.tokenizer import encode

N_FOR_MEANS = 4_000  # training scenes over which the means of the two modalities are taken


@dataclass(frozen=True)
class CaptionerRecipe:
    """Size of the network, its mixture of embeddings and captions, course of its training."""

    width: int = 128
    n_layers: int = 3
    n_heads: int = 4
    n_prefix: int = 6
    hidden_width: int = 384
    n_scenes: int = 100_000
    n_scored: int = 100
    batch_size: int = 128
    noise: float = 0.02
    texts: float = 0.3
    crowds: float = 5.0
    styles: tuple[tuple[str, float], ...] = (("full", 0.8), ("things", 0.2))
    course: Recipe = field(
        default_factory=lambda: Recipe(
            steps=3_500,
            learning_rate=2e-3,
            warmup=50,
            weight_decay=0.01,
            betas=(0.9, 0.99),
            ema=0.998,
            validate_every=500,
            checkpoint_every=500,
        )
    )


def build(tokenizer: Any, embedding_width: int, recipe: CaptionerRecipe) -> Captioner:
    """Return an untrained captioner for a tokenizer with begin, end and padding marks; seed torch before."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=recipe.n_prefix + tokenizer.model_max_length,
        n_embd=recipe.width,
        n_layer=recipe.n_layers,
        n_head=recipe.n_heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Captioner(GPT2LMHeadModel(config), tokenizer, embedding_width, recipe.n_prefix, recipe.hidden_width)


def centre(captioner: Captioner, images: Tensor, texts: Tensor) -> None:
    """Set the means of the two modalities from unit embeddings (n_samples, embedding_width) of training scenes."""
    captioner.image_mean.copy_(images.mean(0))
    captioner.text_mean.copy_(texts.mean(0))


def caption_loss(captioner: Captioner, embeddings: Tensor, tokens: Tensor) -> Tensor:
    """Cross-entropy per token, the end mark counted and padding not.

    Parameters
    ----------
    captioner : Captioner
    embeddings : Tensor (n_samples, embedding_width)
        Unit embeddings where those of images lie.
    tokens : Tensor (n_samples, n_tokens) of int64
        Begin mark, words, end mark, padding.
    """
    padding = captioner.tokenizer.pad_token_id
    n_used = int((tokens != padding).sum(1).max())
    scores = captioner(embeddings, tokens[:, :n_used]).float()
    return functional.cross_entropy(scores.flatten(0, 1), tokens[:, 1:n_used].flatten(), ignore_index=padding)


def mixed(
    captioner: Captioner, images: Tensor, texts: Tensor, generator: torch.Generator, recipe: CaptionerRecipe
) -> Tensor:
    """Rows of image embeddings, in a share of the rows text embeddings instead, with noise, of length 1.

    ``images`` and ``texts`` are (n_samples, embedding_width), as is the result.
    """
    is_text = torch.rand(len(images), 1, generator=generator).to(images.device) < recipe.texts
    clean = torch.where(is_text, captioner.as_image(texts, "text"), captioner.as_image(images))
    noise = torch.randn(clean.shape, generator=generator).to(images.device)
    return functional.normalize(clean + recipe.noise * noise, dim=-1)


def step_loss(
    captioner: Captioner, clip: Any, images: Tensor, scenes: ScenesCache, recipe: CaptionerRecipe
) -> Callable[[int, torch.Generator], tuple[Tensor, dict[str, float]]]:
    """The function that `training.train` minimises; ``images`` are the embeddings (n_scenes, width) of the scenes."""
    device = next(captioner.parameters()).device
    shown = [[thing.category for thing in scene] for scene in scenes.things]
    cumulated = np.cumsum(scene_weights(shown, recipe.crowds, {}))

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rng = numpy_generator(generator)
        rows = draw_rows(cumulated, recipe.batch_size, rng)
        captions = [scenes.captions[row] for row in rows]
        said = choose_captions(captions, dict(recipe.styles), rng)
        heard = choose_captions(captions, dict(recipe.styles), rng)
        texts = embed_texts(clip, captioner.tokenizer, heard)
        given = mixed(captioner, images[rows].to(device), texts.to(device), generator, recipe)
        return caption_loss(captioner, given, encode(captioner.tokenizer, said).to(device)), {}

    return loss


def make(
    name: str,
    out: Path,
    cache: Path,
    steps: int | None = None,
    resume: bool = False,
    recipe: CaptionerRecipe | None = None,
    device: str = "cpu",
) -> Made:
    """Train the captioner of pocket-clip and write ``out/pocket-captioner``; see `train_clip.make`.

    pocket-clip is that of ``out`` if it is there, else the shipped one.

    Raises
    ------
    DataError
        Another name, no pocket-clip; see also `training.train` and `open_scenes`.
    """
    if name != "pocket-captioner":
        raise DataError(f"{name!r} is no captioner, wanted 'pocket-captioner': use the page that trains it.")
    recipe, seed = recipe or CaptionerRecipe(), 0
    recipe = replace(recipe, course=shorten(recipe.course, steps))
    clip, tokenizer = load_clip(find_network("pocket-clip", out))
    scenes, held_out = open_scenes(cache, "train", recipe.n_scenes), open_scenes(cache, "validation", 500)
    clip = clip.to(device)
    images, watched = embed_images(clip, scenes.images), embed_images(clip, held_out.images)
    full = scenes.styles.index("full")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        captioner = build(tokenizer, images.shape[1], recipe).to(device)
    n_means = min(N_FOR_MEANS, len(scenes))
    centre(captioner, images[:n_means], embed_texts(clip, tokenizer, [c[full] for c in scenes.captions[:n_means]]))
    log = train(
        {"captioner": captioner},
        step_loss(captioner, clip, images, scenes, recipe),
        recipe.course,
        out / f"training-{name}",
        seed,
        validate=lambda: _quick_scores(captioner, watched, held_out),
        resume=resume,
        facts=facts_of(recipe, "n_scored"),
    )
    save_captioner(captioner.cpu(), out / name)
    scores = captioner_scores(load_captioner(out / name), clip.cpu(), recipe.n_scored, 4 * recipe.n_scored)
    data = {"scenes": recipe.n_scenes, "first_seed": int(scenes.seeds[0]), "renderer": renderer_checksum()}
    return Made(out / name, data, asdict(recipe), seed, log, scores, FLOORS)


def _quick_scores(captioner: Captioner, images: Tensor, scenes: ScenesCache) -> dict[str, float]:
    scores = score_captions(captioner.caption(images), scenes.things)
    return {name: scores[name] for name in ("noun", "colour") if name in scores}
