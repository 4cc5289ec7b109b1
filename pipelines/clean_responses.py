"""clean_responses: drift out, sessions on one scale, with statistics that training samples alone decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brainenc.core import storage
from brainenc.core.provenance import record
from brainenc.core.types import DataError, Responses
from brainenc.stats import cleaning
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
    measured, table = storage.load_responses(responses), storage.read_table(split)
    training = (table["test_fold"] == TRAIN).to_numpy()
    found = cleaning.quality(measured.values)
    if not found.usable_targets.any():
        raise DataError(f"{responses}: every target is dead or holds NaN outside empty samples: export them again.")
    values, source = measured.values, {}
    if parameters["within"] is not None and (parameters["zscore"] or parameters["detrend"] is not None):
        given = [name for name in ("time", "onset") if measured.samples is not None and name in measured.samples]
        time = measured.samples[given[0]].to_numpy() if given else None
        values, report = cleaning.clean_sessions(
            measured.values,
            measured.column(parameters["within"]),
            time=time,
            order=parameters["detrend"],
            training=training if training.any() else None,
            zscore=parameters["zscore"],
        )
        source = report["source"].value_counts().to_dict()
    # Masked whole, so that averaging over repetitions cannot fill a gap and no score of a dead target is 0.
    values = np.where(found.usable_targets, values, np.nan)
    units = "z" if parameters["zscore"] and parameters["within"] else measured.units
    made = record("clean_responses", parameters, {"responses": responses, "split": split})
    storage.save_responses(
        output,
        Responses(
            values.astype(np.float32), measured.stimulus_ids, measured.space, units, measured.samples, measured.tr
        ),
        made,
    )
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
