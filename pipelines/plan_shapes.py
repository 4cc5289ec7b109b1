"""What a study will compute with: rows, targets and features, from tables and headers, before anything is run.

Whatever is not known yet is said so, with what would make it known; numbers from a data set that draws its own split
are upper bounds (every sample may train).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainenc import datasets
from brainenc.core import storage
from brainenc.core.align import rows_of
from brainenc.stats.leaks import UNUSED
from brainenc.stats.splits import Split, from_table
from pipelines.networks import dataset_arguments
from pipelines.plan_features import FeatureShape, feature_shape
from pipelines.samples import make_split
from pipelines.study import Study


@dataclass(frozen=True)
class SubjectShape:
    """Sizes of one subject.

    Attributes
    ----------
    n_rows : rows of the responses as recorded.
    n_samples : rows that encoders see: used ones, averaged over repetitions where the study says so.
    n_train : training rows of the largest outer fold.
    n_tested : rows tested in some fold.
    n_folds : outer folds.
    n_groups : groups of training rows that inner folds keep together.
    n_session : rows of the longest session or run, within which responses are cleaned.
    n_targets, n_regions : columns of the responses, regions.
    by_block : the data set's responses are read by block, not whole.
    """

    n_rows: int
    n_samples: int
    n_train: int
    n_tested: int
    n_folds: int
    n_groups: int
    n_targets: int
    n_session: int
    n_regions: int = 0
    by_block: bool = True


@dataclass(frozen=True)
class Shapes:
    """Sizes of a study; ``unknown`` says of each missing part what would make it known."""

    n_stimuli: int
    subjects: dict[str, SubjectShape]
    features: dict[str, FeatureShape]
    unknown: dict[str, str] = field(default_factory=dict)


def find_shapes(study: Study, build_networks: bool = True) -> Shapes:
    """Find the sizes of a study from tables, headers and what has been written already.

    Parameters
    ----------
    build_networks : build networks without their weights, in a process of their own, to see what they give, what they
        hold and how long they take. Otherwise only files of features say how many features a network has.

    Raises
    ------
    DataError
        A fault of the study's data, as `check_study` would find it.
    """
    kind, arguments = dataset_arguments(study.config["dataset"])
    dataset = datasets.build(kind, **arguments)
    table, n_stimuli = _table(study, dataset)
    known = table if len(table) == n_stimuli else None
    subjects = {subject: _subject(study, dataset, subject, known) for subject in study.subjects}
    found, unknown = {}, {}
    for name, entry in study.config["features"].items():
        shape = feature_shape(study, name, entry, table, build_networks)
        if isinstance(shape, str):
            unknown[name] = (
                f"features of {name!r} are not known yet ({shape}): run `brainenc run STUDY.yaml --until "
                "extract_features` first, then plan again"
            )
        else:
            found[name] = shape
    return Shapes(n_stimuli, subjects, found, unknown)


def _table(study: Study, dataset: Any) -> tuple[pd.DataFrame, int]:
    """The stimulus table and its length; a single row of the right columns where pictures must be rendered first."""
    if not hasattr(dataset, "stimulus_columns"):
        table = dataset.stimuli(Path()).table
        return table, len(table)
    written = study.folder / "stimuli.tsv"
    if written.exists():
        table = storage.load_stimuli(written).table
        if len(table) == dataset.n_stimuli:
            return table, len(table)
    row = {name: "" if name in ("path", "text", "split", "subjects") else 0.0 for name in dataset.stimulus_columns}
    return pd.DataFrame(row, index=pd.Index(["a"], name="stimulus_id")), dataset.n_stimuli


# ----------------------------------------------------------------------------------------------------------- subjects


def _subject(study: Study, dataset: Any, subject: str, table: pd.DataFrame | None) -> SubjectShape:
    n_rows, n_targets = dataset.shape(subject)
    n_regions = len(dataset.regions(subject))
    config, here = study.config, study.folder / f"sub-{subject}"
    ids = split = None
    n_session = -(-n_rows // getattr(dataset, "n_sessions", 1))
    if hasattr(dataset, "samples") and table is not None:
        samples = dataset.samples(subject)
        ids = samples["stimulus_id"].to_numpy(object)
        within = config["responses"]["within"]
        n_session = int(samples[within].value_counts().max()) if within in samples else n_rows
        run = samples["run"].to_numpy() if "run" in samples else None
        split = make_split(config["split"], table, ids, _contents(table, ids), run)
    elif (here / "split.tsv").exists():
        written = storage.read_table(here / "split.tsv")
        if len(written) == n_rows:
            ids, split = written["stimulus_id"].to_numpy(object), from_table(written)
    sizes = _unsplit(config, dataset, n_rows) if ids is None or split is None else _split_sizes(config, ids, split)
    by_block = hasattr(dataset, "is_read_by_block") and dataset.is_read_by_block(subject)
    return SubjectShape(
        n_rows=n_rows, n_targets=n_targets, n_session=n_session, n_regions=n_regions, by_block=by_block, **sizes
    )


def _split_sizes(config: dict[str, Any], ids: np.ndarray, split: Split) -> dict[str, int]:
    average = config["responses"]["average"]
    folds = list(split.folds())

    def count(rows: np.ndarray) -> int:
        return len(set(ids[rows])) if average else len(rows)

    largest = max((train for train, _ in folds), key=count)
    return {
        "n_samples": count(np.flatnonzero(split.test_fold != UNUSED)),
        "n_train": count(largest),
        "n_tested": count(np.flatnonzero(split.test_fold >= 0)),
        "n_folds": len(folds),
        "n_groups": len(np.unique(split.group[largest])),
    }


def _unsplit(config: dict[str, Any], dataset: Any, n_rows: int) -> dict[str, int]:
    """Upper bounds where no table says which samples train: all of them may, and those tested are a share at most."""
    n_samples = n_rows // getattr(dataset, "n_repetitions", 1) if config["responses"]["average"] else n_rows
    n_folds = config["split"].get("n_folds") or 1
    n_tested = n_samples
    if config["split"]["class"] == "column":
        n_tested = min(n_samples, getattr(dataset, "n_test", n_samples))
    elif n_folds == 1:
        n_tested = int(np.ceil(n_samples * (config["split"].get("test_share") or 0.2)))
    n_train = n_samples - n_tested if n_folds == 1 and n_tested < n_samples else n_samples
    return {
        "n_samples": n_samples,
        "n_train": n_train,
        "n_tested": n_tested,
        "n_folds": n_folds,
        "n_groups": n_train,
    }


def _contents(table: pd.DataFrame, ids: np.ndarray) -> np.ndarray:
    """What each sample shows, told apart by path or text, as before the stimulus table is written."""
    content = pd.Series(table.index, table.index)
    for column in ("text", "path"):
        if column in table:
            content = table[column].where(table[column].fillna("") != "", content)
    rows = rows_of(ids, table.index.to_numpy(object), "the stimulus table")
    return np.asarray(content.to_numpy(object)[rows])
