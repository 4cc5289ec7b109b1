"""Columns of the stimulus table as features: ratings, labels, attributes; categories become one column per level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from brainenc.core.types import DataError, StimulusSet
from brainenc.features.layers import check_choice
from brainenc.features.rows import RowBatches, versions


class TableExtractor:
    """Chosen columns of the stimulus table: (batch, n_columns).

    Parameters
    ----------
    name : str
        The feature space as the study names it.
    columns : sequence of str
        Column names or patterns with ``*`` and ``?``, such as ``"attribute_*"``; the order of the channels is that of
        the list, and of the table within a pattern. Booleans become 0 and 1.
    levels : mapping of str to sequence, optional
        For each categorical column its levels, one channel each: 1 where the stimulus has that level, else 0.
    transform : {"log1p"}, optional
        ``log(1 + x)`` of every numeric column.
    """

    class_name = "table"

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        levels: Mapping[str, Sequence[Any]] | None = None,
        transform: str | None = None,
    ) -> None:
        self.name, self.owner = name, f"feature space {name!r}"
        check_choice(self.owner, "transform", transform, (None, "log1p"))
        if isinstance(columns, str) or not columns:
            raise DataError(
                f"{self.owner}: columns is {columns!r}, wanted a list such as ['attribute_*']: write it so."
            )
        self.columns, self.transform = tuple(columns), transform
        self.levels = {key: list(values) for key, values in (levels or {}).items()}
        for column, values in self.levels.items():
            if not values or len(set(values)) != len(values):
                raise DataError(
                    f"{self.owner}: levels of {column!r} are {values}, wanted distinct values: correct them."
                )

    def selected(self, stimuli: StimulusSet) -> list[str]:
        """Names of the columns that the patterns choose, in channel order."""
        have = [column for column in stimuli.table.columns if isinstance(column, str)]
        chosen: dict[str, None] = {}
        for pattern in self.columns:
            found = [pattern] if pattern in have else [c for c in have if fnmatchcase(c, pattern)]
            if not found:
                raise DataError(
                    f"{self.owner}: no column of the stimulus table matches {pattern!r} (it has {have}): correct "
                    "'columns' or add it to the table."
                )
            chosen.update(dict.fromkeys(found))
        unused = [column for column in self.levels if column not in chosen]
        if unused:
            raise DataError(
                f"{self.owner}: levels are given for {unused[0]!r}, which 'columns' does not choose: add it."
            )
        return list(chosen)

    def channel_names(self, stimuli: StimulusSet) -> list[str]:
        """One name per channel; ``column=level`` for categories."""
        return [
            channel
            for column in self.selected(stimuli)
            for channel in ([f"{column}={v}" for v in self.levels[column]] if column in self.levels else [column])
        ]

    def _numeric(self, column: str, values: pd.Series) -> np.ndarray:
        if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_complex_dtype(values):
            raise DataError(
                f"{self.owner}: column {column!r} holds {values.dtype} such as {values.iloc[0]!r}, wanted numbers: "
                f"give its categories under 'levels', as in levels: {{{column}: [...]}}."
            )
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        bad = ~np.isfinite(numbers) if self.transform is None else ~(np.isfinite(numbers) & (numbers > -1))
        if bad.any():
            wanted = "a finite number" if self.transform is None else "a finite number above -1 for log1p"
            row = int(np.flatnonzero(bad)[0])
            raise DataError(
                f"{self.owner}: stimulus {values.index[row]!r} has {numbers[row]} in column {column!r}, wanted "
                f"{wanted}: fill it in or leave the stimulus out."
            )
        return (np.log1p(numbers) if self.transform == "log1p" else numbers)[:, None]

    def _one_hot(self, column: str, values: pd.Series) -> np.ndarray:
        levels = self.levels[column]
        stray = [stimulus_id for stimulus_id, value in values.items() if value not in levels]
        if stray:
            raise DataError(
                f"{self.owner}: stimulus {stray[0]!r} has {values[stray[0]]!r} in column {column!r}, which is none of "
                f"the levels {levels}: add the level or correct the table."
            )
        return np.stack([(values == level).to_numpy(dtype=float) for level in levels], axis=1)

    def _compute(self, part: StimulusSet) -> np.ndarray:
        blocks = [
            (self._one_hot if column in self.levels else self._numeric)(column, part.table[column])
            for column in self.selected(part)
        ]
        return np.concatenate(blocks, axis=1)

    def check(self, stimuli: StimulusSet) -> None:
        """Raise `DataError` for a missing column, a missing value, an unknown level."""
        self._compute(stimuli)

    def extract(self, stimuli: StimulusSet, batch_size: int = 64) -> RowBatches:
        """Iterate over (batch, n_columns) float32 in row order; everything is checked before the first batch."""
        self.check(stimuli)
        return RowBatches(self.name, stimuli, batch_size, self._compute)

    def row_shape(self, stimuli: StimulusSet) -> tuple[int, ...]:
        """Shape of one row, ``(n_columns,)``."""
        return (len(self.channel_names(stimuli)),)

    def fingerprint(self) -> dict[str, Any]:
        """What decides the numbers beside the table itself."""
        arguments = {"columns": list(self.columns), "levels": self.levels, "transform": self.transform}
        return {"class": self.class_name, "arguments": arguments, "versions": versions("brainenc", "pandas")}
