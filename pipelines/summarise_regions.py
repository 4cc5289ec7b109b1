"""summarise_regions: one row per region and model, with intervals; and paired comparisons of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainenc.core import storage
from brainenc.core.stored import Matrix
from brainenc.core.types import DataError
from brainenc.stats import bootstrap, identification
from brainenc.stats.chunks import target_chunks
from pipelines.samples import load_samples

COLUMNS = [
    "model",
    "region",
    "n_targets",
    "n_undefined",
    "correlation",
    "lower",
    "upper",
    "r2",
    "ceiling",
    "ceiling_r2",
    "normalised",
    "significant",
    "identified",
    "chance",
]
PAIRED = ["model_a", "model_b", "region", "n_targets", "difference", "lower", "upper", "p"]


def summarise_regions(
    responses: Path,
    split: Path,
    regions: Path,
    ceiling: Path,
    predictions: list[Path],
    scores: list[Path],
    parameters: dict[str, Any],
    output: Path,
    comparisons: Path,
) -> None:
    """Average scores over regions with bootstrap intervals over test stimuli.

    Parameters
    ----------
    responses, split, regions, ceiling : Path
    predictions, scores : list of Path
        One per model, in the order of ``parameters["models"]``.
    parameters : dict
        ``models``: labels; ``comparisons``: pairs of labels; ``n_bootstrap``, ``block``, ``fdr``, ``floor``,
        ``average``, ``seed``.
    output, comparisons : Path
        TSV tables.
    """
    samples = load_samples(responses, split, parameters["average"])
    best = storage.load_maps(ceiling)
    usable = _usable(samples.Y)
    masks = {name: mask & usable for name, mask in storage.load_masks(regions).items() if (mask & usable).any()}
    masks["all targets"] = usable
    Y, fold = samples.held_out(output), samples.fold
    options = {
        "metric": "correlation",
        "n_bootstrap": parameters["n_bootstrap"],
        "seed": parameters["seed"],
        "blocks": samples.blocks(parameters["block"]),
        "test_fold": fold,
    }
    held_out = dict(zip(parameters["models"], predictions, strict=True))
    rows = []
    for label, path in zip(parameters["models"], scores, strict=True):
        Y_hat = storage.open_arrays(held_out[label])["Y_hat"]
        intervals = bootstrap.roi_interval(Y, Y_hat, masks, **options)
        maps = {name: target_map.values for name, target_map in storage.load_maps(path).items()}
        for region, mask in masks.items():
            row = _row(mask, maps, best, intervals.loc[region], parameters)
            row |= _identified(Y, Y_hat, samples.stimulus_ids[samples.tested], fold, mask)
            rows.append({"model": label, "region": region, **row})
    storage.write_table(output, pd.DataFrame(rows, columns=COLUMNS), index=False)

    paired = []
    for a, b in parameters["comparisons"]:
        Y_a, Y_b = (storage.open_arrays(held_out[label])["Y_hat"] for label in (a, b))
        difference = bootstrap.roi_difference(Y, Y_a, Y_b, masks, **options)
        for region, row in difference.iterrows():
            keep = {key: row[key] for key in ("difference", "lower", "upper", "p")}
            paired.append({"model_a": a, "model_b": b, "region": region, "n_targets": int(masks[region].sum()), **keep})
    storage.write_table(comparisons, pd.DataFrame(paired, columns=PAIRED), index=False)


def _usable(Y: Matrix) -> np.ndarray:
    """Targets that are finite and vary over all samples, (n_targets,) bool."""
    usable = np.zeros(Y.shape[1], bool)
    for columns in target_chunks(Y):
        block = Y[:, columns]
        usable[columns] = np.isfinite(block).all(axis=0) & (np.ptp(block, axis=0) > 0)
    return usable


def _row(mask: np.ndarray, maps: dict, best: dict, interval: pd.Series, parameters: dict[str, Any]) -> dict[str, Any]:
    """One region of one model; the normalised score is a ratio of means over targets above the ceiling floor."""
    limit = best["ceiling_r2"].values
    reliable = mask & (limit > parameters["floor"]) & np.isfinite(maps["correlation"])
    normalised = np.nan
    if reliable.any():
        normalised = np.mean(maps["correlation"][reliable]) / np.mean(best["ceiling_correlation"].values[reliable])
    return {
        "n_targets": int(mask.sum()),
        "n_undefined": int(interval["n_undefined"]),
        "correlation": interval["mean"],
        "lower": interval["lower"],
        "upper": interval["upper"],
        "r2": _mean(maps["r2"][mask]),
        "ceiling": _mean(best["ceiling_correlation"].values[mask]),
        "ceiling_r2": _mean(limit[mask]),
        "normalised": normalised,
        "significant": float(np.mean(maps["q_value"][mask] < parameters["fdr"])),
    }


def _identified(
    Y: Matrix, Y_hat: Matrix, stimulus_ids: np.ndarray, fold: np.ndarray, mask: np.ndarray
) -> dict[str, float]:
    """Share of test samples whose stimulus is told from all others of the fold by the predicted pattern."""
    try:
        found = identification.identification(Y, Y_hat, stimulus_ids, fold, targets=mask)
    except DataError:  # too few targets, or a pattern without any variation
        return {"identified": np.nan, "chance": np.nan}
    return {"identified": found.top1, "chance": found.chance}


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
