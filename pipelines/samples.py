"""How a step meets its samples: responses and split joined by row, repetitions averaged, folds as they were sealed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainenc.core import storage
from brainenc.core.align import AveragedRows
from brainenc.core.spaces import Space
from brainenc.core.stored import Matrix, StoredMatrix, scratch
from brainenc.core.types import DataError
from brainenc.stats import splits
from brainenc.stats.chunks import target_chunks
from brainenc.stats.splits import UNUSED, Split, from_table
from pipelines.study import class_and_arguments


@dataclass(frozen=True)
class Recording:
    """Every row that was recorded, lost ones too: a delay counts them. ``kept``: which of them are samples."""

    stimulus_ids: np.ndarray
    run: np.ndarray
    kept: np.ndarray


@dataclass(frozen=True)
class Samples:
    """Rows that encoders see: Y (n_samples, n_targets), which stays on disk, and what belongs to each row."""

    Y: Matrix
    stimulus_ids: np.ndarray
    split: Split
    recording: Recording | None
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

    def held_out(self, beside: Path) -> StoredMatrix:
        """Y of the tested rows, copied once into a nameless file beside ``beside``, since a step reads it often."""
        tested = self.Y.rows(self.tested)
        copy = scratch(beside, tested.shape, tested.dtype)
        for columns in target_chunks(tested):
            copy[:, columns] = tested[:, columns]
        return copy

    def blocks(self, n_neighbours: int) -> np.ndarray | None:
        """Tested rows that are only exchangeable together: neighbours in time, else repetitions of a stimulus.

        Repetitions that were not averaged share their signal, so permuting single rows would call features that have
        nothing to do with the responses significant too often. None: every row is a unit.
        """
        if n_neighbours > 1:
            blocks = self.tested // n_neighbours
            if self.recording is None:
                return blocks
            run = pd.factorize(self.recording.run[self.recording.kept[self.tested]])[0]
            return run * (blocks.max() + 1) + blocks  # a block never crosses a run
        shown = pd.Series(self.stimulus_ids[self.tested]).groupby(self.fold)
        repeated = (shown.nunique() < shown.size()).any() and (shown.nunique() > 1).all()
        return self.stimulus_ids[self.tested] if repeated else None


def load_samples(responses: Path, split: Path, average: bool) -> Samples:
    """Open responses and read the split of a subject; drop unused and empty samples; average repetitions if asked.

    Raises
    ------
    DataError
        The two files describe different rows, or averaging would merge training and test.
    """
    measured, table = storage.open_responses(responses), storage.read_table(split)
    if list(table["stimulus_id"]) != list(measured.stimulus_ids):
        raise DataError(f"{split} and {responses} list different samples: delete both and run again.")
    kept = _measured_rows(measured.values) & (table["test_fold"] != UNUSED).to_numpy()
    Y, ids, table = measured.values.rows(kept), measured.stimulus_ids[kept], table[kept].copy()
    recording = None
    if measured.samples is not None and "run" in measured.samples:
        recording = Recording(measured.stimulus_ids, measured.samples["run"].to_numpy(), np.flatnonzero(kept))
    n_repetitions = np.ones(len(ids), int)
    if average:
        refuse_mixing(ids, table["test_fold"].to_numpy(), str(split))
        Y = AveragedRows(Y, ids)
        ids, n_repetitions = Y.stimulus_ids, Y.n_repetitions
        # A stimulus is dropped from a fold if any of its repetitions is.
        dropped = [name for name in table if name.startswith("dropped_")]
        table[dropped] = table.groupby("stimulus_id")[dropped].transform("max") if dropped else table[dropped]
        table, recording = table.drop_duplicates("stimulus_id"), None
    return Samples(Y, ids, from_table(table), recording, n_repetitions, measured.space, measured.units)


def _measured_rows(values: Matrix) -> np.ndarray:
    """Which rows hold a finite value; usually a glance at one chunk decides, and then only at the empty rows."""
    empty = np.arange(len(values))
    for columns in target_chunks(values):
        empty = empty[~np.isfinite(values[empty, columns]).any(axis=1)]
        if not len(empty):
            break
    return ~np.isin(np.arange(len(values)), empty)


def make_split(
    parameters: dict[str, Any], table: pd.DataFrame, ids: np.ndarray, contents: np.ndarray, run: np.ndarray | None
) -> Split:
    """Split samples as the study says; guards raise if anything leaks.

    Parameters
    ----------
    parameters : dict
        The study's ``split`` entry: ``class`` is ``column``, ``stimulus`` or ``run``.
    table : DataFrame
        Stimulus table, indexed by stimulus_id.
    ids, contents : (n_samples,)
        Stimulus of each sample, and what it shows: the same content under two names is one stimulus.
    run : (n_samples,) or None
        Run of each sample, where samples have one.
    """
    kind, arguments = class_and_arguments(parameters)
    if kind == "column":
        split = _grouped_by_run(splits.by_column(table, ids, **arguments), ids, run)
    elif kind == "stimulus":
        split = splits.by_stimulus(contents, **arguments)
    elif run is None:
        raise DataError("class 'run' needs a 'run' column in the samples table: add it.")
    else:
        split = splits.by_run(run, ids, **arguments)
    if not split.stimuli_recur:
        split = _without_copies(split, contents)
        splits.check_split(split, ids, contents=contents)
    for k, (train, test) in enumerate(split.folds()):
        if len(np.unique(split.group[train])) < 2:
            raise DataError(
                f"fold {k} trains on a single {'run' if kind == 'run' else 'stimulus'}, but penalties are chosen by "
                "leaving some out of training: have at least three, or name finer runs in the samples table."
            )
        if len(test) < 3:
            raise DataError(f"fold {k} tests {len(test)} samples, but a correlation needs three: use fewer folds.")
    return split


def _grouped_by_run(split: Split, ids: np.ndarray, run: np.ndarray | None) -> Split:
    """Runs as inner groups, where every stimulus that teaches keeps to one run: neighbours in time share noise.

    A test film that was seen in several runs changes nothing for the others; its samples stay grouped by stimulus.
    """
    teaches = split.test_fold == splits.TRAIN if split.n_folds == 1 else np.ones(len(ids), bool)
    if run is None or pd.Series(run[teaches]).groupby(np.asarray(ids, str)[teaches]).nunique().max() > 1:
        return split
    code = pd.factorize(np.asarray(run))[0].astype(np.int64)
    grouped = replace(split, group=np.where(teaches, code, code.max() + 1 + split.group))
    enough = all(len(np.unique(grouped.group[train])) > 1 for train, _ in grouped.folds())
    return grouped if enough else split


def refuse_mixing(ids: np.ndarray, test_fold: np.ndarray, owner: str) -> None:
    """Raise `DataError` if averaging the repetitions of a stimulus would mix training and test."""
    if pd.Series(test_fold).groupby(np.asarray(ids, str)).nunique().max() > 1:
        raise DataError(
            f"{owner}: repetitions of a stimulus lie in different folds, so averaging would mix training and "
            "test: set responses.average to false, or split by stimulus."
        )


def _without_copies(split: Split, contents: np.ndarray) -> Split:
    """Training samples that show the content of a test stimulus under another name are never used."""
    if split.n_folds != 1:
        return split
    tested = np.unique(contents[split.test_fold >= 0].astype(str))
    copies = (split.test_fold == splits.TRAIN) & np.isin(contents.astype(str), tested)
    return replace(split, test_fold=np.where(copies, UNUSED, split.test_fold))
