"""The planted movies as a BIDS folder: BOLD volumes, events, sidecar, stimuli and regions, as `bids_bold` reads them.

A target is a voxel of a small box, in order; its values are ``1000 (1 + y / 100)`` with y the percent signal change of
`PlantedMoviesDataset.responses`. Events are clips. The betas that a model of single trials should find are
`MovieTruth.amplitude`; let the films have ``rest``, or neighbouring clips cannot be told apart well. The format is that
of Gorgolewski et al. 2016, doi:10.1038/sdata.2016.44.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from brainenc.core.storage import atomic_path, write_json, write_text
from brainenc.datasets.planted_movies import PlantedMoviesDataset, Reel
from brainenc.datasets.planted_pictures import write_picture

TASK = "movies"
BASELINE, VOXEL_MM = 1000.0, 3.0
MASK, REGIONS = "sub-{subject}/anat/mask.nii.gz", "sub-{subject}/anat/regions.nii.gz"


def write_bids(dataset: PlantedMoviesDataset, folder: Path) -> dict[str, str]:
    """Write all subjects of ``dataset`` below ``folder`` and return the arguments with which `bids_bold` reads it.

    Existing files of the same names are replaced, each at once.
    """
    folder = Path(folder)
    description = {"Name": "planted movies: artificial, not a brain", "BIDSVersion": "1.9.0", "DatasetType": "raw"}
    write_json(folder / "dataset_description.json", description)
    sidecar = {"RepetitionTime": dataset.tr, "TaskName": TASK, "StartTime": 0.0}
    write_json(folder / f"task-{TASK}_bold.json", sidecar)
    for reel in dataset.reels:
        for k, name in enumerate(reel.clip_ids):
            write_picture(folder / "stimuli" / f"{name}.png", reel.film.paint(k)[0])
    for subject in dataset.subjects:
        _write_subject(dataset, subject, folder)
    return {"root": str(folder), "task": TASK, "mask": MASK, "regions": REGIONS}


def _write_subject(dataset: PlantedMoviesDataset, subject: str, folder: Path) -> None:
    responses = dataset.responses(subject)
    n_targets = responses.n_targets
    side = int(np.ceil(np.cbrt(n_targets)))
    mask = (np.arange(side**3) < n_targets).reshape(side, side, side)
    _save_volume(folder / MASK.format(subject=subject), mask.astype(np.uint8))
    labels, regions = np.zeros(mask.shape, np.int16), dataset.regions(subject)
    for value, member in enumerate(regions.values(), start=1):
        labels[np.nonzero(mask)] += np.int16(value) * member
    _save_volume(folder / REGIONS.format(subject=subject), labels)
    names = "".join(f"{value}\t{name}\n" for value, name in enumerate(regions, start=1))
    write_text(folder / REGIONS.format(subject=subject).replace(".nii.gz", ".tsv"), "index\tname\n" + names)
    reels = {reel.film.name: reel for reel in dataset.reels}
    run, film = responses.column("run"), responses.column("film")
    for number in np.unique(run):
        rows = np.flatnonzero(run == number)
        stem = folder / f"sub-{subject}" / "func" / f"sub-{subject}_task-{TASK}_run-{number:02d}"
        bold = np.zeros((*mask.shape, len(rows)), np.float32)
        bold[mask] = BASELINE * (1 + responses.values[rows].T / 100)
        _save_volume(stem.with_name(f"{stem.name}_bold.nii.gz"), bold, dataset.tr)
        events = _events(reels[str(film[rows[0]])])
        write_text(stem.with_name(f"{stem.name}_events.tsv"), events.to_csv(sep="\t", index=False))


def _events(reel: Reel) -> pd.DataFrame:
    """One row per clip: onset and duration in seconds, what it shows (``face`` or ``tool_place``), its id and file."""
    film = reel.film
    return pd.DataFrame(
        {
            "onset": np.array(film.onsets) * film.tr,
            "duration": film.clip_volumes * film.tr,
            "trial_type": reel.categories,
            "stimulus_id": reel.clip_ids,
            "stim_file": [f"{name}.png" for name in reel.clip_ids],
        }
    )


def _save_volume(path: Path, values: np.ndarray, tr: float | None = None) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(values, np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0]))
    if tr is not None:
        image.header.set_zooms((VOXEL_MM, VOXEL_MM, VOXEL_MM, tr))
        image.header.set_xyzt_units("mm", "sec")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
