"""Weights of networks: reading a local checkpoint without pickle, loading it strictly, and naming it by a checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainenc.core.types import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def has_own_weights(model: str) -> bool:
    """True for names such as ``local-dir:/models/clip`` and ``hf-hub:org/name``, which bring weights along."""
    return model.startswith(("local-dir:", "hf-hub:"))


def check_folder(owner: str, model: str, file: str) -> None:
    """Raise `DataError` if ``local-dir:FOLDER`` is not a folder with that file."""
    if model.startswith("local-dir:") and not (Path(model.removeprefix("local-dir:")) / file).exists():
        raise DataError(f"{owner}: {model!r} has no {file}: point at a folder saved by the library of this class.")


def check_source(
    owner: str, pretrained: object, checkpoint: str | None, random_weights: int | None, itself: bool = False
) -> None:
    """Raise `DataError` unless exactly one source of weights is named.

    Parameters
    ----------
    pretrained : str, bool or None
        A published set of weights.
    checkpoint : str, optional
        A local file.
    random_weights : int, optional
        The seed of an untrained network.
    itself : bool
        The model's name points at a folder that holds weights, which counts as a source where no other is named.
    """
    given = [n for n, v in (("pretrained", pretrained), ("checkpoint", checkpoint)) if v]
    given += ["random_weights"] if random_weights is not None else []
    if itself and (pretrained or not given):
        given.append("the model's own folder")
    if len(given) != 1:
        raise DataError(
            f"{owner}: {' and '.join(given) or 'no source of weights'} given, wanted exactly one: set 'pretrained' "
            "(published weights), 'checkpoint' (a local file) or 'random_weights' (the seed of an untrained network)."
        )
    if random_weights is not None and (isinstance(random_weights, bool) or not isinstance(random_weights, int)):
        raise DataError(f"{owner}: random_weights is {random_weights!r}, wanted the seed, a whole number such as 0.")
    if checkpoint:
        if not Path(checkpoint).is_file():
            raise DataError(f"{owner}: the checkpoint {checkpoint!r} does not exist: correct its path.")
        if Path(checkpoint).suffix not in SUFFIXES:
            raise DataError(f"{owner}: the checkpoint {checkpoint!r} is not one of {', '.join(SUFFIXES)}: convert it.")


@contextmanager
def seeded_weights(seed: int | None) -> Iterator[None]:
    """Draw new weights from ``seed`` (None: 0) and leave the global generator as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0 if seed is None else seed)
        yield


def read_checkpoint(path: str, owner: str) -> dict[str, torch.Tensor]:
    """Read tensors by name from a safetensors file or a torch file; torch files are read with ``weights_only``.

    The usual wrappings are opened: ``{"state_dict": ...}``, ``{"model": ...}``, and names that begin with ``module.``.
    """
    import torch
    from safetensors.torch import load_file

    try:
        if Path(path).suffix == ".safetensors":
            state: Any = load_file(path, device="cpu")
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and safetensors each raise their own kinds
        raise DataError(
            f"{owner}: the checkpoint {path!r} cannot be read ({type(error).__name__}): give a whole safetensors file, "
            "or a torch file that holds tensors alone."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()) or not state:
        raise DataError(f"{owner}: the checkpoint {path!r} holds no tensors by name: save the network's state_dict.")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return dict(state)


def load_weights(network: torch.nn.Module, path: str, owner: str) -> None:
    """Load the checkpoint ``path`` into ``network``, every tensor of it and no other.

    Raises
    ------
    DataError
        One sentence that counts missing, unexpected and misshapen tensors and names the first of each.
    """
    state, wanted = read_checkpoint(path, owner), network.state_dict()
    missing = [n for n in wanted if n not in state]
    unexpected = [n for n in state if n not in wanted]
    misshapen = [n for n in wanted if n in state and state[n].shape != wanted[n].shape]
    faults = []
    if missing:
        faults.append(f"{len(missing)} of {len(wanted)} tensors are missing (first {missing[0]!r})")
    if unexpected:
        faults.append(f"{len(unexpected)} are unexpected (first {unexpected[0]!r})")
    if misshapen:
        name = misshapen[0]
        shapes = f"{tuple(state[name].shape)} instead of {tuple(wanted[name].shape)}"
        faults.append(f"{len(misshapen)} have another shape (first {name!r}, {shapes})")
    if faults:
        raise DataError(
            f"{owner}: the checkpoint {path!r} does not fit this model: {'; '.join(faults)}: name the model and the "
            "model_kwargs (such as num_classes) it was saved from."
        )
    network.load_state_dict(state, strict=True)


def hash_weights(network: torch.nn.Module) -> str:
    """SHA-256 over name, dtype, shape and bytes of every parameter and buffer, in the order of their names."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)};".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes() if values.numel() else b"")
    return digest.hexdigest()


def first_line(error: Exception) -> str:
    """Kind and first line of a foreign error, short enough for one sentence."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
