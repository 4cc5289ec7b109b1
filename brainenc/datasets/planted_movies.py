"""The planted movies: films of moving scenes and BOLD series whose every parameter is known, made on the spot.

Each subject sees ``n_films`` training films once and one test film ``n_repetitions`` times, a run each. A sample is a
volume; a stimulus is what a volume of a film shows, so the stimulus table has one row per volume, with the columns that
the responses were made from (`brainenc.world.movies`). Regions that prefer a category answer to its size, hMT+ to
motion energy alone, NOISE to nothing. Encoders need delays, because the response follows by seconds.

Equal arguments give bit-identical data, whichever other subjects are asked for. What was planted comes from
`PlantedMoviesDataset.truth` alone. `brainenc.datasets.planted_bids.write_bids` writes the same experiment as files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainenc.core.types import DataError, Responses, StimulusSet
from brainenc.datasets.planted_pictures import stream, write_picture
from brainenc.world import movies
from brainenc.world.mesh import fsaverage5_space
from brainenc.world.regions import parcellate
from brainenc.world.scene_captions import captions
from brainenc.world.scene_plan import ScenePlan

FEW = 21  # vertices kept per region
UNITS = "percent signal change"
TEST = "test"


@dataclass(frozen=True, eq=False)
class Reel:
    """A film with its columns x (n_volumes, 7), and of each clip a caption and what it shows (``tool_place``)."""

    film: movies.Film
    columns: np.ndarray
    captions: list[str]
    categories: list[str]

    @property
    def stimulus_ids(self) -> list[str]:
        """One per volume."""
        return [f"film-{self.film.name}_volume-{k:04d}" for k in range(self.film.n_volumes)]

    @property
    def clip_ids(self) -> list[str]:
        """One per clip."""
        return [f"film-{self.film.name}_clip-{k:03d}" for k in range(len(self.film.seeds))]


class PlantedMoviesDataset:
    """The planted movies.

    Parameters
    ----------
    seed : int
        Decides everything.
    subjects : sequence of str
        Letters and digits.
    n_films : int
        Training films, at least 2.
    n_clips, clip_volumes : int
        Clips per film, and volumes for which each is shown.
    n_repetitions : int
        Presentations of the test film.
    rest : int
        Most volumes of blank screen after each clip; 0 is a film without a break. Blank volumes have no picture.
    tr : float
        Seconds per volume.
    ncsnr_scale : float
        Factor on the signal-to-noise ratio.

    Raises
    ------
    DataError
        An argument out of range.
    """

    def __init__(
        self,
        seed: int = 0,
        subjects: Sequence[str] = ("01", "02"),
        n_films: int = 8,
        n_clips: int = 30,
        clip_volumes: int = 2,
        n_repetitions: int = 4,
        rest: int = 0,
        tr: float = 2.0,
        ncsnr_scale: float = 1.0,
    ) -> None:
        self.seed, self.n_films = _whole("seed", seed, 0), _whole("n_films", n_films, 2)
        self.n_clips, self.clip_volumes = _whole("n_clips", n_clips, 2), _whole("clip_volumes", clip_volumes, 1)
        self.n_repetitions, self.rest = _whole("n_repetitions", n_repetitions, 1), _whole("rest", rest, 0)
        self.tr, self.ncsnr_scale = _number("tr", tr, 10), _number("ncsnr_scale", ncsnr_scale, 100)
        self._subjects = _subject_names(subjects)
        names = [*(f"{k + 1:02d}" for k in range(self.n_films)), TEST]
        rng = stream(self.seed, "films")
        self.films = movies.plan_films(names, self.n_clips, self.clip_volumes, self.tr, self.rest, rng)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subject names."""
        return self._subjects

    def check(self) -> None:
        """Nothing to look for: the constructor refuses what cannot be made."""

    @property
    def n_stimuli(self) -> int:
        """Distinct volumes; nothing is rendered."""
        return sum(film.n_volumes for film in self.films)

    @property
    def stimulus_columns(self) -> list[str]:
        """Columns of the stimulus table; nothing is rendered."""
        return ["path", "text", "split", "film", "clip", "onset", "duration", *movies.COLUMNS]

    def stimuli(self, folder: Path) -> StimulusSet:
        """Render the first frame of every volume into ``folder`` and return the table, one row per volume.

        Returns
        -------
        StimulusSet
            Columns ``path`` and ``text`` (the clip's caption; both empty for blank screen), ``split`` (suggested),
            ``film``, ``clip``, ``onset`` and ``duration`` (s in the film), ``size_<category>`` and ``motion``.
        """
        return StimulusSet(pd.concat([self._rows(reel, Path(folder)) for reel in self.reels]))

    def samples(self, subject: str) -> pd.DataFrame:
        """One row per volume measured: ``stimulus_id``, ``run`` (from 1), ``film``, ``repetition`` (from 0), ``time``.

        ``time`` is in seconds from the start of the run. Training films come in an order of the subject's own, the
        presentations of the test film among them.
        """
        self._check_subject(subject)
        shown = [*range(self.n_films), *[self.n_films] * self.n_repetitions]
        order = np.array(shown)[stream(self.seed, "order", subject).permutation(len(shown))]
        tables = []
        for run, which in enumerate(order):
            film = self.films[which]
            ids = [f"film-{film.name}_volume-{k:04d}" for k in range(film.n_volumes)]
            repetition = int((order[:run] == which).sum())
            columns = {"stimulus_id": ids, "run": run + 1, "film": film.name, "repetition": repetition}
            tables.append(pd.DataFrame({**columns, "time": np.arange(film.n_volumes) * self.tr}))
        return pd.concat(tables, ignore_index=True)

    def shape(self, subject: str) -> tuple[int, int]:
        """Volumes over all runs, and targets; nothing is rendered."""
        return len(self.samples(subject)), len(self._targets(subject)[0])

    def responses(self, subject: str) -> Responses:
        """BOLD of one subject in the order of the volumes, percent signal change, float32; see `samples`."""
        truth, samples = self.truth(subject), self.samples(subject)
        at = pd.Series(np.arange(len(truth.stimulus_ids)), truth.stimulus_ids)
        Y = truth.signal[at.loc[samples["stimulus_id"]].to_numpy()]
        rng = stream(self.seed, "noise", subject)
        for _, rows in samples.groupby("run").indices.items():
            Y[rows] += movies.draw_run_noise(len(rows), truth.noise_sd, self.tr, rng)
        space = fsaverage5_space(self._targets(subject)[0])
        shown = samples.pop("stimulus_id").to_numpy(object)
        return Responses(Y, shown, space, UNITS, samples, self.tr)

    def regions(self, subject: str) -> dict[str, np.ndarray]:
        """Region name -> mask (n_targets,)."""
        region = self._targets(subject)[1]
        return {name: region == name for name in movies.REGIONS}

    def truth(self, subject: str) -> movies.MovieTruth:
        """What was planted in ``subject``. Tests compare with it; nothing else may read it."""
        region = self._targets(subject)[1]
        kernel = movies.haemodynamic_weights(self.tr)
        # Responses are linear in the columns: these pass the haemodynamics once, for all targets.
        delayed = np.concatenate([movies.respond(reel.columns, kernel) for reel in self.reels])
        W = movies.draw_weights(region, stream(self.seed, "weights", subject))
        ratio, noise_sd = movies.draw_noise(region, stream(self.seed, "noise sd", subject), self.ncsnr_scale)
        W = movies.scale_weights(W, delayed @ W, ratio * noise_sd)
        signal = delayed @ W
        clips = [reel.columns[reel.film.clip == k].mean(axis=0) for reel in self.reels for k in range(self.n_clips)]
        return movies.MovieTruth(
            stimulus_ids=np.array([name for reel in self.reels for name in reel.stimulus_ids], object),
            signal=signal.astype(np.float32),
            clip_ids=np.array([name for reel in self.reels for name in reel.clip_ids], object),
            amplitude=np.array(clips) @ W,
            W=W,
            kernel=kernel,
            noise_sd=noise_sd,
            ncsnr=signal.std(axis=0) / noise_sd,
            region=region,
        )

    @cached_property
    def reels(self) -> list[Reel]:
        """All films with what they show, the test film last."""
        return [_develop(film) for film in self.films]

    def _rows(self, reel: Reel, folder: Path) -> pd.DataFrame:
        film, clip = reel.film, reel.film.clip
        paths = np.full(film.n_volumes, "", object)
        for k, onset in enumerate(film.onsets):
            for step, frame in enumerate(film.paint(k)):
                path = folder / f"{reel.stimulus_ids[onset + step]}.png"
                write_picture(path, frame)
                paths[onset + step] = str(path)
        columns = {
            "path": paths,
            "text": [reel.captions[k] if k >= 0 else "" for k in clip],
            "split": "test" if film.name == TEST else "train",
            "film": film.name,
            "clip": [reel.clip_ids[k] if k >= 0 else "" for k in clip],
            "onset": np.arange(film.n_volumes) * film.tr,
            "duration": film.tr,
        }
        columns |= dict(zip(movies.COLUMNS, reel.columns.T, strict=True))
        return pd.DataFrame(columns, index=pd.Index(reel.stimulus_ids, name="stimulus_id", dtype=object))

    def _check_subject(self, subject: str) -> None:
        if subject not in self.subjects:
            raise DataError(f"planted movies: there is no subject {subject!r}: use one of {', '.join(self.subjects)}.")

    def _targets(self, subject: str) -> tuple[np.ndarray, np.ndarray]:
        """Vertices of a subject, ascending, and their regions."""
        self._check_subject(subject)
        person = parcellate(stream(self.seed, "person", subject))
        kept = []
        for name in movies.REGIONS:
            members = np.flatnonzero(person.region == name)
            kept.append(members[np.linspace(0, len(members) - 1, min(FEW, len(members))).round().astype(int)])
        vertices = np.sort(np.concatenate(kept))
        return vertices, person.region[vertices]


def _develop(film: movies.Film) -> Reel:
    scenes = [film.clip_plan(k).scene for k in range(len(film.seeds))]
    return Reel(film, film.columns(), [captions(scene)[0] for scene in scenes], [_shown(scene) for scene in scenes])


def _shown(scene: ScenePlan) -> str:
    """Categories of the things, sorted, and the place last."""
    things = sorted({layer.category for layer in scene.layers})
    return "_".join([*things, *(["place"] if scene.place is not None else [])]) or "nothing"


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(f"planted movies: {name} is {value!r}, wanted a whole number of at least {least}: correct it.")
    return value


def _number(name: str, value: Any, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise DataError(f"planted movies: {name} is {value!r}, wanted a number above 0, up to {most:g}: correct it.")
    return float(value)


def _subject_names(subjects: Sequence[str]) -> tuple[str, ...]:
    if isinstance(subjects, str) or not isinstance(subjects, Sequence) or not subjects:
        raise DataError(f"planted movies: subjects is {subjects!r}, wanted a list of names such as ['01', '02'].")
    for name in subjects:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9]+", name):
            raise DataError(f"planted movies: subject {name!r} is not letters and digits: quote it, as in '01'.")
    if len(set(subjects)) < len(subjects):
        raise DataError(f"planted movies: subjects {list(subjects)} name one twice: drop the second.")
    return tuple(subjects)
