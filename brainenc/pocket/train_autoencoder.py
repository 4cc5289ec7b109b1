"""The pocket autoencoder: a 64-pixel scene as 4 x 16 x 16 numbers and back (diffusers ``AutoencoderKL``).

    z = mean(x) + std(x) noise,   loss = |e| + e^2 + gradient_weight |grad e| + kl_weight KL,   e = decode(z) - x

The gradient term keeps edges: letters, eyes, handles. Most steps see 32-pixel crops, the last ones whole images. At the
end every latent channel is given mean 0 and standard deviation 1 over training scenes, exactly, by the two 1 x 1
convolutions between encoder and decoder: so ``scaling_factor`` is 1 and the diffusion sees all channels at one
signal-to-noise ratio.

Source: Rombach et al. 2022, High-resolution image synthesis with latent diffusion models, arXiv:2112.10752.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brainenc.nn.training import Recipe, TrainingLog, train
from brainenc.pocket.image_net import as_input
from brainenc.pocket.making import facts_of
from brainenc.pocket.scene_choice import numpy_generator
from brainenc.pocket.scenes_cache import ScenesCache

N_FOR_STANDARD = 2_000  # training scenes over which the latents get mean 0 and deviation 1
Images = Any  # (n_images, size, size, 3) of uint8: an array, or a data set on disk


@dataclass(frozen=True)
class AutoencoderRecipe:
    """Size of the network, weights of the loss, course of the training."""

    channels: tuple[int, ...] = (16, 32, 64)
    latent_channels: int = 4
    batch_size: int = 24
    crop: int = 32
    share_of_crops: float = 0.8
    gradient_weight: float = 0.5
    kl_weight: float = 5e-4
    course: Recipe = field(
        default_factory=lambda: Recipe(
            steps=10_000,
            learning_rate=2e-3,
            warmup=50,
            weight_decay=1e-4,
            betas=(0.9, 0.99),
            ema=0.998,
            validate_every=1_000,
            checkpoint_every=500,
        )
    )


def build(recipe: AutoencoderRecipe) -> Any:
    """Return an untrained ``AutoencoderKL``; seed torch before."""
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from diffusers import AutoencoderKL

    n_blocks = len(recipe.channels)
    return AutoencoderKL(  # type: ignore[no-untyped-call]
        down_block_types=["DownEncoderBlock2D"] * n_blocks,
        up_block_types=["UpDecoderBlock2D"] * n_blocks,
        block_out_channels=list(recipe.channels),
        layers_per_block=1,
        latent_channels=recipe.latent_channels,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=1.0,
        force_upcast=False,
        mid_block_add_attention=False,
    )


def as_images(outputs: Tensor) -> np.ndarray:
    """Undo `as_input`: (n_images, 3, size, size) -> (n_images, size, size, 3) of uint8, clipped."""
    scaled = (outputs.detach().float().clamp(-1, 1) + 1).mul(127.5).round()
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).byte().cpu().numpy())


def reconstruction_loss(network: Any, images: Tensor, noise: Tensor, recipe: AutoencoderRecipe) -> Tensor:
    """The loss of the page's head.

    Parameters
    ----------
    network : AutoencoderKL
    images : Tensor (n_images, 3, size, size) in -1..1
    noise : Tensor (n_images, latent_channels, size / 4, size / 4)
        Standard normal.
    """
    posterior = network.encode(images).latent_dist
    error = network.decode(posterior.mean + posterior.std * noise).sample - images
    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    kl = 0.5 * (posterior.mean.square() + posterior.logvar.exp() - 1 - posterior.logvar).mean()
    total: Tensor = error.abs().mean() + error.square().mean() + recipe.gradient_weight * edges + recipe.kl_weight * kl
    return total


def draw_images(images: Images, step: int, generator: np.random.Generator, recipe: AutoencoderRecipe) -> Tensor:
    """Input of a step: crops first, half as many whole images in the last part of the course."""
    is_whole = step >= recipe.share_of_crops * recipe.course.steps
    n_drawn = max(1, recipe.batch_size // 2) if is_whole else recipe.batch_size
    drawn = images[np.sort(generator.integers(0, len(images), n_drawn))]
    if not is_whole and recipe.crop < drawn.shape[1]:
        top, left = generator.integers(0, drawn.shape[1] - recipe.crop + 1, 2)
        drawn = drawn[:, top : top + recipe.crop, left : left + recipe.crop]
    return as_input(drawn)


def step_loss(
    network: Any, images: Images, recipe: AutoencoderRecipe
) -> Callable[[int, torch.Generator], tuple[Tensor, dict[str, float]]]:
    """The function that `training.train` minimises."""
    device = next(network.parameters()).device
    shrink = 2 ** (len(recipe.channels) - 1)

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        given = draw_images(images, step, numpy_generator(generator), recipe)
        n_images, _, rows, columns = given.shape
        noise = torch.randn(n_images, recipe.latent_channels, rows // shrink, columns // shrink, generator=generator)
        given = given.to(device, memory_format=torch.channels_last)
        return reconstruction_loss(network, given, noise.to(device), recipe), {}

    return loss


def fit_autoencoder(
    scenes: ScenesCache,
    held_out: ScenesCache,
    folder: Path,
    recipe: AutoencoderRecipe,
    seed: int,
    resume: bool = False,
    device: str = "cpu",
) -> tuple[Any, TrainingLog]:
    """Train an autoencoder and standardise its latents.

    Parameters
    ----------
    scenes, held_out : ScenesCache
        To train on; to watch the decibels.
    folder : path
        Of log and checkpoints.
    recipe : AutoencoderRecipe
    seed, resume, device
        As `train_clip.make`.

    Returns
    -------
    network : AutoencoderKL
        On the processor, in eval mode.
    log : TrainingLog
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(recipe).to(device, memory_format=torch.channels_last)
    watched = held_out.images[:200]
    log = train(
        {"autoencoder": network},
        step_loss(network, scenes.images, recipe),
        recipe.course,
        folder,
        seed,
        validate=lambda: {"db": float(decibels(network, watched).mean())},
        resume=resume,
        facts=facts_of(recipe),
    )
    network = network.to("cpu", memory_format=torch.contiguous_format).eval().requires_grad_(False)
    standardise(network, scenes.images[:N_FOR_STANDARD])
    return network, log


def encode_latents(network: Any, images: Images, n_per_batch: int = 250) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield mean and standard deviation of the latents, each (n_batch, latent_channels, rows, columns) of float16."""
    for start in range(0, len(images), n_per_batch):
        with torch.no_grad():  # left before each yield: the caller's gradients are not ours
            given = as_input(images[start : start + n_per_batch])
            posterior = network.encode(given.to(next(network.parameters()).device)).latent_dist
        yield posterior.mean.cpu().numpy().astype(np.float16), posterior.std.cpu().numpy().astype(np.float16)


def standardise(network: Any, images: Images) -> None:
    """Give each latent channel mean 0 and standard deviation 1 over ``images``; what is decoded stays the same.

    With mean m and deviation s of a channel, the encoder's last 1 x 1 convolution gives (mean - m) / s and
    logvar - 2 log s, and the decoder's first one takes s z + m.
    """
    means = torch.cat([torch.from_numpy(mean).float() for mean, _ in encode_latents(network, images)])
    centre, spread = means.mean((0, 2, 3)), means.std((0, 2, 3))
    n_channels = len(centre)
    with torch.no_grad():
        last, first = network.quant_conv, network.post_quant_conv
        last.weight[:n_channels] /= spread[:, None, None, None]
        last.bias[:n_channels] = (last.bias[:n_channels] - centre) / spread
        last.bias[n_channels:] -= 2 * spread.log()
        first.bias += (first.weight[:, :, 0, 0] * centre).sum(1)
        first.weight *= spread[:, None, None]
    network.register_to_config(scaling_factor=1.0)


def decibels(network: Any, images: Images, n_per_batch: int = 100) -> np.ndarray:
    """Peak signal-to-noise ratio of each reconstruction from the mean latent, in dB of 8-bit pixels, (n_images,)."""
    values = []
    with torch.no_grad():
        for start in range(0, len(images), n_per_batch):
            wanted = images[start : start + n_per_batch]
            given = as_input(wanted).to(next(network.parameters()).device)
            came = as_images(network.decode(network.encode(given).latent_dist.mean).sample)
            values.append(psnr(came, wanted))
    return np.concatenate(values)


def psnr(came: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """``10 log10(255^2 / mean squared error)`` of each image, in dB; both (n_images, size, size, 3) of uint8."""
    errors = (came.astype(np.float64) - wanted.astype(np.float64)) ** 2
    return np.asarray(10 * np.log10(255.0**2 / np.maximum(errors.mean(axis=(1, 2, 3)), 1e-12)))
