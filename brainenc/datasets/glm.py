"""From the BOLD of one run to one row of betas per trial or condition, by nilearn's general linear model.

    Y = X B + error,    Y in percent signal change,    X = [events * HRF | drift | confounds | 1]

"lsa" gives every trial its own column in one model; "lss" fits one model per trial, with the trial alone in its column
and the other trials joined by condition (Mumford et al. 2012, doi:10.1016/j.neuroimage.2011.08.076).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from brainenc.core.types import DataError


@dataclass(frozen=True)
class Model:
    """How a run is modelled.

    Parameters
    ----------
    hrf_model : {"spm", "glover"}
    drift_model : "cosine", int or None
        A whole number is the order of a polynomial.
    high_pass : float
        Hz, for the cosine drift.
    slice_time_ref : float
        When in the TR a volume was taken, 0 to 1.
    trial_model : {"lsa", "lss"}
    noise_model : {"ar1", "ols"}
    """

    hrf_model: str = "spm"
    drift_model: str | int | None = "cosine"
    high_pass: float = 0.01
    slice_time_ref: float = 0.0
    trial_model: str = "lsa"
    noise_model: str = "ar1"

    def design(self, events: pd.DataFrame, n_volumes: int, tr: float, confounds: pd.DataFrame | None) -> pd.DataFrame:
        """Design matrix (n_volumes, n_columns) of events (onset, duration in s; trial_type)."""
        from nilearn.glm.first_level import make_first_level_design_matrix

        order = self.drift_model if isinstance(self.drift_model, int) else 1
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*null duration.*")
            warnings.filterwarnings("ignore", message=".*unexpected.*columns.*")
            return make_first_level_design_matrix(
                (np.arange(n_volumes) + self.slice_time_ref) * tr,
                events[["onset", "duration", "trial_type"]],
                hrf_model=self.hrf_model,
                drift_model="polynomial" if isinstance(self.drift_model, int) else self.drift_model,
                drift_order=order,
                high_pass=self.high_pass,
                add_regs=None if confounds is None else confounds.to_numpy(),
                add_reg_names=None if confounds is None else [f"confound_{name}" for name in confounds],
            )


@dataclass(frozen=True)
class Design:
    """One model of a run: ``matrix`` and the ``columns`` whose betas are wanted."""

    matrix: pd.DataFrame
    columns: list[str]

    def check(self, where: str) -> None:
        """Raise `DataError` unless every wanted beta is determined: e_c lies in the row space of X."""
        values = self.matrix.to_numpy(float)
        values = values / np.maximum(np.linalg.norm(values, axis=0), 1e-300)
        determined = np.diag(np.linalg.pinv(values, rcond=1e-7) @ values)
        for column in self.columns:
            if abs(determined[self.matrix.columns.get_loc(column)] - 1) > 1e-5:
                raise DataError(
                    f"{where}: the response to {column!r} cannot be told from the other columns of the design "
                    f"({values.shape[1]} columns, {values.shape[0]} volumes): use fewer confounds, estimate per "
                    "condition, or correct the onsets."
                )


def designs(
    events: pd.DataFrame, wanted: list[str], model: Model, n_volumes: int, tr: float, confounds: pd.DataFrame | None
) -> list[Design]:
    """Return the models of one run, their wanted columns joined being ``wanted``, in order.

    Parameters
    ----------
    events : DataFrame
        Columns onset, duration (s), ``name`` (unique for a trial of interest) and ``trial_type``.
    wanted : list of str
        Values of ``name`` whose betas are wanted.
    """
    if model.trial_model == "lsa":
        return [Design(model.design(events.assign(trial_type=events["name"]), n_volumes, tr, confounds), wanted)]
    return [lss_design(events, name, model, n_volumes, tr, confounds) for name in wanted]


def lss_design(
    events: pd.DataFrame, name: str, model: Model, n_volumes: int, tr: float, confounds: pd.DataFrame | None
) -> Design:
    """The least-squares-separate model of one trial: itself, and the others joined by condition."""
    others = "other " + events["trial_type"].astype(str)
    joined = events.assign(trial_type=others.where(events["name"] != name, name))
    return Design(model.design(joined, n_volumes, tr, confounds), [name])


def check_baseline(bold: np.ndarray, where: str) -> None:
    """Raise `DataError` unless (n_volumes, n_targets) has a positive baseline, without which per cent mean nothing."""
    if not np.isfinite(bold).any() or not np.any(bold):
        raise DataError(f"{where}: the volumes are empty inside the mask: check the mask and the file.")
    negative = float((bold < 0).mean())
    if negative > 0.25:
        raise DataError(
            f"{where}: {negative:.0%} of the values are negative, wanted BOLD around its positive mean: "
            "give runs that are neither centred nor z-scored."
        )


def percent_signal_change(bold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``100 (y / mean - 1)`` (n_volumes, n_targets) and which targets are alive.

    A target is dead, and 0 throughout, if it does not vary, is not finite, or has a mean of at most 0.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = bold.mean(axis=0, dtype=float)
        alive = np.isfinite(bold).all(axis=0) & (np.ptp(bold, axis=0) > 0) & (mean > 0)
    scaled = np.zeros(bold.shape, float)
    scaled[:, alive] = 100 * (bold[:, alive] / mean[alive] - 1)
    return scaled, alive


def estimate(scaled: np.ndarray, models: list[Design], noise_model: str) -> np.ndarray:
    """Return the betas (n_wanted, n_targets) of (n_volumes, n_targets) data, in order of the models' columns."""
    from nilearn.glm.first_level import run_glm

    rows = []
    for model in models:
        labels, results = run_glm(scaled, model.matrix.to_numpy(), noise_model=noise_model)
        theta = np.empty((model.matrix.shape[1], scaled.shape[1]))
        for label, result in results.items():
            theta[:, labels == label] = result.theta
        rows.append(theta[[model.matrix.columns.get_loc(column) for column in model.columns]])
    return np.concatenate(rows)
