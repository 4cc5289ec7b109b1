"""The pocket image generator: text-conditional diffusion of the autoencoder's latents (`image_generator`).

With ``z_t = a_t z + s_t n`` (a_t^2 + s_t^2 = 1, Stable Diffusion's "scaled linear" course) the network predicts the
velocity ``v = a_t n - s_t z`` from z_t, t and the token states of a caption:

    loss = mean over the batch of  w_t |network(z_t, t, caption) - v|^2,    w_t = min(snr_t, gamma) / (snr_t + 1)

Where training time goes: latents are computed once; a batch has its times spread evenly (one per n-th part of the
course), so that the loss varies less; scenes with one thing come more often, and so do words and tools, whose shapes
are the finest; attention works on the 8 x 8 map only; one caption in five is empty, for guidance and for unprompted
pictures; pictures are drawn with the running average of the weights. The text encoder is pocket-clip's and stays.

Sources: Rombach et al. 2022, arXiv:2112.10752; Salimans & Ho 2022 (velocity), arXiv:2202.00512; Hang et al. 2023
(min-SNR), arXiv:2303.09556; Ho & Salimans 2022 (guidance), arXiv:2207.12598; Kingma et al. 2021 (even times),
arXiv:2107.00630.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brainenc.core.tensors import load_arrays, save_arrays
from brainenc.core.types import DataError
from brainenc.nn.training import Recipe, TrainingLog, train
from brainenc.pocket.cards import Made
from brainenc.pocket.clip_model import load_clip
from brainenc.pocket.diffusion_scores import FLOORS, diffusion_scores
from brainenc.pocket.image_generator import assemble, build_network, build_scheduler, load_generator, save_generator
from brainenc.pocket.making import facts_of, find_network, shorten
from brainenc.pocket.net_scores import Judge
from brainenc.pocket.scene_choice import choose_captions, draw_rows, numpy_generator, scene_weights
from brainenc.pocket.scenes_cache import ScenesCache, open_scenes, renderer_checksum
from brainenc.pocket.text_tower import convert_text_tower
from brainenc.pocket.tokenizer import encode
from brainenc.pocket.train_autoencoder import AutoencoderRecipe, decibels, encode_latents, fit_autoencoder

STYLES = {
    "full": 0.3,
    "things": 0.25,
    "short": 0.1,
    "sentence": 0.1,
    "category": 0.1,
    "placed": 0.1,
    "attributes": 0.05,
}


@dataclass(frozen=True)
class DiffusionRecipe:
    """Size of the network, choice of scenes and captions, course of its training."""

    channels: tuple[int, int] = (64, 96)
    n_heads: int = 4
    n_scenes: int = 60_000
    n_scored: int = 200
    batch_size: int = 32
    gamma: float = 5.0
    without_caption: float = 0.2
    crowds: float = 0.25
    categories: tuple[tuple[str, float], ...] = (("word", 2.0), ("tool", 2.0), ("body", 1.4), ("face", 1.2))
    styles: tuple[tuple[str, float], ...] = tuple(STYLES.items())
    autoencoder: AutoencoderRecipe = AutoencoderRecipe()
    course: Recipe = field(
        default_factory=lambda: Recipe(
            steps=9_000,
            learning_rate=1e-3,
            warmup=100,
            schedule="half_flat",
            weight_decay=0.01,
            betas=(0.9, 0.99),
            ema=0.999,
            validate_every=500,
            checkpoint_every=500,
        )
    )


@dataclass(frozen=True)
class Latents:
    """Latents of scenes: their mean and standard deviation, each (n_scenes, latent_channels, rows, columns) float16."""

    mean: np.ndarray
    deviation: np.ndarray

    def draw(self, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """Random latents of some scenes, (n_rows, latent_channels, rows, columns) of float32."""
        mean, deviation = (torch.from_numpy(part[rows].astype(np.float32)) for part in (self.mean, self.deviation))
        return mean + deviation * torch.randn(mean.shape, generator=generator)


def even_times(n_times: int, n_course: int, generator: torch.Generator) -> Tensor:
    """Draw times 0..n_course-1, one from each n-th part of the course, in random order: (n_times,) of int64."""
    start = torch.rand((), generator=generator)
    places = (start + torch.arange(n_times) / n_times) % 1.0
    return (places[torch.randperm(n_times, generator=generator)] * n_course).long().clamp(max=n_course - 1)


def loss_weights(scheduler: Any, times: Tensor, gamma: float) -> Tensor:
    """min(snr, gamma) / (snr + 1) at each time, (n_times,)."""
    kept = scheduler.alphas_cumprod.to(times.device)[times]
    ratio = kept / (1 - kept)
    return torch.as_tensor(ratio.clamp(max=gamma) / (ratio + 1))


def velocity_loss(
    network: Any, scheduler: Any, latents: Tensor, states: Tensor, times: Tensor, noise: Tensor, gamma: float = 5.0
) -> Tensor:
    """The loss of the page's head.

    Parameters
    ----------
    network : UNet2DConditionModel
    scheduler : DDIMScheduler
    latents, noise : Tensor (n_samples, latent_channels, rows, columns)
    states : Tensor (n_samples, n_tokens, text_width)
        Token states of the captions.
    times : Tensor (n_samples,) of int64
    gamma : float
    """
    wanted = scheduler.get_velocity(latents, noise, times)
    came = network(scheduler.add_noise(latents, noise, times), times, states).sample
    errors = (came.float() - wanted).square().mean((1, 2, 3))
    return torch.as_tensor((loss_weights(scheduler, times, gamma) * errors).mean())


def token_states(text_encoder: Any, tokenizer: Any, captions: Sequence[str]) -> Tensor:
    """States of every token place, padding included as the pipeline does: (n_captions, n_tokens, text_width)."""
    tokens = encode(tokenizer, captions).to(next(text_encoder.parameters()).device)
    with torch.no_grad():
        return torch.as_tensor(text_encoder(tokens).last_hidden_state.float())


def checksum(network: Any) -> str:
    """The first 12 letters of the SHA-256 of all weights."""
    digest = hashlib.sha256()
    for value in network.state_dict().values():
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def latents_of(autoencoder: Any, scenes: ScenesCache, cache: Path) -> Latents:
    """Latents of all scenes, computed once per autoencoder and kept in the cache folder."""
    path = cache / f"latents-{checksum(autoencoder)}-{scenes.path.stem}-{len(scenes)}.safetensors"
    if not path.is_file():
        parts = list(encode_latents(autoencoder, scenes.images))
        arrays = {"mean": [mean for mean, _ in parts], "deviation": [deviation for _, deviation in parts]}
        save_arrays(path, {name: np.concatenate(blocks) for name, blocks in arrays.items()})
    return Latents(**load_arrays(path))


def step_loss(
    network: Any, latents: Latents, scenes: ScenesCache, text_encoder: Any, tokenizer: Any, recipe: DiffusionRecipe
) -> Callable[[int, torch.Generator], tuple[Tensor, dict[str, float]]]:
    """The function that `training.train` minimises."""
    device, scheduler = next(network.parameters()).device, build_scheduler()
    shown = [[thing.category for thing in scene] for scene in scenes.things]
    cumulated = np.cumsum(scene_weights(shown, recipe.crowds, dict(recipe.categories)))

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rng = numpy_generator(generator)
        rows = draw_rows(cumulated, recipe.batch_size, rng)
        given = latents.draw(rows, generator)
        captions = choose_captions([scenes.captions[row] for row in rows], dict(recipe.styles), rng)
        dropped = rng.random(len(rows)) < recipe.without_caption
        texts = ["" if is_dropped else text for text, is_dropped in zip(captions, dropped, strict=True)]
        times = even_times(len(rows), scheduler.config.num_train_timesteps, generator)
        noise = torch.randn(given.shape, generator=generator)
        states = token_states(text_encoder, tokenizer, texts)
        given, states, times, noise = (part.to(device) for part in (given, states, times, noise))
        return velocity_loss(network, scheduler, given, states, times, noise, recipe.gamma), {}

    return loss


def shortened(recipe: DiffusionRecipe, steps: int | None) -> DiffusionRecipe:
    """The recipe with other steps; those of the autoencoder change in proportion."""
    if steps is None:
        return recipe
    first = recipe.autoencoder
    n_first = max(1, round(first.course.steps * steps / recipe.course.steps))
    return replace(
        recipe, course=shorten(recipe.course, steps), autoencoder=replace(first, course=shorten(first.course, n_first))
    )


@dataclass(frozen=True)
class Parts:
    """What a trained generator is put together from: the UNet, the networks that stay as they are, and what to say."""

    network: Any
    autoencoder: Any
    text_encoder: Any
    tokenizer: Any
    scenes: ScenesCache
    log: TrainingLog
    facts: dict[str, Any]


def fit_parts(clip_folder: Path, out: Path, cache: Path, recipe: DiffusionRecipe, resume: bool, device: str) -> Parts:
    """Train the autoencoder and then the UNet, for the text encoder of a pocket CLIP; see `make`."""
    seed, work = 0, out / "training-pocket-diffusion"
    clip, tokenizer = load_clip(clip_folder)
    text_encoder = convert_text_tower(clip, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    scenes = open_scenes(cache, "train", recipe.n_scenes)
    held_out = open_scenes(cache, "validation", 500)
    autoencoder, first_log = fit_autoencoder(
        scenes, held_out, work / "autoencoder", recipe.autoencoder, seed, resume, device
    )
    latents = latents_of(autoencoder.to(device), scenes, cache)
    checked = Latents(
        *(np.concatenate(parts) for parts in zip(*encode_latents(autoencoder, held_out.images), strict=True))
    )
    _, channels, size, _ = latents.mean.shape
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_network(recipe.channels, recipe.n_heads, channels, text_encoder.config.hidden_size, size)
    network = network.to(device)
    frozen: dict[str, Any] = {"autoencoder": checksum(autoencoder), "text_encoder": checksum(text_encoder)}
    watched = step_loss(network, checked, held_out, text_encoder.to(device), tokenizer, replace(recipe, batch_size=250))
    log = train(
        {"unet": network},
        step_loss(network, latents, scenes, text_encoder, tokenizer, recipe),
        recipe.course,
        work / "unet",
        seed,
        validate=lambda: {"loss": float(watched(0, torch.Generator().manual_seed(0))[0])},
        resume=resume,
        facts={**facts_of(recipe, "n_scored"), **frozen},
    )
    frozen["autoencoder_minutes"] = round(first_log.seconds / 60, 1)
    return Parts(network.cpu(), autoencoder.cpu(), text_encoder.cpu(), tokenizer, scenes, log, frozen)


def make(
    name: str,
    out: Path,
    cache: Path,
    steps: int | None = None,
    resume: bool = False,
    recipe: DiffusionRecipe | None = None,
    device: str = "cpu",
) -> Made:
    """Train the autoencoder and then the generator, and write ``out/pocket-diffusion``; see `train_clip.make`.

    pocket-clip gives the text encoder and pocket-net the verdicts: those of ``out`` if there, else the shipped ones.
    Contact sheets of the categories come into ``out/sheets-pocket-diffusion``.

    Raises
    ------
    DataError
        Another name, no pocket-clip or pocket-net; see also `training.train` and `open_scenes`.
    """
    if name != "pocket-diffusion":
        raise DataError(f"{name!r} is no generator, wanted 'pocket-diffusion': use the page that trains it.")
    recipe, seed = shortened(recipe or DiffusionRecipe(), steps), 0
    judge = Judge.load(find_network("pocket-net", out))  # before hours of training, not after
    parts = fit_parts(find_network("pocket-clip", out), out, cache, recipe, resume, device)
    save_generator(assemble(parts.network, parts.autoencoder, parts.text_encoder, parts.tokenizer), out / name)
    shipped, sheets = load_generator(out / name), out / f"sheets-{name}"
    scores = {"autoencoder_db": float(decibels(shipped.vae, open_scenes(cache, "test", 1_000).images).mean())}
    scores |= diffusion_scores(shipped, judge, parts.scenes.images, recipe.n_scored, seed, sheets)
    first_seed = int(parts.scenes.seeds[0])
    data = {"scenes": recipe.n_scenes, "first_seed": first_seed, "renderer": renderer_checksum(), **parts.facts}
    return Made(out / name, data, asdict(recipe), seed, parts.log, scores, FLOORS)
