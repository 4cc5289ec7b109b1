"""read_attention: the stored maps are those of the stored encoder, in a stated order, and can be drawn."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors import safe_open

from brainenc import encoders
from brainenc.core import storage
from brainenc.core.types import StimulusSet
from pipelines.read_attention import overlay_figure, read_attention
from tests.pipelines.token_world import N_CHANNELS, N_STIMULI, N_TESTED, SIDE, fit, token_world  # noqa: F401


def read(world, made, name, with_pictures):
    table = pd.DataFrame(index=pd.Index([f"s{i:03}" for i in range(N_STIMULI)], name="stimulus_id"))
    table["path"] = [str(world.folder / f"{i % 3}.png") for i in range(N_STIMULI)] if with_pictures else ""
    for i in range(3):
        Image.fromarray(np.full((20, 20, 3), 80 * i, np.uint8)).save(world.folder / f"{i}.png")
    storage.save_stimuli(world.folder / "stimuli.tsv", StimulusSet(table))
    files = world.folder / f"{name}.safetensors", world.folder / f"{name}.png"
    inputs = [world.folder / file for file in ("stimuli.tsv", "responses.h5", "split.tsv", "tokens.h5")]
    read_attention(*inputs, made.output, made.card, {"average": True}, *files)
    return files


@pytest.mark.parametrize("with_pictures", [True, False], ids=["pictures", "without"])
def test_maps_are_those_of_the_encoder_and_are_told_by_name(world, with_pictures):
    made = fit(world, "attention")
    stored, picture = read(world, made, "read", with_pictures)
    arrays = storage.load_arrays(stored)
    with safe_open(stored, "numpy") as file:
        notes = json.loads(file.metadata()["brainenc"])
    config = dict(storage.read_json(made.card)["encoder"])
    encoder = encoders.resolve(config.pop("class")).from_state(config, storage.load_arrays(made.output))
    tokens = storage.load_features(world.folder / "tokens.h5").values.reshape(-1, SIDE, SIDE, N_CHANNELS)
    assert json.loads(notes["stimuli"]) == [f"s{i:03}" for i in range(N_TESTED)]
    names = json.loads(notes["queries"])
    assert sorted(names) == sorted(encoder.query_names_) and len(names) > 1
    direct = encoder.maps(tokens[:N_TESTED])
    order = [encoder.query_names_.index(name) for name in names]
    np.testing.assert_allclose(arrays["maps"], direct[:, order], atol=1e-6)
    np.testing.assert_allclose(arrays["maps"].sum(axis=(2, 3)), 1, atol=1e-5)
    best = [np.nanmean(encoder.validation_correlation_[encoder.membership_[q]]) for q in order]
    assert best == sorted(best, reverse=True)
    with Image.open(picture) as drawn:
        assert drawn.width > 400 and np.asarray(drawn.convert("L")).std() > 5
    again, same = read(world, made, "again", with_pictures)
    assert stored.read_bytes() == again.read_bytes() and picture.read_bytes() == same.read_bytes()


def test_a_query_that_looks_at_one_corner_is_drawn_there():
    maps = np.zeros((1, 1, 4, 4), np.float32)
    maps[0, 0, 0, 3] = 1.0
    figure = overlay_figure([None], maps, ["left V1"])
    drawn = figure.axes[1].images[-1].get_array()
    assert np.unravel_index(int(np.argmax(drawn)), drawn.shape) == (0, 3) and drawn.max() == pytest.approx(16)
    assert figure.axes[1].get_ylabel() == "left V1" and "even share" in figure.axes[-1].get_ylabel()
