"""Who makes the curves of scores over penalties: the exact solver, its closed forms, or himalaya."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from brainenc.core.types import DataError
from brainenc.encoders.alphas import Grid
from brainenc.encoders.closed import Closed
from brainenc.encoders.compute import Compute
from brainenc.encoders.design import Design
from brainenc.encoders.exact import Exact
from brainenc.encoders.folds import Folds
from brainenc.encoders.himalaya_backend import SCORES as SCORES
from brainenc.encoders.himalaya_backend import HimalayaCurves
from brainenc.encoders.refit import Shared
from brainenc.encoders.targets import Targets

SOLVERS = ("exact", "himalaya")
CV = ("folds", "loo", "gcv")

PLAN_BYTES = 2**30
"""Tables of candidates held at a time; more candidates than fit are scored in further passes over the responses."""


class Curves(Protocol):
    """What a solver offers, made for some candidates of band weights, all penalties, and a place."""

    def curves(self, y: Any) -> list[np.ndarray]:
        """Return per candidate (n_alphas + 1, n_columns) scores; the last row is that of the training mean."""

    def products(self) -> Any | None:
        """Return ``X' y`` of the last block, if it is known."""

    def features(self) -> Shared | None:
        """Return the features as they lie on the place, with their Gram matrix, if both are known."""


@dataclass(frozen=True)
class Problem:
    """Features, folds, penalties, and how to compute; all but the responses."""

    design: Design
    folds: Folds
    grid: Grid
    extend: bool
    solver: str
    cv: str
    cv_score: str
    places: list[Compute]
    n_targets: int
    n_targets_batch: int

    def width(self, targets: Targets) -> int:
        """Return how many targets make a block: himalaya factorises anew for every block, so its blocks are wide."""
        return targets.width(self.n_targets_batch if self.solver == "exact" else self.n_targets)

    def batches(self, gammas: np.ndarray) -> Iterator[np.ndarray]:
        """Yield candidates in groups whose tables fit in memory together."""
        n, size = self.design.n_samples, int(self.design.band_sizes.sum())
        tables = 4 * len(self.folds) * min(n, size) * (2 * min(n, size) + n)
        n_group = max(1, PLAN_BYTES // tables) if self.solver == "exact" else len(gammas)
        for start in range(0, len(gammas), n_group):
            yield gammas[start : start + n_group]

    def solver_for(self, gammas: np.ndarray, place: Compute) -> Curves:
        """Return a solver for these candidates."""
        common = (gammas, self.grid.widest, self.cv_score, place)
        if self.cv != "folds":
            return Closed(self.design, self.cv, *common)
        if self.solver == "himalaya":
            return HimalayaCurves(self.design, self.folds, *common, self.n_targets_batch)
        return Exact(self.design, self.folds, *common, self.n_targets)


def check_solver(solver: str, cv: str, cv_score: str) -> None:
    """Raise `DataError` for combinations that do not exist."""
    if cv != "folds" and solver != "exact":
        raise DataError(f"cv is {cv!r} with solver {solver!r}, wanted solver 'exact': closed forms are its own.")
    if cv == "gcv" and cv_score != "r2":
        raise DataError(f"cv is 'gcv' with cv_score {cv_score!r}, wanted 'r2': gcv estimates a squared error.")


def check_groups_fit(cv: str, groups: np.ndarray | None) -> None:
    """Raise `DataError` if leaving single rows out would split a group between training and validation."""
    if cv != "folds" and groups is not None and len(np.unique(groups)) < len(groups):
        raise DataError(
            f"cv is {cv!r} but {len(groups)} rows lie in {len(np.unique(groups))} groups (runs, repetitions), wanted "
            "one row a group: leaving out single rows would leak within a group, so use cv 'folds'."
        )
