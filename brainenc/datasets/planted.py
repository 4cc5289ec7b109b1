"""The planted data set: rendered scenes and a cortex whose every parameter is known, made on the spot.

Each subject sees shared and own scenes (`brainenc.world.scenes`), several times, in sessions. Early areas answer to
local contrast through known receptive fields, high areas to their category wherever it stands, language areas to
semantic attributes, the rest to little (`brainenc.world.cortex`); noise, drift and repetitions follow
`brainenc.world.measurement`, so the noise ceiling is known in closed form. Artificial regions keep a method honest:
NOISE holds no signal, ANTI is suppressed by faces, DRIFTONLY drifts without signal. With ``network``, all but the early
areas follow directions in a network's embedding of the pictures instead (`brainenc.datasets.planted_network`).

Equal arguments give bit-identical data, whichever other subjects are asked for. Responses are as measured: sessions are
neither detrended nor standardised. What was planted comes from `PlantedDataset.truth` alone; no response, stimulus or
region carries it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainenc.core.types import DataError, Responses, StimulusSet
from brainenc.datasets.planted_network import NetworkEye
from brainenc.datasets.planted_pictures import BLOCKS, Pictures, stream
from brainenc.datasets.planted_sizes import SIZES, VERTICES, choose_vertices
from brainenc.world import cortex, measurement
from brainenc.world.mesh import fsaverage5_space
from brainenc.world.regions import Parcellation, load_atlas, parcellate
from brainenc.world.truth import PlantedTruth


class PlantedDataset:
    """The planted data set.

    Parameters
    ----------
    size : str
        ``"tiny"`` (240 pictures twice, about 600 vertices), ``"small"`` (1000 three times, vertices of regions) or
        ``"demo"`` (400 shared and 600 own pictures three times, all of fsaverage5).
    seed : int
        Decides everything.
    subjects : sequence of str, optional
        Letters and digits. Two by default, four for the demo.
    adversarial : bool
        Add 1 % dead and 1 % missing vertices and one lost trial.
    ncsnr_scale : float
        Factor on the signal-to-noise ratio: 1 for tests, .8 for a realistic mean noise ceiling of about 37 %.
    drift_confound : bool
        Faces become more frequent in the course of a session, P(face) = .3 + .6 t, beside DRIFTONLY's drift.
    n_duplicates : int
        Test pictures that return under another id in the training set: every second one 1 % brighter.
    n_shared, n_own, n_repetitions, n_sessions : int, optional
        Instead of the size's own numbers.
    vertices : str, optional
        ``"few"`` (about 600), ``"regions"`` or ``"all"`` (the cortex), instead of the size's own choice.
    network : str or Path, optional
        Folder of a network, as timm or open_clip wrote it, whose embedding drives all but the early areas. Stimuli,
        noise and drift stay as they are without it. Do not fit with features of the same network.

    Raises
    ------
    DataError
        An argument out of range, or no network in the folder.
    """

    def __init__(
        self,
        size: str = "tiny",
        seed: int = 0,
        subjects: Sequence[str] | None = None,
        adversarial: bool = True,
        ncsnr_scale: float = 1.0,
        drift_confound: bool = False,
        n_duplicates: int = 0,
        n_shared: int | None = None,
        n_own: int | None = None,
        n_repetitions: int | None = None,
        n_sessions: int | None = None,
        vertices: str | None = None,
        network: str | Path | None = None,
    ) -> None:
        preset = SIZES.get(size) if isinstance(size, str) else None
        if preset is None:
            raise DataError(f"planted data: size {size!r} is unknown: use one of {', '.join(SIZES)}.")
        self.size, self.adversarial, self.drift_confound = size, bool(adversarial), bool(drift_confound)
        self.seed = _whole("seed", seed, 0)
        self.n_shared = _whole("n_shared", preset.n_shared if n_shared is None else n_shared, 4)
        self.n_own = _whole("n_own", preset.n_own if n_own is None else n_own, 0)
        self.n_repetitions = _whole(
            "n_repetitions", preset.n_repetitions if n_repetitions is None else n_repetitions, 1
        )
        self.n_sessions = _whole("n_sessions", preset.n_sessions if n_sessions is None else n_sessions, 1)
        self.n_runs = preset.n_runs
        self.n_test = min(preset.n_test, self.n_shared // 2)
        self.n_duplicates = _whole("n_duplicates", n_duplicates, 0)
        self.ncsnr_scale = ncsnr_scale
        self.vertices = preset.vertices if vertices is None else vertices
        self._subjects = preset.subjects if subjects is None else _subject_names(subjects)
        self.check()
        self.network = None if network is None else Path(network)
        eye = None if self.network is None else NetworkEye(self.network)
        self._pictures = Pictures(self.seed, self.n_shared, self.n_own, self.n_test, self.n_duplicates, eye)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subject names."""
        return self._subjects

    def check(self) -> None:
        """Raise `DataError` for arguments that contradict each other."""
        if self.vertices not in VERTICES:
            raise DataError(f"planted data: vertices {self.vertices!r} is unknown: use one of {', '.join(VERTICES)}.")
        if self.n_duplicates > self.n_test:
            raise DataError(
                f"planted data: n_duplicates is {self.n_duplicates} but there are {self.n_test} test pictures to copy: "
                "ask for fewer."
            )
        scale = self.ncsnr_scale
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < 10:
            raise DataError(f"planted data: ncsnr_scale is {scale!r}, wanted a number above 0, such as 1.0 or 0.8.")
        n_trials = (self.n_shared + self.n_own + self.n_duplicates) * self.n_repetitions
        if self.n_sessions * self.n_runs * 2 > n_trials:
            raise DataError(
                f"planted data: {n_trials} trials cannot fill {self.n_sessions} sessions of {self.n_runs} runs: "
                "ask for fewer sessions or more pictures."
            )

    def stimuli(self, folder: Path) -> StimulusSet:
        """Render all pictures into ``folder`` and return their table.

        Files that already hold the right picture are left alone; every write is atomic.

        Returns
        -------
        StimulusSet
            Columns ``path``, ``text`` (full caption), ``split`` (suggested), ``shared``, ``subjects`` (``all`` or one),
            ``size_<category>`` (planted c_k) and ``attribute_00`` to ``attribute_15`` (planted A).
        """
        return StimulusSet(self._pictures.table(self.subjects, Path(folder)))

    @property
    def n_stimuli(self) -> int:
        """Pictures of all subjects; nothing is rendered."""
        return self.n_shared + self.n_duplicates + self.n_own * len(self.subjects)

    @property
    def stimulus_columns(self) -> list[str]:
        """Columns of the stimulus table; nothing is rendered."""
        numbers = [f"size_{name}" for name in cortex.PLANTED_CATEGORIES]
        numbers += [f"attribute_{k:02d}" for k in range(cortex.N_ATTRIBUTES)]
        return ["path", "text", "split", "shared", "subjects", *numbers]

    def shape(self, subject: str) -> tuple[int, int]:
        """Trials and targets of one subject; nothing is drawn but the parcellation."""
        n_pictures = self.n_shared + self.n_duplicates + self.n_own
        return n_pictures * self.n_repetitions, len(self._person(subject)[1])

    def responses(self, subject: str) -> Responses:
        """Responses of one subject in the order of the trials, float32 (n_trials, n_targets), unit ``planted z``.

        Samples have ``session``, ``run`` (numbered through all sessions), ``repetition`` (from 0) and ``time`` (-.5 to
        .5 within the session).
        """
        plan = self._plant(subject)
        design, faults = self._trials(subject, plan)
        Y = measurement.measure(
            plan.signal,
            plan.ncsnr,
            design,
            plan.vertices,
            self._stream("noise", subject),
            drifting=plan.tuning.region == "DRIFTONLY",
        )
        if self.adversarial:
            Y = faults.applied(Y)
        samples = design.drop(columns="image")
        shown = plan.stimulus_ids[design["image"].to_numpy()]
        return Responses(Y, shown, fsaverage5_space(plan.vertices), "planted z", samples)

    def regions(self, subject: str) -> dict[str, np.ndarray]:
        """Region name -> mask (n_targets,) of this subject's own, jittered region, hemispheres merged."""
        person, vertices = self._person(subject)
        return {name: person.region[vertices] == name for name in load_atlas().names}

    def truth(self, subject: str) -> PlantedTruth:
        """What was planted in ``subject``. Tests compare with it; nothing else may read it."""
        plan = self._plant(subject)
        tuning, n_targets = plan.tuning, len(plan.vertices)
        _, faults = self._trials(subject, plan)
        dead, missing = np.zeros((2, n_targets), bool)
        if self.adversarial:
            dead[faults.dead], missing[faults.missing] = True, True
        return PlantedTruth(
            stimulus_ids=plan.stimulus_ids,
            signal=plan.signal,
            ncsnr=np.where(dead | missing, np.nan, plan.ncsnr),
            region=tuning.region,
            preferred=self._preferred(plan),
            prf_x=tuning.prf_x,
            prf_y=tuning.prf_y,
            prf_sigma=tuning.prf_sigma,
            M=tuning.M,
            U=tuning.U,
            dead=dead,
            missing=missing,
            lost=faults.lost if self.adversarial else np.zeros(0, int),
            network="" if self.network is None else self.network.name,
        )

    def _preferred(self, plan: _Plan) -> np.ndarray:
        """Category that each target's region prefers, (t,): planted, or what a network made of the plan."""
        region = plan.tuning.region
        planted = {name: cortex.preferred_category(name) for name in dict.fromkeys(region)}
        if self.network is not None:
            planted |= cortex.followed_categories(plan.signal, plan.sizes, region)
        return np.array([planted[name] for name in region], object)

    def _stream(self, *names: str) -> np.random.Generator:
        return stream(self.seed, *names)

    def _person(self, subject: str) -> tuple[Parcellation, np.ndarray]:
        """Parcellation and chosen vertices of a subject; `DataError` for one that is not in the data set."""
        if subject not in self.subjects:
            raise DataError(f"planted data: there is no subject {subject!r}: use one of {', '.join(self.subjects)}.")
        person = parcellate(self._stream("person", subject))
        return person, choose_vertices(person, self.vertices)

    def _plant(self, subject: str) -> _Plan:
        person, vertices = self._person(subject)
        own = self._stream("tuning", subject)
        tuning = cortex.draw_tuning(person, vertices, self._stream("tuning"), own)
        ncsnr = measurement.draw_ncsnr(
            tuning, vertices, self._stream("ncsnr"), self._stream("ncsnr", subject), self.ncsnr_scale
        )
        blocks = [self._pictures.block(name) for name in ("shared", "copy", subject)]
        sizes = np.concatenate([block.contents.sizes for block in blocks])
        ids = np.array([name for block in blocks for name in block.stimulus_ids], object)
        seen = cortex.join([self._pictures.seen(name) for name in ("shared", "copy", subject)])
        S = cortex.signal(seen, tuning)
        measurement.check_truth(ncsnr, S)
        return _Plan(vertices, tuning, ncsnr, S, ids, sizes)

    def _trials(self, subject: str, plan: _Plan) -> tuple[pd.DataFrame, measurement.Faults]:
        design = measurement.draw_design(
            len(plan.stimulus_ids),
            self.n_repetitions,
            self.n_sessions,
            self.n_runs,
            self._stream("design", subject),
            plan.sizes[:, 0] > 0 if self.drift_confound else None,
        )
        faults = measurement.draw_faults(len(design), len(plan.vertices), self._stream("faults", subject))
        return design, faults


@dataclass(frozen=True, eq=False)
class _Plan:
    """One subject before measurement: what `responses` and `truth` both start from. ``sizes`` (n, 6): what is shown."""

    vertices: np.ndarray
    tuning: cortex.Tuning
    ncsnr: np.ndarray
    signal: np.ndarray
    stimulus_ids: np.ndarray
    sizes: np.ndarray


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(f"planted data: {name} is {value!r}, wanted a whole number of at least {least}: correct it.")
    return value


def _subject_names(subjects: Sequence[str]) -> tuple[str, ...]:
    if isinstance(subjects, str) or not isinstance(subjects, Sequence) or not subjects:
        raise DataError(f"planted data: subjects is {subjects!r}, wanted a list of names such as ['01', '02'].")
    for name in subjects:
        if not isinstance(name, str) or not re.fullmatch("[A-Za-z0-9]+", name) or name in BLOCKS:
            raise DataError(
                f"planted data: subject {name!r} is no name, wanted text of letters and digits such as '01': quote it."
            )
    if len(set(subjects)) != len(subjects):
        raise DataError(f"planted data: subjects {list(subjects)} repeat a name, wanted each once: remove the copy.")
    return tuple(subjects)
