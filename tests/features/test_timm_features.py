"""timm: layers, layouts, tokens, preprocessing against timm's own, checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from brainenc.core.types import DataError
from brainenc.features import build
from brainenc.features.layers import as_tokens, pool_tokens

FIXED = {"img_size": 32, "dynamic_img_size": False}
VIT = {"model": "test_vit", "random_weights": 3, "size": 32, "model_kwargs": {"img_size": 32}}


@pytest.fixture
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_class_token_and_patches_are_those_of_the_network(images):
    cls, tokens, mean = (build("timm", "x", **VIT, layer="norm", pooling=p) for p in ("cls", "tokens", "mean"))
    with torch.no_grad():
        oracle = cls.network.forward_features(cls.preprocess(images))
        torch.testing.assert_close(cls.forward(images), oracle[:, 0])
        torch.testing.assert_close(tokens.forward(images), oracle[:, 1:])
        torch.testing.assert_close(mean.forward(images), oracle[:, 1:].mean(dim=1))


@pytest.mark.parametrize("pooling", ["tokens", "mean"])
def test_a_layer_before_the_class_token_keeps_its_first_patch(images, pooling):
    extractor = build("timm", "x", **VIT | {"model_kwargs": FIXED}, layer="patch_embed", pooling=pooling)
    with torch.no_grad():
        oracle = extractor.network.patch_embed.proj(extractor.preprocess(images)).flatten(2).transpose(1, 2)
        torch.testing.assert_close(
            extractor.forward(images), oracle if pooling == "tokens" else oracle.mean(dim=1), rtol=1e-4, atol=1e-5
        )


def test_a_network_for_any_size_takes_any_size():
    extractor = build("timm", "x", **VIT | {"size": 64}, layer="blocks.1", pooling="tokens")
    assert extractor.shape == (16, 64)


def test_maps_of_both_layouts_become_row_major_tokens():
    grid = torch.arange(2 * 4 * 4 * 3.0).reshape(2, 4, 4, 3)  # NHWC
    for values in (grid, grid.permute(0, 3, 1, 2)):
        tokens = as_tokens(values, None, None, "x")
        assert torch.equal(tokens, grid.reshape(2, 16, 3))
    assert as_tokens(torch.zeros(1, 3, 1, 1), None, None, "x").shape == (1, 1, 3)
    cube = torch.arange(2 * 27.0).reshape(2, 3, 3, 3)
    assert torch.equal(as_tokens(cube, None, "NHWC", "x"), cube.reshape(2, 9, 3))
    assert torch.equal(as_tokens(cube, "NCHW", "NHWC", "x"), cube.permute(0, 2, 3, 1).reshape(2, 9, 3))
    with pytest.raises(DataError, match="set 'layout'"):
        as_tokens(torch.zeros(1, 3, 4, 5), None, None, "x")


def test_swin_maps_are_channels_last():
    kwargs = {"img_size": 64, "window_size": 4, "depths": (1, 1, 1, 1), "embed_dim": 24}
    extractor = build(
        "timm", "x", model="swin_tiny_patch4_window7_224", random_weights=0, size=64, model_kwargs=kwargs,
        layer="layers.1", pooling="tokens",
    )  # fmt: skip
    assert extractor.shape == (64, 48)


def test_tokens_that_are_none_are_refused():
    with pytest.raises(DataError, match="wanted 1 prefix tokens and 9 patches"):
        pool_tokens(torch.zeros(2, 7, 5), "mean", "x", 1, 9)
    with pytest.raises(DataError, match="no class token"):
        pool_tokens(torch.zeros(2, 7, 5), "cls", "x")
    with pytest.raises(DataError, match="cannot be taken"):
        pool_tokens(torch.zeros(2, 5), "tokens", "x")


@pytest.mark.parametrize("size", [(80, 56), (300, 200), (37, 37)])
def test_preprocessing_is_timms_own(size, tmp_path):
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import timm.data
    from PIL import Image

    coarse = np.random.default_rng(1).integers(60, 200, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    image.save(tmp_path / "a.png")
    extractor = build("timm", "x", model="test_resnet", random_weights=0)
    config = timm.data.resolve_data_config({}, model=extractor.network)
    oracle = timm.data.create_transform(**config)(image)
    ours = extractor.preprocess(extractor.load_images([str(tmp_path / "a.png")]))[0]
    assert ours.shape == oracle.shape == (3, 160, 160)
    assert ((ours - oracle).abs() * torch.tensor(config["std"])[:, None, None] * 255).max() < 1.01  # 8-bit rounding


def test_checkpoint_round_trip(tmp_path, images):
    original = build("timm", "x", **VIT)
    state = original.network.state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "a.pth")
    rest = {k: v for k, v in VIT.items() if k != "random_weights"}
    for file in ("a.safetensors", "a.pth"):
        loaded = build("timm", "x", **rest, checkpoint=str(tmp_path / file))
        assert loaded.fingerprint()["weights_sha256"] == original.fingerprint()["weights_sha256"]
        assert torch.equal(loaded.forward(images), original.forward(images))


def test_a_wrong_checkpoint_gives_one_clear_sentence(tmp_path):
    state = dict(build("timm", "x", **VIT).network.state_dict())
    rest = {k: v for k, v in VIT.items() if k != "random_weights"}
    state["head.weight"] = torch.zeros(3, 64)
    state["extra"] = state.pop("head.bias")
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(DataError) as caught:
        _ = build("timm", "space", **rest, checkpoint=str(tmp_path / "a.safetensors")).shape
    message = str(caught.value)
    for part in ("'space'", "a.safetensors", "'head.bias'", "'extra'", "(3, 64) instead of (1000, 64)", "model_kwargs"):
        assert part in message
    assert "\n" not in message


class _Payload:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("kind", ["garbage", "pickle", "empty"])
def test_a_checkpoint_that_is_none_is_refused_without_running_it(tmp_path, kind, capsys):
    path = tmp_path / "a.pth"
    if kind == "garbage":
        path.write_bytes(b"not a checkpoint")
    else:
        torch.save({"state_dict": {"a": _Payload()} if kind == "pickle" else {}}, path)
    with pytest.raises(DataError, match=r"'space': the checkpoint .*a\.pth"):
        _ = build("timm", "space", model="test_vit", checkpoint=str(path)).network
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "test_vit"}, "no source of weights given, wanted exactly one"),
        ({"model": "test_vit", "pretrained": True, "random_weights": 0}, "pretrained and random_weights given"),
        ({"model": "test_vit", "random_weights": True}, "wanted the seed"),
        ({"model": "test_vit", "checkpoint": "/nowhere.safetensors"}, "does not exist"),
        ({"model": "test_vit", "checkpoint": __file__}, "is not one of .safetensors"),
        ({"model": "test_vit", "random_weights": 0, "pooling": "max"}, "pooling is 'max', wanted one of 'mean'"),
        ({"model": "test_vit", "random_weights": 0, "pooling": "cls"}, "layer 'pooled' has no tokens"),
        ({"model": "test_vitt", "random_weights": 0}, "timm has no model 'test_vitt'"),
        ({"model": "test_vit", "random_weights": 0, "layer": "block.1"}, "no layer 'block.1'.*blocks.1"),
        (
            {"model": "test_vit", "random_weights": 0, "size": 64, "model_kwargs": FIXED},
            "refuses an image of 64",
        ),
        ({"model": "test_vit", "random_weights": 0, "std": [0, 1, 1]}, "std is .*wanted three positive numbers"),
        ({"model": "test_vit", "random_weights": 0, "model_kwargs": {"wings": 2}}, "correct model_kwargs"),
        ({"model": "test_resnet", "random_weights": 0, "layer": "layer1", "pooling": "cls"}, "no class token"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(DataError, match=f"(?s)'space'.*{message}|preprocessing: {message}"):
        _ = build("timm", "space", **arguments).shape


def test_weights_that_cannot_be_fetched_name_the_cure(monkeypatch):
    import timm

    def offline(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(DataError, match="no network.*give 'checkpoint'"):
        _ = build("timm", "space", model="test_vit", pretrained=True).network
