"""The pocket image generator, a ``StableDiffusionPipeline``: text encoder, autoencoder, UNet, scheduler in a folder.

Source: Rombach et al. 2022, High-resolution image synthesis with latent diffusion models, arXiv:2112.10752.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brainenc.core.storage import read_json, write_text
from brainenc.core.types import DataError
from brainenc.nn.torchvision_shim import ensure_torchvision
from brainenc.pocket.saving import save_half
from brainenc.pocket.tokenizer import save_tokenizer


def build_network(
    channels: Sequence[int] = (64, 96),
    n_heads: int = 4,
    latent_channels: int = 4,
    text_width: int = 128,
    size: int = 16,
) -> Any:
    """Return an untrained ``UNet2DConditionModel`` for latents (latent_channels, size, size); seed torch before.

    Convolutions alone at full size, attention to the image and to the caption at half the size.
    """
    ensure_torchvision()
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(  # type: ignore[no-untyped-call]
        sample_size=size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
        block_out_channels=list(channels),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=text_width,
        attention_head_dim=n_heads,  # in diffusers this is the number of heads
        use_linear_projection=True,
    )


def build_scheduler() -> Any:
    """Stable Diffusion's course of noise for predicted velocities, as a ``DDIMScheduler``."""
    ensure_torchvision()
    from diffusers import DDIMScheduler

    return DDIMScheduler(  # type: ignore[no-untyped-call]
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


def assemble(network: Any, autoencoder: Any, text_encoder: Any, tokenizer: Any) -> Any:
    """The whole generator as a ``StableDiffusionPipeline``, in eval mode and without progress bars."""
    ensure_torchvision()
    from diffusers import StableDiffusionPipeline

    pipeline: Any = StableDiffusionPipeline(  # type: ignore[no-untyped-call]
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


def save_generator(pipeline: Any, folder: Path) -> None:
    """Write the folder that ``DiffusionPipeline.from_pretrained`` reads, weights in half precision."""
    for part in ("vae", "unet", "text_encoder"):
        save_half(getattr(pipeline, part), folder / part)
    pipeline.scheduler.save_pretrained(folder / "scheduler")
    save_tokenizer(pipeline.tokenizer, folder / "tokenizer")
    pipeline.save_config(folder)
    index = read_json(folder / "model_index.json")
    index["tokenizer"] = ["transformers", "PreTrainedTokenizerFast"]  # the name that every transformers knows
    write_text(folder / "model_index.json", json.dumps(index, indent=2) + "\n")


def load_generator(folder: Path | str) -> Any:
    """Read a pipeline folder, float32, without network and progress bars.

    Raises
    ------
    DataError
        The folder holds no pipeline.
    """
    ensure_torchvision()
    import torch
    from diffusers import DiffusionPipeline

    if not (Path(folder) / "model_index.json").is_file():
        raise DataError(f"{folder} holds no pipeline, wanted model_index.json: point at a trained generator.")
    loader: Any = DiffusionPipeline
    pipeline = loader.from_pretrained(str(folder), local_files_only=True).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
