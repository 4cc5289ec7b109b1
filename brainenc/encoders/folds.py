"""Inner folds, explicit and deterministic: a group is never split between training and validation.

With at most ``n_folds`` groups each group is left out once; with more, whole groups are dealt into ``n_folds`` folds of
balanced size (largest group first, into the emptiest fold). Without groups the folds are contiguous blocks of rows, so
that neighbours in time stay together; nothing is shuffled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from brainenc.core.types import DataError

Folds = list[tuple[np.ndarray, np.ndarray]]


def inner_folds(n_samples: int, groups: Any, n_folds: int) -> Folds:
    """Return [(training rows, validation rows), ...].

    Parameters
    ----------
    n_samples : number of training rows.
    groups : (n_samples,) labels (run, session, stimulus ...), or None.
    n_folds : most folds wanted.

    Raises
    ------
    DataError
        If there are fewer than two groups or, without groups, fewer than two rows a fold.
    """
    if groups is None:
        if n_samples < 2 * n_folds:
            raise DataError(f"{n_samples} training rows cannot make {n_folds} folds of two rows each: lower n_folds.")
        fold = np.arange(n_samples) * n_folds // n_samples
    else:
        fold = _dealt(check_groups(groups, n_samples), n_folds)
    rows = np.arange(n_samples)
    return [(rows[fold != k], rows[fold == k]) for k in range(fold.max() + 1)]


def side_by_side(folds: Folds) -> tuple[np.ndarray, Folds]:
    """Return an order of the rows in which each fold's validation rows are consecutive, and the folds in that order.

    Parameters
    ----------
    folds : a partition: every row is validated once.
    """
    order = np.concatenate([validation for _, validation in folds])
    rows, ends = np.arange(len(order)), np.cumsum([len(validation) for _, validation in folds])
    fold = np.searchsorted(ends, rows, side="right")
    return order, [(rows[fold != k], rows[fold == k]) for k in range(len(folds))]


def check_groups(groups: Any, n_samples: int) -> np.ndarray:
    """Return the groups as an array (n_samples,), or raise `DataError`."""
    labels = np.asarray(groups)
    if labels.shape != (n_samples,):
        raise DataError(f"groups has shape {labels.shape}, wanted ({n_samples},): give one label per row of Y.")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise DataError(f"groups holds {np.sum(~np.isfinite(labels))} NaN or infinite labels: give every row a label.")
    return labels


def _dealt(labels: np.ndarray, n_folds: int) -> np.ndarray:
    """Return the fold of each row, (n_samples,) int."""
    names, group = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise DataError(f"groups holds {len(names)} group, wanted two or more: give runs or stimuli, or groups=None.")
    sizes = np.bincount(group)
    if len(names) <= n_folds:
        return group
    fold_of_group, filled = np.empty(len(names), dtype=int), np.zeros(n_folds, dtype=int)
    for g in np.argsort(-sizes, kind="stable"):
        emptiest = int(np.argmin(filled))
        fold_of_group[g] = emptiest
        filled[emptiest] += sizes[g]
    return fold_of_group[group]
