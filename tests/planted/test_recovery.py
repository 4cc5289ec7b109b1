"""Planted truth is recovered on a fresh seed, and every check rejects the broken analysis it is there for.

One subject of the ``small`` size (1000 pictures, 3 repetitions, the vertices of all regions), analysed with the same
functions that the steps call. The thresholds are those of `brainenc.world.recovery`.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from brainenc import datasets, features
from brainenc.core.align import average_repetitions, rows_of
from brainenc.encoders.banded import Banded
from brainenc.encoders.fields import read_fields
from brainenc.encoders.ridge import Ridge
from brainenc.stats import ceilings, cleaning, metrics, significance, splits
from brainenc.world import cortex, recovery

pytestmark = pytest.mark.slow
SEED = 11


def score(Y: np.ndarray, Y_hat: np.ndarray) -> np.ndarray:
    return metrics.correlation(Y, Y_hat)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Data, split, features, the joint and the reduced fits, and their held-out scores."""
    data = datasets.build("planted", size="small", seed=SEED, subjects=["01"])
    stimuli = data.stimuli(tmp_path_factory.mktemp("stimuli"))
    responses, truth = data.responses("01"), data.truth("01")
    split = splits.by_column(stimuli.table, responses.stimulus_ids)
    training = split.test_fold == splits.TRAIN
    session, time = responses.column("session"), responses.column("time")
    Y, _ = cleaning.clean_sessions(responses.values, session, time=time, order=1, training=training)
    ids = responses.stimulus_ids
    mean, mean_ids, _ = average_repetitions(Y, ids)
    fold = np.array([dict(zip(ids, split.test_fold, strict=True))[i] for i in mean_ids])
    train, test = np.flatnonzero(fold < 0), np.flatnonzero(fold == 0)
    bands = {}
    for name, kind, arguments in (
        ("energy", "gabor", {}),
        ("scene", "table", {"columns": ["size_*", "attribute_*"]}),
    ):
        rows = np.concatenate(list(features.build(kind, name=name, **arguments).extract(stimuli)))
        bands[name] = rows.reshape(len(rows), -1)[rows_of(mean_ids, stimuli.ids, name)]
    options = {"n_alphas": 8, "device": "cpu"}
    joint = Banded(n_gammas=7, **options).fit([x[train] for x in bands.values()], mean[train])
    alone = {name: Ridge(**options).fit(x[train], mean[train]) for name, x in bands.items()}
    Y_hat = joint.predict([x[test] for x in bands.values()])
    r2 = {"joint": metrics.r2(mean[test], Y_hat)}
    r2 |= {name: metrics.r2(mean[test], alone[name].predict(x[test])) for name, x in bands.items()}
    return SimpleNamespace(
        **{"truth": truth, "raw": responses.values, "Y": Y, "ids": ids, "session": session, "training": training},
        **{"mean": mean, "mean_ids": mean_ids, "train": train, "test": test, "bands": bands, "Y_hat": Y_hat},
        **{"alone": alone, "r2": r2, "table": stimuli.table.loc[mean_ids], "joint": joint},
        design=recovery.Design(len(test), 3),
    )


def failed(checks) -> list[str]:
    """Names of the checks that did not pass."""
    return [f"{c.check} [{c.where}]: {c.value:.3f}, wanted {c.wanted}" for c in checks if not c.passed]


def ceiling_checks(world, ncsnr: np.ndarray, signal: np.ndarray):
    return recovery.ceiling_checks(world.truth, ncsnr, signal, world.design)


def test_noise_ceiling(world) -> None:
    noise = ceilings.noise_ceiling(world.Y, world.ids)
    assert failed(ceiling_checks(world, noise.ncsnr, noise.signal_variance)) == []


def test_noise_ceiling_rejects_broken_estimators(world) -> None:
    # Sessions neither detrended nor scaled: drift counts as noise.
    uncleaned = ceilings.noise_ceiling(world.raw, world.ids)
    assert failed(ceiling_checks(world, uncleaned.ncsnr, uncleaned.signal_variance))
    # The noise share of the means is not taken off (1/n omitted).
    noise = ceilings.noise_ceiling(world.Y, world.ids)
    omitted = noise.signal_variance + noise.noise_variance / 3
    assert failed(ceiling_checks(world, np.sqrt(omitted / noise.noise_variance), omitted))
    # Variance over repetitions divided by n instead of n - 1.
    biased = noise.noise_variance * 2 / 3
    signal = noise.signal_variance + (noise.noise_variance - biased) / 3
    assert failed(ceiling_checks(world, np.sqrt(np.maximum(signal, 0) / biased), signal))


def test_ridge_reaches_the_ceiling_and_no_more(world) -> None:
    found = score(world.mean[world.test], world.Y_hat)
    assert failed(recovery.score_checks(world.truth, found, world.design)) == []


def test_ridge_rejects_wrong_rows_and_leaks(world) -> None:
    Y = world.mean[world.test]
    shuffled = np.random.default_rng(0).permutation(len(Y))
    assert failed(recovery.score_checks(world.truth, score(Y, world.Y_hat[shuffled]), world.design))
    shifted = np.roll(world.Y_hat, 1, axis=0)
    assert failed(recovery.score_checks(world.truth, score(Y, shifted), world.design))
    # Sixty test pictures are also in training, with the same responses: NOISE is "predicted".
    rows = np.concatenate([world.train, world.test[:60]])
    X = np.concatenate(list(world.bands.values()), axis=1)
    leaked = Ridge(alphas=[100.0], device="cpu", extend=False).fit(X[rows], world.mean[rows]).predict(X[world.test])
    assert any("NOISE" in name for name in failed(recovery.score_checks(world.truth, score(Y, leaked), world.design)))
    # The best twenty vertices of NOISE, chosen on the test set, and only they, are reported.
    honest = score(Y, world.Y_hat)
    chosen = honest.copy()
    members = np.flatnonzero((world.truth.region == "NOISE") & np.isfinite(honest))
    chosen[np.setdiff1d(members, members[np.argsort(honest[members])[-20:]])] = np.nan
    assert any("NOISE" in name for name in failed(recovery.score_checks(world.truth, chosen, world.design)))


def partition_checks(world, low: np.ndarray, high: np.ndarray, joint: np.ndarray):
    return recovery.partition_checks(world.truth, low, high, joint, world.design)


def test_variance_partition(world) -> None:
    joint = world.r2["joint"]
    low, high = joint - world.r2["scene"], joint - world.r2["energy"]
    assert failed(partition_checks(world, low, high, joint)) == []


def test_variance_partition_rejects_swapped_and_unscaled_bands(world) -> None:
    joint = world.r2["joint"]
    low, high = joint - world.r2["scene"], joint - world.r2["energy"]
    assert failed(partition_checks(world, high, low, joint))
    # One penalty for all columns in whatever units they came: the band of large numbers absorbs the other's share.
    X = np.concatenate([100 * world.bands["energy"] / world.bands["energy"].std(), world.bands["scene"]], axis=1)
    single = Ridge(n_alphas=8, device="cpu", standardise=False).fit(X[world.train], world.mean[world.train])
    r2 = metrics.r2(world.mean[world.test], single.predict(X[world.test]))
    assert failed(partition_checks(world, r2 - world.r2["scene"], r2 - world.r2["energy"], r2))


def q_values(Y: np.ndarray, Y_hat: np.ndarray) -> np.ndarray:
    return significance.fdr_bh(significance.permutation_p_values(Y, Y_hat, n_permutations=1000, seed=0))


def test_significance(world) -> None:
    q = q_values(world.mean[world.test], world.Y_hat)
    assert failed(recovery.significance_checks(world.truth, q, 0.05, world.design)) == []


def test_significance_rejects_training_scores_and_shuffled_rows(world) -> None:
    X = np.concatenate(list(world.bands.values()), axis=1)
    rows = world.train[:200]
    seen = Ridge(alphas=[100.0], device="cpu", extend=False).fit(X[rows], world.mean[rows]).predict(X[rows])
    q = q_values(world.mean[rows], seen)
    assert any("null" in name for name in failed(recovery.significance_checks(world.truth, q, 0.05, world.design)))
    q = q_values(world.mean[world.test], np.roll(world.Y_hat, 1, axis=0))
    assert any("power" in name for name in failed(recovery.significance_checks(world.truth, q, 0.05, world.design)))


def preference_checks(world, Y_hat: np.ndarray, truth=None):
    shown = world.table.iloc[world.test]
    sizes = {name: shown[f"size_{name}"].to_numpy(float) for name in cortex.PLANTED_CATEGORIES}
    return recovery.preference_checks(truth or world.truth, Y_hat, sizes)


def test_preferred_categories(world) -> None:
    checks = list(preference_checks(world, world.Y_hat))
    assert len(checks) == len(recovery.PREFERRED) + 1, "each region that prefers a category, and the one that shuns it"
    assert failed(checks) == []


def test_preferred_categories_reject_permuted_targets(world) -> None:
    order = np.roll(np.arange(world.Y_hat.shape[1]), 700)
    assert failed(preference_checks(world, world.Y_hat[:, order]))
    assert failed(preference_checks(world, -world.Y_hat))


def fields(world) -> tuple[np.ndarray, np.ndarray]:
    model = world.alone["energy"]
    x, y, _ = read_fields(model.coef_, model.feature_scale_, (8, 8), cortex.FIELD)
    return x, y


def test_receptive_fields(world) -> None:
    assert failed(recovery.field_checks(world.truth, *fields(world), world.design)) == []


def test_receptive_fields_reject_flips_and_exchanges(world) -> None:
    x, y = fields(world)
    for broken in ((y, x), (x, -y), (-x, y)):
        assert failed(recovery.field_checks(world.truth, *broken, world.design))


def test_contralateral(world) -> None:
    """The left hemisphere sees the right field; exchanged hemispheres are noticed."""
    x, _ = fields(world)
    early = np.isin(world.truth.region, recovery.EARLY) & (world.truth.ncsnr > 0.3) & (np.abs(world.truth.prf_x) > 0.8)
    left = world.truth.prf_x > 0
    share = np.mean((x[early] > 0) == left[early])
    assert share >= 0.9
    assert np.mean((x[early] > 0) == ~left[early]) <= 0.1


def test_drift_confound(tmp_path: Path) -> None:
    """Faces grow more frequent in each session, and so does the response: only detrending protects."""
    data = datasets.build("planted", size="small", seed=SEED, subjects=["01"], drift_confound=True, adversarial=False)
    stimuli, responses, truth = data.stimuli(tmp_path), data.responses("01"), data.truth("01")
    table = stimuli.table.loc[responses.stimulus_ids]
    X = table[[c for c in table if c.startswith("size_")]].to_numpy(np.float32)
    drifting = np.flatnonzero(truth.region == "DRIFTONLY")
    session, time = responses.column("session"), responses.column("time")
    raw = np.asarray(responses.values[:, drifting], np.float32)
    detrended, _ = cleaning.clean_sessions(raw, session, time=time, order=1)

    def held_out(Y: np.ndarray, fold: np.ndarray) -> float:
        Y_hat = np.empty_like(Y)
        for k in np.unique(fold):
            rest, part = fold != k, fold == k
            Y_hat[part] = Ridge(alphas=[10.0], extend=False, device="numpy").fit(X[rest], Y[rest]).predict(X[part])
        return float(np.nanmean(metrics.by_fold(metrics.correlation, Y, Y_hat, fold)))

    random = np.random.default_rng(0).integers(0, 5, len(raw))
    assert abs(held_out(detrended, random)) <= 0.03
    assert held_out(raw, random) > 0.03
    assert held_out(raw, session.astype(int)) > 0.03, "leaving sessions out does not protect from drift"


def test_cv_pooling(world) -> None:
    """Pooling a mean-only predictor over folds gives a negative correlation; within folds it gives none."""
    noise = world.mean[np.ix_(world.train, np.flatnonzero(world.truth.region == "NOISE"))]
    noise = noise[:, np.isfinite(noise).all(axis=0)]
    generator = np.random.default_rng(0)
    fold = generator.integers(0, 10, len(noise))
    Y_hat = np.stack([noise[fold != k].mean(axis=0) for k in fold])
    Y_hat += 1e-3 * noise.std() * generator.normal(size=Y_hat.shape)
    assert abs(np.nanmean(metrics.by_fold(metrics.correlation, noise, Y_hat, fold))) <= 0.02
    assert np.nanmean(metrics.correlation(noise, Y_hat)) < -0.02


def test_closed_forms(world) -> None:
    """The true signal correlates with an average of n repetitions at sqrt(NC(n)), with the sampling error of r."""
    rows = rows_of(world.mean_ids, world.truth.stimulus_ids, "truth")
    S = world.truth.signal[rows]
    strong = np.isfinite(world.truth.ncsnr) & (world.truth.ncsnr > 0.3)
    best = np.sqrt(ceilings.ceiling_r2(world.truth.ncsnr, 3))
    r = metrics.correlation(world.mean, S)
    slope = np.sum(r[strong] * best[strong]) / np.sum(best[strong] ** 2)
    assert 0.95 < slope < 1.03
    spread = np.std((r - slope * best)[strong])
    assert spread < 2 * np.mean((1 - best[strong] ** 2) / np.sqrt(len(S) - 1)) + 0.02


def test_adversarial_targets_are_masked(world) -> None:
    truth = world.truth
    bad = truth.dead | truth.missing
    assert bad.sum() >= 2
    found = score(world.mean[world.test], world.Y_hat)
    assert np.isnan(found[bad]).all()
    assert np.isfinite(found[~bad]).all()
    assert len(truth.lost) == 1 and np.isnan(world.raw[truth.lost]).all()
    counted = cleaning.quality(world.raw)
    assert counted.counts()["n_constant_targets"] == truth.dead.sum()
    assert counted.counts()["n_nan_targets"] == truth.missing.sum()
    assert counted.counts()["n_nan_samples"] == 1
