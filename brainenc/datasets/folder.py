"""Bring your own data: a stimulus table, one file of responses and one samples table per subject.

See ``docs/bring-your-own-data.md`` for the folder, `brainenc.datasets.readers` for the formats of responses and
`brainenc.datasets.regions` for those of regions. Rows of responses and rows of the samples table are the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from brainenc.core.spaces import ParcelSpace, Space, VertexSpace
from brainenc.core.types import DataError, Responses, StimulusSet
from brainenc.datasets.images import MESHES, load_mask, open_image
from brainenc.datasets.readers import (
    CIFTI_SUFFIXES,
    HDF5_SUFFIXES,
    SUFFIXES,
    Source,
    check_values,
    count_missing,
    load_arrays_safely,
    open_matrix,
    suffix_of,
)
from brainenc.datasets.regions import load_regions
from brainenc.datasets.tables import (
    check_stimulus_files,
    checked_subjects,
    fill_pattern,
    find_subjects,
    need_file,
    read_samples,
    read_stimuli,
)

_EXTENSIONS = tuple(suffix[1:] for suffix in (*SUFFIXES, *CIFTI_SUFFIXES))


class FolderDataset:
    """Your own data in a folder.

    Paths are relative to ``root`` unless absolute. In patterns ``{subject}`` stands for the subject, ``{ext}`` for any
    known suffix and ``{hemisphere}`` for L and R.

    Parameters
    ----------
    root : path
    stimuli : str
        TSV or CSV with ``stimulus_id`` (unique) and optionally ``path``, ``text``, ``split`` and annotations.
    responses : str or mapping of subject to str
        Pattern, or the file of each subject.
    samples : str
        Pattern of the table whose row i says which stimulus row i of the responses shows; optional columns ``run``,
        ``session``, ``repetition``, ``onset`` (s).
    regions : str, optional
        Pattern of the regions file.
    subjects : list of str, optional
        By default those whose responses are found.
    key : str, optional
        Array in HDF5 or npz; may be left out where the file has one array or one named ``responses``.
    mask : str, optional
        Pattern of the NIfTI mask (1 = target). For HDF5, npy and npz it says that columns are its voxels in C order.
    mesh : str, optional
        Mesh such as ``fsaverage5``. For HDF5, npy and npz it says that columns are its vertices, [left | right].
    vertices : str, optional
        Pattern of a ``.npy`` with the vertex of each column, where columns are only some vertices of ``mesh``.
    units : str
        Units of the responses, for tables and figures.
    tr : float, optional
        Seconds between rows, for time series.

    Raises
    ------
    DataError
        From every method, for whatever in the folder cannot be used; `check` looks at everything.
    """

    def __init__(
        self,
        root: str | Path,
        stimuli: str = "stimuli.tsv",
        responses: str | Mapping[str, str] = "sub-{subject}_responses.{ext}",
        samples: str = "sub-{subject}_samples.tsv",
        regions: str | None = None,
        subjects: list[str] | tuple[str, ...] | None = None,
        key: str | None = None,
        mask: str | None = None,
        mesh: str | None = None,
        vertices: str | None = None,
        units: str = "a.u.",
        tr: float | None = None,
    ) -> None:
        self._root = Path(root).expanduser()
        self._stimuli, self._samples, self._regions = self._root / stimuli, samples, regions
        self._responses = responses
        self._mask, self._mesh, self._vertices, self._key = mask, mesh, vertices, key
        self._units, self._tr = units, tr
        self._subjects = checked_subjects("folder", subjects)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subject names, sorted, or as configured."""
        if self._subjects is not None:
            return self._subjects
        if not isinstance(self._responses, str):
            return checked_subjects("folder", list(self._responses)) or ()
        if not self._root.is_dir():
            raise DataError(f"{self._root}: no such folder, wanted the data set's root: correct `root`.")
        if "{subject}" not in self._responses:
            raise DataError(
                f"folder: `responses` is {self._responses!r}, wanted {{subject}} in it: write it, or list `subjects`."
            )
        found = find_subjects(self._root, self._responses, ext=_EXTENSIONS, hemisphere=("L", "R"))
        if not found:
            raise DataError(f"{self._root}: no file fits {self._responses!r}: put the responses there or correct it.")
        return found

    def check(self) -> None:
        """Raise `DataError` for the first thing that cannot be used; reads headers, tables and a part of the values."""
        table = read_stimuli(self._stimuli, self._root)
        StimulusSet(table)
        if self._tr is not None and not (isinstance(self._tr, (int, float)) and 0 < self._tr < np.inf):
            raise DataError(f"folder: tr is {self._tr!r}, wanted a positive number of seconds: correct or drop it.")
        for subject in self.subjects:
            source, _ = self._opened(subject, table.index)
            if self._regions is not None:
                self._masks(subject, source.space)
            check_values(source)
        check_stimulus_files(table, self._stimuli)

    def stimuli(self, folder: Path | None = None) -> StimulusSet:
        """The stimulus table with absolute paths; ``folder`` is ignored."""
        return StimulusSet(read_stimuli(self._stimuli, self._root))

    def samples(self, subject: str) -> pd.DataFrame:
        """The samples table of one subject, without its responses."""
        return self._opened(subject, read_stimuli(self._stimuli, self._root).index)[1]

    def shape(self, subject: str) -> tuple[int, int]:
        """Samples and targets of one subject, from the header of the file."""
        source = self._open(subject)
        return source.n_samples, source.space.n_targets

    def is_read_by_block(self, subject: str) -> bool:
        """Whether responses stay on disk, as in HDF5; other formats are mapped or read whole."""
        return suffix_of(self._responses_files(subject)[0]) in HDF5_SUFFIXES

    def responses(self, subject: str) -> Responses:
        """Responses of one subject; floats in HDF5 and npy stay on disk."""
        known = read_stimuli(self._stimuli, self._root).index
        source, samples = self._opened(subject, known)
        ids = samples["stimulus_id"].to_numpy(dtype=object)
        tr = self._tr if self._tr is not None else source.tr
        return Responses(source.whole(), ids, source.space, self._units, samples, tr)

    def regions(self, subject: str) -> dict[str, np.ndarray]:
        """Region name -> boolean mask (n_targets,); empty where no regions are configured."""
        return {} if self._regions is None else self._masks(subject, self._open(subject).space)

    def describe(self, subject: str) -> dict[str, int]:
        """Counts for a data card: samples, stimuli shown, targets, and what is missing; reads every value once."""
        source, samples = self._opened(subject, read_stimuli(self._stimuli, self._root).index)
        shape = {
            "n_samples": source.n_samples,
            "n_stimuli": int(samples["stimulus_id"].nunique()),
            "n_targets": source.space.n_targets,
            "n_columns_left_out": source.left_out,
        }
        return shape | count_missing(source)

    def _opened(self, subject: str, known_ids: pd.Index) -> tuple[Source, pd.DataFrame]:
        """The responses file and its samples table, which have the same number of rows."""
        source = self._open(subject)
        path = fill_pattern(self._root, self._samples, subject=subject)
        samples = read_samples(path, known_ids, self._stimuli)
        if len(samples) != source.n_samples:
            turned = ", which look turned round" if len(samples) == source.space.n_targets else ""
            raise DataError(
                f"{path}: {len(samples)} rows but {source.path.name} holds {source.n_samples} samples of "
                f"{source.space.n_targets} targets{turned}, wanted one row per sample: make them agree, samples first."
            )
        if self._tr is not None and source.tr is not None and abs(self._tr - source.tr) > 1e-3:
            raise DataError(f"{source.path}: its time step is {source.tr} s but `tr` is {self._tr} s: correct `tr`.")
        return source, samples

    def _open(self, subject: str) -> Source:
        if subject not in self.subjects:
            raise DataError(f"folder: subject {subject!r} is unknown: use one of {', '.join(self.subjects)}.")
        path, right = self._responses_files(subject)
        mask = None if self._mask is None else fill_pattern(self._root, self._mask, subject=subject)
        suffix = suffix_of(path)
        if suffix.endswith((".nii", ".nii.gz", ".gii")):
            return open_image(path, mask, self._mesh, right)
        return open_matrix(path, self._key, lambda n_targets: self._matrix_space(path, subject, mask, n_targets))

    def _responses_files(self, subject: str) -> tuple[Path, Path | None]:
        """The file of responses, and the right one where ``{hemisphere}`` makes it a pair."""
        pattern = self._responses if isinstance(self._responses, str) else self._responses.get(subject)
        if pattern is None:
            raise DataError(f"folder: `responses` names no file for subject {subject!r}: add it to the mapping.")
        names = {"subject": subject}
        if "{ext}" in pattern:
            names["ext"] = self._extension(pattern, subject)
        left = fill_pattern(self._root, pattern, **names, hemisphere="L")
        right = fill_pattern(self._root, pattern, **names, hemisphere="R")
        for path in (left, right):
            need_file(path, f"the responses of subject {subject!r}")
            if suffix_of(path) not in (*SUFFIXES, *CIFTI_SUFFIXES):
                wanted = " ".join((*SUFFIXES, *CIFTI_SUFFIXES))
                raise DataError(f"{path}: format {suffix_of(path)!r} is not read, wanted one of {wanted}: convert it.")
        return left, None if right == left else right

    def _extension(self, pattern: str, subject: str) -> str:
        found = [
            ext
            for ext in _EXTENSIONS
            if fill_pattern(self._root, pattern, subject=subject, ext=ext, hemisphere="L").is_file()
        ]
        wanted = fill_pattern(self._root, pattern, subject=subject, ext="{ext}", hemisphere="L")
        if not found:
            raise DataError(f"{wanted}: no such file, wanted responses as {', '.join(_EXTENSIONS)}: put it there.")
        if len(found) > 1:
            raise DataError(f"{wanted}: found as {' and as '.join(found)}, wanted one: name the suffix in `responses`.")
        return found[0]

    def _matrix_space(self, path: Path, subject: str, mask: Path | None, n_targets: int) -> Space:
        """What the columns of a plain array are: voxels of the mask, vertices of the mesh, or nameless targets."""
        if mask is not None:
            space: Space = load_mask(mask)
        elif self._mesh is not None:
            space = self._mesh_space(subject)
        else:
            return ParcelSpace(tuple(f"target-{i + 1:06d}" for i in range(n_targets)))
        if space.n_targets != n_targets:
            what = f"mask {mask}" if mask is not None else f"mesh {self._mesh!r}"
            raise DataError(
                f"{path}: {n_targets} columns but {what} has {space.n_targets} targets: "
                "give the mask or mesh the responses were made with, or `vertices`."
            )
        return space

    def _mesh_space(self, subject: str) -> VertexSpace:
        size = next((size for size, name in MESHES.items() if name == self._mesh), None)
        if size is None:
            raise DataError(f"folder: mesh {self._mesh!r} is unknown: use one of {', '.join(MESHES.values())}.")
        if self._vertices is None:
            return VertexSpace(str(self._mesh), size, size, np.arange(2 * size))
        path = need_file(fill_pattern(self._root, self._vertices, subject=subject), "the vertex of each column")
        try:
            return VertexSpace(str(self._mesh), size, size, np.asarray(load_arrays_safely(path, None)))
        except DataError as error:
            raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from None

    def _masks(self, subject: str, space: Space) -> dict[str, np.ndarray]:
        left, right = (
            fill_pattern(self._root, str(self._regions), subject=subject, hemisphere=side) for side in ("L", "R")
        )
        return load_regions(left, space, None if right == left else right)
