"""How a step meets its samples: responses and split joined by row, repetitions averaged, folds as they were sealed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainenc.core import storage
from brainenc.core.align import average_repetitions
from brainenc.core.spaces import Space
from brainenc.core.types import DataError
from brainenc.stats.splits import UNUSED, Split, from_table


@dataclass(frozen=True)
class Samples:
    """Rows that encoders see: Y (n_samples, n_targets), and what belongs to each row."""

    Y: np.ndarray
    stimulus_ids: np.ndarray
    split: Split
    run: np.ndarray | None
    n_repetitions: np.ndarray
    space: Space
    units: str

    @property
    def tested(self) -> np.ndarray:
        """Rows that are tested in some fold, ascending."""
        return np.flatnonzero(self.split.test_fold >= 0)

    @property
    def fold(self) -> np.ndarray:
        """Test fold of each tested row."""
        return self.split.test_fold[self.tested]


def load_samples(responses: Path, split: Path, average: bool) -> Samples:
    """Read responses and split of a subject; drop unused and empty samples; average repetitions if asked.

    Raises
    ------
    DataError
        The two files describe different rows, or averaging would merge training and test.
    """
    measured, table = storage.load_responses(responses), storage.read_table(split)
    if list(table["stimulus_id"]) != list(measured.stimulus_ids):
        raise DataError(f"{split} and {responses} list different samples: delete both and run again.")
    kept = np.isfinite(measured.values).any(axis=1) & (table["test_fold"] != UNUSED).to_numpy()
    Y, ids, table = measured.values[kept], measured.stimulus_ids[kept], table[kept]
    run = None
    if measured.samples is not None and "run" in measured.samples:
        run = measured.samples["run"].to_numpy()[kept]
    n_repetitions = np.ones(len(ids), int)
    if average:
        if table.groupby("stimulus_id")["test_fold"].nunique().max() > 1:
            raise DataError(
                f"{split}: repetitions of a stimulus lie in different folds, so averaging would mix training and "
                "test: set responses.average to false, or split by stimulus."
            )
        Y, ids, n_repetitions = average_repetitions(Y, ids)
        table, run = table.drop_duplicates("stimulus_id"), None
    return Samples(Y, ids, from_table(table), run, n_repetitions, measured.space, measured.units)
