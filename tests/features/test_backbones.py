"""What holds for every image backbone: rows stay rows, images stay differentiable, evaluation stays evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainenc.core.protocols import Extractor
from brainenc.core.types import DataError
from brainenc.features import build

VIT = {"model": "test_vit", "random_weights": 3, "size": 32, "model_kwargs": {"img_size": 32}}
CASES = {
    "vit-pooled": ("timm", VIT),
    "vit-head": ("timm", VIT | {"layer": "head"}),
    "vit-cls": ("timm", VIT | {"layer": "blocks.2", "pooling": "cls"}),
    "vit-mean": ("timm", VIT | {"layer": "blocks.2"}),
    "vit-tokens": ("timm", VIT | {"layer": "blocks.2", "pooling": "tokens"}),
    "resnet-map": ("timm", {"model": "test_resnet", "random_weights": 3, "size": 64, "layer": "layer2"}),
    "resnet-tokens": (
        "timm",
        {"model": "test_resnet", "random_weights": 3, "size": 64, "layer": "layer2", "pooling": "tokens"},
    ),
    "clip-pooled": ("open_clip", {}),
    "clip-cls": ("open_clip", {"layer": "transformer.resblocks.1", "pooling": "cls"}),
    "clip-tokens": ("open_clip", {"layer": "transformer.resblocks.0", "pooling": "tokens"}),
    "gabor": ("gabor", {"size": 32, "frequencies": [3, 8]}),
    "pixels": ("pixels", {"size": 24}),
}
SHAPES = {
    "vit-pooled": (64,),
    "vit-head": (1000,),
    "vit-cls": (64,),
    "vit-mean": (64,),
    "vit-tokens": (4, 64),
    "resnet-map": (48,),
    "resnet-tokens": (64, 48),
    "clip-pooled": (16,),
    "clip-cls": (32,),
    "clip-tokens": (16, 32),
    "gabor": (8, 8, 8),
    "pixels": (24, 24, 3),
}


@pytest.fixture(params=CASES)
def case(request, clip_folder):
    """A fresh extractor and the name of its case."""
    class_name, arguments = CASES[request.param]
    if class_name == "open_clip":
        arguments = {"model": f"local-dir:{clip_folder}"} | arguments
    return request.param, build(class_name, request.param, **arguments)


def extract(extractor, stimuli, batch_size=3):
    return np.concatenate(list(extractor.extract(stimuli, batch_size=batch_size)))


def permutes(function, images) -> bool:
    """Permuting the batch permutes the rows and nothing else; checked at two batch sizes."""
    for n in (3, len(images)):
        order = torch.as_tensor(np.random.default_rng(n).permutation(n))
        rows = function(images[:n])
        if rows.shape[0] != n or not torch.allclose(function(images[:n][order]), rows[order], rtol=1e-4, atol=1e-5):
            return False
        if n > 1 and torch.allclose(rows[0], rows[1], rtol=1e-3):
            return False
    return True


def test_shape_contract_and_order(case, pictures):
    name, extractor = case
    assert isinstance(extractor, Extractor)
    batches = extractor.extract(pictures, batch_size=3)
    assert batches.n_rows == 7
    values = list(batches)
    assert [len(v) for v in values] == [3, 3, 1]
    assert all(v.dtype == np.float32 for v in values)
    assert extractor.shape == extractor.row_shape(pictures) == SHAPES[name] == values[0].shape[1:]
    assert extractor.n_channels == SHAPES[name][-1]
    backwards = extract(extractor, pictures.select(pictures.ids[::-1]))
    np.testing.assert_allclose(np.concatenate(values)[::-1], backwards, rtol=1e-4, atol=1e-5)


def test_permuting_the_batch_permutes_rows_and_nothing_else(case, pictures):
    _, extractor = case
    images = extractor.load_images(pictures.table["path"].tolist())
    assert permutes(extractor.forward, images)


def test_a_class_token_read_from_the_wrong_axis_is_caught(clip_folder, pictures):
    extractor = build("open_clip", "x", model=f"local-dir:{clip_folder}", layer="transformer.resblocks.1")
    images = extractor.load_images(pictures.table["path"].tolist())

    def broken(batch):
        seen = extractor._reader(extractor.network, extractor.preprocess(batch))
        return seen.transpose(0, 1)[:, 0]  # (n_tokens, channels): the tokens of the first image

    def mixing(batch):
        return extractor.forward(batch) + extractor.forward(batch)[0]

    assert permutes(extractor.forward, images)
    assert not permutes(broken, images)
    assert not permutes(mixing, images)


def test_batch_size_does_not_matter_and_runs_repeat(case, pictures):
    _, extractor = case
    one, seven = extract(extractor, pictures, 1), extract(extractor, pictures, 7)
    np.testing.assert_allclose(one, seven, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(seven, extract(extractor, pictures, 7))
    assert np.ptp(seven, axis=0).max() > 1e-3


def test_gradient_equals_finite_difference(case):
    _, extractor = case
    if extractor.network is not None:
        extractor.network.double()
    generator = torch.Generator().manual_seed(0)
    images = 0.2 + 0.6 * torch.rand(1, 3, 40, 44, generator=generator, dtype=torch.float64)
    direction = torch.randn(images.shape, generator=generator, dtype=torch.float64)
    weight = torch.randn(extractor.forward(images).shape, generator=generator, dtype=torch.float64)

    def value(x):
        return (extractor.forward(x) * weight).sum()

    x = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(value(x), x)
    step = 1e-6
    difference = (value(images + step * direction) - value(images - step * direction)) / (2 * step)
    assert abs(difference) > 1e-8
    torch.testing.assert_close((gradient * direction).sum(), difference, rtol=1e-4, atol=1e-8)


def test_extraction_is_evaluation(case, pictures):
    _, extractor = case
    if extractor.network is None:
        return
    before = extractor.fingerprint()
    reference = extract(extractor, pictures)
    extractor.network.train()  # someone's hand
    np.testing.assert_array_equal(extract(extractor, pictures), reference)
    assert not any(p.requires_grad for p in extractor.network.parameters())
    assert extractor.fingerprint() == before


def test_batch_norm_in_training_mode_would_be_caught(pictures):
    extractor = build("timm", "x", model="test_resnet", random_weights=3, size=64)
    reference = extractor.fingerprint()["weights_sha256"]
    images = extractor.load_images(pictures.table["path"].tolist())
    torch.testing.assert_close(extractor.forward(images)[:2], extractor.forward(images[:2]), rtol=1e-4, atol=1e-5)
    extractor.network.train()
    assert not torch.allclose(extractor.forward(images)[:2], extractor.forward(images[:2]), rtol=1e-2)
    assert extractor.fingerprint()["weights_sha256"] != reference


def test_extraction_leaves_global_settings_alone(case, pictures):
    _, extractor = case
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    extract(extractor, pictures)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_fingerprint_says_what_decides_the_numbers(case):
    import json

    name, extractor = case
    fingerprint = json.loads(json.dumps(extractor.fingerprint()))
    assert fingerprint["class"] == CASES[name][0]
    assert fingerprint["arguments"].items() >= CASES[name][1].items()
    assert "torch" in fingerprint["versions"]
    assert (fingerprint["weights_sha256"] is None) == (name in ("gabor", "pixels"))


def test_random_weights_follow_their_seed():
    digests = [
        build("timm", "x", model="test_vit", random_weights=seed).fingerprint()["weights_sha256"] for seed in (0, 0, 1)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_wrong_images_are_refused(case):
    _, extractor = case
    with pytest.raises(DataError, match=r"shape \(1, 1, 8, 8\), wanted \(batch, 3"):
        extractor.forward(torch.zeros(1, 1, 8, 8))
