"""clean_responses: drift out, sessions on one scale, with statistics that training samples alone decide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from brainenc.core import storage
from brainenc.core.provenance import record
from brainenc.core.types import DataError, Responses
from brainenc.stats import cleaning
from brainenc.stats.chunks import target_chunks
from brainenc.stats.splits import TRAIN


def clean_responses(responses: Path, split: Path, parameters: dict[str, Any], output: Path, quality: Path) -> None:
    """Detrend and z-score within session or run; count what cannot be used and mask dead and incomplete targets.

    Parameters
    ----------
    responses, split : Path
    parameters : dict
        ``within``: ``session``, ``run`` or null (leave as they are); ``detrend``: polynomial order or null;
        ``zscore``: bool.
    output : Path
        Cleaned responses, the same rows; masked targets are NaN.
    quality : Path
        JSON: dead, NaN and unusable targets, empty samples, and where the statistics came from.
    """
    measured, table = storage.open_responses(responses), storage.read_table(split)
    training = (table["test_fold"] == TRAIN).to_numpy()
    found = cleaning.quality(measured.values)
    if not found.usable_targets.any():
        raise DataError(f"{responses}: every target is dead or holds NaN outside empty samples: export them again.")
    cleaner = None
    if parameters["within"] is not None and (parameters["zscore"] or parameters["detrend"] is not None):
        cleaner = _cleaner(measured, training, parameters)
    units = "z" if parameters["zscore"] and parameters["within"] else measured.units
    made = record("clean_responses", parameters, {"responses": responses, "split": split})
    with storage.responses_writer(output, replace(measured, units=units), made) as values:
        for columns in target_chunks(measured.values):
            block = measured.values[:, columns] if cleaner is None else cleaner.clean(columns)
            # Masked whole, so that averaging over repetitions cannot fill a gap and no score of a dead target is 0.
            values[:, columns] = np.where(found.usable_targets[columns], block, np.nan).astype(np.float32)
    source = {} if cleaner is None else cleaner.report()["source"].value_counts().to_dict()
    storage.write_json(
        quality,
        {
            **found.counts(),
            "n_unusable_targets": int((~found.usable_targets).sum()),
            "n_training_samples": int(training.sum()),
            "n_stimuli": len(set(measured.stimulus_ids)),
            "units": measured.units,
            "units_after_cleaning": units,
            "space": measured.space.kind,
            "statistics_from": source,
            "folds": {str(k): int((table["test_fold"] == k).sum()) for k in sorted(set(table["test_fold"]))},
            "provenance": made,
        },
    )


def _cleaner(measured: Responses, training: np.ndarray, parameters: dict[str, Any]) -> cleaning.SessionCleaner:
    given = [name for name in ("time", "onset") if measured.samples is not None and name in measured.samples]
    return cleaning.SessionCleaner(
        measured.values,
        measured.column(parameters["within"]),
        time=measured.column(given[0]) if given else None,
        order=parameters["detrend"],
        training=training if training.any() else None,
        zscore=parameters["zscore"],
    )
