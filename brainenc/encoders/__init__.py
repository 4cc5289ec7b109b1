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

TRAINED: dict[str, str] = {
    "attention": "brainenc.encoders.attention:AttentionEncoder",
    "factorised": "brainenc.encoders.factorised:FactorisedEncoder",
    "layers_ensemble": "brainenc.encoders.layers_ensemble:LayerEnsemble",
}
"""Encoders trained by gradient on maps (n_samples, rows, columns, n_channels); in studies all but
the ensemble."""


def resolve(name: str) -> type:
    """Return the encoder class registered under ``name``.

    Raises
    ------
    DataError
        If no encoder has that name.
    """
    known = REGISTRY | TRAINED
    if name not in known:
        raise DataError(f"encoder class {name!r} is unknown: choose one of {', '.join(sorted(known))}.")
    module, _, attribute = known[name].partition(":")
    return getattr(import_module(module), attribute)


def build(name: str, /, **arguments: Any) -> Any:
    """Return a new, unfitted encoder.

    Parameters
    ----------
    name : a key of `REGISTRY` or `TRAINED`.
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
        raise DataError(f"encoder class {name!r} refuses its arguments ({error}): see `{encoder.__name__}`.") from error
