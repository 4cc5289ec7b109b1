"""What every statistic asks of its arguments, each refusal in one sentence with the cure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainenc.core.types import DataError


def as_table(values: Any, name: str) -> Any:
    """Return `values` as a two-dimensional numeric array; an HDF5 dataset stays on disk.

    Raises
    ------
    DataError
        If it is not (n_samples, n_targets), is empty, or does not hold real numbers.
    """
    table = values if isinstance(values, np.ndarray) or hasattr(values, "chunks") else np.asarray(values)
    if len(table.shape) != 2 or 0 in table.shape:
        raise DataError(
            f"{name} has shape {tuple(table.shape)} but must be (n_samples, n_targets) with at least one of each; "
            "reshape a single target to (n_samples, 1)."
        )
    if table.dtype.kind not in "fiub":
        raise DataError(f"{name} has dtype {table.dtype} but must hold real numbers; convert it to float32 or float64.")
    return table


def as_pair(Y: Any, Y_hat: Any) -> tuple[Any, Any]:
    """Return responses and predictions as two tables of one shape, or raise DataError with both shapes."""
    Y, Y_hat = as_table(Y, "Y"), as_table(Y_hat, "Y_hat")
    if Y.shape != Y_hat.shape:
        raise DataError(
            f"Y is {tuple(Y.shape)} but Y_hat is {tuple(Y_hat.shape)}; "
            "predict the same samples and targets that were measured, in the same order."
        )
    return Y, Y_hat


def as_labels(labels: Any, n_samples: int, name: str) -> np.ndarray:
    """Return one label per sample as a one-dimensional array without missing values, or raise DataError."""
    result = np.asarray(labels)
    if result.shape != (n_samples,):
        raise DataError(
            f"{name} has shape {result.shape} but there are {n_samples} samples; give one value per sample."
        )
    missing = [value is None or value != value for value in result.tolist()]
    if any(missing):
        raise DataError(
            f"{name} is missing for {sum(missing)} of {n_samples} samples (first at row {missing.index(True)}); "
            "name every sample or drop it."
        )
    return result.astype(str) if result.dtype.kind == "O" else result


def as_folds(test_fold: Any, n_samples: int, n_least: int = 3) -> list[np.ndarray]:
    """Return the tested rows of each fold; `None` means that all rows are one fold.

    Parameters
    ----------
    test_fold : (n_samples,) int or None
        Negative: never tested. k >= 0: tested in fold k.
    n_least : int
        Fewest rows with which a score within a fold makes sense.

    Raises
    ------
    DataError
        If no row is tested or a fold has fewer than `n_least` rows.
    """
    if test_fold is None:
        folds = {0: np.arange(n_samples)}
    else:
        fold = as_labels(test_fold, n_samples, "test_fold")
        if fold.dtype.kind not in "iu":
            raise DataError(f"test_fold has dtype {fold.dtype} but must hold integers: -1 for train, k for fold k.")
        folds = {int(k): np.flatnonzero(fold == k) for k in np.unique(fold[fold >= 0])}
    if not folds:
        raise DataError(f"none of the {n_samples} samples is in a test fold; give some of them test_fold >= 0.")
    short = {k: rows.size for k, rows in folds.items() if rows.size < n_least}
    if short:
        k, n_rows = next(iter(short.items()))
        raise DataError(
            f"fold {k} has {n_rows} test samples but a score within a fold needs at least {n_least}; "
            "use fewer folds or more samples."
        )
    return list(folds.values())


def as_mask_matrix(masks: Mapping[str, Any], n_targets: int) -> tuple[list[str], np.ndarray]:
    """Return region names and their masks as columns, (n_targets, n_regions) bool.

    Raises
    ------
    DataError
        If there is no region, or one is not a boolean (n_targets,) array or is empty.
    """
    if not masks:
        raise DataError("no regions came; give a mapping of region name to boolean mask over the targets.")
    columns = []
    for name, mask in masks.items():
        column = np.asarray(mask)
        if column.shape != (n_targets,) or column.dtype != bool:
            raise DataError(
                f"region {name!r} is {column.dtype} {column.shape} but must be bool ({n_targets},); "
                "give one boolean per target."
            )
        if not column.any():
            raise DataError(f"region {name!r} contains none of the {n_targets} targets; leave it out or fix its mask.")
        columns.append(column)
    return list(masks), np.stack(columns, axis=1)


def names_of(values: Sequence[Any], n_shown: int = 5) -> str:
    """Return the first few values as quoted text for an error sentence, with an ellipsis when there are more."""
    shown = ", ".join(repr(value.item() if hasattr(value, "item") else value) for value in list(values)[:n_shown])
    return shown + (", ..." if len(values) > n_shown else "")
