"""Small pictures, captions and networks that the tests of this room share."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from brainenc.core.types import StimulusSet

TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
CAPTIONS = [
    "a red house",
    "two dogs run on a long sandy beach beside the sea",
    "a face",
    "a bowl of soup on a wooden table",
    "the word stop on a sign",
    "a hammer",
    "an old red car in front of a house with many windows",
]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> StimulusSet:
    """Seven colour pictures of two sizes with captions."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    rows = {}
    for i, text in enumerate(CAPTIONS):
        coarse = generator.integers(0, 256, size=(6, 6, 3), dtype=np.uint8)
        path = folder / f"{i}.png"
        Image.fromarray(coarse).resize((48, 48) if i % 2 else (80, 56), Image.Resampling.BICUBIC).save(path)
        rows[f"s{i}"] = {"path": str(path), "text": text}
    return StimulusSet(pd.DataFrame.from_dict(rows, orient="index").rename_axis("stimulus_id"))


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory) -> str:
    """A folder as open_clip saves it: configuration and weights of a tiny CLIP."""
    from safetensors.torch import save_file

    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("clip")
    stated = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "size": 32}
    config = {"model_cfg": TINY_CLIP, "preprocess_cfg": stated}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = open_clip.CLIP(**TINY_CLIP)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return str(folder)
