"""The autoencoder: its measure, its standardised latents, and that training lowers the loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainenc.core.types import DataError
from brainenc.nn.training import Recipe
from brainenc.pocket.image_net import as_input
from brainenc.pocket.train_autoencoder import (
    AutoencoderRecipe,
    as_images,
    build,
    decibels,
    draw_images,
    encode_latents,
    fit_autoencoder,
    psnr,
    reconstruction_loss,
    standardise,
)
from brainenc.world.scenes import render_scene

TINY = AutoencoderRecipe(
    channels=(8, 8, 16), batch_size=8, course=Recipe(steps=30, learning_rate=3e-3, validate_every=30, log_every=5)
)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.stack([render_scene(500_000 + i).image for i in range(24)])


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(TINY).eval()


def test_images_survive_the_way_in_and_out(images):
    assert np.array_equal(as_images(as_input(images)), images)
    given = as_input(images[:2])
    assert given.shape == (2, 3, 64, 64) and given.min() >= -1 and given.max() <= 1
    with pytest.raises(DataError, match="wanted uint8"):
        as_input(images.astype(np.float32))


def test_decibels_of_a_known_error(images):
    flat = np.full((2, 4, 4, 3), 100, np.uint8)
    assert np.allclose(psnr(flat + 10, flat), 20 * np.log10(255 / 10))
    assert psnr(flat, flat).min() > 100
    dark = images.copy()
    dark[0] = 0
    assert psnr(dark, images)[0] < 20  # and not the mean over the batch: the others are untouched
    assert psnr(dark, images)[1] > 100


def test_standardising_changes_latents_and_nothing_that_is_decoded(network, images):
    before = list(encode_latents(network, images))
    twin = build(TINY).eval()
    twin.load_state_dict(network.state_dict())
    standardise(twin, images)
    means, deviations = (
        np.concatenate(parts).astype(np.float64) for parts in zip(*encode_latents(twin, images), strict=True)
    )
    assert np.allclose(means.mean((0, 2, 3)), 0, atol=5e-3)
    assert np.allclose(means.std((0, 2, 3)), 1, atol=5e-3)
    spread = np.concatenate([mean for mean, _ in before]).astype(np.float64).std((0, 2, 3))
    old = np.concatenate([deviation for _, deviation in before]).astype(np.float64)
    assert np.allclose(deviations, old / spread[:, None, None], rtol=1e-2)
    with torch.no_grad():
        given = as_input(images)
        wanted = network.decode(network.encode(given).latent_dist.mean).sample
        came = twin.decode(twin.encode(given).latent_dist.mean).sample
    assert (came - wanted).abs().max() < 1e-4
    assert twin.config.scaling_factor == 1.0


def test_reading_latents_leaves_the_gradient_switch_alone(network, images):
    for _ in encode_latents(network, images, n_per_batch=8):
        assert torch.is_grad_enabled()


def test_crops_come_first_and_whole_images_last(images):
    generator = np.random.default_rng(0)
    assert draw_images(images, 0, generator, TINY).shape == (8, 3, 32, 32)
    assert draw_images(images, 29, generator, TINY).shape == (4, 3, 64, 64)


def test_a_perfect_reconstruction_costs_only_its_latents(images):
    class Perfect:
        """Decodes to what it was given; its posterior is the standard normal."""

        def encode(self, given):
            self.given = given
            zeros = torch.zeros(len(given), 4, 16, 16)
            posterior = type("Posterior", (), {"mean": zeros, "std": zeros + 1, "logvar": zeros})()
            return type("Output", (), {"latent_dist": posterior})()

        def decode(self, latents):
            return type("Output", (), {"sample": self.given})()

    noise = torch.zeros(2, 4, 16, 16)
    assert reconstruction_loss(Perfect(), as_input(images[:2]), noise, TINY) == 0


def test_training_lowers_the_loss_and_the_folder_loads(tmp_path, images):
    from diffusers import AutoencoderKL

    scenes = type("Scenes", (), {"images": images})()
    network, log = fit_autoencoder(scenes, scenes, tmp_path / "work", TINY, seed=0)
    losses = log.column("loss")
    assert losses[-1] < 0.8 * losses[0]
    network.save_pretrained(tmp_path / "saved")
    again = AutoencoderKL.from_pretrained(tmp_path / "saved", local_files_only=True).eval()
    assert np.allclose(decibels(again, images), decibels(network, images), atol=1e-4)
    longer = replace(TINY, course=replace(TINY.course, steps=31))
    with pytest.raises(DataError, match="earlier training"):
        fit_autoencoder(scenes, scenes, tmp_path / "work", longer, seed=0)
