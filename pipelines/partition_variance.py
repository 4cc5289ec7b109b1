"""partition_variance: what each band explains, alone and beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainenc.core import storage
from brainenc.core.provenance import record
from brainenc.core.types import TargetMap
from brainenc.stats import partition
from pipelines.samples import load_samples


def partition_variance(
    responses: Path,
    split: Path,
    predictions: Path,
    scores: Path,
    reduced: list[Path],
    parameters: dict[str, Any],
    output: Path,
) -> None:
    """Split the joint r2 over bands, by product measure and by leaving one band out.

    Parameters
    ----------
    responses, split, predictions, scores : Path
        Of the joint model.
    reduced : list of Path
        Scores of the joint model without each band, in the order of ``bands``.
    parameters : dict
        ``bands``: names; ``average``.
    output : Path
        Maps ``product_<band>`` (they sum to the joint r2) and ``unique_<band>``.
    """
    samples = load_samples(responses, split, parameters["average"])
    held_out = storage.open_arrays(predictions)
    bands = parameters["bands"]
    parts = [held_out[f"band:{band}"] for band in bands]
    shares = partition.product_measure_by_fold(samples.held_out(output), held_out["Y_hat"], parts, samples.fold)
    joint = storage.load_maps(scores)["r2"].values
    maps = {}
    for band, share, path in zip(bands, shares, reduced, strict=True):
        unique = partition.unique_variance(joint, storage.load_maps(path)["r2"].values)
        maps[f"product_{band}"] = TargetMap(share, samples.space, f"product measure of {band}", "fraction of variance")
        maps[f"unique_{band}"] = TargetMap(unique, samples.space, f"unique variance of {band}", "fraction of variance")
    inputs = {"responses": responses, "predictions": predictions, "scores": scores}
    storage.save_maps(output, maps, record("partition_variance", parameters, inputs))
