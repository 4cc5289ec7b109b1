"""The pocket image generator: text-conditional diffusion of the autoencoder's latents, a ``StableDiffusionPipeline``.

With ``z_t = a_t z + s_t n`` (a_t^2 + s_t^2 = 1, Stable Diffusion's "scaled linear" course) the network predicts the
velocity ``v = a_t n - s_t z`` from z_t, t and the token states of a caption:

    loss = mean over the batch of  w_t |network(z_t, t, caption) - v|^2,    w_t = min(snr_t, gamma) / (snr_t + 1)

Where training time goes: latents are computed once; a batch has its times spread evenly (one per n-th part of the
course), so that the loss varies less; scenes with one thing come more often, and so do words and tools, whose shapes
are the finest; attention works on the 8 x 8 map only; one caption in five is empty, for guidance and for unconditional
samples; samples are drawn with the running average of the weights.

Sources: Rombach et al. 2022, arXiv:2112.10752; Salimans & Ho 2022 (velocity), arXiv:2202.00512; Hang et al. 2023
(min-SNR), arXiv:2303.09556; Ho & Salimans 2022 (guidance), arXiv:2207.12598; Kingma et al. 2021 (even times),
arXiv:2107.00630.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brainenc.core.types import DataError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Recipe:
    """Size of the network, choice of scenes and captions, course of its training."""

    channels: tuple[int, int] = (64, 96)
    n_heads: int = 4
    n_steps: int = 12_000
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    average: float = 0.999
    gamma: float = 5.0
    share_without_caption: float = 0.2
    caption_shares: tuple[float, ...] = (0.5, 0.25, 0.25)
    weight_of_crowds: float = 0.25
    weights_of_categories: tuple[tuple[str, float], ...] = (("word", 2.0), ("tool", 2.0), ("body", 1.4), ("face", 1.2))


def build(recipe: Recipe = Recipe(), latent_channels: int = 4, text_width: int = 128, size: int = 16) -> Any:
    """Return an untrained ``UNet2DConditionModel`` for latents (latent_channels, size, size); seed torch before."""
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
        block_out_channels=list(recipe.channels),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=text_width,
        attention_head_dim=recipe.n_heads,  # in diffusers this is the number of heads
        use_linear_projection=True,
    )


def build_scheduler() -> Any:
    """Stable Diffusion's course of noise for predicted velocities, as a ``DDIMScheduler``."""
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


def even_times(n_times: int, n_course: int, generator: torch.Generator) -> torch.Tensor:
    """Draw times 0..n_course-1, one from each n-th part of the course, in random order: (n_times,) of int64."""
    import torch

    start = torch.rand((), generator=generator)
    places = (start + torch.arange(n_times) / n_times) % 1.0
    return (places[torch.randperm(n_times, generator=generator)] * n_course).long().clamp(max=n_course - 1)


def loss_weights(scheduler: Any, times: torch.Tensor, gamma: float) -> torch.Tensor:
    """min(snr, gamma) / (snr + 1) at each time, (n_times,)."""
    kept = scheduler.alphas_cumprod[times]
    ratio = kept / (1 - kept)
    return ratio.clamp(max=gamma) / (ratio + 1)


def loss(
    network: Any,
    scheduler: Any,
    latents: torch.Tensor,
    states: torch.Tensor,
    times: torch.Tensor,
    noise: torch.Tensor,
    gamma: float = 5.0,
) -> torch.Tensor:
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
    errors = (came - wanted).square().mean((1, 2, 3))
    return (loss_weights(scheduler, times, gamma) * errors).mean()


def scene_weights(categories: Sequence[Sequence[str]], recipe: Recipe = Recipe()) -> np.ndarray:
    """How often each scene is drawn, summing to 1: (n_scenes,).

    A category is drawn as often as the recipe says relative to the others, whatever its share of the scenes; a scene
    with several things counts ``weight_of_crowds`` of one with a single thing.

    Raises
    ------
    DataError
        No scene shows a thing.
    """
    names = sorted({name for shown in categories for name in shown})
    if not names:
        raise DataError("No training scene shows a thing, wanted some: render scenes with categories.")
    wanted = dict(recipe.weights_of_categories)
    crowd = np.array([1.0 if len(shown) == 1 else recipe.weight_of_crowds if shown else 0.0 for shown in categories])
    member = np.array([[name in shown for name in names] for shown in categories], dtype=float)
    share = (member * crowd[:, None]).sum(0)
    each = np.array([wanted.get(name, 1.0) for name in names]) / np.maximum(share, 1e-12)
    weights = crowd * (member @ each) / np.maximum(member.sum(1), 1)
    return weights / weights.sum()


def token_states(text_encoder: Any, tokenizer: Any, captions: Sequence[str]) -> torch.Tensor:
    """States of every token place, padding included as the pipeline does: (n_captions, n_tokens, text_width)."""
    import torch

    tokens = tokenizer(
        list(captions),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    with torch.no_grad():
        return text_encoder(tokens).last_hidden_state.float()


def chosen_captions(captions: Sequence[Sequence[str]], generator: np.random.Generator, recipe: Recipe) -> list[str]:
    """One caption of each scene by the recipe's shares (later styles share what is left), or none."""
    texts = []
    for styles in captions:
        shares = np.array([recipe.caption_shares[min(i, len(recipe.caption_shares) - 1)] for i in range(len(styles))])
        text = styles[generator.choice(len(styles), p=shares / shares.sum())]
        texts.append("" if generator.random() < recipe.share_without_caption else text)
    return texts


def assemble(network: Any, autoencoder: Any, text_encoder: Any, tokenizer: Any) -> Any:
    """The whole generator as a ``StableDiffusionPipeline``, in eval mode and without progress bars."""
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        vae=autoencoder.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=tokenizer,
        unet=network.eval(),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
