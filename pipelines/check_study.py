"""check_study: refuse a study that cannot work, in seconds, before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainenc import datasets, encoders, features
from brainenc.core import storage
from brainenc.core.provenance import record
from brainenc.core.types import DataError
from pipelines.study import OWN_ENCODER_KEYS, OWN_FEATURE_KEYS, Study, class_and_arguments, resolve_study


def check_study(parameters: dict[str, Any], output: Path) -> None:
    """Validate configuration and data of a study and write what was found.

    Parameters
    ----------
    parameters : dict
        The whole study configuration.
    output : Path
        JSON with the counts of what the study will use.
    """
    study = resolve_study(parameters)
    found = inspect_study(study)
    storage.write_json(output, {**found, "provenance": record("check_study", study.config, {})})


def inspect_study(study: Study) -> dict[str, Any]:
    """Build every part without running it and ask the data set to check itself; `DataError` for the first fault."""
    config = study.config
    kind, arguments = class_and_arguments(config["dataset"])
    dataset = datasets.build(kind, **arguments)
    dataset.check()
    unknown = sorted(set(study.subjects) - set(dataset.subjects))
    if unknown:
        raise DataError(
            f"study key subjects: the data set has no subject {unknown[0]!r} (it has {list(dataset.subjects)}): "
            "correct the list."
        )
    for name, entry in config["features"].items():
        kind, arguments = class_and_arguments(entry, *OWN_FEATURE_KEYS)
        features.build(kind, name=name, **arguments)
    for name, entry in config["encoders"].items():
        kind, arguments = class_and_arguments(entry, *OWN_ENCODER_KEYS)
        try:
            encoders.build(kind, **arguments)
        except DataError as error:
            raise DataError(f"study key encoders.{name}: {error}") from error
    return {"study": config["study"], "subjects": study.subjects, "models": [model.label for model in study.models]}
