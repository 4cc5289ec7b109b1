"""How wide features will be, and what extracting them takes: networks are built without weights and tried.

A network without its weights has the same layers: it gives as many values, holds as much memory and takes as long. It
is tried in a process of its own, on a batch of the study's stimuli, or of made-up ones where there are none yet.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainenc import features
from brainenc.core import layout, storage
from brainenc.core.calibration import cache_file, with_threads
from brainenc.core.machine import peak_memory
from brainenc.core.provenance import content_hash
from brainenc.core.types import StimulusSet
from pipelines.networks import feature_arguments
from pipelines.study import Study

TRIED = ("timm", "open_clip", "open_clip_text", "sentence", "gabor", "pixels")
"""Classes whose output is found by trying them."""

WITHOUT_WEIGHTS: dict[str, dict[str, Any]] = {
    "timm": {"pretrained": False, "checkpoint": None, "random_weights": 0},
    "open_clip": {"pretrained": None, "checkpoint": None, "random_weights": 0},
    "open_clip_text": {"pretrained": None, "checkpoint": None, "random_weights": 0},
}
SECONDS = 120
"""After which a trial is given up."""

N_BATCHES = 3
"""Batches of a trial: memory has settled then."""

WORDS = "a person walks along the river past a small house with a red roof"


@dataclass(frozen=True)
class FeatureShape:
    """Sizes of one feature space, and what a trial took.

    Attributes
    ----------
    n_extracted : values of one stimulus that the extractor gives.
    n_stored : values of one stimulus in the file, after a projection.
    n_components : principal components that encoders see, None for the stored values.
    batch_size : stimuli at a time.
    seconds, start_seconds : to extract one stimulus, and to load the network; None where it was not tried.
    ram : most bytes that the process held; None where it was not tried.
    """

    n_extracted: int
    n_stored: int
    n_components: int | None = None
    batch_size: int = 64
    seconds: float | None = None
    start_seconds: float | None = None
    ram: int | None = None

    @property
    def n_features(self) -> int:
        """Columns that an encoder sees."""
        return self.n_stored if self.n_components is None else self.n_components


def feature_shape(
    study: Study, name: str, entry: dict[str, Any], table: pd.DataFrame, build_networks: bool
) -> FeatureShape | str:
    """Return the sizes of a feature space, or why they are not known.

    Parameters
    ----------
    table : the stimulus table, or one row of it.
    build_networks : try networks; else they are known from their files alone, and from earlier trials.
    """
    stored = _stored(study, name, entry)
    projection, components = entry.get("projection"), entry.get("pca")
    kind, arguments = feature_arguments(name, entry)
    trial: dict[str, Any] = {}
    if kind in TRIED:
        threads = study.config["resources"]["threads"]
        trial = _tried(kind, name, arguments, entry["batch_size"], table, threads, build_networks)
    if stored is not None:
        n_extracted = n_stored = stored
    elif kind not in TRIED:
        extractor = features.build(kind, name=name, **arguments)
        n_extracted = prod(extractor.row_shape(StimulusSet(table)))  # type: ignore[attr-defined]
        n_stored = projection or n_extracted
    elif "n_values" in trial:
        n_extracted = trial["n_values"]
        n_stored = projection or n_extracted
    else:
        return str(trial["reason"])
    told = {key: trial.get(key) for key in ("seconds", "start_seconds", "ram")}
    return FeatureShape(n_extracted, n_stored, components, entry["batch_size"], **told)


def _stored(study: Study, name: str, entry: dict[str, Any]) -> int | None:
    """Values of a stimulus in a file of features that was made from the same entry; None where there is none."""
    path = study.folder / "features" / f"{name}.h5"
    if not path.exists():
        return None
    made = storage.read_provenance(path)["parameters"]
    if any(made.get(key) != value for key, value in entry.items()):
        return None
    with layout.open_file(path, "features") as file:
        return int(prod(file["values"].shape[1:]))


# ------------------------------------------------------------------------------------------------------------- trials


def _tried(
    kind: str, name: str, arguments: dict[str, Any], batch_size: int, table: pd.DataFrame, threads: int, anew: bool
) -> dict[str, Any]:
    """What a child says of the extractor: n_values, seconds, start_seconds and ram, or the reason why it cannot.

    Unless ``anew``, only what an earlier child said.
    """
    if "text" in table:  # the longest texts make the widest batch
        table = table.iloc[table["text"].astype(str).str.len().argsort(kind="stable").to_numpy()[::-1]]
    own = str(arguments.get("model", "")).startswith("local-dir:")
    given = {
        "kind": kind,
        "name": name,
        "arguments": {**arguments, **({} if own else WITHOUT_WEIGHTS.get(kind, {}))},
        "batch_size": batch_size,
        "stimuli": table.iloc[:batch_size][[c for c in ("path", "text") if c in table]].to_dict("list"),
    }
    kept = cache_file(threads, f"trial-{content_hash([version('brainenc'), N_BATCHES, given])[:16]}")
    if kept.exists():
        return dict(storage.read_json(kept))
    if not anew:
        return {"reason": "it is a network, which was not tried"}
    command, environment = [sys.executable, "-m", "pipelines.plan_features"], with_threads(threads)
    options: dict[str, Any] = {"env": environment, "capture_output": True, "text": True, "timeout": SECONDS}
    try:
        run = subprocess.run(command, input=json.dumps(given), **options)
    except subprocess.TimeoutExpired:
        return {"reason": f"trying it took over {SECONDS} s"}
    if run.returncode:
        return {"reason": (run.stderr.strip().splitlines() or ["no message"])[-1].rstrip(".")}
    storage.write_json(kept, json.loads(run.stdout.splitlines()[-1]))
    return dict(storage.read_json(kept))


def try_extractor(given: dict[str, Any]) -> dict[str, Any]:
    """Build an extractor, let it do some batches after a first stimulus, and say what that took; see `_tried`.

    Memory is that of the step: its modules, and a batch that is made while the one before is still held.
    """
    import_module("pipelines.extract_features")
    begin = time.perf_counter()
    extractor = features.build(given["kind"], name=given["name"], **given["arguments"])
    size = given["batch_size"]
    with tempfile.TemporaryDirectory() as folder:
        stimuli = _batches(given["stimuli"], N_BATCHES * size, Path(folder))
        list(extractor.extract(StimulusSet(stimuli.iloc[:1]), size))
        loaded = time.perf_counter()
        for batch in extractor.extract(StimulusSet(stimuli), size):
            n_values = int(np.prod(batch.shape[1:]))
        seconds = (time.perf_counter() - loaded) / len(stimuli)
    return {"n_values": n_values, "seconds": seconds, "start_seconds": loaded - begin, "ram": peak_memory()}


def _batches(stimuli: dict[str, list[Any]], size: int, folder: Path) -> pd.DataFrame:
    """So many stimuli, repeated as often as needed; made up where none has been rendered."""
    from PIL import Image

    paths = [path for path in stimuli.get("path", []) if isinstance(path, str) and Path(path).is_file()]
    if not paths:
        paths = [str(folder / "noise.png")]
        noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
        Image.fromarray(noise).save(paths[0])
    texts = [text for text in stimuli.get("text", []) if isinstance(text, str) and text] or [WORDS]
    rows = {"path": [paths[i % len(paths)] for i in range(size)], "text": [texts[i % len(texts)] for i in range(size)]}
    return pd.DataFrame(rows, index=pd.Index([f"s{i}" for i in range(size)], name="stimulus_id"))


if __name__ == "__main__":
    print(json.dumps(try_extractor(json.load(sys.stdin))))
