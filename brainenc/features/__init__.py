"""Features: stimuli in, named representations out; one file per family.

An extractor is a network together with its own preprocessing. A study names a class of `REGISTRY` and its arguments;
`build` makes the object and refuses what it does not know. Dimension reduction is a second, fitted stage:
`build_reduction` and `restore_reduction` do the same for `REDUCTIONS`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from brainenc.core.protocols import Extractor
from brainenc.core.types import DataError

REGISTRY: dict[str, str] = {
    "timm": "brainenc.features.timm:TimmExtractor",
    "open_clip": "brainenc.features.open_clip:OpenClipExtractor",
    "open_clip_text": "brainenc.features.open_clip_text:OpenClipTextExtractor",
    "sentence": "brainenc.features.sentence:SentenceExtractor",
    "gabor": "brainenc.features.gabor:GaborExtractor",
    "pixels": "brainenc.features.pixels:PixelsExtractor",
    "table": "brainenc.features.table:TableExtractor",
    "array": "brainenc.features.array:ArrayExtractor",
}
REDUCTIONS: dict[str, str] = {
    "pca": "brainenc.features.reduction:PrincipalComponents",
    "random_projection": "brainenc.features.reduction:SparseRandomProjection",
}


def _resolve(registry: Mapping[str, str], kind: str, class_name: str) -> Any:
    if class_name not in registry:
        raise DataError(f"{kind} class {class_name!r} is unknown: use one of {', '.join(sorted(registry))}.")
    module, _, attribute = registry[class_name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _construct(constructor: Any, owner: str, arguments: Mapping[str, Any]) -> Any:
    parameters = {n: p for n, p in inspect.signature(constructor).parameters.items() if n != "name"}
    unknown = [key for key in arguments if key not in parameters]
    if unknown:
        raise DataError(f"{owner} has no argument {unknown[0]!r}: use some of {', '.join(parameters)}.")
    missing = [n for n, p in parameters.items() if p.default is p.empty and n not in arguments]
    if missing:
        raise DataError(f"{owner} needs the argument {missing[0]!r}: add it to the study.")
    return constructor


def build(class_name: str, /, name: str, **arguments: Any) -> Extractor:
    """Return the extractor ``REGISTRY[class_name](name, **arguments)``.

    Parameters
    ----------
    class_name : str
        A key of `REGISTRY`.
    name : str
        The feature space as the study names it.

    Raises
    ------
    DataError
        Unknown class, unknown argument, missing argument: the message names the allowed ones.
    """
    constructor = _resolve(REGISTRY, "feature", class_name)
    owner = f"feature space {name!r} (class {class_name!r})"
    return _construct(constructor, owner, arguments)(name, **arguments)


def build_reduction(class_name: str, /, **arguments: Any) -> Any:
    """Return the unfitted reduction ``REDUCTIONS[class_name](**arguments)``; `DataError` as in `build`."""
    constructor = _resolve(REDUCTIONS, "reduction", class_name)
    return _construct(constructor, f"reduction class {class_name!r}", arguments)(**arguments)


def restore_reduction(class_name: str, /, config: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
    """Return the fitted reduction of `build_reduction` from its ``config`` and its ``state()`` arrays."""
    return _resolve(REDUCTIONS, "reduction", class_name).from_state(config, state)
