"""Maps to the files that other programs open: NIfTI, GIFTI and CIFTI-2, with BIDS-style names and JSON sidecars.

Values are written as they are, NaN included, in float32 (GIFTI and CIFTI-2 know no other; a NIfTI volume keeps
float64). Every write is atomic.
References: doi:10.1038/sdata.2016.44 (BIDS), doi:10.1016/j.neuroimage.2013.05.041 (CIFTI).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brainenc.core.spaces import VertexSpace, VoxelSpace
from brainenc.core.storage import atomic_path, write_json
from brainenc.core.types import DataError, TargetMap

ENTITIES = ("sub", "ses", "task", "acq", "run", "space", "den", "res", "hemi", "stat", "label", "desc")
_STRUCTURES = {"left": "CIFTI_STRUCTURE_CORTEX_LEFT", "right": "CIFTI_STRUCTURE_CORTEX_RIGHT"}
_GIFTI_STRUCTURES = {"left": "CortexLeft", "right": "CortexRight"}


def bids_name(entities: Mapping[str, str], suffix: str, extension: str) -> str:
    """Build ``sub-01_task-x_space-fsaverage5_hemi-L_stat-r2_desc-clipridge_statmap.func.gii``.

    Entities may come in any order and leave in BIDS order, ``desc`` last.

    Raises
    ------
    DataError
        An unknown entity, no ``sub``, or a value that is not letters and digits.
    """
    unknown = [key for key in entities if key not in ENTITIES]
    if unknown:
        raise DataError(f"BIDS name: the entity {unknown[0]!r} is unknown, wanted some of {list(ENTITIES)}.")
    if "sub" not in entities:
        raise DataError("BIDS name: the entity 'sub' is missing, wanted the subject, such as sub='01'.")
    for key, value in {**entities, "suffix": suffix}.items():
        if not re.fullmatch(r"[A-Za-z0-9]+", str(value)):
            raise DataError(f"BIDS name: {key} is {value!r}, wanted letters and digits only: take the other signs out.")
    if not re.fullmatch(r"(\.[A-Za-z0-9]+)+", extension):
        raise DataError(f"BIDS name: the extension is {extension!r}, wanted one such as '.nii.gz'.")
    parts = [f"{key}-{entities[key]}" for key in ENTITIES if key in entities]
    return "_".join([*parts, suffix]) + extension


def write_sidecar(path: str | Path, content: Mapping[str, Any]) -> Path:
    """Write the JSON sidecar of the data file ``path`` (same name, ``.json``); return its path. NaN becomes null."""
    path = Path(path)
    name = re.sub(r"(\.dscalar)?\.nii(\.gz)?$|\.(func|shape|label)\.gii$", "", path.name)
    if name == path.name:
        raise DataError(f"{path}: no sidecar for this kind of file, wanted NIfTI, GIFTI or CIFTI-2.")
    target = path.with_name(name + ".json")
    write_json(target, content)
    return target


def write_nifti(target_map: TargetMap, path: str | Path) -> Path:
    """Write a map in VoxelSpace as a NIfTI volume, NaN outside the mask, the affine kept."""
    import nibabel as nib

    space = _space(target_map, VoxelSpace, "NIfTI")
    path = _suffixed(path, (".nii", ".nii.gz"))
    image = nib.Nifti1Image(space.scatter(target_map.values), space.affine)
    image.header["descrip"] = target_map.quantity.encode("ascii", "replace")[:79]
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        image.to_filename(temporary)
    return path


def write_gifti(target_map: TargetMap, left: str | Path, right: str | Path) -> tuple[Path, Path]:
    """Write a map in VertexSpace as two GIFTI files, one number per vertex, NaN off the targets."""
    from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

    space = _space(target_map, VertexSpace, "GIFTI")
    full = space.scatter(target_map.values).astype(np.float32)
    paths = []
    for side, file, part in (("left", left, full[: space.n_left]), ("right", right, full[space.n_left :])):
        path = _suffixed(file, (".func.gii", ".shape.gii"))
        intent = "NIFTI_INTENT_SHAPE" if str(path).endswith(".shape.gii") else "NIFTI_INTENT_NONE"
        array = GiftiDataArray(
            part,
            intent=intent,
            datatype="NIFTI_TYPE_FLOAT32",
            meta={"Name": target_map.quantity, "Unit": target_map.unit},
        )
        image = GiftiImage(
            darrays=[array],
            meta=GiftiMetaData({"AnatomicalStructurePrimary": _GIFTI_STRUCTURES[side], "Mesh": space.mesh}),
        )
        with atomic_path(path) as temporary:
            image.to_filename(temporary)
        paths.append(path)
    return paths[0], paths[1]


def write_cifti(target_map: TargetMap, path: str | Path) -> Path:
    """Write a map in VertexSpace as a CIFTI-2 dscalar of exactly its targets, left then right, ascending."""
    import nibabel as nib
    from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ScalarAxis

    space = _space(target_map, VertexSpace, "CIFTI-2")
    path = _suffixed(path, (".dscalar.nii",))
    order = np.argsort(space.vertices)
    vertices = space.vertices[order]
    sides = {"left": vertices[vertices < space.n_left], "right": vertices[vertices >= space.n_left] - space.n_left}
    sizes = {"left": space.n_left, "right": space.n_right}
    axes = [
        BrainModelAxis.from_surface(part, sizes[side], name=_STRUCTURES[side])
        for side, part in sides.items()
        if len(part)
    ]
    models = axes[0] if len(axes) == 1 else axes[0] + axes[1]
    data = target_map.values[order].astype(np.float32)[None]
    image = Cifti2Image(data, (ScalarAxis([target_map.quantity]), models))
    image.update_headers()
    image.nifti_header.set_intent("NIFTI_INTENT_CONNECTIVITY_DENSE_SCALARS")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
    return path


def export_map(
    target_map: TargetMap, folder: str | Path, entities: Mapping[str, str], sidecar: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write a map under its BIDS-style name: one NIfTI volume, or one GIFTI per hemisphere; sidecars beside them.

    ``space`` and ``hemi`` are filled in for vertices (``space`` from the mesh's name); ``entities`` need ``sub``.
    Returns the data files written.
    """
    folder, extra = Path(folder), {"Quantity": target_map.quantity, "Units": target_map.unit, **(sidecar or {})}
    if isinstance(target_map.space, VertexSpace):
        place = {"space": re.sub(r"[^A-Za-z0-9]", "", target_map.space.mesh), **entities}
        left, right = (folder / bids_name({**place, "hemi": side}, "statmap", ".func.gii") for side in "LR")
        files = list(write_gifti(target_map, left, right))
    else:
        files = [write_nifti(target_map, folder / bids_name(entities, "statmap", ".nii.gz"))]
    for file in files:
        write_sidecar(file, extra)
    return files


def _space(target_map: TargetMap, wanted: type, what: str) -> Any:
    if not isinstance(target_map.space, wanted):
        raise DataError(
            f"{what}: the map {target_map.quantity!r} is in {target_map.space.kind} space, wanted {wanted.kind} space: "  # type: ignore[attr-defined]
            "volumes go to NIfTI, vertices to GIFTI or CIFTI-2."
        )
    return target_map.space


def _suffixed(path: str | Path, wanted: tuple[str, ...]) -> Path:
    if not str(path).endswith(wanted):
        raise DataError(f"{path}: the name ends in {Path(path).suffix!r}, wanted one of {list(wanted)}.")
    return Path(path)
