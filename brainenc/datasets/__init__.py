"""Data sets: one file per release, each turning what is on disk into stimuli and responses.

A study names a class of `REGISTRY` and its arguments; `build` makes the object and refuses what it does not know.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from brainenc.core.protocols import Dataset
from brainenc.core.types import DataError

REGISTRY: dict[str, str] = {
    "planted": "brainenc.datasets.planted:PlantedDataset",
    "planted_movies": "brainenc.datasets.planted_movies:PlantedMoviesDataset",
    "folder": "brainenc.datasets.folder:FolderDataset",
    "bids_bold": "brainenc.datasets.bids_bold:BidsBoldDataset",
}


def build(class_name: str, /, **arguments: Any) -> Dataset:
    """Return ``REGISTRY[class_name](**arguments)``.

    Raises
    ------
    DataError
        Unknown class, unknown argument, missing argument: the message names the allowed ones.
    """
    if class_name not in REGISTRY:
        raise DataError(f"dataset class {class_name!r} is unknown: use one of {', '.join(sorted(REGISTRY))}.")
    module, _, attribute = REGISTRY[class_name].partition(":")
    constructor = getattr(importlib.import_module(module), attribute)
    parameters = inspect.signature(constructor).parameters
    unknown = [name for name in arguments if name not in parameters]
    if unknown:
        raise DataError(
            f"dataset class {class_name!r} has no argument {unknown[0]!r}: use some of {', '.join(parameters)}."
        )
    missing = [n for n, p in parameters.items() if p.default is p.empty and n not in arguments]
    if missing:
        raise DataError(f"dataset class {class_name!r} needs the argument {missing[0]!r}: add it to the study.")
    return constructor(**arguments)
