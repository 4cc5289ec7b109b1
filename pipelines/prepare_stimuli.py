"""prepare_stimuli: one table of all stimuli of the study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainenc import datasets
from brainenc.core import storage
from brainenc.core.types import StimulusSet


def prepare_stimuli(parameters: dict[str, Any], output: Path) -> None:
    """Write the stimulus table, and beside it the pictures of data sets that make their own.

    Parameters
    ----------
    parameters : dict
        The data set's entry in the study.
    output : Path
        ``stimuli.tsv``; paths inside are relative to it where they lie below its folder.
    """
    dataset = datasets.build(**parameters)
    stimuli = dataset.stimuli(output.parent / "stimuli")
    table = stimuli.table.copy()
    if "path" in table.columns:
        table["path"] = [_portable(path, output.parent) for path in table["path"]]
    storage.save_stimuli(output, StimulusSet(table))


def _portable(path: Any, folder: Path) -> Any:
    """``path`` relative to ``folder`` if it lies below it, else absolute, so that the table can be moved with it."""
    if not isinstance(path, str) or not path:
        return path
    full, root = Path(path).resolve(), folder.resolve()
    return str(full.relative_to(root)) if full.is_relative_to(root) else str(full)
