"""Embeddings: what the libraries' own extractors give, decided by each picture alone; folders that hold no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from brainenc import features
from brainenc.core.types import DataError, StimulusSet
from brainenc.nn.embedding import load_embedder, network_library
from brainenc.pocket.clip_model import DESIGNS, save_clip
from brainenc.pocket.clip_model import build as build_clip
from brainenc.pocket.image_net import NetShape, build, save_network
from brainenc.pocket.tokenizer import train_tokenizer
from brainenc.world.scenes import render_scene

SHAPE = NetShape(layers=(1, 1, 1, 1), channels=(8, 8, 16, 24), stem_width=8)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.stack([render_scene(seed).image for seed in range(6)])


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("net")
    torch.manual_seed(0)
    save_network(build(0, SHAPE), folder, SHAPE)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = train_tokenizer(caption for seed in range(30) for caption in render_scene(seed).captions)
    torch.manual_seed(0)
    save_clip(build_clip(DESIGNS["pocket-clip-b"], tokenizer), DESIGNS["pocket-clip-b"], tokenizer, folder)
    return folder


@pytest.mark.parametrize(("library", "width"), [("timm", 24), ("open_clip", 96)])
def test_embeddings_are_those_of_the_feature_class(request, pictures, tmp_path, library: str, width: int) -> None:
    """Two readers of one folder: ours, and the extractor that users fit with, from files."""
    folder = request.getfixturevalue({"timm": "net", "open_clip": "clip"}[library])
    assert network_library(folder) == library
    for row, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{row}.png")
    import pandas as pd

    paths = [str(tmp_path / f"{row}.png") for row in range(len(pictures))]
    table = pd.DataFrame({"path": paths}, index=pd.Index([f"s{row}" for row in range(len(paths))], name="stimulus_id"))
    extractor = features.build(library, name="space", model=f"local-dir:{folder}", device="cpu")
    wanted = np.concatenate(list(extractor.extract(StimulusSet(table))))
    found = load_embedder(folder)(pictures)
    assert found.shape == (6, width) and found.dtype == np.float32
    assert np.ptp(found, axis=0).max() > 1e-3  # pictures differ
    assert np.allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_picture_alone_decides_its_embedding(net, pictures) -> None:
    embed = load_embedder(net)
    whole = embed(pictures)
    assert np.array_equal(embed(pictures[3:5]), whole[3:5])
    assert np.array_equal(embed(pictures[::-1]), whole[::-1])
    assert np.array_equal(load_embedder(net)(pictures), whole)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert np.array_equal(embed(pictures), whole)
        assert torch.get_num_threads() == 2  # and leaves the number as it was
    finally:
        torch.set_num_threads(threads)


def test_loading_leaves_random_numbers_as_they_were(net) -> None:
    torch.manual_seed(5)
    first = torch.rand(3)
    torch.manual_seed(5)
    load_embedder(net)
    assert torch.equal(torch.rand(3), first)


def test_pictures_of_another_size_are_squeezed(net, pictures) -> None:
    larger = pictures.repeat(2, axis=1).repeat(3, axis=2)
    r = np.corrcoef(load_embedder(net)(larger).ravel(), load_embedder(net)(pictures).ravel())[0, 1]
    assert r > 0.9


def test_what_is_no_network_is_refused(net, tmp_path, pictures) -> None:
    with pytest.raises(DataError, match="'nowhere' is no folder"):
        load_embedder(Path("nowhere"))
    with pytest.raises(DataError, match=r"lacks open_clip_config.json or config.json"):
        load_embedder(tmp_path)
    (tmp_path / "config.json").write_text((net / "config.json").read_text())
    with pytest.raises(DataError, match="or weights as safetensors"):
        load_embedder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(DataError, match="cannot be read by timm"):
        load_embedder(tmp_path)
    with pytest.raises(DataError, match="wanted uint8"):
        load_embedder(net)(pictures.astype(float))
