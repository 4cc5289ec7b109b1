"""A split that leaks is refused: same stimulus, run or content in training and test, or torn over inner groups.

Leaks of this kind cannot be seen in the scores of a region without signal (repetitions dealt over training and test
leave it at zero), so they are looked for in the split itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brainenc.core.types import DataError
from brainenc.stats.checks import as_labels, names_of

if TYPE_CHECKING:
    from brainenc.stats.splits import Split

UNUSED = -2


def check_split(split: Split, stimulus_ids: Any, runs: Any = None, contents: Any = None) -> Split:
    """Return the split if nothing leaks, else raise with counts and names.

    Parameters
    ----------
    stimulus_ids : (n_samples,)
        May not be both in training and test of a fold, nor in two inner groups, unless `split.stimuli_recur`.
    runs : (n_samples,) or None
        If given, a run may not be both in training and test of a fold.
    contents : (n_samples,) or None
        Digest of what each sample holds (pixels of the stimulus, or `cleaning.row_digests` of responses): finds the
        same thing under two names.

    Raises
    ------
    DataError
        On a leak, or an empty training or test part.
    """
    n_samples = split.test_fold.size
    ids = as_labels(stimulus_ids, n_samples, "stimulus_ids")
    if split.n_folds == 0:
        raise DataError(f"none of the {n_samples} samples is tested; mark some stimuli or runs as test.")
    for k, (train, test) in enumerate(split.folds()):
        if train.size == 0:
            raise DataError(f"fold {k} tests {test.size} samples but has no training samples; hold out or purge less.")
        if not split.stimuli_recur:
            cure = "split by stimulus, or set stimuli_recur if conditions recur in every run by design"
            _refuse_shared(ids, train, test, k, "stimuli", cure)
        if runs is not None:
            _refuse_shared(as_labels(runs, n_samples, "runs"), train, test, k, "runs", "hold out whole runs")
        if contents is not None:
            digests = as_labels(contents, n_samples, "contents")
            shared = np.intersect1d(digests[train], digests[test])
            if shared.size:
                names = np.unique(ids[test][np.isin(digests[test], shared)])
                raise DataError(
                    f"{shared.size} contents of test samples of fold {k} are also in training, under the same or "
                    f"another name (test stimuli {names_of(names)}); remove the duplicates from one side."
                )
    if not split.stimuli_recur:
        pairs = pd.DataFrame({"stimulus": ids, "group": split.group})[split.test_fold != UNUSED].drop_duplicates()
        torn = pairs["stimulus"][pairs["stimulus"].duplicated()].unique()
        if len(torn):
            raise DataError(
                f"{len(torn)} stimuli have repetitions in more than one inner group ({names_of(torn)}); "
                "give all repetitions of a stimulus one group."
            )
    return split


def _refuse_shared(labels: np.ndarray, train: np.ndarray, test: np.ndarray, k: int, what: str, cure: str) -> None:
    shared = np.intersect1d(labels[train], labels[test])
    if shared.size:
        n_rows = int(np.isin(labels[test], shared).sum())
        raise DataError(
            f"{shared.size} {what} are in both training and test of fold {k} ({names_of(shared)}), "
            f"touching {n_rows} of {test.size} test samples; {cure}."
        )
