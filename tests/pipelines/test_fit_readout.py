"""fit_readout: what is stored is what predicted, sealed samples decide nothing, a killed training goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from brainenc import encoders
from brainenc.core import storage
from brainenc.core.types import DataError, Responses
from brainenc.nn import training
from brainenc.stats import metrics
from pipelines.study import resolve_study
from tests.pipelines.token_world import N_CHANNELS, N_STIMULI, N_TESTED, SIDE, fit, token_world  # noqa: F401


@pytest.mark.parametrize("kind", ["attention", "factorised"])
def test_card_and_state_give_the_stored_predictions_and_nothing_else_is_left(world, kind):
    made = fit(world, kind)
    card, state = storage.read_json(made.card), storage.load_arrays(made.output)
    config = dict(card["encoder"])
    encoder = encoders.resolve(config.pop("class")).from_state(config, state)
    tokens = storage.load_features(world.folder / "tokens.h5").values.reshape(-1, SIDE, SIDE, N_CHANNELS)
    stored = storage.load_arrays(made.predictions)["Y_hat"]
    np.testing.assert_array_equal(encoder.predict(tokens[:N_TESTED]), stored)
    assert {path.name for path in made.folder.iterdir()} == {
        "encoder.safetensors", "encoder.json", "predictions.safetensors", "training.csv",
    }  # fmt: skip
    course = pd.read_csv(made.log)
    told = card["diagnostics"]
    assert len(course) == told["epochs"] == 3 and "seconds" not in course
    best = course["validation_correlation"]
    assert told["best_epoch"] == best.argmax() + 1 and told["validation_correlation"] == pytest.approx(best.max())


def test_what_was_planted_is_predicted_and_only_with_the_right_pictures(world):
    truth = world.Y[:N_TESTED] / 2 + world.Y[N_STIMULI : N_STIMULI + N_TESTED] / 2
    r = metrics.correlation(truth, storage.load_arrays(fit(world, "learner").predictions)["Y_hat"])
    tokens = storage.load_features(world.folder / "tokens.h5")
    mixed = world.folder / "mixed.h5"
    storage.save_features(mixed, replace(tokens, values=np.random.default_rng(1).permutation(tokens.values)))
    twin = fit(world, "learner", "mixed", features=mixed)
    mixed_r = metrics.correlation(truth, storage.load_arrays(twin.predictions)["Y_hat"])
    assert r.mean() > 0.7 and mixed_r.mean() < 0.3


def test_test_responses_change_nothing_and_training_responses_do(world):
    before = fit(world, "factorised")
    same = {}
    for name, rows in (("sealed", world.tested), ("opened", ~world.tested)):
        Y = world.Y.copy()
        Y[rows] = 100 * np.random.default_rng(3).normal(size=Y[rows].shape)
        path = world.folder / f"{name}.h5"
        storage.save_responses(path, Responses(Y, world.shown, world.space, "z"))
        after = fit(world, "factorised", name, responses=path)
        one, other = (storage.load_arrays(made.output) for made in (before, after))
        same[name] = all(np.array_equal(one[key], other[key], equal_nan=True) for key in one)
    assert same == {"sealed": True, "opened": False}


def test_a_killed_training_goes_on_and_ends_bit_equal(world, monkeypatch):
    whole = fit(world, "attention", "whole")
    saved, original = [], training.save_checkpoint

    def dies(*arguments, **options):
        original(*arguments, **options)
        saved.append(arguments)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_checkpoint", dies)
    with pytest.raises(KeyboardInterrupt):
        fit(world, "attention", "killed")
    left = world.folder / "attention-killed"
    assert {path.name.split("-")[0] for path in left.iterdir()} == {"training"}  # checkpoints, nothing half-written
    resumed = fit(world, "attention", "killed")
    assert len(saved) < 5  # it did not begin anew
    for name in ("output", "predictions", "log", "card"):
        assert getattr(whole, name).read_bytes() == getattr(resumed, name).read_bytes()


def test_every_outer_fold_is_predicted_by_the_others(world):
    table = storage.read_table(world.folder / "split.tsv")
    table["test_fold"] = [int(name[1:]) % 3 for name in table["stimulus_id"]]
    storage.write_table(world.folder / "folds.tsv", table, index=False)
    made = fit(world, "factorised", split=world.folder / "folds.tsv")
    assert np.isfinite(storage.load_arrays(made.predictions)["Y_hat"]).all()
    card = storage.read_json(made.card)
    assert card["state_of"] == "all samples, after cross-validation" and len(card["folds"]) == 3


def study(encoder=None, **features):
    return {
        "study": "s",
        "dataset": {"class": "planted"},
        "subjects": ["01"],
        "split": {"class": "column"},
        "features": features,
        "encoders": {"look": {"class": "attention", "features": list(features), **(encoder or {})}},
    }


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"class": "open_clip", "model": "pocket-clip"}, "looks at tokens"),
        ({"class": "pixels"}, "needs an encoder with its own core"),
        ({"class": "table", "columns": ["a"]}, "has no tokens"),
        ({"class": "open_clip", "model": "pocket-clip", "layer": "layer3", "pooling": "tokens", "pca": 9}, "'pca'"),
    ],
    ids=["pooled", "pixels", "table", "pca"],
)
def test_feature_spaces_without_tokens_are_refused_before_any_work(entry, said):
    with pytest.raises(DataError, match=f"encoders.look.features: 'space'.*{said}"):
        resolve_study(study(space=entry))
    tokens = {"class": "open_clip", "model": "pocket-clip", "layer": "layer3", "pooling": "tokens"}
    assert resolve_study(study(space=tokens)).trained == ["look"]
    core = {"class": "factorised", "core_widths": [8, 8]}
    assert resolve_study(study(core, space={"class": "pixels"})).trained == ["look"]
