"""What is known about one BOLD run besides its numbers: timing, events, confounds; each checked before any model."""

from __future__ import annotations

from fnmatch import fnmatchcase

import numpy as np
import pandas as pd

from brainenc.core.types import DataError
from brainenc.datasets.bids_files import Run
from brainenc.datasets.images import check_real, load_image, repetition_time
from brainenc.datasets.tables import MISSING, need_file, read_table


def read_timing(run: Run, tr: float | None) -> tuple[int, float]:
    """Return the number of volumes and the TR in seconds; the configured ``tr``, sidecar and header must agree."""
    image = load_image(run.bold[0], "a BOLD run")
    sidecar = run.sidecar.get("RepetitionTime")
    if sidecar is None and tr is None:
        raise DataError(
            f"{run.bold[0]}: no sidecar gives RepetitionTime, wanted seconds per volume: add the .json or set `tr`."
        )
    chosen = tr if tr is not None else sidecar
    if not isinstance(chosen, (int, float)) or isinstance(chosen, bool) or not 0 < chosen < 100:
        raise DataError(
            f"{run.bold[0]}: the TR is {chosen!r}, wanted seconds (2.0, not 2000): correct the sidecar or `tr`."
        )
    said = {"the sidecar": sidecar}
    if len(run.bold) == 2:
        n_volumes = len(image.darrays)
    else:
        check_real(run.bold[0], image.get_data_dtype())
        if len(image.shape) != 4:
            raise DataError(f"{run.bold[0]}: has shape {image.shape}, wanted (x, y, z, time): give a BOLD run.")
        n_volumes, said["the header"] = image.shape[3], repetition_time(image)
    for who, value in said.items():
        if value is not None and abs(value - chosen) > 1e-3:
            other = "`tr`" if tr is not None else "the sidecar"
            raise DataError(f"{run.bold[0]}: {who} says a TR of {value:g} s but {other} {chosen:g} s: correct one.")
    return n_volumes, float(chosen)


def read_slice_time(run: Run, tr: float, configured: float | None) -> float:
    """When in the TR a volume was taken, 0 to 1: as configured, else ``StartTime`` / TR of the sidecar, else 0."""
    reference = configured if configured is not None else float(run.sidecar.get("StartTime") or 0.0) / tr
    if not 0 <= reference <= 1:
        raise DataError(f"{run.bold[0]}: slice_time_ref is {reference:g}, wanted 0 to 1: correct it or StartTime.")
    return reference


def _read_times(run: Run, text: tuple[str, ...]) -> pd.DataFrame:
    table = read_table(run.events, ("onset", "duration"), "the events of a run", text)
    for column in ("onset", "duration"):
        if not pd.api.types.is_numeric_dtype(table[column]) or not np.isfinite(table[column]).all():
            raise DataError(f"{run.events}: column {column!r} holds text or gaps, wanted seconds: fill them in.")
    if (table["duration"] < 0).any():
        raise DataError(f"{run.events}: a duration is negative, wanted 0 or more seconds: correct it.")
    return table


def read_events(
    run: Run, per_trial: bool, column: str | None, ignore: tuple[str, ...], nuisance: tuple[str, ...]
) -> pd.DataFrame:
    """Return the events of the model by onset.

    Parameters
    ----------
    per_trial : bool
        Every event is named apart; else events share the name of their ``trial_type``.
    column : str, optional
        Names the stimulus of a trial; by default the first of stimulus_id, stim_file, trial_type.

    Returns
    -------
    DataFrame
        Columns onset, duration (s), trial_type, stimulus_id, ``wanted`` (is it returned) and ``name`` (its regressor).
    """
    table = _read_times(run, () if column is None else (column,))
    if per_trial and column is None:
        column = next((name for name in ("stimulus_id", "stim_file", "trial_type") if name in table), "trial_type")
    column = column if per_trial and column is not None else "trial_type"
    if column not in table:
        raise DataError(f"{run.events}: no column {column!r} (it has {', '.join(table)}): add it or name another.")
    if "trial_type" not in table:
        table["trial_type"] = "trial"
    table = table[~table["trial_type"].isin(ignore)].sort_values("onset", kind="stable", ignore_index=True)
    table["stimulus_id"] = table[column]
    table["wanted"] = ~table[column].isin(MISSING) & ~table["trial_type"].isin(nuisance)
    if not table["wanted"].any():
        raise DataError(f"{run.events}: no event is left to estimate: correct `ignore`, `nuisance` or the table.")
    if per_trial:
        trials = [f"trial {i + 1} at {onset:g} s" for i, onset in enumerate(table["onset"])]
        table["name"] = np.where(table["wanted"], trials, "nuisance " + table["trial_type"])
    else:
        table["name"] = table["trial_type"].where(~table["trial_type"].isin(MISSING), "nuisance n/a")
    return table


def check_onsets(run: Run, events: pd.DataFrame, n_volumes: int, tr: float) -> None:
    """Raise `DataError` for an onset outside the run: nilearn would quietly give it an empty regressor."""
    outside = (events["onset"] >= n_volumes * tr) | (events["onset"] < 0)
    if outside.any():
        raise DataError(
            f"{run.events}: an onset of {events['onset'][outside].iloc[0]:g} s lies outside the run of {n_volumes} "
            f"volumes, 0 to {n_volumes * tr:g} s: correct onsets (seconds, not milliseconds), `onset_shift` or the TR."
        )


def read_confounds(run: Run, patterns: tuple[str, ...] | None, n_volumes: int) -> pd.DataFrame | None:
    """Return the confounds whose names fit ``patterns`` (n_volumes, n_columns); None where none are configured.

    Derivatives have no first value: as in nilearn's ``load_confounds`` it takes the second one's.
    """
    if not patterns:
        return None
    if run.confounds is None:
        raise DataError(f"{run.bold[0]}: has no *_desc-confounds_timeseries.tsv beside it: add it or drop `confounds`.")
    path = need_file(run.confounds, "confounds")
    table = read_table(path, (), "one row per volume")
    if len(table) != n_volumes:
        raise DataError(
            f"{path}: {len(table)} rows but the run has {n_volumes} volumes, wanted one per volume: copy it again."
        )
    chosen: list[str] = []
    for pattern in patterns:
        found = [name for name in table if fnmatchcase(name, pattern)]
        if not found:
            some = ", ".join(list(table)[:8]) + (", ..." if len(table.columns) > 8 else "")
            raise DataError(f"{path}: no column fits {pattern!r} (it has {some}): correct `confounds`.")
        chosen += [name for name in found if name not in chosen]
    values = table[chosen].copy()
    for name in chosen:
        if not pd.api.types.is_numeric_dtype(values[name]) or not np.isfinite(values[name].iloc[1:]).all():
            raise DataError(f"{path}: column {name!r} holds text or gaps after the first row: choose another confound.")
    values.iloc[0] = values.iloc[0].fillna(values.iloc[1])
    return values
