"""Dimension reduction: exact components of training rows only, distances kept by random projection."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainenc.core.types import DataError
from brainenc.features import build_reduction, reduction, restore_reduction


def data(n_rows, n_features, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n_rows, n_features)) * np.linspace(3, 0.3, n_features) + generator.normal(
        size=n_features
    )


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request, monkeypatch):
    if request.param == "many blocks":
        monkeypatch.setattr(reduction, "BLOCK_BYTES", 8 * 200)


@pytest.mark.parametrize(("n_rows", "n_features"), [(60, 20), (20, 60), (30, 30)])
def test_components_are_those_of_scikit_learn_on_training_rows(blocks, n_rows, n_features):
    from sklearn.decomposition import PCA

    X = data(n_rows, n_features)
    train = np.arange(n_rows) % 4 != 0
    ours = build_reduction("pca", n_components=5).fit(X, np.flatnonzero(train))
    theirs = PCA(5, svd_solver="full").fit(X[train])
    np.testing.assert_allclose(ours.components_, theirs.components_, atol=1e-8)
    np.testing.assert_allclose(ours.explained_variance_ratio_, theirs.explained_variance_ratio_, rtol=1e-8)
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), atol=1e-4)


def leaks(fit, X, train) -> bool:
    """Does a change of the other rows change what was fitted?"""
    other = X.copy()
    other[np.setdiff1d(np.arange(len(X)), train)] *= 100
    return not np.array_equal(fit(X, train).components_, fit(other, train).components_)


def test_test_rows_are_never_seen():
    X, train = data(40, 12), np.arange(30)
    assert not leaks(lambda X, rows: build_reduction("pca", n_components=3).fit(X, rows), X, train)
    assert leaks(lambda X, rows: build_reduction("pca", n_components=3).fit(X), X, train)  # broken twin: all rows
    X[35] = np.nan  # not even read
    build_reduction("pca", n_components=3).fit(X, train)


@pytest.mark.parametrize("shape", [(40, 12), (12, 5, 8)])
def test_features_on_disk_give_the_same_numbers(blocks, tmp_path, shape):
    X = data(shape[0], int(np.prod(shape[1:]))).reshape(shape).astype(np.float32)
    rows = np.array([9, 0, 1, 2, 5, 6, 7, 3])
    in_memory = build_reduction("pca", n_components=4).fit(X, rows)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = file.create_dataset("x", data=X)
        on_disk = build_reduction("pca", n_components=4).fit(stored, rows)
        np.testing.assert_allclose(on_disk.transform(stored), in_memory.transform(X), atol=1e-5)
    batches = np.concatenate([in_memory.transform(X[i : i + 5]) for i in range(0, len(X), 5)])
    np.testing.assert_allclose(batches, in_memory.transform(X), atol=1e-5)


@pytest.mark.parametrize("class_name", ["pca", "random_projection"])
def test_fitted_state_round_trips_through_safetensors(class_name, tmp_path):
    from safetensors.numpy import load_file, save_file

    X = data(30, 12)
    fitted = build_reduction(class_name, n_components=4).fit(X)
    save_file(fitted.state(), tmp_path / "a.safetensors")
    restored = restore_reduction(class_name, fitted.config(), load_file(tmp_path / "a.safetensors"))
    np.testing.assert_array_equal(restored.transform(X), fitted.transform(X))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), n_rows=st.integers(8, 30), n_features=st.integers(8, 30))
def test_components_are_orthonormal_and_ordered(seed, n_rows, n_features):
    fitted = build_reduction("pca", n_components=6).fit(data(n_rows, n_features, seed))
    np.testing.assert_allclose(fitted.components_ @ fitted.components_.T, np.eye(6), atol=1e-8)
    assert (np.diff(fitted.explained_variance_ratio_) <= 1e-12).all()
    assert fitted.explained_variance_ratio_.sum() <= 1 + 1e-9


def distance_ratios(Z, X):
    i, j = np.triu_indices(len(X), 1)
    return ((Z[i] - Z[j]) ** 2).sum(axis=1) / ((X[i] - X[j]) ** 2).sum(axis=1)


def test_random_projection_keeps_distances():
    X = data(25, 2000)
    projection = build_reduction("random_projection", n_components=400).fit(X)
    ratios = distance_ratios(projection.transform(X), X)
    assert abs(ratios.mean() - 1) < 0.05
    assert ratios.std() < 2 * np.sqrt(2 / 400)
    assert abs(distance_ratios(X[:, :400], X).mean() - 1) > 0.2  # broken twin: the first columns
    assert projection.matrix_.nnz / np.prod(projection.matrix_.shape) == pytest.approx(1 / np.sqrt(2000), rel=0.05)


def test_random_projection_is_linear_seeded_and_blind():
    X = data(10, 50)
    first, again, other = (build_reduction("random_projection", n_components=7, seed=s).fit(X) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.transform(X), again.transform(X))
    assert not np.allclose(first.transform(X), other.transform(X))
    blind = build_reduction("random_projection", n_components=7, seed=1).fit(X * 9)
    np.testing.assert_array_equal(blind.matrix_.data, first.matrix_.data)
    Z = first.transform(X)
    np.testing.assert_allclose(first.transform(2 * X[:1] + X[1:2]), 2 * Z[:1] + Z[1:2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("n_components", "message"),
    [
        (0, "wanted a positive"),
        (True, "wanted a positive"),
        (2.5, "wanted a positive"),
        (8, "at most 7: lower it"),
    ],
)
def test_impossible_numbers_of_components_are_refused(n_components, message):
    with pytest.raises(DataError, match=message):
        build_reduction("pca", n_components=n_components).fit(data(8, 20))


def test_wrong_input_is_refused():
    X = data(10, 4)
    with pytest.raises(DataError, match="training rows must be"):
        build_reduction("pca", n_components=2).fit(X, np.array([3, 10]))
    with pytest.raises(DataError, match="rank 1 after centring"):
        build_reduction("pca", n_components=3).fit(np.outer(np.arange(10.0), np.ones(4)))
    with pytest.raises(DataError, match="NaN or infinity"):
        build_reduction("pca", n_components=2).fit(np.where(np.eye(10, 4) > 0, np.nan, X))
    with pytest.raises(DataError, match="5 columns but it was fitted on 4"):
        build_reduction("pca", n_components=2).fit(X).transform(data(3, 5))
    with pytest.raises(DataError, match="density is 2"):
        build_reduction("random_projection", n_components=2, density=2)
