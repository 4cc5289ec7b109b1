"""Where the files of a BOLD run are: names, entities and the inheritance principle of BIDS.

A sidecar or events file applies to a run if it lies in the run's folder or above and its entities are among the run's;
the deeper and more specific file wins (Gorgolewski et al. 2016, doi:10.1038/sdata.2016.44).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainenc.core.types import DataError
from brainenc.datasets.tables import need_file

_DERIVED = {"space", "desc", "hemi", "res", "den"}


@dataclass(frozen=True)
class Run:
    """The files of one BOLD run; ``bold`` is one NIfTI, or the left and the right GIFTI file."""

    subject: str
    session: str
    label: str
    bold: tuple[Path, ...]
    events: Path
    sidecar: dict[str, Any]
    mask: Path | None
    confounds: Path | None


def entities_of(path: Path) -> dict[str, str]:
    """``sub-01_task-x_bold.nii.gz`` -> ``{"sub": "01", "task": "x"}``."""
    parts = path.name.split(".")[0].split("_")
    return dict(part.split("-", 1) for part in parts if "-" in part)


def find_bids_subjects(folder: Path) -> tuple[str, ...]:
    """Subjects that have a folder ``sub-*``, sorted."""
    return tuple(sorted(path.name[4:] for path in folder.glob("sub-*") if path.is_dir()))


def find_runs(root: Path, derivatives: Path | None, subject: str, task: str, space: str | None) -> list[Run]:
    """Return the runs of a subject in order of session and run.

    BOLD, masks and confounds come from ``derivatives`` where given, events from either place, sidecars from both.

    Raises
    ------
    DataError
        No run, several spaces to choose from, two files for one run, or no events.
    """
    place = derivatives or root
    files = _bold_files(place, subject, task, space)
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(_label(entities_of(path)), []).append(path)
    runs = []
    for label in sorted(groups, key=lambda text: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", text)]):
        bold = _one_run(groups[label], label)
        entities = entities_of(bold[0])
        runs.append(
            Run(
                subject,
                entities.get("ses", ""),
                label,
                bold,
                _events(bold[0], root, place, entities),
                _sidecar((root, place), entities),
                _beside(bold[0], ("_desc-brain_mask.nii.gz", "_desc-brain_mask.nii"), {"space", "res", "den"}),
                _beside(bold[0], ("_desc-confounds_timeseries.tsv", "_desc-confounds_regressors.tsv"), set()),
            )
        )
    return runs


def _bold_files(place: Path, subject: str, task: str, space: str | None) -> list[Path]:
    folder = place / f"sub-{subject}"
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder, wanted the runs of subject {subject!r}: correct `subjects` or `root`."
        )
    every = sorted(p for end in ("nii", "nii.gz", "func.gii") for p in folder.rglob(f"*_bold.{end}"))
    tasks = sorted({entities_of(path).get("task", "") for path in every})
    files = [
        p for p in every if entities_of(p).get("task") == task and entities_of(p).get("desc", "preproc") == "preproc"
    ]
    if not files:
        raise DataError(
            f"{folder}: no BOLD file of task {task!r} (found tasks: {', '.join(tasks) or 'none'}): correct `task`."
        )
    spaces = sorted({entities_of(path).get("space", "") for path in files})
    if space is None and len(spaces) > 1:
        named = ", ".join(name or "none in the name" for name in spaces)
        raise DataError(f"{folder}: BOLD in several spaces ({named}), wanted one: set `space`.")
    chosen = [p for p in files if space is None or entities_of(p).get("space") == space]
    if not chosen:
        raise DataError(f"{folder}: no BOLD file in space {space!r} (found: {', '.join(spaces)}): correct `space`.")
    return chosen


def _label(entities: dict[str, str]) -> str:
    """What tells a run from the others: ``ses-01_run-02``, ``01`` where there are no sessions."""
    kept = {k: v for k, v in entities.items() if k not in {"sub", "task"} | _DERIVED}
    if set(kept) <= {"run"}:
        return kept.get("run", "1")
    return "_".join(f"{k}-{v}" for k, v in kept.items())


def _one_run(paths: list[Path], label: str) -> tuple[Path, ...]:
    sides = [entities_of(path).get("hemi") for path in paths]
    if sides == ["L", "R"] or (len(paths) == 1 and sides == [None]):
        return tuple(paths)
    if set(sides) in ({"L"}, {"R"}):
        raise DataError(f"{paths[0]}: one hemisphere alone, wanted hemi-L and hemi-R of run {label}: add the other.")
    names = " and ".join(path.name for path in paths[:2])
    raise DataError(
        f"{paths[0].parent}: run {label} has {names}, wanted one BOLD file: move the others or set `space`."
    )


def _inherited(place: Path, entities: dict[str, str], ending: str) -> list[Path]:
    """Files named ``*ending`` that apply to a run, least specific first."""
    folders = [place, place / f"sub-{entities['sub']}"]
    if "ses" in entities:
        folders.append(folders[-1] / f"ses-{entities['ses']}")
    folders.append(folders[-1] / "func")
    found = []
    for folder in folders:
        here = [*folder.glob(f"*_{ending}"), *folder.glob(ending)]
        fitting = [path for path in here if entities_of(path).items() <= entities.items()]
        found += sorted(fitting, key=lambda path: len(entities_of(path)))
    return found


def _events(bold: Path, root: Path, place: Path, entities: dict[str, str]) -> Path:
    raw = {key: value for key, value in entities.items() if key not in _DERIVED}
    found = _inherited(place, raw, "events.tsv") or _inherited(root, raw, "events.tsv")
    if not found:
        name = bold.name.split("_bold")[0].split("_space-")[0] + "_events.tsv"
        raise DataError(
            f"{bold}: has no events, wanted {name} in its folder or above: add it, or set `root` to raw BIDS."
        )
    return found[-1]


def _sidecar(places: tuple[Path, ...], entities: dict[str, str]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for place in dict.fromkeys(places):
        for path in _inherited(place, entities, "bold.json"):
            need_file(path, "a JSON sidecar")
            try:
                merged |= json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, TypeError) as error:
                raise DataError(f"{path}: is not a JSON object ({error}), wanted a BIDS sidecar: correct it.") from None
    return merged


def _beside(bold: Path, endings: tuple[str, ...], keep: set[str]) -> Path | None:
    """The file in the run's folder with the run's own entities, and of the derived ones those in ``keep``."""
    entities = {k: v for k, v in entities_of(bold).items() if k not in _DERIVED or k in keep}
    for ending in endings:
        for path in sorted(bold.parent.glob(f"*{ending}")):
            own = {k: v for k, v in entities_of(path).items() if k != "desc"}
            if own == entities:
                return path
    return None
