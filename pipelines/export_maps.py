"""export_maps: a subject's maps for other tools, named by BIDS derivatives' habit, each with its sidecar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brainenc.core import storage
from brainenc.core.spaces import ParcelSpace, SensorSpace, Space
from brainenc.core.types import TargetMap
from brainenc.surfaces import export
from pipelines.study import compact_label

STATISTICS = {"correlation": "correlation", "r2": "r2", "normalised_correlation": "normalised", "q_value": "q"}


def export_maps(
    subject: str, ceiling: Path, scores: list[Path], cards: list[Path], parameters: dict[str, Any], output: Path
) -> None:
    """Write ceiling and scores as NIfTI (voxels), GIFTI and CIFTI-2 (vertices) or TSV (parcels, sensors).

    Parameters
    ----------
    subject : str
    ceiling : Path
    scores, cards : list of Path
        One per model, in the order of ``parameters["models"]``.
    parameters : dict
        ``models``: labels; ``study``; ``task`` and ``cifti`` as in the study's ``export`` entry; ``notes``: what to add
        to the descriptions of a model, by label.
    output : Path
        Folder with ``dataset_description.json`` and one file per map.
    """
    output.mkdir(parents=True, exist_ok=True)
    description = {
        "Name": f"brainenc: {parameters['study']}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "brainenc", "Version": storage.read_provenance(ceiling)["versions"]["brainenc"]}],
    }
    storage.write_json(output / "dataset_description.json", description)
    entities = {"sub": subject, "task": parameters["task"]}
    made = storage.read_provenance(ceiling)
    best = storage.load_maps(ceiling)["ceiling_correlation"]
    if np.isfinite(best.values).any():
        sidecar = {"Description": best.quantity, "Units": best.unit, "Provenance": made}
        _export(best, {**entities, "stat": "ceiling", "desc": "noise"}, sidecar, output, parameters["cifti"])
    for label, path, card in zip(parameters["models"], scores, cards, strict=True):
        facts = storage.read_json(card)
        note = parameters["notes"].get(label)
        for name, statistic in STATISTICS.items():
            target_map = storage.load_maps(path)[name]
            sidecar = {
                "Description": ". ".join(filter(None, (f"{target_map.quantity} of model {label}", note))),
                "Units": target_map.unit,
                "Model": label,
                "Diagnostics": facts["diagnostics"],
                "Folds": facts["folds"],
                "CeilingMethod": _ceiling_method(made),
                "Sources": [f"{name}: {entry['sha256']}" for name, entry in facts["provenance"]["inputs"].items()],
                "Provenance": storage.read_provenance(path),
            }
            description = compact_label(label)
            names = {**entities, "stat": statistic, "desc": description}
            _export(target_map, names, sidecar, output, parameters["cifti"])


def _ceiling_method(made: dict[str, Any]) -> str:
    """Which repetitions the ceiling comes from, and what it bounds."""
    used = made["parameters"]
    return f"repetitions of {used['rows_used']} samples; bounds averages of {used['n_repetitions']:g} repetitions"


def _export(
    target_map: TargetMap, entities: dict[str, str], sidecar: dict[str, Any], output: Path, cifti: bool
) -> None:
    space = target_map.space
    if space.kind in ("voxel", "vertex"):
        export.export_map(target_map, output, entities, storage.plain(sidecar))
        if space.kind == "vertex" and cifti:
            entities = {**entities, "space": "".join(c for c in space.mesh if c.isalnum())}
            path = output / export.bids_name(entities, "statmap", ".dscalar.nii")
            export.write_sidecar(export.write_cifti(target_map, path), storage.plain(sidecar))
    else:
        import pandas as pd

        table = pd.DataFrame({"target": _labels(space), target_map.quantity: target_map.values})
        storage.write_table(output / export.bids_name(entities, "statmap", ".tsv"), table, index=False)


def _labels(space: Space) -> list[str]:
    """What each target is called: a parcel's name; a sensor's name and its time in seconds."""
    if isinstance(space, ParcelSpace):
        return list(space.names)
    assert isinstance(space, SensorSpace)
    rows, columns = np.unravel_index(space.positions, space.frame)
    return [f"{space.names[row]} {space.times[column]:g} s" for row, column in zip(rows, columns, strict=True)]
