"""split_samples: which samples are tested, in which fold, and which must stay together inside training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from brainenc.core import storage
from brainenc.core.align import rows_of
from brainenc.stats import splits
from pipelines.study import class_and_arguments


def split_samples(stimuli: Path, responses: Path, parameters: dict[str, Any], output: Path) -> None:
    """Assign each sample a test fold (-1: never tested) and a training group; guards raise before anything is fitted.

    Parameters
    ----------
    stimuli, responses : Path
        Stimulus table and responses of one subject.
    parameters : dict
        The study's ``split`` entry: ``class`` is ``column``, ``stimulus`` or ``run``.
    output : Path
        TSV with one row per sample: stimulus_id, test_fold, group, and dropped_k where fold k purges.
    """
    table = storage.load_stimuli(stimuli).table
    measured = storage.load_responses(responses)
    ids = measured.stimulus_ids
    rows = rows_of(ids, table.index.to_numpy(object), f"stimulus table {stimuli}")
    contents = table["content"].to_numpy(object)[rows]
    kind, arguments = class_and_arguments(parameters)
    if kind == "column":
        split = splits.by_column(table, ids, **arguments)
    elif kind == "stimulus":
        # The same content under two names is one stimulus.
        split = splits.by_stimulus(contents, **arguments)
    else:
        split = splits.by_run(measured.column("run"), ids, **arguments)
    if not split.stimuli_recur:
        split = _without_copies(split, contents)
        splits.check_split(split, ids, contents=contents)
    storage.write_table(output, split.to_table(ids), index=False)


def _without_copies(split: splits.Split, contents: np.ndarray) -> splits.Split:
    """Training samples that show the content of a test stimulus under another name are never used."""
    if split.n_folds != 1:
        return split
    tested = np.unique(contents[split.test_fold >= 0].astype(str))
    copies = (split.test_fold == splits.TRAIN) & np.isin(contents.astype(str), tested)
    return replace(split, test_fold=np.where(copies, splits.UNUSED, split.test_fold))
