"""The ensemble over layers: weights sum to one, the better layer counts, equal layers are one, amplitudes stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from brainenc.core.types import DataError
from brainenc.encoders.factorised import FactorisedEncoder
from brainenc.encoders.layers_ensemble import LayerEnsemble, layer_weights

QUICK: dict[str, Any] = {"epochs": 8, "batch_size": 16, "learning_rate": 0.02, "n_folds": 5, "device": "cpu"}
MEMBER = {"class": "factorised", **QUICK}


def layers(n: int = 100, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Two layers; the first half of the targets answers to one of them, the second half to the other."""
    rng = np.random.default_rng(seed)
    Xs = [rng.standard_normal((n, 3, 3, 4)).astype(np.float32) for _ in range(2)]
    parts = [X.sum(axis=(1, 2)) @ rng.standard_normal((4, 3)) + 0.5 * rng.standard_normal((n, 3)) for X in Xs]
    return Xs, (np.concatenate(parts, axis=1) + 20).astype(np.float32)


def test_weights_are_the_softmax_and_sum_to_one() -> None:
    r = np.random.default_rng(0).uniform(-0.2, 0.8, (3, 50))
    weights = layer_weights(r)
    expected = np.exp(40 * r) / np.exp(40 * r).sum(axis=0)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-6)


def test_a_layer_without_correlation_has_no_say_and_none_is_equal_say() -> None:
    r = np.array([[0.1, np.nan, np.nan], [0.1, 0.3, np.nan]])
    for sharpness in (0.0, 40.0, 1e6):
        np.testing.assert_allclose(layer_weights(r, sharpness), [[0.5, 0, 0.5], [0.5, 1, 0.5]])


def test_each_target_trusts_the_layer_it_answers_to() -> None:
    Xs, Y = layers()
    ensemble = LayerEnsemble(MEMBER).fit(Xs, Y)
    np.testing.assert_allclose(ensemble.weights_.sum(axis=0), 1, rtol=1e-5)
    assert (ensemble.weights_[0, :3] > 0.95).all() and (ensemble.weights_[1, 3:] > 0.95).all()
    alone = FactorisedEncoder(**QUICK).fit(Xs[0], Y)
    np.testing.assert_allclose(ensemble.predict(Xs)[:, :3], alone.predict(Xs[0])[:, :3], atol=0.5)


@pytest.mark.parametrize("n_layers", [1, 3])
def test_equal_layers_have_the_amplitude_of_one(n_layers: int) -> None:
    Xs, Y = layers()
    single = FactorisedEncoder(**QUICK).fit(Xs[0], Y).predict(Xs[0])
    ensemble = LayerEnsemble(MEMBER).fit([Xs[0]] * n_layers, Y)
    np.testing.assert_allclose(ensemble.predict([Xs[0]] * n_layers), single, rtol=1e-5, atol=1e-4)


def test_runs_are_averaged_not_summed() -> None:
    Xs, Y = layers()
    ensemble = LayerEnsemble(MEMBER, n_runs=3).fit(Xs[:1], Y)
    runs = [FactorisedEncoder(**QUICK, seed=seed).fit(Xs[0], Y).predict(Xs[0]) for seed in range(3)]
    assert not np.allclose(runs[0], runs[1], atol=1e-3)
    np.testing.assert_allclose(ensemble.predict(Xs[:1]), np.mean(runs, axis=0), rtol=1e-4, atol=1e-3)
    assert not np.allclose(ensemble.predict(Xs[:1]), np.sum(runs, axis=0), rtol=0.5)  # the published fault


def test_regions_reach_the_members() -> None:
    Xs, Y = layers(40)
    member = {"class": "attention", "width": 8, "n_heads": 2, "n_hidden": 8, **QUICK, "epochs": 2}
    halves = {"first": np.arange(6) < 3, "second": np.arange(6) >= 3}
    ensemble = LayerEnsemble(member).fit(Xs, Y, regions=halves)
    assert [runs[0].query_names_ for runs in ensemble.members_] == [("first", "second")] * 2


def test_layers_come_as_a_list_of_as_many() -> None:
    Xs, Y = layers(40)
    with pytest.raises(DataError, match="list of the layers"):
        LayerEnsemble(MEMBER).fit(Xs[0], Y)
    with pytest.raises(DataError, match="fitted on 1"):
        LayerEnsemble(MEMBER | {"epochs": 1}).fit(Xs[:1], Y).predict(Xs)
