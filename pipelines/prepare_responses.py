"""prepare_responses: one subject's responses and regions, as measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainenc import datasets
from brainenc.core import storage
from brainenc.core.provenance import record
from pipelines.networks import dataset_arguments, planting_weights


def prepare_responses(parameters: dict[str, Any], subject: str, output: Path, regions: Path) -> None:
    """Write responses (one row per sample) and region masks of one subject.

    Parameters
    ----------
    parameters : dict
        The data set's entry in the study.
    subject : str
    output : Path
        HDF5 responses.
    regions : Path
        HDF5 masks, one per region; none is allowed.
    """
    kind, arguments = dataset_arguments(parameters)
    dataset = datasets.build(kind, **arguments)
    responses = dataset.responses(subject)
    made_of = {**parameters, "subject": subject}
    provenance = record("prepare_responses", made_of, planting_weights(arguments), parameters.get("seed"))
    storage.save_responses(output, responses, provenance)
    storage.save_masks(regions, dataset.regions(subject), responses.space, provenance)
