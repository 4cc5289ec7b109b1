"""split_samples: which samples are tested, in which fold, and which must stay together inside training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from brainenc.core import storage
from brainenc.core.types import DataError
from brainenc.stats import splits


def split_samples(stimuli: Path, responses: Path, parameters: dict[str, Any], output: Path) -> None:
    """Assign each sample a test fold (-1: never tested) and a training group; guards raise before anything is fitted.

    Parameters
    ----------
    stimuli, responses : Path
        Stimulus table and responses of one subject.
    parameters : dict
        The study's ``split`` entry: ``class`` is ``column``, ``stimulus`` or ``run``.
    output : Path
        TSV with one row per sample: stimulus_id, test_fold, group.
    """
    table = storage.load_stimuli(stimuli).table
    measured = storage.load_responses(responses)
    arguments = dict(parameters)
    kind = arguments.pop("class")
    if kind == "column":
        split = splits.by_column(table, measured.stimulus_ids, **arguments)
    elif kind == "stimulus":
        split = splits.by_stimulus(measured.stimulus_ids, **arguments)
    elif kind == "run":
        split = splits.by_run(measured.column("run"), stimulus_ids=measured.stimulus_ids, **arguments)
    else:
        raise DataError(f"study key split.class: got {kind!r}, wanted 'column', 'stimulus' or 'run'.")
    rows = {"stimulus_id": measured.stimulus_ids, "test_fold": split.test_fold, "group": split.group}
    storage.write_table(output, pd.DataFrame(rows), index=False)
