"""What every encoder trained by gradient promises: seeds, files, killed trainings, missing responses, honest errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainenc.core.protocols import Estimator
from brainenc.core.storage import load_arrays, save_arrays
from brainenc.core.types import DataError
from brainenc.encoders import TRAINED, build, resolve
from brainenc.encoders.fitting import Work, inner_split
from brainenc.encoders.scaling import Scaling, correlation_of_present

N, GRID, N_CHANNELS, N_TARGETS = 30, (4, 4), 4, 5
TRAINING: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "n_folds": 5,
    "device": "cpu",
    "targets_per_block": 2,
}
ATTENTION = {"width": 8, "n_heads": 2, "n_hidden": 8, "dropout": 0.2, **TRAINING}
REGIONS = {
    "regions": {"A": np.array([1, 1, 1, 0, 0], bool), "B": np.array([0, 0, 1, 1, 0], bool), "C": np.zeros(5, bool)}
}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "regions": ("attention", ATTENTION, REGIONS),
    "targets": ("attention", ATTENTION | {"queries": "targets"}, {}),
    "spatial": ("factorised", TRAINING, {}),
    "gaussian": ("factorised", TRAINING | {"readout": "gaussian"}, {}),
    "semantic": ("factorised", TRAINING | {"readout": "semantic", "n_hidden": 4}, {}),
    "core": ("factorised", TRAINING | {"core_widths": [4, 4]}, {}),
    "ensemble": ("layers_ensemble", {"member": {"class": "factorised", **TRAINING}, "n_runs": 2}, {}),
}
EACH = pytest.mark.parametrize("case", CASES)


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, responses with gaps and a constant target, runs."""
    rng = np.random.default_rng(seed)
    X = (3 * rng.standard_normal((N, *GRID, N_CHANNELS)) + 2).astype(np.float32)
    Y = (10 * X.mean(axis=(1, 2)) @ rng.standard_normal((N_CHANNELS, N_TARGETS)) + 50).astype(np.float32)
    Y[:, 3] = 7.0
    Y[::4, 1] = np.nan
    return X, Y, np.arange(N) // 3


def given(case: str, X: np.ndarray) -> Any:
    return [X, X[:, :2]] if case == "ensemble" else X


def fitted(case: str, X: np.ndarray, Y: np.ndarray, runs: np.ndarray | None = None, **more: Any) -> Any:
    name, arguments, extra = CASES[case]
    return build(name, **arguments).fit(given(case, X), Y, runs, **extra, **more)


def same(one: Any, other: Any) -> bool:
    a, b = one.state(), other.state()
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k], equal_nan=a[k].dtype.kind == "f") for k in a)


@EACH
def test_fit_is_deterministic_and_a_file_brings_it_back(case: str, tmp_path: Path) -> None:
    X, Y, runs = data()
    before = X.copy(), Y.copy(), runs.copy()
    encoder = fitted(case, X, Y, runs)
    assert isinstance(encoder, Estimator)
    for array, copy in zip((X, Y, runs), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    predicted = encoder.predict(given(case, X))
    assert predicted.shape == Y.shape and predicted.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(predicted).any(axis=0), [False, False, False, True, False])
    assert same(encoder, fitted(case, X, Y, runs))
    save_arrays(tmp_path / "model.safetensors", encoder.state())
    loaded = resolve(CASES[case][0]).from_state(encoder.config(), load_arrays(tmp_path / "model.safetensors"))
    np.testing.assert_array_equal(loaded.predict(given(case, X)), predicted)
    assert same(loaded, encoder) and loaded.config() == encoder.config() == type(encoder)(**encoder.config()).config()
    score = encoder.score(given(case, X), Y)
    np.testing.assert_array_equal(np.isnan(score), [False, True, False, True, False])


@EACH
def test_a_killed_training_ends_as_an_undisturbed_one(case: str, tmp_path: Path, monkeypatch) -> None:
    X, Y, runs = data()
    whole = fitted(case, X, Y, runs)
    loss = Work.loss

    def killed(self: Work, step: int, generator: Any) -> Any:
        if step == 5:
            raise KeyboardInterrupt
        return loss(self, step, generator)

    monkeypatch.setattr(Work, "loss", killed)
    with pytest.raises(KeyboardInterrupt):
        fitted(case, X, Y, runs, folder=tmp_path / "training")
    monkeypatch.setattr(Work, "loss", loss)
    assert list((tmp_path / "training").rglob("checkpoint-*"))
    assert same(fitted(case, X, Y, runs, folder=tmp_path / "training"), whole)
    changed = Y.copy()
    changed[:, 0] = changed[::-1, 0]
    with pytest.raises(DataError, match="data"):
        fitted(case, X, changed, runs, folder=tmp_path / "training")


@pytest.mark.parametrize("case", ["regions", "spatial", "core"])
def test_what_is_missing_changes_nothing(case: str) -> None:
    X, Y, runs = data()
    Y[12] = np.nan
    expected = fitted(case, X, Y, runs)
    elsewhere, other = X.copy(), Y.copy()
    elsewhere[12] *= -50  # nobody's response to it is known
    other[np.isnan(other)] = np.inf
    other[:, 3] = np.nan  # that a target cannot be fitted has two looks
    assert same(fitted(case, elsewhere, other, runs), expected)
    sentinel = np.where(np.isnan(Y), -999.0, Y)  # the broken twin
    assert not same(fitted(case, X, sentinel, runs), expected)


@pytest.mark.parametrize("case", ["regions", "spatial"])
def test_units_do_not_matter_and_seeds_do(case: str) -> None:
    X, Y, runs = data()
    one, other = fitted(case, X, Y, runs), fitted(case, X * 4 + 1, Y * 0.5 - 3, runs)
    np.testing.assert_allclose(other.predict(X * 4 + 1), one.predict(X) * 0.5 - 3, rtol=1e-2, atol=0.05)
    name, arguments, extra = CASES[case]
    seeded = build(name, **arguments, seed=1).fit(X, Y, runs, **extra)
    assert not np.allclose(seeded.predict(X)[:, 0], one.predict(X)[:, 0])


def test_the_inner_split_keeps_groups_whole_and_differs_by_seed() -> None:
    _, Y, runs = data()
    seen = set()
    for seed in range(5):
        rows = inner_split(Y, runs, 5, seed)
        assert not set(runs[rows.train]) & set(runs[rows.validation])
        assert sorted([*rows.train, *rows.validation]) == list(range(N))
        seen.add(tuple(rows.validation))
    assert len(seen) == 5


def test_scales_are_learned_on_the_training_rows_alone() -> None:
    X, Y, _ = data()
    rows = np.arange(20)
    learned = Scaling.learn([X], Y, rows)
    X[20:], Y[20:] = 1e6, 1e6
    again = Scaling.learn([X], Y, rows)
    for name, array in learned.state().items():
        np.testing.assert_array_equal(array, again.state()[name])
    np.testing.assert_allclose(learned.channel_means[0], X[:20].mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(learned.target_mean[[0, 1]], np.nanmean(Y[:20], axis=0)[[0, 1]], rtol=1e-5)
    np.testing.assert_allclose(learned.target_scale[[0, 1]], np.nanstd(Y[:20], axis=0)[[0, 1]], rtol=1e-4)
    np.testing.assert_allclose(learned.unscaled(learned.scaled(Y))[:20, 0], Y[:20, 0], rtol=1e-4)


def test_correlation_of_what_is_present_is_that_of_the_rows_present() -> None:
    rng = np.random.default_rng(0)
    Y, P = rng.standard_normal((2, 20, 4))
    Y[3:9, 1], Y[2:, 2], P[:, 3] = np.nan, np.nan, 1.0
    r = correlation_of_present(Y, P)
    assert r[0] == pytest.approx(np.corrcoef(Y[:, 0], P[:, 0])[0, 1])
    rows = np.isfinite(Y[:, 1])
    assert r[1] == pytest.approx(np.corrcoef(Y[rows, 1], P[rows, 1])[0, 1])
    assert np.isnan(r[2:]).all()


def test_training_stops_early_and_keeps_the_best(tmp_path: Path) -> None:
    """On noise, whose validation score may rise by chance on its six rows, but not for long in most draws."""
    X, _, runs = data()
    arguments = TRAINING | {"epochs": 30, "patience": 2}
    stopped = []
    for seed in range(6):
        noise = np.random.default_rng([9, seed]).standard_normal((N, N_TARGETS)).astype(np.float32)
        encoder = build("factorised", **arguments).fit(X, noise, runs, folder=tmp_path / str(seed))
        scores = encoder.log_.column("validation_correlation")
        assert encoder.log_.stopped_early == (len(scores) < 30 or np.argmax(scores) == 27)
        assert len(scores) == 30 or np.argmax(scores) == len(scores) - 3  # two passes without a better one
        assert np.nanmean(encoder.validation_correlation_) == pytest.approx(max(scores), abs=1e-6)
        assert (tmp_path / str(seed) / "log.csv").is_file()
        stopped.append(encoder.log_.stopped_early)
    assert sum(stopped) >= 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X, Y: (X.reshape(N, -1), Y), "not pooled"),
        (lambda X, Y: (X.astype(str), Y), "convert it to float32"),
        (lambda X, Y: (X[1:], Y), "align them"),
        (lambda X, Y: (X, Y[:, 0]), "n_samples, n_targets"),
        (lambda X, Y: (np.where(X > 4, np.nan, X), Y), "NaN or infinite"),
        (lambda X, Y: (X, np.full_like(Y, np.nan)), "0 rows with finite values"),
        (lambda X, Y: (X, np.ones_like(Y)), "None of 5 targets varies"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(change, words: str) -> None:
    X, Y, _ = data()
    with pytest.raises(DataError, match=words):
        build("factorised", **TRAINING).fit(*change(X, Y))


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("attention", {"queries": "voxels"}, "queries"),
        ("attention", {"dropout": 1.0}, "dropout"),
        ("attention", {"width": 0}, "width"),
        ("attention", {"epochs": 0}, "epochs"),
        ("attention", {"clip": 0.0}, "clip"),
        ("attention", {"speed": 1}, "refuses its arguments"),
        ("factorised", {"readout": "ridge"}, "readout"),
        ("factorised", {"core_widths": [8, 0]}, "core_widths"),
        ("factorised", {"start_size": 0.0}, "start_size"),
        ("factorised", {"learning_rate": -1.0}, "learning_rate"),
        ("factorised", {"weight_decay": -1.0}, "weight_decay"),
        ("layers_ensemble", {"member": {}}, "add 'class'"),
        ("layers_ensemble", {"member": {"class": "ridge"}}, "trained encoder"),
        ("layers_ensemble", {"member": {"class": "factorised"}, "n_runs": 0}, "n_runs"),
    ],
)
def test_bad_arguments_are_refused_by_name(name: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        build(name, **arguments)


def test_unfitted_encoders_and_other_maps_are_refused() -> None:
    X, Y, _ = data()
    with pytest.raises(DataError, match="not fitted"):
        build("factorised").predict(X)
    with pytest.raises(DataError, match="not fitted"):
        build("layers_ensemble", member={"class": "factorised"}).state()
    encoder = fitted("spatial", X, Y)
    with pytest.raises(DataError, match="was fitted on"):
        encoder.predict(X[:, :2])
    state = {name: array for name, array in encoder.state().items() if name != "channel_mean/0"}
    with pytest.raises(DataError, match="lacks channel_mean/0"):
        type(encoder).from_state(encoder.config(), state)


def test_every_trained_class_exists_and_the_room_stays_light() -> None:
    code = (
        "import sys; from brainenc.encoders import TRAINED, resolve; [resolve(n) for n in TRAINED]; "
        "print(sorted({'torch', 'himalaya', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert {name for name, _, _ in CASES.values()} == set(TRAINED)
