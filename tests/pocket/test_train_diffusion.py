"""The image generator: its loss against the scheduler, its folder, and a few steps of training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainenc.core.types import DataError
from brainenc.nn.training import Recipe
from brainenc.pocket import train_diffusion
from brainenc.pocket.clip_model import DESIGNS, build, save_clip
from brainenc.pocket.image_generator import assemble, build_network, build_scheduler, load_generator, save_generator
from brainenc.pocket.image_net import NetShape, find_heads, save_network
from brainenc.pocket.image_net import build as build_net
from brainenc.pocket.text_tower import convert_text_tower
from brainenc.pocket.train_autoencoder import AutoencoderRecipe
from brainenc.pocket.train_autoencoder import build as build_autoencoder
from brainenc.pocket.train_diffusion import DiffusionRecipe, even_times, loss_weights, token_states, velocity_loss

TINY_AUTOENCODER = AutoencoderRecipe(
    channels=(8, 8, 16), batch_size=8, course=Recipe(steps=12, learning_rate=3e-3, log_every=4)
)
TINY = DiffusionRecipe(
    channels=(16, 24),
    n_scenes=192,
    n_scored=2,
    batch_size=8,
    autoencoder=TINY_AUTOENCODER,
    course=Recipe(steps=24, learning_rate=3e-3, ema=0.9, validate_every=12, log_every=6),
)


@pytest.fixture(scope="module")
def clip(tokenizer):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(DESIGNS["pocket-clip"], tokenizer).eval()


@pytest.fixture(scope="module")
def text_encoder(clip, tokenizer):
    return convert_text_tower(clip, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)


@pytest.fixture(scope="module")
def generator(text_encoder, tokenizer):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build_network((16, 24), text_width=128)
        autoencoder = build_autoencoder(TINY_AUTOENCODER)
    return assemble(network, autoencoder, text_encoder, tokenizer)


def noisy(scheduler, n: int = 6):
    source = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(n, 4, 16, 16, generator=source) for _ in range(2))
    return latents, noise, even_times(n, 1000, source)


def oracle(answer):
    """A network that answers ``answer`` whatever it is asked."""
    return lambda *_: type("Output", (), {"sample": answer})()


def test_a_network_that_knows_the_velocity_has_no_loss():
    scheduler = build_scheduler()
    latents, noise, times = noisy(scheduler)
    kept = scheduler.alphas_cumprod[times].view(-1, 1, 1, 1)
    velocity = kept.sqrt() * noise - (1 - kept).sqrt() * latents
    states = torch.zeros(len(latents), 3, 8)
    assert velocity_loss(oracle(velocity), scheduler, latents, states, times, noise) < 1e-10
    assert velocity_loss(oracle(noise), scheduler, latents, states, times, noise) > 0.1  # the broken twin: noise


def test_from_the_velocity_the_sampler_finds_the_latents():
    """v and z_t give z back: what is trained is what the scheduler's step undoes."""
    scheduler = build_scheduler()
    latents, noise, times = noisy(scheduler)
    scheduler.set_timesteps(25)
    velocity = scheduler.get_velocity(latents, noise, times)
    for row, time in enumerate(times):
        seen = scheduler.add_noise(latents, noise, times)[row : row + 1]
        found = scheduler.step(velocity[row : row + 1], int(time), seen).pred_original_sample
        assert (found - latents[row : row + 1]).abs().max() < 1e-3


def test_weights_are_min_snr_of_the_velocity():
    scheduler = build_scheduler()
    times = torch.arange(0, 1000, 37)
    ratio = scheduler.alphas_cumprod[times] / (1 - scheduler.alphas_cumprod[times])
    weights = loss_weights(scheduler, times, 5.0)
    few = ratio < 5
    assert few.any() and (~few).any()
    # As the error of z is that of v divided by sqrt(snr + 1): min(snr, 5) on z, which is snr on z (1 on noise) below 5.
    assert torch.allclose(weights[few], (ratio / (ratio + 1))[few])
    assert torch.allclose(weights[~few], (5 / (ratio + 1))[~few])


def test_times_are_even():
    source = torch.Generator().manual_seed(0)
    for n_times in (1, 8, 32):
        for _ in range(20):
            times = even_times(n_times, 1000, source)
            assert times.shape == (n_times,) and times.min() >= 0 and times.max() < 1000
            gaps = torch.diff(torch.sort(times).values)
            assert n_times == 1 or (gaps - 1000 / n_times).abs().max() <= 1
    many = torch.cat([even_times(8, 1000, source) for _ in range(400)]).float()
    assert abs(many.mean() - 499.5) < 3
    order = torch.stack([even_times(8, 1000, source) for _ in range(300)]).float()
    assert (order.mean(0) - 499.5).abs().max() < 60  # no place of the batch has times of its own


def test_states_are_those_the_pipeline_uses(generator, text_encoder, tokenizer):
    came = token_states(text_encoder, tokenizer, ["a red car", ""])
    wanted, _ = generator.encode_prompt(["a red car", ""], "cpu", 1, False)
    assert torch.equal(came, wanted)
    assert came.shape == (2, tokenizer.model_max_length, 128)


def test_the_folder_loads_through_diffusers(generator, tmp_path):
    from diffusers import DiffusionPipeline

    save_generator(generator, tmp_path)
    again = DiffusionPipeline.from_pretrained(str(tmp_path), local_files_only=True)
    assert {p.dtype for part in (again.unet, again.vae, again.text_encoder) for p in part.parameters()} == {
        torch.float32
    }
    ours = load_generator(tmp_path)
    pictures = [
        pipeline(
            ["a red car"], num_inference_steps=3, generator=torch.Generator().manual_seed(0), output_type="np"
        ).images
        for pipeline in (generator, again, ours)
    ]
    assert pictures[0].shape == (1, 64, 64, 3)
    assert np.array_equal(pictures[1], pictures[2])
    assert np.abs(pictures[1] - pictures[0]).max() < 0.05  # half precision on disk
    files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl", ".ckpt"))]
    assert next(generator.unet.parameters()).dtype == torch.float32  # saving changed nothing
    with pytest.raises(DataError, match="holds no pipeline"):
        load_generator(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def sources(tmp_path_factory, clip, tokenizer, scenes):
    """Folders of an untrained pocket-clip and pocket-net, as ``make`` looks for them."""
    out = tmp_path_factory.mktemp("out")
    save_clip(clip, DESIGNS["pocket-clip"], tokenizer, out / "pocket-clip")
    heads, shape = find_heads(scenes.things, 1), NetShape(layers=(1, 1, 1, 1), channels=(8, 8, 8, 8))
    save_network(build_net(heads.n_outputs, shape), out / "pocket-net", shape, heads)
    for name in ("pocket-clip", "pocket-net"):
        (out / name / "card.json").write_text("{}")
    return out


def test_training_lowers_the_loss_and_says_its_scores(sources, cache_folder, scenes, monkeypatch):
    few = train_diffusion.open_scenes
    monkeypatch.setattr(
        train_diffusion, "open_scenes", lambda cache, split, n: few(cache, split, min(n, 192), processes=1)
    )
    made = train_diffusion.make("pocket-diffusion", sources, cache_folder, recipe=TINY)
    losses = made.log.column("validation_loss")
    assert losses[-1] < losses[0]
    assert set(made.floors) <= set(made.scores)
    assert "word_read" in made.scores and "tool_kind" in made.scores
    assert (sources / "sheets-pocket-diffusion" / "tool.png").is_file()
    again = train_diffusion.make("pocket-diffusion", sources, cache_folder, recipe=TINY, resume=True)
    timed = {"images_per_second"}
    assert {k: v for k, v in again.scores.items() if k not in timed} == {
        k: v for k, v in made.scores.items() if k not in timed
    }


def test_fewer_steps_shorten_both_courses_and_other_names_are_refused(tmp_path):
    short = train_diffusion.shortened(TINY, 12)
    assert (short.course.steps, short.autoencoder.course.steps) == (12, 6)
    assert train_diffusion.shortened(TINY, None) == TINY
    assert replace(short, course=TINY.course, autoencoder=TINY_AUTOENCODER) == TINY
    with pytest.raises(DataError, match="is no generator"):
        train_diffusion.make("pocket-clip", tmp_path, tmp_path)
