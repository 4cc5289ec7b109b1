"""estimate_ceiling: the best score that noise allows, per target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brainenc.core import storage
from brainenc.core.provenance import record
from brainenc.core.types import TargetMap
from brainenc.stats import ceilings
from brainenc.stats.splits import TRAIN
from pipelines.samples import load_samples

LEAST_REPEATED = 3
"""Repeated stimuli that a split half, and hence an estimate, needs."""


def estimate_ceiling(responses: Path, split: Path, parameters: dict[str, Any], output: Path) -> None:
    """Estimate signal and noise variance from repetitions, and the ceiling of the test score that follows.

    Parameters
    ----------
    responses, split : Path
    parameters : dict
        ``rows``: ``train``, ``test``, ``all``, or ``auto`` (training samples, so that whatever is masked by the
        ceiling never saw the test set, unless more stimuli repeat among test samples); ``average``: whether scores
        are of averages over repetitions.
    output : Path
        Maps ``ncsnr``, ``signal_variance`` (unclipped), ``noise_variance``, ``explainable_variance``,
        ``ceiling_r2``, ``ceiling_correlation``, ``split_half``. Where fewer than three stimuli repeat,
        every map is NaN.
    """
    samples = load_samples(responses, split, average=False)
    averaged = load_samples(responses, split, average=parameters["average"])
    n_test = averaged.n_repetitions[averaged.tested]
    rows, source = _rows(samples.stimulus_ids, samples.split.test_fold, parameters["rows"])
    n_targets, space = samples.Y.shape[1], samples.space
    # The harmonic mean: noise variance of an average over n repetitions goes with 1/n.
    n = len(n_test) / (1 / n_test).sum()
    used = {**parameters, "rows_used": source, "n_repetitions": round(float(n), 3)}
    made = record("estimate_ceiling", used, {"responses": responses, "split": split})
    if rows is None:
        empty = np.full(n_targets, np.nan)
        names = ["ncsnr", "explainable_variance", "ceiling_r2", "ceiling_correlation"]
        storage.save_maps(
            output, {name: TargetMap(empty, space, name, "too few stimuli repeat") for name in names}, made
        )
        return
    values, ids = samples.Y.rows(rows), samples.stimulus_ids[rows]
    noise = ceilings.noise_ceiling(values, ids)
    best = ceilings.ceiling_r2(noise.ncsnr, n)
    halves = ceilings.split_half(values, ids, seed=0, n_splits=5).reliability
    maps = {
        "ncsnr": (noise.ncsnr, "noise-ceiling signal-to-noise ratio", "ratio of standard deviations"),
        "signal_variance": (noise.signal_variance, "signal variance (unclipped)", "squared response units"),
        "noise_variance": (noise.noise_variance, "noise variance", "squared response units"),
        "explainable_variance": (noise.explainable_variance, "explainable variance", "fraction of variance"),
        "ceiling_r2": (best, "noise ceiling of r2", "fraction of variance"),
        "ceiling_correlation": (np.sqrt(best), "noise ceiling of correlation", "Pearson r"),
        "split_half": (halves, "split-half reliability", "fraction of variance"),
    }
    storage.save_maps(output, {name: TargetMap(v, space, q, u) for name, (v, q, u) in maps.items()}, made)


def _rows(ids: np.ndarray, test_fold: np.ndarray, wanted: str) -> tuple[np.ndarray | None, str]:
    """Boolean rows whose repetitions are used, and their name; None if too few stimuli repeat among them."""
    choices = {"train": test_fold == TRAIN, "test": test_fold >= 0, "all": np.ones(len(ids), bool)}
    names = ("train", "test") if wanted == "auto" else (wanted,)
    n_repeated = {name: _n_repeated(ids[choices[name]]) for name in names}
    name = max(names, key=lambda each: n_repeated[each])  # the first of equals
    return (choices[name], name) if n_repeated[name] >= LEAST_REPEATED else (None, "none")


def _n_repeated(ids: np.ndarray) -> int:
    return int((np.unique(ids.astype(str), return_counts=True)[1] > 1).sum())
