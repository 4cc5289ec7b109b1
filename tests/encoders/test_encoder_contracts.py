"""What every encoder promises, on every backend: the registry x numpy, torch, CUDA."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pytest

from brainenc.core.protocols import Estimator
from brainenc.core.storage import load_arrays, save_arrays
from brainenc.core.types import DataError
from brainenc.encoders import REGISTRY, build, resolve

pytestmark = pytest.mark.filterwarnings("ignore::brainenc.encoders.alphas.AlphaEdgeWarning")


def has_cuda():
    import torch

    return torch.cuda.is_available()


needs_cuda = pytest.mark.skipif(not has_cuda(), reason="needs a CUDA device")
DEVICES = ["cpu", "numpy", "auto", pytest.param("cuda", marks=needs_cuda)]
CASES = pytest.mark.parametrize("name", sorted(REGISTRY))
SHAPES = pytest.mark.parametrize("n_features", [(9, 4), (70, 40)], ids=["primal", "dual"])


def data(name, n_features, t=12, seed=0):
    """Features in the form an encoder takes, responses with a NaN and a constant target, runs."""
    rng = np.random.default_rng(seed)
    Xs = [rng.standard_normal((60, p)).astype(np.float32) + 1.0 for p in n_features]
    Y = (Xs[0] @ rng.standard_normal((n_features[0], t)) + rng.standard_normal((60, t)) * 3.0).astype(np.float32)
    Y[3, 1], Y[:, 2] = np.nan, 5.0
    return (Xs if name == "banded" else np.concatenate(Xs, axis=1)), Y, np.arange(60) // 12


def small(name, **arguments):
    return build(name, n_alphas=6, **({"n_gammas": 4} if name == "banded" else {}), **arguments)


def weights(name):
    """What a prediction is made of, in the state."""
    return "dual_coef" if name == "kernel_ridge" else "coef"


def arrays(X):
    return X if isinstance(X, list) else [X]


@CASES
@SHAPES
@pytest.mark.parametrize("device", DEVICES)
def test_fit_returns_self_mutates_nothing_and_is_deterministic(name, n_features, device):
    X, Y, runs = data(name, n_features)
    before = [array.copy() for array in (*arrays(X), Y, runs)]
    encoder = small(name, device=device)
    assert isinstance(encoder, Estimator)
    assert encoder.fit(X, Y, groups=runs) is encoder
    first = encoder.state()
    prediction = encoder.predict(X)
    for array, copy in zip((*arrays(X), Y, runs), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert prediction.shape == Y.shape and prediction.dtype == np.float32
    assert np.isfinite(getattr(encoder, weights(name) + "_")).all()
    again = small(name, device=device).fit(X, Y, runs).state()
    for key, array in first.items():
        np.testing.assert_array_equal(array, again[key], err_msg=key)


@CASES
@SHAPES
@pytest.mark.parametrize("device", DEVICES)
def test_all_backends_agree(name, n_features, device):
    X, Y, runs = data(name, n_features)
    one, other = small(name, device="numpy").fit(X, Y, runs), small(name, device=device).fit(X, Y, runs)
    np.testing.assert_array_equal(one.alpha_, other.alpha_)
    np.testing.assert_allclose(one.predict(X), other.predict(X), atol=1e-4)


@CASES
@SHAPES
def test_masked_targets_are_nan_and_others_do_not_notice(name, n_features):
    X, Y, runs = data(name, n_features)
    encoder = small(name).fit(X, Y, runs)
    bad = np.isin(np.arange(Y.shape[1]), [1, 2])
    for values in (encoder.alpha_, encoder.cv_scores_, encoder.predict(X)[5], encoder.score(X, Y), encoder.intercept_):
        assert values.shape == bad.shape
        np.testing.assert_array_equal(np.isnan(values), bad)
    alone = small(name).fit(X, Y[:, ~bad], runs)
    np.testing.assert_array_equal(encoder.alpha_[~bad], alone.alpha_)
    np.testing.assert_allclose(encoder.predict(X)[:, ~bad], alone.predict(X), atol=1e-4)


@CASES
@SHAPES
def test_state_survives_a_file_bit_for_bit(name, n_features, tmp_path):
    X, Y, runs = data(name, n_features)
    encoder = small(name).fit(X, Y, runs)
    save_arrays(tmp_path / "model.safetensors", encoder.state())
    loaded = resolve(name).from_state(encoder.config(), load_arrays(tmp_path / "model.safetensors"))
    np.testing.assert_array_equal(loaded.predict(X), encoder.predict(X))
    assert loaded.config() == encoder.config() == build(name, **encoder.config()).config()
    assert loaded.n_dropped_rows_ == encoder.n_dropped_rows_
    np.testing.assert_equal(loaded.alpha_edges_, encoder.alpha_edges_)
    for key, array in encoder.state().items():
        np.testing.assert_array_equal(loaded.state()[key], array, err_msg=key)
        assert loaded.state()[key].dtype == array.dtype
    rest = {key: array for key, array in encoder.state().items() if key != weights(name)}
    with pytest.raises(DataError, match=f"lacks {weights(name)}"):
        resolve(name).from_state(encoder.config(), rest)


@CASES
@SHAPES
def test_responses_on_disk_and_narrow_blocks_give_the_same(name, n_features, tmp_path):
    X, Y, runs = data(name, n_features)
    Y[7] = np.nan
    expected = small(name).fit(X, Y, runs)
    with h5py.File(tmp_path / "responses.h5", "w") as file:
        on_disk = file.create_dataset("values", data=Y, chunks=(20, 4))
        encoder = small(name, n_targets_batch=3).fit(X, on_disk, runs)
    assert encoder.n_dropped_rows_ == expected.n_dropped_rows_ == 1
    np.testing.assert_array_equal(encoder.alpha_, expected.alpha_)
    np.testing.assert_allclose(encoder.predict(X), expected.predict(X), atol=1e-4)


@CASES
def test_the_order_of_targets_does_not_matter(name):
    X, Y, runs = data(name, (9, 4))
    order = np.random.default_rng(1).permutation(Y.shape[1])
    one, other = small(name).fit(X, Y, runs), small(name).fit(X, Y[:, order], runs)
    np.testing.assert_array_equal(one.alpha_[order], other.alpha_)
    np.testing.assert_allclose(one.predict(X)[:, order], other.predict(X), atol=1e-4)


@pytest.mark.parametrize("fails", [False, True])
def test_the_global_backend_of_himalaya_is_put_back(fails, monkeypatch):
    from himalaya.backend import get_backend, set_backend

    X, Y, runs = data("ridge", (9, 4))
    before = get_backend().name
    try:
        for name, device in (("numpy", "cpu"), ("torch", "numpy")):
            set_backend(name)
            if fails:
                monkeypatch.setattr("brainenc.encoders.himalaya_backend.mean_curve", lambda *a: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    small("ridge", device=device, solver="himalaya").fit(X, Y, runs)
            else:
                small("ridge", device=device, solver="himalaya").fit(X, Y, runs)
            assert get_backend().name == name
    finally:
        set_backend(before)


def test_a_factorisation_that_fails_in_float32_is_redone_in_float64(monkeypatch, caplog):
    import himalaya.ridge

    X, Y, runs = data("ridge", (9, 4))
    expected = small("ridge", device="numpy").fit(X, Y, runs)
    solve = himalaya.ridge.solve_group_ridge_random_search

    def fragile(Xs, Y, **options):
        if Xs[0].dtype == np.float32:
            options["score_func"](Y[:5], np.zeros((6, 5, Y.shape[1])))
            raise np.linalg.LinAlgError("SVD did not converge")
        return solve(Xs, Y, **options)

    monkeypatch.setattr(himalaya.ridge, "solve_group_ridge_random_search", fragile)
    encoder = small("ridge", device="numpy", solver="himalaya").fit(X, Y, runs)
    assert "redone in float64" in caplog.text
    np.testing.assert_array_equal(encoder.alpha_, expected.alpha_)
    np.testing.assert_allclose(encoder.cv_scores_, expected.cv_scores_, atol=1e-5)


def test_cuda_asked_for_and_absent_is_refused(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    X, Y, runs = data("ridge", (9, 4))
    with pytest.raises(DataError, match="finds no CUDA device"):
        small("ridge", device="cuda").fit(X, Y, runs)
    assert small("ridge", device="auto").fit(X, Y, runs).coef_.shape == (13, 12)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [("rigde", {}, "choose one of"), ("ridge", {"alpha": 1.0}, "refuses its arguments"), ("banded", {"x": 1}, "'x'")],
)
def test_unknown_names_and_arguments_are_refused(name, arguments, words):
    with pytest.raises(DataError, match=words):
        build(name, **arguments)


def test_every_registered_class_exists_and_the_room_is_light():
    code = (
        "import sys; from brainenc.encoders import REGISTRY, resolve; [resolve(n) for n in REGISTRY]; "
        "import brainenc.encoders.delay; print(sorted({'torch', 'himalaya', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
