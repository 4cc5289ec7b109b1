"""score_encoder: how well held-out responses were predicted, against the ceiling and against chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brainenc.core import storage
from brainenc.core.provenance import record
from brainenc.core.types import TargetMap
from brainenc.stats import metrics, significance
from pipelines.samples import load_samples


def score_encoder(
    responses: Path, split: Path, ceiling: Path, predictions: Path, parameters: dict[str, Any], output: Path
) -> None:
    """Score held-out predictions per target: within each fold, then averaged over folds.

    Parameters
    ----------
    responses, split, ceiling, predictions : Path
    parameters : dict
        ``n_permutations``, ``block``, ``fdr``, ``floor`` (ceiling below which nothing is normalised), ``average``,
        ``seed``.
    output : Path
        Maps ``r2``, ``correlation``, ``normalised_correlation``, ``p_value``, ``q_value``.
    """
    samples = load_samples(responses, split, parameters["average"])
    best = storage.load_maps(ceiling)
    Y, Y_hat = samples.held_out(output), storage.open_arrays(predictions)["Y_hat"]
    fold = samples.fold
    correlation = metrics.by_fold(metrics.correlation, Y, Y_hat, fold)
    p = significance.permutation_p_values(
        Y,
        Y_hat,
        n_permutations=parameters["n_permutations"],
        seed=parameters["seed"],
        blocks=samples.blocks(parameters["block"]),
        test_fold=fold,
    )
    floor = parameters["floor"]
    limit = best["ceiling_correlation"].values
    maps = {
        "r2": (metrics.by_fold(metrics.r2, Y, Y_hat, fold), "r2", "fraction of variance"),
        "correlation": (correlation, "correlation", "Pearson r"),
        "normalised_correlation": (
            metrics.normalised(correlation, limit, np.sqrt(floor)),
            "normalised correlation",
            f"r / noise ceiling, where the ceiling of r2 exceeds {floor:g}",
        ),
        "p_value": (p, "permutation p-value of correlation", f"{parameters['n_permutations']} permutations"),
        "q_value": (significance.fdr_bh(p), "false discovery rate", "Benjamini-Hochberg q"),
    }
    inputs = {"responses": responses, "split": split, "ceiling": ceiling, "predictions": predictions}
    made = record("score_encoder", parameters, inputs, parameters["seed"])
    storage.save_maps(output, {k: TargetMap(v, samples.space, q, u) for k, (v, q, u) in maps.items()}, made)
