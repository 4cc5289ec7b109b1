"""The five nouns of the project: plain frozen tables and arrays, validated at birth.

Samples come first and targets last, everywhere. A type never repairs what it is given: a wrong shape, a NaN where
none may be, or a repeated name is refused with one sentence that says what came, what was wanted, and the cure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from brainenc.core.spaces import Space


class DataError(ValueError):
    """Input that cannot be used. The message is one sentence: what came, what was wanted, the cure."""


def as_ids(ids: Any, owner: str) -> np.ndarray:
    """Return ``ids`` as a one-dimensional array of non-empty strings, or raise `DataError` naming ``owner``."""
    array = np.asarray(ids, dtype=object)
    if array.ndim != 1:
        raise DataError(f"{owner}: stimulus_ids has shape {array.shape}, wanted (n_samples,): pass a flat list of ids.")
    # "n/a" is how tables write a missing value, and HDF5 cuts a string at NUL: neither would come back from disk.
    bad = [i for i, value in enumerate(array) if not isinstance(value, str) or value in ("", "n/a") or "\0" in value]
    if bad:
        raise DataError(
            f"{owner}: stimulus_ids[{bad[0]}] is {array[bad[0]]!r}, wanted a non-empty string: "
            "convert ids to str before building (a missing id has no stimulus)."
        )
    return array


def duplicates(ids: Sequence[str] | np.ndarray) -> list[str]:
    """Ids that occur more than once, each named once, in order."""
    index = pd.Index(ids)
    return list(dict.fromkeys(index[index.duplicated()]))


@dataclass(frozen=True)
class StimulusSet:
    """One row per stimulus.

    Parameters
    ----------
    table : DataFrame
        Index ``stimulus_id``: unique non-empty strings. Optional columns: ``path`` (a file), ``text`` (a caption or
        sentence), ``split`` (``train``/``validation``/``test``), ``onset`` and ``duration`` in seconds, and any
        annotation of the user.

    Raises
    ------
    DataError
        Empty table, wrong index name, a missing or repeated id.
    """

    table: pd.DataFrame

    def __post_init__(self) -> None:
        if not isinstance(self.table, pd.DataFrame):
            raise DataError(f"StimulusSet: got {type(self.table).__name__}, wanted a DataFrame indexed by stimulus_id.")
        if len(self.table) == 0:
            raise DataError("StimulusSet: the stimulus table is empty, wanted at least one row: add the stimuli.")
        if self.table.index.name != "stimulus_id":
            raise DataError(
                f"StimulusSet: the index is named {self.table.index.name!r}, wanted 'stimulus_id': "
                "call table.set_index('stimulus_id')."
            )
        ids = as_ids(self.table.index.to_numpy(), "StimulusSet")
        repeated = duplicates(ids)
        if repeated:
            raise DataError(
                f"StimulusSet: stimulus_id {repeated[0]!r} occurs more than once ({len(repeated)} duplicate ids), "
                "wanted one row per stimulus: keep repetitions in the samples, not in the stimulus table."
            )

    @property
    def ids(self) -> np.ndarray:
        """Stimulus ids, shape (n_stimuli,)."""
        return np.asarray(self.table.index, dtype=object)

    def __len__(self) -> int:
        return len(self.table)

    def select(self, ids: Sequence[str] | np.ndarray) -> StimulusSet:
        """Return the stimuli ``ids``, in that order; an unknown id raises `DataError`."""
        missing = pd.Index(ids).difference(self.table.index)
        if len(missing):
            raise DataError(
                f"StimulusSet: stimulus_id {missing[0]!r} is not in the stimulus table ({len(missing)} such ids): "
                "add its row or drop the samples that show it."
            )
        return StimulusSet(self.table.loc[list(ids)])


@dataclass(frozen=True)
class Features:
    """A named representation of stimuli.

    Parameters
    ----------
    values : array, shape (n_samples, *axes, n_channels)
        Floating point and finite. Middle axes are spatial or temporal tokens.
    stimulus_ids : array of str, shape (n_samples,)
        One per row, unique.
    name : str
        The feature space, as the study names it.
    """

    values: np.ndarray
    stimulus_ids: np.ndarray
    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "stimulus_ids", as_ids(self.stimulus_ids, f"Features {self.name!r}"))
        shape, dtype = self.values.shape, self.values.dtype
        if len(shape) < 2 or 0 in shape:
            raise DataError(
                f"Features {self.name!r}: values have shape {shape}, wanted (n_samples, ..., n_channels) with no empty "
                "axis: extract at least one row and one channel."
            )
        if shape[0] != len(self.stimulus_ids):
            raise DataError(
                f"Features {self.name!r}: {shape[0]} rows of values but {len(self.stimulus_ids)} stimulus_ids: "
                "give one id per row."
            )
        if not np.issubdtype(dtype, np.floating):
            raise DataError(f"Features {self.name!r}: dtype {dtype}, wanted a floating type: call .astype('float32').")
        repeated = duplicates(self.stimulus_ids)
        if repeated:
            raise DataError(
                f"Features {self.name!r}: stimulus_id {repeated[0]!r} has several rows, wanted one: extract it once."
            )
        if isinstance(self.values, np.ndarray) and not np.isfinite(self.values).all():
            row = int(np.argwhere(~np.isfinite(self.values).reshape(shape[0], -1).all(axis=1))[0, 0])
            raise DataError(
                f"Features {self.name!r}: row {row} (stimulus {self.stimulus_ids[row]!r}) holds NaN or infinity, "
                "wanted finite numbers: check that stimulus and the extractor."
            )

    @property
    def matrix(self) -> np.ndarray:
        """Values as (n_samples, n_features), middle axes flattened in C order."""
        return np.asarray(self.values).reshape(self.values.shape[0], -1)


@dataclass(frozen=True)
class Responses:
    """Measured activity: one row per sample (a trial, a volume, or an average), one column per target.

    Parameters
    ----------
    values : array or open h5py dataset, shape (n_samples, n_targets)
        Floating point. NaN marks what was not measured. May stay on disk.
    stimulus_ids : array of str, shape (n_samples,)
        What each row shows; a row may repeat a stimulus.
    space : Space
        What each column is.
    units : str
        Such as ``"percent signal change"`` or ``"z"``.
    samples : DataFrame, optional
        One row per sample with columns such as ``run``, ``session``, ``repetition``, ``onset`` (s).
    tr : float, optional
        Seconds between rows when rows are a time series.
    """

    values: Any
    stimulus_ids: np.ndarray
    space: Space
    units: str
    samples: pd.DataFrame | None = None
    tr: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stimulus_ids", as_ids(self.stimulus_ids, "Responses"))
        shape = self.values.shape
        if len(shape) != 2 or 0 in shape:
            raise DataError(f"Responses: values have shape {shape}, wanted (n_samples, n_targets), neither of them 0.")
        if not np.issubdtype(self.values.dtype, np.floating):
            raise DataError(
                f"Responses: dtype {self.values.dtype}, wanted a floating type: scale integers and cast to float32."
            )
        if shape[0] != len(self.stimulus_ids):
            raise DataError(
                f"Responses: {shape[0]} rows of values but {len(self.stimulus_ids)} stimulus_ids: "
                "give the id that each row shows, in row order."
            )
        if shape[1] != self.space.n_targets:
            raise DataError(
                f"Responses: {shape[1]} columns but the {self.space.kind} space has {self.space.n_targets} targets: "
                "use the mask or mesh the responses were made with."
            )
        if self.samples is not None and len(self.samples) != shape[0]:
            raise DataError(
                f"Responses: {shape[0]} rows of values but {len(self.samples)} rows in the samples table: "
                "give one row of the table per row of values."
            )
        if self.tr is not None and not (np.isfinite(self.tr) and self.tr > 0):
            raise DataError(f"Responses: tr is {self.tr}, wanted a positive number of seconds.")

    @property
    def n_samples(self) -> int:
        return int(self.values.shape[0])

    @property
    def n_targets(self) -> int:
        return int(self.values.shape[1])

    def column(self, name: str) -> np.ndarray:
        """Column ``name`` of the samples table, shape (n_samples,); `DataError` if it is not there."""
        if self.samples is None or name not in self.samples.columns:
            have = [] if self.samples is None else list(self.samples.columns)
            raise DataError(f"Responses: the samples table has no column {name!r} (it has {have}): add it.")
        return np.asarray(self.samples[name])


@dataclass(frozen=True)
class TargetMap:
    """One number per target: what is compared and painted.

    Parameters
    ----------
    values : array, shape (n_targets,)
        NaN where the quantity is not defined.
    space : Space
    quantity : str
        Such as ``"r2"`` or ``"noise ceiling"``.
    unit : str
        Such as ``"fraction of variance"``; empty for pure numbers.
    """

    values: np.ndarray
    space: Space
    quantity: str
    unit: str = ""

    def __post_init__(self) -> None:
        if self.values.shape != (self.space.n_targets,):
            raise DataError(
                f"TargetMap {self.quantity!r}: values have shape {self.values.shape}, wanted "
                f"({self.space.n_targets},), one per target of the {self.space.kind} space."
            )
        if not np.issubdtype(self.values.dtype, np.floating):
            raise DataError(f"TargetMap {self.quantity!r}: dtype {self.values.dtype}, wanted a floating type.")
