"""fit_encoder: the stored encoder is the one that predicted, and sealed samples decide nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from brainenc import encoders
from brainenc.core import storage
from brainenc.core.align import align
from brainenc.core.spaces import ParcelSpace
from brainenc.core.stored import column_blocks
from brainenc.core.types import DataError, Features, Responses
from brainenc.encoders.banded import Banded
from brainenc.encoders.delay import Delayer
from brainenc.features.reduction import PrincipalComponents
from brainenc.stats import metrics, splits
from pipelines import fit_encoder as fit_step
from pipelines.fit_encoder import fit_encoder
from pipelines.samples import load_samples
from tests.pipelines.conftest import BROKEN, DEAD
from tests.pipelines.toy_steps import changed_responses, fit, folder_of, model_of, same_arrays, score


def restored(folder):
    """Encoder and reductions as anyone would load them: card and state, nothing else."""
    card, state = storage.read_json(folder / "encoder.json"), storage.load_arrays(folder / "encoder.safetensors")
    config = dict(card["encoder"])
    encoder = encoders.resolve(config.pop("class")).from_state(config, state)
    reductions = {}
    for name, entry in card["features"].items():
        if entry.get("pca"):
            own = {key.split(":")[2]: value for key, value in state.items() if key.startswith(f"pca:{name}:")}
            reductions[name] = PrincipalComponents.from_state({"n_components": entry["pca"]}, own)
    return encoder, reductions


def designs_of(toy, label, ids):
    """Features of each band, reduced by the stored components, one row per id."""
    _, reductions = restored(folder_of(toy, label))
    for name in model_of(toy, label).features:
        X = align(storage.load_features(toy.folder / "features" / f"{name}.h5"), ids)
        yield reductions[name].transform(X) if name in reductions else X


@pytest.mark.parametrize("label", ["ridge/a", "banded/a+b", "banded/b"])
def test_stored_encoder_predicts_the_test_samples_bit_for_bit(toy, label):
    samples = load_samples(toy.subject / "responses.h5", toy.subject / "split.tsv", average=True)
    encoder, _ = restored(folder_of(toy, label))
    designs = [X[samples.tested] for X in designs_of(toy, label, samples.stimulus_ids)]
    predicted = encoder.predict(designs if label.startswith("banded") else designs[0])
    stored = storage.load_arrays(folder_of(toy, label) / "predictions.safetensors")["Y_hat"]
    assert predicted.tobytes() == stored.tobytes()
    assert stored.shape == (15, 24)


def test_band_predictions_and_training_mean_sum_to_the_joint_prediction(toy):
    held_out = storage.load_arrays(folder_of(toy, "banded/a+b") / "predictions.safetensors")
    mean = storage.load_arrays(folder_of(toy, "banded/a+b") / "encoder.safetensors")["target_mean"]
    total = held_out["band:a"] + held_out["band:b"] + mean
    np.testing.assert_allclose(total, held_out["Y_hat"], atol=1e-5)


def test_test_responses_change_no_coefficient_and_training_responses_do(toy, tmp_path):
    table = storage.read_table(toy.subject / "split.tsv")
    tested = (table["test_fold"] == 0).to_numpy()
    source = toy.subject / "responses.h5"
    sealed = changed_responses(source, tmp_path / "sealed.h5", tested)
    opened = changed_responses(source, tmp_path / "opened.h5", ~tested)
    before = folder_of(toy, "banded/a+b") / "encoder.safetensors"
    after = fit(toy, "banded/a+b", tmp_path / "sealed", responses=sealed)
    assert same_arrays(before, after.encoder)
    assert same_arrays(before.with_name("predictions.safetensors"), after.predictions)
    # The same comparison does see a change where there may be one.
    twin = fit(toy, "banded/a+b", tmp_path / "opened", responses=opened)
    assert not same_arrays(before, twin.encoder)


def test_test_features_change_no_coefficient_and_no_component(toy, tmp_path):
    features = storage.load_features(toy.folder / "features" / "b.h5")
    table = storage.read_table(toy.subject / "split.tsv")
    tested = set(table.loc[table["test_fold"] == 0, "stimulus_id"])
    rows = np.array([stimulus_id in tested for stimulus_id in features.stimulus_ids])
    values = np.array(features.values)
    values[rows] = 100 * np.random.default_rng(3).normal(size=values[rows].shape)
    storage.save_features(tmp_path / "b.h5", replace(features, values=values))
    after = fit(toy, "banded/b", tmp_path, features={"b": tmp_path / "b.h5"})
    before = folder_of(toy, "banded/b") / "encoder.safetensors"
    assert same_arrays(before, after.encoder)
    # Components of all rows, the classic leak, do follow the test features.
    leaky = [PrincipalComponents(2).fit(X).state()["components"] for X in (np.asarray(features.values), values)]
    assert not np.allclose(*leaky)


def test_shuffled_test_features_predict_nothing(toy, tmp_path):
    features = storage.load_features(toy.folder / "features" / "a.h5")
    scores = []
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(len(features.stimulus_ids))
        table = storage.read_table(toy.subject / "split.tsv")
        tested = np.isin(features.stimulus_ids.astype(str), table.loc[table["test_fold"] == 0, "stimulus_id"].tolist())
        values = np.array(features.values)
        values[tested] = values[[row for row in order if tested[row]]]
        storage.save_features(tmp_path / "a.h5", replace(features, values=values))
        made = fit(toy, "ridge/a", tmp_path / str(seed), features={"a": tmp_path / "a.h5"})
        scores.append(score(toy, made.predictions, tmp_path / "scores.h5")["correlation"][:8].mean())
    assert abs(np.mean(scores)) < 0.2
    assert (
        score(toy, folder_of(toy, "ridge/a") / "predictions.safetensors", tmp_path / "s.h5")["correlation"][:8].mean()
        > 0.8
    )


def test_masked_targets_are_predicted_as_nan(toy):
    predicted = storage.load_arrays(folder_of(toy, "ridge/a") / "predictions.safetensors")["Y_hat"]
    assert np.isnan(predicted[:, [DEAD, BROKEN]]).all()
    assert np.isfinite(np.delete(predicted, [DEAD, BROKEN], axis=1)).all()


def test_cross_validation_predicts_every_sample_by_the_others(toy, tmp_path):
    table = storage.read_table(toy.subject / "split.tsv")
    table["test_fold"] = [int(stimulus_id[1:]) % 3 for stimulus_id in table["stimulus_id"]]
    storage.write_table(tmp_path / "split.tsv", table, index=False)
    made = fit(toy, "ridge/a", tmp_path, split=tmp_path / "split.tsv")
    predicted = storage.load_arrays(made.predictions)["Y_hat"]
    samples = load_samples(toy.subject / "responses.h5", tmp_path / "split.tsv", average=True)
    X = align(storage.load_features(toy.folder / "features" / "a.h5"), samples.stimulus_ids)
    for train, test in samples.split.folds():
        by_hand = encoders.build("ridge", n_alphas=6, device="numpy")
        by_hand.fit(X[train], samples.Y[train], groups=samples.split.group[train])
        np.testing.assert_array_equal(predicted[np.searchsorted(samples.tested, test)], by_hand.predict(X[test]))
    card = storage.read_json(made.card)
    assert card["state_of"] == "all samples, after cross-validation"
    assert [fold["test"] for fold in card["folds"]] == [20, 20, 20]


def test_card_says_what_was_fitted(toy):
    card = storage.read_json(folder_of(toy, "banded/a+b") / "encoder.json")
    assert card["n_features"] == {"a": 3, "b": 3}
    assert (card["n_samples"], card["n_targets"]) == (60, 24)
    assert sum(card["diagnostics"]["alpha_shares"]) == pytest.approx(1)
    assert set(card["provenance"]["inputs"]) == {"responses", "split", "a", "b"}


def test_delays_without_runs_are_refused(toy, tmp_path):
    parameters = {"encoder": {**toy.study.config["encoders"]["ridge"], "delays": [1, 2]}}
    with pytest.raises(DataError, match="delays need a 'run' column"):
        fit(toy, "ridge/a", tmp_path, parameters=parameters)


def test_delays_count_lost_volumes(tmp_path):
    """A response follows its stimulus by two volumes, whether or not the volumes between them were measured."""
    generator = np.random.default_rng(0)
    n_samples, run = 300, np.repeat(np.arange(3), 100)
    ids = np.array([f"t{i:03d}" for i in range(n_samples)], object)
    X, weights = generator.normal(size=(n_samples, 2)).astype(np.float32), generator.normal(size=(2, 3))
    Y = 0.1 * generator.normal(size=(n_samples, 3))
    late = np.flatnonzero(np.arange(n_samples) % 100 >= 2)
    Y[late] += X[late - 2] @ weights
    Y[generator.permutation(n_samples)[:60]] = np.nan
    space = ParcelSpace(("a", "b", "c"))
    responses = Responses(Y.astype(np.float32), ids, space, "z", pd.DataFrame({"run": run}), tr=2.0)
    storage.save_responses(tmp_path / "responses.h5", responses)
    storage.write_table(tmp_path / "split.tsv", splits.by_run(run, ids).to_table(ids), index=False)
    storage.save_features(tmp_path / "a.h5", Features(X, ids, "a"))
    encoder = {"class": "ridge", "n_alphas": 5, "device": "numpy", "delays": [1, 2]}
    parameters = {"encoder": encoder, "features": {"a": {}}, "average": False, "seed": 0}
    files = [tmp_path / name for name in ("encoder", "card", "predictions")]
    fit_encoder(tmp_path / "responses.h5", tmp_path / "split.tsv", [tmp_path / "a.h5"], parameters, *files)
    samples = load_samples(tmp_path / "responses.h5", tmp_path / "split.tsv", average=False)
    Y_hat = storage.load_arrays(files[2])["Y_hat"]
    assert metrics.by_fold(metrics.correlation, samples.Y, Y_hat, samples.fold).min() > 0.95
    # The broken twin, delays among the volumes that are left, does not get there.
    left = Delayer([2]).transform(align(Features(X, ids, "a"), samples.stimulus_ids), run[samples.recording.kept])
    assert metrics.correlation(samples.Y, left @ weights).max() < 0.9


def test_reduced_models_of_given_band_weights_choose_their_own(toy, tmp_path) -> None:
    """Weights for two bands mean nothing to the model that lacks one of them, which is fitted all the same."""
    encoder = {**toy.study.config["encoders"]["banded"], "gammas": [[0.5, 0.5], [0.9, 0.1]]}
    made = fit(toy, "banded/a", tmp_path, parameters={"encoder": encoder})
    assert "gammas" not in storage.read_json(made.card)["encoder"]


class StreamingBanded(Banded):
    """Writes coefficients where it is told to, and predicts only the targets asked for."""

    streams = True
    asked: list[slice] = []

    def fit(self, X, Y, groups=None, coef=None):
        super().fit(X, Y, groups=groups)
        for start in range(0, coef.shape[1], 5):
            coef[:, start : start + 5] = self.coef_[:, start : start + 5]
        self.coef_ = coef
        return self

    def predict(self, X, split=False, targets=None):
        self.asked.append(targets)
        written, self.coef_ = self.coef_, np.asarray(self.coef_)
        predicted = super().predict(X, split=split)[..., targets]
        self.coef_ = written
        return predicted

    def state(self):
        return {**super().state(), "coef": self.coef_}


@pytest.mark.parametrize("n_folds", [1, 3])
def test_an_encoder_that_streams_leaves_the_same_files(toy, tmp_path, monkeypatch, n_folds):
    table = storage.read_table(toy.subject / "split.tsv")
    if n_folds > 1:
        table["test_fold"] = [int(stimulus_id[1:]) % n_folds for stimulus_id in table["stimulus_id"]]
    storage.write_table(tmp_path / "split.tsv", table, index=False)
    inputs = {"split": tmp_path / "split.tsv"}
    monkeypatch.setattr(fit_step, "_streams", lambda encoder: isinstance(encoder, StreamingBanded))
    monkeypatch.setattr(encoders, "build", lambda kind, **arguments: Banded(**arguments))
    whole = fit(toy, "banded/a+b", tmp_path / "whole", **inputs)
    monkeypatch.setattr(encoders, "build", lambda kind, **arguments: StreamingBanded(**arguments))
    monkeypatch.setattr(fit_step, "column_blocks", lambda shape: column_blocks(shape, n_bytes=4 * shape[0] * 7))
    streamed = fit(toy, "banded/a+b", tmp_path / "streamed", **inputs)
    assert slice(7, 14) in StreamingBanded.asked
    assert streamed.encoder.read_bytes() == whole.encoder.read_bytes()
    first, second = (storage.load_arrays(made.predictions) for made in (whole, streamed))
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-5, atol=1e-6)
    assert sorted(path.name for path in (tmp_path / "streamed").iterdir()) == [
        "encoder.json",
        "encoder.safetensors",
        "predictions.safetensors",
    ]


def test_bands_keep_their_names_and_entries_whatever_their_order(toy, tmp_path):
    """Parameters come as JSON with sorted keys; a study's bands, and so the files, come in any order."""
    config, folder = toy.study.config["features"], toy.folder / "features"
    encoder = {**toy.study.config["encoders"]["banded"], "gammas": [[0.5, 0.5], [0.1, 0.9]]}
    given = {"encoder": encoder, "features": {"b": config["b"], "a": config["a"]}, "seed": 0, "average": True}
    parameters = json.loads(json.dumps(given, sort_keys=True))
    assert list(parameters["features"]) == ["a", "b"]
    files = [tmp_path / name for name in ("encoder", "card", "predictions")]
    before = toy.subject / "responses.h5", toy.subject / "split.tsv"
    fit_encoder(*before, [folder / "b.h5", folder / "a.h5"], parameters, *files)
    held_out = storage.load_arrays(files[2])
    r = {
        name: metrics.correlation(held_out[name][:, :8], held_out["Y_hat"][:, :8]).mean()
        for name in ("band:a", "band:b")
    }
    assert r["band:a"] > 0.9 > 0.5 > r["band:b"]  # the first eight targets follow a
    assert storage.read_json(files[1])["features"] == {"b": config["b"], "a": config["a"]}
    assert {name for name in storage.load_arrays(files[0]) if name.startswith("pca:b:")}
    with pytest.raises(DataError, match="files hold b, but the parameters speak of a, b"):
        fit_encoder(*before, [folder / "b.h5"], parameters, *files)
