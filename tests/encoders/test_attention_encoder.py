"""The transformer brain encoder: who has which query, and that attention finds what moves, where ridge cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

from brainenc.core.types import DataError
from brainenc.encoders.attention import AttentionEncoder, centroids, query_members
from brainenc.encoders.ridge import Ridge
from brainenc.stats.metrics import correlation

SIDE, N_CHANNELS = 4, 8


def mask(*members: int, n: int = 6) -> np.ndarray:
    return np.isin(np.arange(n), members)


# ----------------------------------------------------------------------------------------------------------- queries


def test_regions_may_overlap_miss_and_leave_targets_over() -> None:
    regions = {"EBA": mask(0, 1, 2), "FBA": mask(2, 3), "missing": mask()}
    names, members = query_members("regions", 6, regions)
    assert names == ("EBA", "FBA", "other")
    np.testing.assert_array_equal(members, np.stack([mask(0, 1, 2), mask(2, 3), mask(4, 5)]))
    sides = np.array(["left", "right"] * 3)
    names, members = query_members("regions", 6, regions, sides)
    assert names == ("left EBA", "left FBA", "left other", "right EBA", "right FBA", "right other")
    assert members.any(axis=0).all() and members.any(axis=1).all()
    np.testing.assert_array_equal(members[0], mask(0, 2))


def test_regions_that_hold_all_need_no_other() -> None:
    assert query_members("regions", 6, {"a": mask(0, 1, 2), "b": mask(3, 4, 5)})[0] == ("a", "b")
    assert query_members("regions", 6, {"other": mask(0, 1)})[0] == ("other",)


def test_hemispheres_and_targets() -> None:
    names, members = query_members("hemispheres", 4, None, np.array(["left", "left", "right", "left"]))
    assert names == ("left", "right")
    np.testing.assert_array_equal(members, [[True, True, False, True], [False, False, True, False]])
    names, members = query_members("targets", 4)
    assert names == () and members.shape == (0, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("regions", 6), "without regions"),
        (("regions", 6, {"a": np.arange(6)}), "wanted booleans"),
        (("regions", 6, {"a": mask(0, n=5)}), "wanted booleans"),
        (("hemispheres", 6), "side of every target"),
        (("hemispheres", 6, None, ["left"]), "one label per target"),
    ],
)
def test_queries_without_what_they_need_are_refused(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        query_members(*arguments)


# --------------------------------------------------------------------------------------------------------- centroids


def test_a_centroid_is_the_middle_of_its_cell_x_from_the_left_y_from_the_top() -> None:
    maps = np.zeros((2, 1, 4, 8))
    maps[0, 0, 3, 1] = 0.7
    maps[1, 0] = 1.0
    np.testing.assert_allclose(centroids(maps), [[[1.5 / 8, 3.5 / 4]], [[0.5, 0.5]]])


# ------------------------------------------------------------------------------------------------------------ routing


def moving_content(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every cell shows some amplitude; the response is the amplitude of the marked cell, which is anywhere.

    Linear in the tokens there is nothing but the mean over cells; the marker (channel 0) says which cell counts.
    """
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, SIDE, SIDE, N_CHANNELS)).astype(np.float32)
    where = rng.integers(SIDE, size=(n, 2))
    X[..., 0] *= 0.3
    X[np.arange(n), where[:, 0], where[:, 1], 0] += 4
    amplitude = X[np.arange(n), where[:, 0], where[:, 1], 1:3]
    Y = amplitude @ np.array([[1.0, -1.0, 0.5, 0.0], [0.0, 0.5, 1.0, -1.0]]) + 0.3 * rng.standard_normal((n, 4))
    return X, Y.astype(np.float32), where


def small(**more: Any) -> AttentionEncoder:
    arguments: dict[str, Any] = {
        "queries": "regions",
        "width": 16,
        "n_heads": 2,
        "n_hidden": 32,
        "dropout": 0.0,
        "epochs": 30,
        "batch_size": 32,
        "learning_rate": 5e-3,
        "clip": 1.0,
        "device": "cpu",
    }
    return AttentionEncoder(**(arguments | more))


def test_attention_finds_content_that_moves_where_ridge_cannot(monkeypatch) -> None:
    X, Y, where = moving_content()
    train, test = slice(0, 320), slice(320, 400)
    regions = {"whole": np.ones(4, bool)}
    encoder = small().fit(X[train], Y[train], regions=regions)
    r = correlation(Y[test], encoder.predict(X[test]))
    flat = X.reshape(len(X), -1)
    ridge = correlation(Y[test], Ridge(device="numpy").fit(flat[train], Y[train]).predict(flat[test]))
    assert r.min() > ridge.max() + 0.2 and r.mean() > 0.7

    maps = encoder.maps(X[test])
    assert maps.shape == (80, 1, SIDE, SIDE) and maps.dtype == np.float32
    there = maps[np.arange(80), 0, where[test, 0], where[test, 1]]
    assert there.mean() > 3 / SIDE**2  # three times chance
    transposed = maps[np.arange(80), 0, where[test, 1], where[test, 0]]  # the broken twin: rows for columns
    assert transposed.mean() < there.mean() / 2
    found, truth = centroids(maps)[:, 0], (where[test, ::-1] + 0.5) / SIDE
    assert all(np.corrcoef(found[:, i], truth[:, i])[0, 1] > 0.8 for i in range(2))

    def blind(self: AttentionEncoder, shapes: np.ndarray, n_targets: int) -> nn.Module:
        network: Any = made(self, shapes, n_targets)
        nn.init.zeros_(network.layers[0].attention.key.weight).requires_grad_(False)
        return network

    made = AttentionEncoder._network
    monkeypatch.setattr(AttentionEncoder, "_network", blind)  # the broken twin: keys of zero, so mean pooling
    pooled = correlation(Y[test], small(epochs=10).fit(X[train], Y[train], regions=regions).predict(X[test]))
    assert pooled.max() < r.min() - 0.2


def test_queries_per_target_learn_what_each_target_looks_for() -> None:
    """Two markers in two cells; each target answers to one of them."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, SIDE, SIDE, N_CHANNELS)).astype(np.float32)
    X[..., :2] *= 0.3
    cells = np.stack([rng.permutation(SIDE**2)[:2] for _ in range(300)])
    Y = np.empty((300, 4), np.float32)
    flat = X.reshape(300, -1, N_CHANNELS)
    for marker in range(2):
        flat[np.arange(300), cells[:, marker], marker] += 4
        Y[:, 2 * marker : 2 * marker + 2] = flat[np.arange(300), cells[:, marker], 2][:, None] * [1, -1]
    encoder = small(queries="targets", targets_per_block=3).fit(flat.reshape(X.shape), Y)
    maps = encoder.maps(flat.reshape(X.shape)).reshape(300, 4, -1)
    for target in range(4):
        own, other = (maps[np.arange(300), target, cells[:, m]].mean() for m in (target // 2, 1 - target // 2))
        assert own > 3 * other and own > 3 / SIDE**2
    np.testing.assert_allclose(
        encoder.maps(flat[:5].reshape(5, SIDE, SIDE, -1), slice(1, 3)).reshape(5, 2, -1), maps[:5, 1:3], atol=1e-6
    )
