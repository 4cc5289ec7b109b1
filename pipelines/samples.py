"""How a step meets its samples: responses and split joined by row, repetitions averaged, folds as they were sealed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainenc.core import storage
from brainenc.core.align import average_repetitions
from brainenc.core.spaces import Space
from brainenc.core.types import DataError


@dataclass(frozen=True)
class Samples:
    """Rows that encoders see: Y (n_samples, n_targets), and what belongs to each row."""

    Y: np.ndarray
    stimulus_ids: np.ndarray
    test_fold: np.ndarray
    group: np.ndarray
    run: np.ndarray | None
    n_repetitions: np.ndarray
    space: Space
    units: str

    def folds(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(train rows, test rows) of each outer fold."""
        for fold in np.unique(self.test_fold[self.test_fold >= 0]):
            yield np.flatnonzero(self.test_fold != fold), np.flatnonzero(self.test_fold == fold)

    @property
    def tested(self) -> np.ndarray:
        """Rows that are tested in some fold, ascending."""
        return np.flatnonzero(self.test_fold >= 0)


def load_samples(responses: Path, split: Path, average: bool) -> Samples:
    """Read responses and split of a subject; drop samples without any measurement; average repetitions if asked.

    Raises
    ------
    DataError
        The two files describe different rows, or averaging would merge training and test.
    """
    measured, table = storage.load_responses(responses), storage.read_table(split)
    if list(table["stimulus_id"]) != list(measured.stimulus_ids):
        raise DataError(f"{split} and {responses} list different samples: delete both and run again.")
    kept = np.isfinite(measured.values).any(axis=1)
    Y, ids = measured.values[kept], measured.stimulus_ids[kept]
    fold, group = table["test_fold"].to_numpy()[kept], table["group"].to_numpy()[kept]
    run = None
    if measured.samples is not None and "run" in measured.samples:
        run = measured.samples["run"].to_numpy()[kept]
    n_repetitions = np.ones(len(ids), int)
    if average:
        first = np.sort(np.unique(ids.astype(str), return_index=True)[1])
        Y, means_of, n_repetitions = average_repetitions(Y, ids)
        own_fold = dict(zip(means_of, fold[first], strict=True))
        if any(own_fold[stimulus] != f for stimulus, f in zip(ids, fold, strict=True)):
            raise DataError(
                f"{split}: repetitions of a stimulus lie in different folds, so averaging would mix training and "
                "test: set responses.average to false, or split by stimulus."
            )
        ids, fold, group, run = means_of, fold[first], group[first], None
    return Samples(Y, ids, fold, group, run, n_repetitions, measured.space, measured.units)
