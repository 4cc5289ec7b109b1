"""Measures of the image generator on pictures whose answer is known, each with a twin that must fail."""

from __future__ import annotations

import numpy as np
import pytest

from brainenc.pocket.diffusion_scores import (
    clean_share,
    contact_sheet,
    content_agreement,
    nearest_distances,
    novelty,
    prompts_of,
    read_share,
    sample,
)
from brainenc.world.scenes import CATEGORIES, render_scene


@pytest.fixture(scope="module")
def fresh() -> np.ndarray:
    return np.stack([render_scene(500_000 + i).image for i in range(60)])


def said(*probabilities):
    """A judge that says these whatever it sees."""
    return lambda images: np.array(probabilities)[: len(images)]


def one(index: int, high: float = 0.95, second: float = 0.02) -> np.ndarray:
    row = np.full(len(CATEGORIES), second)
    row[index] = high
    return row


def test_agreement_names_the_worst_category():
    pictures = {"face": np.zeros((4, 8, 8, 3), np.uint8), "tool": np.zeros((2, 8, 8, 3), np.uint8)}
    came = content_agreement(pictures, said(one(0), one(0), one(5), one(0)))
    assert came["prompted_face"] == 0.75 and came["prompted_tool"] == 0.0
    assert came["prompted_worst"] == 0.0 and came["prompted"] == 0.5


def test_a_clean_picture_shows_one_thing_and_nothing_else():
    pictures = np.zeros((4, 8, 8, 3), np.uint8)
    judge = said(one(0), one(3, high=0.7), one(2, second=0.6), one(6))
    assert clean_share(pictures, judge) == 0.5


def test_real_new_scenes_are_novel_and_copies_are_not(scenes, fresh):
    assert novelty(fresh, scenes.images) >= 0.9
    copies = np.array(scenes.images[:60])
    assert novelty(copies, scenes.images) == 0.0
    rng = np.random.default_rng(0)
    blurred = np.clip(copies + rng.normal(0, 9, copies.shape), 0, 255).astype(np.uint8)  # as an autoencoder errs
    assert novelty(blurred, scenes.images) <= 0.1


def test_nearest_distances_are_those_of_the_slow_way(scenes, fresh):
    few = np.array(scenes.images[:30])
    small = [image.reshape(32, 2, 32, 2, 3).mean((1, 3)) / 255 for image in few]
    wanted = [
        min(np.sqrt(((image.reshape(32, 2, 32, 2, 3).mean((1, 3)) / 255 - other) ** 2).mean()) for other in small)
        for image in fresh[:8]
    ]
    assert np.allclose(nearest_distances(fresh[:8], few, n_per_block=7), wanted, atol=1e-4)
    among = nearest_distances(few, few, n_per_block=7, same=True)
    assert among.min() > 0 and nearest_distances(few, few).max() < 1e-3


def test_reading_and_prompts():
    assert read_share(["cat", "dog"], ["cat", "sun"]) == 0.5
    prompts = prompts_of("tool", 5)
    assert len(set(prompts)) == 5
    assert prompts == prompts_of("tool", 5) != prompts_of("tool", 5, "test")


def test_sampling_depends_on_the_seed_alone():
    class Painter:
        """Paints noise from the generators it is given, and notes the guidance."""

        def __call__(self, prompts, generator, guidance_scale, **_):
            import torch

            self.guidance = guidance_scale
            drawn = [torch.rand(8, 8, 3, generator=each).numpy() for each in generator]
            return type("Output", (), {"images": np.stack(drawn)})()

    painter = Painter()
    whole = sample(painter, ["a face"] * 5, seed=3)
    assert painter.guidance == 3.0
    assert np.array_equal(whole, sample(painter, ["a face"] * 5, seed=3, n_per_batch=2))
    assert not np.array_equal(whole, sample(painter, ["a face"] * 5, seed=4))
    sample(painter, ["", ""], seed=3)
    assert painter.guidance == 1.0


def test_a_contact_sheet_holds_every_picture(fresh, tmp_path):
    from PIL import Image

    contact_sheet(fresh[:7], tmp_path / "sheet.png", n_columns=3, scale=1, gap=2)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (3 * 66 - 2, 3 * 66 - 2, 3)
    assert np.array_equal(sheet[66:130, 132:196], fresh[5])
