"""prepare_stimuli: one table of all stimuli of the study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from brainenc import datasets
from brainenc.core import storage
from brainenc.core.provenance import content_hash, file_hash
from brainenc.core.types import StimulusSet
from pipelines.networks import dataset_arguments


def prepare_stimuli(parameters: dict[str, Any], output: Path) -> None:
    """Write the stimulus table with a content hash per stimulus, and the pictures of data sets that make their own.

    Parameters
    ----------
    parameters : dict
        The data set's entry in the study.
    output : Path
        ``stimuli.tsv``; paths inside are relative to it where they lie below its folder.
    """
    kind, arguments = dataset_arguments(parameters)
    dataset = datasets.build(kind, **arguments)
    stimuli = dataset.stimuli(output.parent / "stimuli")
    table = stimuli.table.copy()
    if "path" in table.columns:
        table["path"] = [_portable(path, output.parent) for path in table["path"]]
    table["content"] = [_content(stimulus, row) for stimulus, row in stimuli.table.iterrows()]
    storage.save_stimuli(output, StimulusSet(table))


def _portable(path: Any, folder: Path) -> Any:
    """``path`` relative to ``folder`` if it lies below it, else absolute, so that the table can be moved with it."""
    if not isinstance(path, str) or not path:
        return path
    full, root = Path(path).resolve(), folder.resolve()
    return str(full.relative_to(root)) if full.is_relative_to(root) else str(full)


def _content(stimulus_id: Any, row: pd.Series) -> str:
    """What the stimulus shows: hash of its file, else of its text, else its id; equal content has equal hashes."""
    path, text = row.get("path"), row.get("text")
    if isinstance(path, str) and path:
        return file_hash(path)[:16]
    return content_hash(text if isinstance(text, str) and text else str(stimulus_id))[:16]
