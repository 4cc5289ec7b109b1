"""check_study: refuse a study that cannot work, in seconds, before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainenc import datasets, encoders, features
from brainenc.core import storage
from brainenc.core.align import rows_of
from brainenc.core.provenance import record
from brainenc.core.types import DataError, StimulusSet
from brainenc.stats.splits import UNUSED
from brainenc.surfaces.mesh import load_mesh, read_mesh
from pipelines.networks import check_planting, dataset_arguments, feature_arguments
from pipelines.samples import make_split, refuse_mixing
from pipelines.study import OWN_ENCODER_KEYS, Study, class_and_arguments, resolve_study

DRAWS_ITS_STIMULI = ("planted", "planted_movies")
IMAGE_FEATURES = ("timm", "open_clip", "gabor", "pixels")
N_OPENED = 200


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
    """Build every part without running it and ask it to check itself; `DataError` for the first fault."""
    config = study.config
    kind, arguments = dataset_arguments(config["dataset"])
    dataset = datasets.build(kind, **arguments)
    check_planting(study)
    extractors = {}
    for name, entry in config["features"].items():
        feature_class, arguments = feature_arguments(name, entry)
        extractors[name] = features.build(feature_class, name=name, **arguments)
    for name, entry in config["encoders"].items():
        encoder_class, arguments = class_and_arguments(entry, *OWN_ENCODER_KEYS)
        _named(f"encoders.{name}", encoders.build, encoder_class, **arguments)
    _check_mesh(config["surface"]["mesh"])
    unknown = sorted(set(study.subjects) - set(dataset.subjects))
    if unknown:
        raise DataError(
            f"study key subjects: the data set has no subject {unknown[0]!r} (it has {list(dataset.subjects)}): "
            "correct the list."
        )
    dataset.check()
    if kind not in DRAWS_ITS_STIMULI:
        # Data sets that lie in files have tables to look at; where they give it, the samples table as well.
        table = dataset.stimuli(Path()).table
        for name, extractor in extractors.items():
            _check_features(extractor, config["features"][name], StimulusSet(table))
        if hasattr(dataset, "samples"):
            for subject in study.subjects:
                _check_samples(config, subject, table, dataset.samples(subject))
    return {"study": config["study"], "subjects": study.subjects, "models": [model.label for model in study.models]}


def _check_features(extractor: Any, entry: dict[str, Any], stimuli: StimulusSet) -> None:
    """Does the stimulus table hold what the extractor reads? Of images some are opened; the data set opened all."""
    if entry["class"] in IMAGE_FEATURES:
        stimuli = StimulusSet(stimuli.table.iloc[:: max(1, len(stimuli) // N_OPENED)])
    extractor.check(stimuli)
    if entry["class"] == "table":
        values = np.concatenate(list(extractor.extract(stimuli)))
        if not np.ptp(values, axis=0).any():
            raise DataError(f"feature space {extractor.name!r}: no column varies over stimuli: choose columns that do.")
        if (entry.get("pca") or 0) > values.shape[1]:
            raise DataError(
                f"feature space {extractor.name!r}: pca is {entry['pca']} of {values.shape[1]} columns: lower it."
            )


def _check_samples(config: dict[str, Any], subject: str, table: pd.DataFrame, samples: pd.DataFrame) -> None:
    """Columns that cleaning and delays need; and the split, tried on the samples table without the responses."""
    owner, responses = f"samples table of subject {subject!r}", config["responses"]
    wanted = {"responses.within": responses["within"]} if responses["within"] else {}
    wanted |= {f"encoders.{name}.delays": "run" for name, entry in config["encoders"].items() if entry.get("delays")}
    for key, column in wanted.items():
        if column not in samples:
            raise DataError(f"study key {key}: the {owner} has no column {column!r}: add it.")
    ids = samples["stimulus_id"].to_numpy(object)
    # Files are told apart by path here, by content when the stimulus table is prepared.
    content = pd.Series(table.index, table.index)
    for column in ("text", "path"):
        if column in table:
            content = table[column].where(table[column].fillna("") != "", content)
    contents = content.to_numpy(object)[rows_of(ids, table.index.to_numpy(object), "the stimulus table")]
    run = samples["run"].to_numpy() if "run" in samples else None
    split = _named(f"split (subject {subject})", make_split, config["split"], table, ids, contents, run)
    if responses["average"]:
        used = split.test_fold != UNUSED
        refuse_mixing(ids[used], split.test_fold[used], "study key responses.average")
    most = min(len(set(ids[train])) if responses["average"] else len(train) for train, _ in split.folds()) - 1
    for name, entry in config["features"].items():
        if (entry.get("pca") or 0) > most:
            raise DataError(
                f"study key features.{name}.pca: got {entry['pca']}, wanted at most {most}, one less than the "
                f"training samples of subject {subject!r}: lower it."
            )


def _check_mesh(wanted: Any) -> None:
    if isinstance(wanted, str) and wanted != "auto":
        _named("surface.mesh", load_mesh, wanted)
    elif isinstance(wanted, dict):
        _named("surface.mesh", read_mesh, **wanted)


def _named(key: str, call: Any, *arguments: Any, **options: Any) -> Any:
    """The result of a call, its `DataError` preceded by the study's key."""
    try:
        return call(*arguments, **options)
    except DataError as error:
        raise DataError(f"study key {key}: {error}") from error
