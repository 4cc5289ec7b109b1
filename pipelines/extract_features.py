"""extract_features: one feature space of all stimuli, streamed to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainenc import features
from brainenc.core import storage
from brainenc.core.provenance import record


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

    arguments = dict(parameters)
    batch_size, seed, n_projected = (
        arguments.pop("batch_size"),
        arguments.pop("seed"),
        arguments.pop("projection", None),
    )
    arguments.pop("pca", None)
    extractor = features.build(name=name, **arguments)
    table = storage.load_stimuli(stimuli)
    made = record("extract_features", {**parameters, "extractor": extractor.fingerprint()}, {"stimuli": stimuli}, seed)
    project = None
    with (
        storage.features_writer(output, table.ids, name, made) as write,
        tqdm(total=len(table), desc=f"features {name}", unit="stimulus", mininterval=2) as progress,
    ):
        for batch in extractor.extract(table, batch_size):
            if n_projected and project is None:
                project = features.random_projection(batch[0].size, n_projected, seed)
            write(batch if project is None else project(batch.reshape(len(batch), -1)))
            progress.update(len(batch))
