"""Reading images of every mode, and refusing what is none, before anything starts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from brainenc.core.types import DataError, StimulusSet
from brainenc.features import build
from brainenc.features.images import Preprocessing, centre_crop, load_image

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def stimuli(paths):
    table = pd.DataFrame({"path": [str(p) for p in paths]}, index=[f"s{i}" for i in range(len(paths))])
    return StimulusSet(table.rename_axis("stimulus_id"))


def saved(image, path):
    image.save(path)
    return load_image(path).numpy()


def test_colour_is_read_channels_first_in_zero_to_one(tmp_path):
    ours = saved(Image.fromarray(COLOUR), tmp_path / "a.png")
    np.testing.assert_array_equal(ours, (COLOUR / np.float32(255)).transpose(2, 0, 1))
    assert ours.dtype == np.float32


def test_grey_palette_and_deep_grey_agree_with_colour(tmp_path):
    grey = COLOUR[..., 0]
    expected = np.repeat((grey / np.float32(255))[None], 3, axis=0)
    np.testing.assert_array_equal(saved(Image.fromarray(grey), tmp_path / "grey.png"), expected)
    deep = saved(Image.fromarray(grey.astype(np.uint16) * 257), tmp_path / "deep.png")
    np.testing.assert_allclose(deep, expected, atol=1e-6)
    palette = Image.fromarray(COLOUR).quantize(200)
    exact = np.asarray(palette.convert("RGB")).transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_array_equal(saved(palette, tmp_path / "palette.png"), exact)
    bits = saved(Image.fromarray(grey > 99), tmp_path / "bits.png")
    np.testing.assert_array_equal(bits[0], (grey > 99).astype(np.float32))


def test_transparent_pixels_show_mid_grey_whatever_lies_below(tmp_path):
    alpha = np.full((6, 9, 1), 255, dtype=np.uint8)
    alpha[:, :4] = 0
    ours = saved(Image.fromarray(np.concatenate([COLOUR, alpha], axis=2)), tmp_path / "a.png")
    np.testing.assert_allclose(ours[:, :, :4], 128 / 255, atol=1e-6)
    np.testing.assert_allclose(ours[:, :, 4:], COLOUR[:, 4:].transpose(2, 0, 1) / 255, atol=1e-6)


def test_photographs_stand_upright(tmp_path):
    image = Image.fromarray(COLOUR)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    image.save(tmp_path / "a.png", exif=exif)
    turned = load_image(tmp_path / "a.png").numpy()
    np.testing.assert_allclose(turned, np.rot90(COLOUR, -1).transpose(2, 0, 1) / 255, atol=1e-6)


def test_a_row_depends_on_its_file_alone(tmp_path):
    paths = []
    for i, size in enumerate([(40, 40), (64, 48), (20, 90)]):
        Image.fromarray(COLOUR).resize(size).save(tmp_path / f"{i}.png")
        paths.append(tmp_path / f"{i}.png")
    extractor = build("gabor", "g", size=32, frequencies=[3], grid=4)
    together = np.concatenate(list(extractor.extract(stimuli(paths))))
    for i, path in enumerate(paths):
        np.testing.assert_allclose(next(extractor.extract(stimuli([path])))[0], together[i], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("fault", ["missing", "text", "truncated", "folder"])
@pytest.mark.parametrize("class_name", ["gabor", "timm"])
def test_files_that_are_no_images_are_refused_before_the_start(tmp_path, fault, class_name):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(COLOUR).save(good)
    if fault == "text":
        bad.write_text("hello")
    elif fault == "truncated":
        bad.write_bytes(good.read_bytes()[:80])
    elif fault == "folder":
        bad.mkdir()
    arguments = {"model": "test_vit", "random_weights": 0} if class_name == "timm" else {}
    extractor = build(class_name, "space", **arguments)
    with pytest.raises(DataError, match=r"'space': the (image|file) .*bad\.png.* of stimulus 's1'.*(correct|replace)"):
        extractor.extract(stimuli([good, bad]))
    assert "network" not in vars(extractor)  # refused before anything was built


def test_an_image_that_breaks_late_is_named(tmp_path):
    Image.fromarray(np.tile(COLOUR, (40, 40, 1))).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.jpg.*cannot be read"):
        list(build("gabor", "g").extract(stimuli([tmp_path / "a.jpg"])))


def test_a_table_without_paths_is_refused():
    table = pd.DataFrame({"text": ["a"]}, index=pd.Index(["s0"], name="stimulus_id"))
    with pytest.raises(DataError, match="no column 'path'"):
        build("gabor", "g").extract(StimulusSet(table))


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True])
def test_batch_size_is_a_positive_whole_number(tmp_path, batch_size):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="batch_size is"):
        build("gabor", "g").extract(stimuli([tmp_path / "a.png"]), batch_size=batch_size)


def test_preprocessing_at_its_own_size_only_normalises():
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ours = Preprocessing(size=16, mean=(0.1, 0.2, 0.3), std=(2, 3, 4))(images)
    for channel, (mean, std) in enumerate([(0.1, 2), (0.2, 3), (0.3, 4)]):
        torch.testing.assert_close(ours[:, channel], (images[:, channel] - mean) / std)


def test_resizing_keeps_constants_and_shapes():
    flat = torch.full((1, 3, 50, 31), 0.25)
    for mode in ("shortest", "squash"):
        ours = Preprocessing(size=20, crop_fraction=0.8, resize_mode=mode)(flat)
        torch.testing.assert_close(ours, torch.full((1, 3, 20, 20), 0.25))


def test_the_crop_is_central():
    image = torch.arange(7.0).expand(1, 3, 7, 7)
    assert centre_crop(image, 3)[0, 0, 0].tolist() == [2, 3, 4]


def test_fitting_first_changes_nothing():
    """Images from files and images from a generator pass the same function."""
    images = torch.rand(1, 3, 60, 90, generator=torch.Generator().manual_seed(0))
    preprocess = Preprocessing(size=24, crop_fraction=0.9, mean=(0.5,) * 3)
    torch.testing.assert_close(preprocess(preprocess.fit(images)), preprocess(images))
