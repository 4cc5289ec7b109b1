"""BOLD runs and events of a BIDS (fMRIPrep-like) folder -> responses per trial or per condition and run.

Each run is modelled alone (`brainenc.datasets.glm`), so its label in ``samples.run`` is a group that cross-validation
may hold out. Betas are percent signal change for a regressor of height one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainenc.core.spaces import Space, VoxelSpace
from brainenc.core.types import DataError, Responses, StimulusSet
from brainenc.datasets.bids_files import Run, find_bids_subjects, find_runs
from brainenc.datasets.bids_runs import check_onsets, read_confounds, read_events, read_slice_time, read_timing
from brainenc.datasets.glm import Design, Model, check_baseline, designs, estimate, lss_design, percent_signal_change
from brainenc.datasets.images import (
    check_grid,
    load_mask,
    open_gifti_pair,
    open_nifti,
)
from brainenc.datasets.regions import load_regions
from brainenc.datasets.tables import (
    MISSING,
    check_stimulus_files,
    checked_subjects,
    fill_pattern,
)

_CHOICES = {
    "hrf_model": ("spm", "glover"),
    "estimate": ("trial", "condition_per_run"),
    "trial_model": ("lsa", "lss"),
    "noise_model": ("ar1", "ols"),
}


class BidsBoldDataset:
    """Single-trial or per-condition responses from BOLD, by a general linear model run by run.

    Parameters
    ----------
    root : path
        BIDS folder: events, sidecars, ``stimuli/``; and BOLD where ``derivatives`` is not given.
    task : str
    derivatives : str, optional
        Folder of fMRIPrep's output, relative to ``root``, for BOLD, masks and confounds.
    space : str, optional
        ``space-`` of the BOLD files, needed where there are several; ``fsaverage5`` reads the pairs of GIFTI files.
    subjects : list of str, optional
        By default every ``sub-*``.
    mask : str, optional
        NIfTI mask, ``{subject}`` allowed; by default where the brain masks beside all runs overlap.
    regions : str, optional
        Pattern of the regions file, see `brainenc.datasets.regions`.
    estimate : {"trial", "condition_per_run"}
        One beta per event, or one per ``trial_type`` and run.
    trial_model : {"lsa", "lss"}
        All trials in one model, or one model per trial.
    stimulus_column : str, optional
        Events column that names what a trial shows; by default ``stimulus_id``, ``stim_file`` or ``trial_type``,
        the first that is there.
    ignore, nuisance : list of str
        Values of ``trial_type`` left out of the model (rest), or modelled but not returned (button presses).
    onset_shift : float
        Seconds added to every onset: minus the length of volumes dropped at the start, or minus the haemodynamic delay
        where the labels already include it.
    tr : float, optional
        Seconds; by default ``RepetitionTime`` of the sidecar.
    hrf_model, drift_model, high_pass, noise_model
        See `brainenc.datasets.glm.Model`. A whole number as ``drift_model`` is the order of a polynomial.
    slice_time_ref : float, optional
        0 to 1; by default ``StartTime`` / TR of the sidecar, else 0.
    confounds : list of str, optional
        Columns of fMRIPrep's confounds table, ``*`` allowed. A missing first value (derivatives) takes the second's.
    smoothing : float, optional
        Full width at half maximum of a Gaussian in mm; volumes only.

    Raises
    ------
    DataError
        From every method, before any model is fitted.
    """

    units = "beta (percent signal change)"

    def __init__(
        self,
        root: str | Path,
        task: str,
        derivatives: str | None = None,
        space: str | None = None,
        subjects: list[str] | tuple[str, ...] | None = None,
        mask: str | None = None,
        regions: str | None = None,
        estimate: str = "trial",
        trial_model: str = "lsa",
        stimulus_column: str | None = None,
        ignore: list[str] | tuple[str, ...] = (),
        nuisance: list[str] | tuple[str, ...] = (),
        onset_shift: float = 0.0,
        tr: float | None = None,
        hrf_model: str = "spm",
        drift_model: str | int | None = "cosine",
        high_pass: float = 0.01,
        noise_model: str = "ar1",
        slice_time_ref: float | None = None,
        confounds: list[str] | tuple[str, ...] | None = None,
        smoothing: float | None = None,
    ) -> None:
        given = {"hrf_model": hrf_model, "estimate": estimate, "trial_model": trial_model, "noise_model": noise_model}
        for name, value in given.items():
            if value not in _CHOICES[name]:
                raise DataError(
                    f"bids_bold: {name} is {value!r}, wanted one of {', '.join(_CHOICES[name])}: correct it."
                )
        order = isinstance(drift_model, int) and not isinstance(drift_model, bool) and drift_model >= 0
        if not (order or drift_model in ("cosine", None)):
            raise DataError(f"bids_bold: drift_model is {drift_model!r}, wanted cosine or the order of a polynomial.")
        self._root = Path(root).expanduser()
        self._derivatives = None if derivatives is None else self._root / derivatives
        self._task, self._space, self._mask, self._regions = task, space, mask, regions
        self._subjects = checked_subjects("bids_bold", subjects)
        self._per_trial, self._column = estimate == "trial", stimulus_column
        self._ignore, self._nuisance = tuple(ignore), tuple(nuisance)
        self._onset_shift = float(onset_shift)
        self._tr, self._slice_time_ref, self._smoothing = tr, slice_time_ref, smoothing
        self._confounds = None if confounds is None else tuple(confounds)
        self._model = Model(
            hrf_model, drift_model, high_pass, 0.0, trial_model if self._per_trial else "lsa", noise_model
        )

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subject names, sorted, or as configured."""
        if self._subjects is not None:
            return self._subjects
        place = self._derivatives or self._root
        found = find_bids_subjects(place)
        if not found:
            raise DataError(f"{place}: no folder sub-*, wanted a BIDS data set: correct `root` or `derivatives`.")
        return found

    def check(self) -> None:
        """Raise `DataError` for the first run that cannot be modelled; reads headers, tables and ten volumes a run."""
        for subject in self.subjects:
            space = self._space_of(subject)
            self.regions(subject)
            for run in self._runs(subject):
                self._check_bold(run, space)
                for design in self._designs(run, first_only=True)[1]:
                    design.check(str(run.events))
        table = self.stimuli().table
        check_stimulus_files(table, self._root / "stimuli")

    def stimuli(self, folder: Path | None = None) -> StimulusSet:
        """The distinct stimuli of all events: ``text`` from ``trial_type``, ``path`` where ``stim_file`` is there."""
        events = [self._events(run) for subject in self.subjects for run in self._runs(subject)]
        rows = pd.concat([table[table["wanted"]] for table in events], ignore_index=True)
        table = pd.DataFrame(index=pd.Index(sorted(set(rows["stimulus_id"])), name="stimulus_id"))
        groups = rows.groupby("stimulus_id", sort=True)
        table["text"] = groups["trial_type"].agg(lambda names: ", ".join(sorted({_words(name) for name in names})))
        table["trial_type"] = groups["trial_type"].agg(lambda names: ", ".join(sorted(set(names))))
        if self._per_trial and "stim_file" in rows and not rows["stim_file"].isin(MISSING).any():
            several = groups["stim_file"].nunique()
            if (several > 1).any():
                raise DataError(
                    f"{self._root}: stimulus {several.idxmax()!r} has {several.max()} different stim_file, wanted one: "
                    "set `stimulus_column: stim_file`."
                )
            paths = [self._root / "stimuli" / name for name in groups["stim_file"].first()]
            if any(path.is_file() for path in paths):
                table["path"] = [str(path.resolve()) for path in paths]
        return StimulusSet(table)

    def shape(self, subject: str) -> tuple[int, int]:
        """Samples and targets of one subject, from events and headers; nothing is fitted."""
        n_samples = 0
        for run in self._runs(subject):
            events = self._events(run)
            n_samples += len(self._samples(run, events[events["wanted"]]))
        return n_samples, self._space_of(subject).n_targets

    def responses(self, subject: str) -> Responses:
        """Betas (n_trials or n_conditions over all runs, n_targets) float32; fits the models.

        A target that does not vary in some run is dead and NaN throughout.
        """
        space = self._space_of(subject)
        values, tables, alive = [], [], np.ones(space.n_targets, bool)
        for run in self._runs(subject):
            samples, models = self._designs(run)
            for design in models:
                design.check(str(run.events))
            bold = self._read(run, space)
            check_baseline(bold, str(run.bold[0]))
            scaled, living = percent_signal_change(bold)
            values.append(estimate(scaled, models, self._model.noise_model).astype(np.float32))
            tables.append(samples)
            alive &= living
        table = pd.concat(tables, ignore_index=True)
        table["repetition"] = table.groupby("stimulus_id").cumcount() + 1
        betas = np.concatenate(values)
        betas[:, ~alive] = np.nan
        return Responses(betas, table["stimulus_id"].to_numpy(dtype=object), space, self.units, table)

    def regions(self, subject: str) -> dict[str, np.ndarray]:
        """Region name -> boolean mask (n_targets,); empty where no regions are configured."""
        if self._regions is None:
            return {}
        sides = [fill_pattern(self._root, self._regions, subject=subject, hemisphere=side) for side in ("L", "R")]
        return load_regions(sides[0], self._space_of(subject), None if sides[0] == sides[1] else sides[1])

    def design_matrices(self, subject: str) -> list[tuple[str, pd.DataFrame]]:
        """Run label and design matrix of every model of a subject, for a report or a look."""
        return [(run.label, design.matrix) for run in self._runs(subject) for design in self._designs(run)[1]]

    def _runs(self, subject: str) -> list[Run]:
        if subject not in self.subjects:
            raise DataError(f"bids_bold: subject {subject!r} is unknown: use one of {', '.join(self.subjects)}.")
        return find_runs(self._root, self._derivatives, subject, self._task, self._space)

    def _space_of(self, subject: str) -> Space:
        runs = self._runs(subject)
        if len(runs[0].bold) == 2:
            return open_gifti_pair(*runs[0].bold, self._space).space
        if self._mask is not None:
            return load_mask(fill_pattern(self._root, self._mask, subject=subject))
        bare = next((run for run in runs if run.mask is None), None)
        if bare is not None:
            raise DataError(f"{bare.bold[0]}: has no brain mask beside it, wanted one (*_desc-brain_mask): set `mask`.")
        masks = [load_mask(run.mask) for run in runs if run.mask is not None]
        for run, mask in zip(runs, masks, strict=True):
            check_grid(Path(str(run.mask)), mask.mask.shape, mask.affine, masks[0], str(runs[0].mask))
        common = np.logical_and.reduce([mask.mask for mask in masks])
        if not common.any():
            raise DataError(f"{runs[0].mask}: the brain masks of the runs share no voxel: give one with `mask`.")
        return VoxelSpace(common, masks[0].affine)

    def _check_bold(self, run: Run, space: Space) -> None:
        source = self._source(run, space)
        check_baseline(source.rows(0, min(10, source.n_samples)), str(run.bold[0]))

    def _source(self, run: Run, space: Space) -> Any:
        if isinstance(space, VoxelSpace):
            return open_nifti(run.bold[0], space, self._mask or "of all runs")
        if self._smoothing is not None:
            raise DataError("bids_bold: smoothing is for volumes only: smooth surface data beforehand or drop it.")
        source = open_gifti_pair(*run.bold, self._space)
        if source.space != space:
            raise DataError(f"{run.bold[0]}: another mesh than the first run: give one `space`.")
        return source

    def _read(self, run: Run, space: Space) -> np.ndarray:
        """BOLD (n_volumes, n_targets) of a run, smoothed if so configured."""
        source = self._source(run, space)
        if self._smoothing is None:
            return source.whole()
        from nilearn.image import smooth_img

        image = smooth_img(str(run.bold[0]), self._smoothing)
        return np.asarray(image.get_fdata(dtype=np.float32)[space.mask].T)

    def _events(self, run: Run) -> pd.DataFrame:
        events = read_events(run, self._per_trial, self._column, self._ignore, self._nuisance)
        return events.assign(onset=events["onset"] + self._onset_shift)

    def _designs(self, run: Run, first_only: bool = False) -> tuple[pd.DataFrame, list[Design]]:
        """The rows that a run gives and its models; of one model per trial only the first where so asked."""
        n_volumes, tr = read_timing(run, self._tr)
        model = replace(self._model, slice_time_ref=read_slice_time(run, tr, self._slice_time_ref))
        events = self._events(run)
        check_onsets(run, events, n_volumes, tr)
        confounds = read_confounds(run, self._confounds, n_volumes)
        samples = self._samples(run, events[events["wanted"]])
        wanted = list(dict.fromkeys(events["name"][events["wanted"]]))
        if not self._per_trial:
            wanted = sorted(wanted)
        if first_only and model.trial_model == "lss":
            return samples, [lss_design(events, wanted[0], model, n_volumes, tr, confounds)]
        return samples, designs(events, wanted, model, n_volumes, tr, confounds)

    def _samples(self, run: Run, events: pd.DataFrame) -> pd.DataFrame:
        if self._per_trial:
            samples = events[["stimulus_id", "trial_type", "onset", "duration"]].reset_index(drop=True)
        else:
            counts = events.groupby("trial_type", sort=True).size()
            samples = pd.DataFrame({"stimulus_id": counts.index, "n_trials": counts.to_numpy()})
        samples.insert(1, "run", run.label)
        if run.session:
            samples.insert(1, "session", run.session)
        return samples


def _words(trial_type: str) -> str:
    return " ".join(trial_type.replace("_", " ").replace("-", " ").split())
