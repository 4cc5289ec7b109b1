"""check_recovery: the only step that opens the planted truth, after all fits, for the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainenc import datasets
from brainenc.core import storage
from brainenc.core.align import rows_of
from brainenc.core.stored import Matrix, column_blocks
from brainenc.encoders.fields import read_fields
from brainenc.world import cortex, recovery
from brainenc.world.truth import PlantedTruth
from pipelines.networks import dataset_arguments
from pipelines.samples import load_samples


def check_recovery(
    subject: str,
    stimuli: Path,
    responses: Path,
    split: Path,
    ceiling: Path,
    models: list[Path],
    parameters: dict[str, Any],
    output: Path,
) -> None:
    """Compare ceiling, scores, significance, partition, preferences and receptive fields with what was planted.

    Parameters
    ----------
    subject : str
    stimuli, responses, split, ceiling : Path
    models : list of Path
        Folder of each model, in the order of ``parameters["models"]``.
    parameters : dict
        ``dataset``: its entry; ``models``: labels; ``features``: entries; ``fdr``; ``average``.
    output : Path
        TSV: check, where, value, low, high, wanted, passed. The checks of bands need a banded model of the feature
        space ``energy`` (class gabor) with others.
    """
    kind, arguments = dataset_arguments(parameters["dataset"])
    truth = datasets.build(kind, **arguments).truth(subject)
    samples = load_samples(responses, split, parameters["average"])
    tested = samples.tested
    design = recovery.Design(len(tested), float(np.median(samples.n_repetitions[tested])))
    folders = dict(zip(parameters["models"], models, strict=True))
    best = storage.load_maps(ceiling)
    checks = list(recovery.ceiling_checks(truth, best["ncsnr"].values, best["signal_variance"].values, design))
    joint = next((label for label in folders if "energy+" in label), list(folders)[0])
    scores = {name: m.values for name, m in storage.load_maps(folders[joint] / "scores.h5").items()}
    checks += recovery.score_checks(truth, scores["correlation"], design)
    checks += recovery.significance_checks(truth, scores["q_value"], parameters["fdr"], design)
    table = storage.load_stimuli(stimuli).table
    shown = table.iloc[rows_of(samples.stimulus_ids[tested], table.index.to_numpy(object), "stimulus table")]
    sizes = {name: shown[f"size_{name}"].to_numpy(float) for name in cortex.PLANTED_CATEGORIES}
    Y_hat = storage.open_arrays(folders[joint] / "predictions.safetensors")["Y_hat"]
    checks += recovery.preference_checks(*_preferring(truth, Y_hat), sizes)
    if "energy+" in joint:
        unique = storage.load_maps(folders[joint] / "partition.h5")
        others = [m.values for name, m in unique.items() if name.startswith("unique_") and name != "unique_energy"]
        parts = (unique["unique_energy"].values, np.sum(others, axis=0))
        checks += recovery.partition_checks(truth, *parts, scores["r2"], design)
        alone = folders.get(f"{joint.split('/')[0]}/energy")
        if alone is not None:
            checks += recovery.field_checks(truth, *_fields(alone, parameters["features"]["energy"]), design)
    rows = [{**vars(check), "wanted": check.wanted, "passed": check.passed} for check in checks]
    storage.write_table(output, pd.DataFrame(rows), index=False)


def _preferring(truth: PlantedTruth, Y_hat: Matrix) -> tuple[PlantedTruth, np.ndarray]:
    """Truth and predictions of the targets with a planted preference."""
    chosen = np.isin(truth.region, (*recovery.PREFERRED, "ANTI"))
    read = [Y_hat[:, columns][:, chosen[columns]] for columns in column_blocks(Y_hat.shape)]
    return replace(truth, region=truth.region[chosen], preferred=truth.preferred[chosen]), np.concatenate(read, axis=1)


def _fields(model: Path, entry: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Receptive field centres read from the coefficients of the energy model."""
    state = storage.open_arrays(model / "encoder.safetensors")
    side, coef = entry.get("grid", 8), state["coef"]
    centres = [
        read_fields(coef[:, columns], state["feature_scale"], (side, side), cortex.FIELD)[:2]
        for columns in column_blocks(coef.shape)
    ]
    x, y = np.concatenate(centres, axis=1)
    return x, y
