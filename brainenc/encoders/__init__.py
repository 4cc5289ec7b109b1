"""Encoders: features in, responses out. Every encoder is built by name: ``build("ridge", n_folds=4)``.

Nothing heavy is imported until an encoder is fitted.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from brainenc.core.types import DataError

REGISTRY: dict[str, str] = {
    "ridge": "brainenc.encoders.ridge:Ridge",
    "banded": "brainenc.encoders.banded:Banded",
    "kernel_ridge": "brainenc.encoders.kernel:KernelRidge",
}
"""Name in a study -> "module:Class"."""


def resolve(name: str) -> type:
    """Return the encoder class registered under ``name``.

    Raises
    ------
    DataError
        If no encoder has that name.
    """
    if name not in REGISTRY:
        raise DataError(f"encoder class {name!r} is unknown: choose one of {', '.join(sorted(REGISTRY))}.")
    module, _, attribute = REGISTRY[name].partition(":")
    return getattr(import_module(module), attribute)


def build(name: str, /, **arguments: Any) -> Any:
    """Return a new, unfitted encoder.

    Parameters
    ----------
    name : a key of `REGISTRY`.
    **arguments : the constructor's arguments, as written in a study.

    Raises
    ------
    DataError
        If the name or one of the arguments is unknown, or an argument has an impossible value.
    """
    encoder = resolve(name)
    try:
        return encoder(**arguments)
    except TypeError as error:
        raise DataError(f"encoder class {name!r} refuses its arguments ({error}): see `{REGISTRY[name]}`.") from error
