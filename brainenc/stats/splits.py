"""Which samples are tested, and which of the others may teach: repetitions of a stimulus never straddle.

A split is two integers per sample. `test_fold`: k >= 0, tested in fold k and training data in every other fold;
-1, always training; -2, never used. `group`: samples that must stay together when training data are divided again to
choose a penalty. A repeated-stimulus split over training and test measures memory, not prediction (Kilgallen,
Pearlmutter & Siskind 2025, arXiv:2508.00531); every maker here calls `check_split`, which refuses it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from brainenc.core.types import DataError
from brainenc.stats.checks import as_labels, names_of
from brainenc.stats.leaks import UNUSED, check_split

TRAIN = -1


@dataclass(frozen=True)
class Split:
    """Two integers per sample, and what has to be known to judge them.

    Attributes
    ----------
    test_fold : (n_samples,) int
        k >= 0: tested in fold k; -1: always training; -2: never used.
    group : (n_samples,) int
        Group of the sample in inner cross-validation.
    dropped : (n_folds, n_samples) bool or None
        Training samples left out of a fold because they neighbour its test samples in time (see `purged`).
    stimuli_recur : bool
        True if stimuli recur by design in training and test (conditions shown in every run).
    unit : str
        What is held out: "stimulus", "run" or "column".
    """

    test_fold: np.ndarray
    group: np.ndarray
    dropped: np.ndarray | None = None
    stimuli_recur: bool = False
    unit: str = "stimulus"

    def __post_init__(self) -> None:
        test_fold, group = np.asarray(self.test_fold), np.asarray(self.group)
        if test_fold.ndim != 1 or test_fold.shape != group.shape:
            raise DataError(f"test_fold is {test_fold.shape} and group {group.shape}; give one of each per sample.")
        if test_fold.dtype.kind not in "iu" or group.dtype.kind not in "iu" or test_fold.min(initial=0) < UNUSED:
            raise DataError("test_fold and group must be integers, test_fold at least -2; pass integer arrays.")
        present = np.unique(test_fold[test_fold >= 0])
        if not np.array_equal(present, np.arange(present.size)):
            raise DataError(f"test folds are numbered {present.tolist()}; number them 0, 1, 2 ... without gaps.")
        if self.dropped is not None and np.shape(self.dropped) != (present.size, test_fold.size):
            raise DataError(
                f"dropped is {np.shape(self.dropped)} but must be (n_folds, n_samples) = "
                f"{(present.size, test_fold.size)}; make it with purged."
            )

    @property
    def n_folds(self) -> int:
        """Number of test folds."""
        return int(self.test_fold.max(initial=-1)) + 1

    def folds(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (training rows, test rows) of each fold, as sorted indices."""
        for k in range(self.n_folds):
            train = (self.test_fold != k) & (self.test_fold != UNUSED)
            if self.dropped is not None:
                train &= ~self.dropped[k]
            yield np.flatnonzero(train), np.flatnonzero(self.test_fold == k)

    def to_table(self, stimulus_ids: Any) -> pd.DataFrame:
        """Return one row per sample: stimulus_id, test_fold, group, and dropped_k where fold k purges."""
        ids = as_labels(stimulus_ids, self.test_fold.size, "stimulus_ids")
        table = pd.DataFrame({"stimulus_id": ids, "test_fold": self.test_fold, "group": self.group})
        for k in range(0 if self.dropped is None else self.n_folds):
            table[f"dropped_{k}"] = self.dropped[k].astype(int)
        return table

    def digest(self, stimulus_ids: Any) -> str:
        """Return a SHA-256 of samples and roles: results with equal digests were tested on equal splits."""
        text = self.to_table(stimulus_ids).to_csv(index=False, lineterminator="\n")
        return hashlib.sha256(text.encode()).hexdigest()


def from_table(table: pd.DataFrame, stimuli_recur: bool = False, unit: str = "column") -> Split:
    """Return the split that `Split.to_table` wrote."""
    missing = {"test_fold", "group"} - set(table.columns)
    if missing:
        raise DataError(f"a split table lacks the columns {names_of(sorted(missing))}; write it with Split.to_table.")
    names = [name for name in table.columns if str(name).startswith("dropped_")]
    names.sort(key=lambda name: int(name.removeprefix("dropped_")))
    dropped = np.stack([table[name].to_numpy(dtype=bool) for name in names]) if names else None
    return Split(table["test_fold"].to_numpy(), table["group"].to_numpy(), dropped, stimuli_recur, unit)


def by_column(
    table: pd.DataFrame,
    stimulus_ids: Any,
    column: str = "split",
    validation: str = "train",
    groups: Any = None,
) -> Split:
    """Split as a column of the stimulus table says: train, validation or test.

    Parameters
    ----------
    table : DataFrame
        Indexed by stimulus_id, with the column.
    stimulus_ids : (n_samples,)
    validation : "train" or "exclude"
        Whether validation stimuli join the training data or stay unused.
    groups : (n_samples,) or None
        Inner groups, such as runs; by default each stimulus is one.

    Raises
    ------
    DataError
        Missing column or stimulus, unknown value, or no training or test samples.
    """
    ids = as_labels(stimulus_ids, len(stimulus_ids), "stimulus_ids")
    if column not in table.columns:
        raise DataError(f"the stimulus table has no column {column!r}, only {names_of(list(table.columns))}; add it.")
    if validation not in ("train", "exclude"):
        raise DataError(f"validation is {validation!r} but must be 'train' or 'exclude'.")
    unknown = pd.Index(np.unique(ids)).difference(table.index)
    if len(unknown):
        raise DataError(f"{len(unknown)} stimuli are not in the stimulus table ({names_of(unknown)}); add their rows.")
    roles = table[column].reindex(ids).to_numpy(dtype=object)
    fold_of = {"train": TRAIN, "test": 0, "validation": TRAIN if validation == "train" else UNUSED}
    strange = [role for role in dict.fromkeys(roles.tolist()) if role not in fold_of]
    if strange:
        raise DataError(f"column {column!r} holds {names_of(strange)}; write train, validation or test for each.")
    test_fold = np.array([fold_of[role] for role in roles], dtype=np.int64)
    split = Split(test_fold, _codes(ids if groups is None else groups, ids.size, "groups"), unit="column")
    return check_split(split, ids)


def by_stimulus(
    stimulus_ids: Any, test_share: float | None = None, n_folds: int | None = None, seed: int = 0, groups: Any = None
) -> Split:
    """Hold out whole stimuli at random: one test set of a given share, or every stimulus once over n_folds.

    Pass a coarser label (the concept a stimulus shows) as `stimulus_ids` to hold out whole concepts.

    Parameters
    ----------
    stimulus_ids : (n_samples,)
    test_share : float in (0, 1), or None
    n_folds : int >= 2, or None
        Exactly one of the two is given.
    seed : int
    groups : (n_samples,) or None
        Inner groups; by default each stimulus is one. Repetitions of a stimulus must share a group.

    Raises
    ------
    DataError
        Both or neither given, a value out of range, or too few stimuli.
    """
    ids = as_labels(stimulus_ids, len(stimulus_ids), "stimulus_ids")
    if (test_share is None) == (n_folds is None):
        raise DataError(f"test_share is {test_share} and n_folds is {n_folds}; give exactly one of the two.")
    code = _codes(ids, ids.size, "stimulus_ids")
    if n_folds is not None:
        test_fold = group_folds(code, n_folds, seed)
    else:
        n_stimuli = int(code.max()) + 1
        n_test = max(1, round(test_share * n_stimuli)) if 0 < test_share < 1 else 0
        if not 0 < n_test < n_stimuli:
            raise DataError(
                f"test_share {test_share} of {n_stimuli} stimuli leaves no training or no test stimuli; "
                "choose a share between 0 and 1 and have at least two stimuli."
            )
        tested = np.zeros(n_stimuli, dtype=bool)
        tested[np.random.default_rng(seed).permutation(n_stimuli)[:n_test]] = True
        test_fold = np.where(tested[code], 0, TRAIN)
    group = code if groups is None else _codes(groups, ids.size, "groups")
    return check_split(Split(test_fold, group, unit="stimulus"), ids)


def by_run(
    runs: Any,
    stimulus_ids: Any,
    n_folds: int | None = None,
    stimuli_recur: bool = False,
    n_purged: int = 0,
    seed: int = 0,
) -> Split:
    """Hold out whole runs, one at a time or in n_folds; runs are also the inner groups.

    Parameters
    ----------
    runs : (n_samples,)
    stimulus_ids : (n_samples,)
    n_folds : int or None
        None leaves one run out at a time; otherwise runs are dealt to folds at random under the seed.
    stimuli_recur : bool
        Say True only where a stimulus_id is a condition that occurs in every run by design, so that prediction to a
        new run of known conditions is the question. It is recorded in the split.
    n_purged : int
        Training samples dropped on either side of each stretch of test samples; rows must be in order of time.

    Raises
    ------
    DataError
        One run only, more folds than runs, or stimuli in training and test without `stimuli_recur`.
    """
    ids = as_labels(stimulus_ids, len(stimulus_ids), "stimulus_ids")
    code = _codes(runs, ids.size, "runs")
    if code.max() == 0:
        raise DataError(f"all {ids.size} samples are in one run but at least two are needed; use by_stimulus instead.")
    test_fold = code if n_folds is None else group_folds(code, n_folds, seed)
    split = Split(test_fold, code, stimuli_recur=stimuli_recur, unit="run")
    split = purged(split, n_purged) if n_purged else split
    return check_split(split, ids, runs=code)


def group_folds(group: Any, n_folds: int, seed: int) -> np.ndarray:
    """Deal whole groups at random to folds of nearly equal numbers of groups, (n_samples,) int from 0.

    Raises
    ------
    DataError
        If n_folds is below 2 or above the number of groups.
    """
    code = _codes(group, len(group), "group")
    n_groups = int(code.max()) + 1
    if not 2 <= n_folds <= n_groups:
        raise DataError(f"n_folds is {n_folds} but there are {n_groups} groups; choose from 2 to {max(2, n_groups)}.")
    fold_of = np.empty(n_groups, dtype=np.int64)
    fold_of[np.random.default_rng(seed).permutation(n_groups)] = np.arange(n_groups) % n_folds
    return fold_of[code]


def purged(split: Split, n_purged: int) -> Split:
    """Drop from each fold the training samples at most n_purged rows away from a test sample; rows are in time order.

    Parameters
    ----------
    n_purged : int >= 1
        At least the memory of the signal in samples: haemodynamic delays, filter length.

    Raises
    ------
    DataError
        If n_purged < 1.
    """
    if n_purged < 1:
        raise DataError(f"n_purged is {n_purged} but must be at least 1; leave purging out instead of asking for 0.")
    near = np.zeros((split.n_folds, split.test_fold.size), dtype=bool)
    for k in range(split.n_folds):
        tested = split.test_fold == k
        reach = np.convolve(tested, np.ones(2 * n_purged + 1), mode="full")[n_purged : n_purged + tested.size]
        near[k] = (reach > 0.5) & ~tested
    return replace(split, dropped=near if split.dropped is None else near | split.dropped)


def _codes(labels: Any, n_samples: int, name: str) -> np.ndarray:
    """Return labels as integers 0, 1, 2 ... in sorted order of the label."""
    return np.unique(as_labels(labels, n_samples, name), return_inverse=True)[1].astype(np.int64)
