"""Rows of features in the order of the stimuli, a batch at a time: what every extractor yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Self

import numpy as np

from brainenc.core.types import DataError, StimulusSet


class RowBatches(Iterator[np.ndarray]):
    """Features in row order, a batch at a time.

    Parameters
    ----------
    name : str
        The feature space, for messages.
    stimuli : StimulusSet
    batch_size : int
    compute : callable
        Takes a slice of the stimulus table, returns (batch, *axes, n_channels).

    Attributes
    ----------
    n_rows : int
        Rows that will come in all.
    """

    def __init__(
        self, name: str, stimuli: StimulusSet, batch_size: int, compute: Callable[[StimulusSet], np.ndarray]
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise DataError(f"feature space {name!r}: batch_size is {batch_size!r}, wanted a positive whole number.")
        self.n_rows = len(stimuli)
        self._name, self._stimuli, self._batch_size, self._compute, self._next = name, stimuli, batch_size, compute, 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> np.ndarray:
        if self._next >= self.n_rows:
            raise StopIteration
        part = StimulusSet(self._stimuli.table.iloc[self._next : self._next + self._batch_size])
        values = np.ascontiguousarray(self._compute(part), dtype=np.float32)
        if values.ndim < 2 or values.shape[0] != len(part):
            raise DataError(
                f"feature space {self._name!r}: {len(part)} stimuli gave an array of shape {values.shape}, wanted "
                f"({len(part)}, ..., n_channels): the chosen layer does not keep stimuli on its first axis."
            )
        finite = np.isfinite(values).reshape(len(part), -1).all(axis=1)
        if not finite.all():
            bad = part.ids[int(np.flatnonzero(~finite)[0])]
            raise DataError(
                f"feature space {self._name!r}: stimulus {bad!r} gives NaN or infinity, wanted finite float32 numbers: "
                "check that stimulus, the checkpoint, or choose another layer."
            )
        self._next += len(part)
        return values


def require_column(name: str, stimuli: StimulusSet, column: str) -> None:
    """Raise `DataError` unless every stimulus has a non-empty string in ``column``."""
    if column not in stimuli.table.columns:
        raise DataError(
            f"feature space {name!r}: the stimulus table has no column {column!r} (it has "
            f"{list(stimuli.table.columns)}): add it or choose a feature class that does not read it."
        )
    for stimulus_id, value in stimuli.table[column].items():
        if not isinstance(value, str) or not value.strip():
            raise DataError(
                f"feature space {name!r}: stimulus {stimulus_id!r} has {value!r} in column {column!r}, wanted a "
                "non-empty string: fill it in or leave the stimulus out."
            )


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of ``packages`` (absent ones are left out)."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
