"""extract_features: one feature space of all stimuli, streamed to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainenc import features
from brainenc.core import storage
from brainenc.core.provenance import record
from pipelines.networks import feature_arguments


def extract_features(stimuli: Path, name: str, parameters: dict[str, Any], output: Path) -> None:
    """Run one extractor over the stimulus table, batch by batch, with a progress bar.

    Parameters
    ----------
    stimuli : Path
    name : str
        The feature space, as the study names it.
    parameters : dict
        Its entry: ``class``, the extractor's arguments, ``batch_size``; optional ``projection`` (number of sparse
        random dimensions, a function of the seed alone). ``pca`` is fitted later, on training samples.
    output : Path
        HDF5 features.
    """
    from tqdm import tqdm

    seed, n_projected = parameters["seed"], parameters.get("projection")
    kind, arguments = feature_arguments(name, parameters)
    extractor = features.build(kind, name=name, **arguments)
    table = storage.load_stimuli(stimuli)
    made = record("extract_features", {**parameters, "extractor": extractor.fingerprint()}, {"stimuli": stimuli}, seed)
    projection = None
    with (
        storage.features_writer(output, table.ids, name, made) as write,
        tqdm(total=len(table), desc=f"features {name}", unit="stimulus", mininterval=2) as progress,
    ):
        for batch in extractor.extract(table, parameters["batch_size"]):
            if n_projected and projection is None:
                projection = features.build_reduction("random_projection", n_components=n_projected, seed=seed)
                projection.fit(batch)
            write(batch if projection is None else projection.transform(batch))
            progress.update(len(batch))
