"""split_samples: which samples are tested, in which fold, and which must stay together inside training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainenc.core import storage
from brainenc.core.align import rows_of
from pipelines.samples import make_split


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
    ids, samples = storage.load_sample_table(responses)
    rows = rows_of(ids, table.index.to_numpy(object), f"stimulus table {stimuli}")
    contents = table["content"].to_numpy(object)[rows]
    run = None if samples is None else samples.get("run")
    split = make_split(parameters, table, ids, contents, None if run is None else run.to_numpy())
    storage.write_table(output, split.to_table(ids), index=False)
