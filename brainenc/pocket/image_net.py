"""The pocket image networks: small ResNets of timm, and which of the outputs answers which question.

One linear layer gives all answers of pocket-net (`Heads`): ``content`` (what is shown), ``c.a`` (attribute a of the
one thing of category c), ``position`` (centre and sizes of its box, in 0..1 of the image). A folder holds
``config.json`` and ``model.safetensors`` as timm reads them (``timm.create_model("local-dir:FOLDER",
pretrained=True)``), and ``heads.json`` where there are answers.

Sources: He et al. 2016, arXiv:1512.03385; Wightman, PyTorch Image Models, doi:10.5281/zenodo.4414861.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brainenc.core.storage import read_json, write_json
from brainenc.core.tensors import save_arrays
from brainenc.core.types import DataError
from brainenc.pocket.saving import half_arrays
from brainenc.world.scenes import CATEGORIES, Thing

ARCHITECTURE = "resnet10t"
PLACED = tuple(category for category in CATEGORIES if category != "place")  # a place fills the image: no position
SIDES = ("x", "y", "width", "height")


@dataclass(frozen=True)
class NetShape:
    """Blocks and channels of the four stages, channels of the stem."""

    layers: tuple[int, ...] = (2, 2, 2, 1)
    channels: tuple[int, ...] = (32, 64, 112, 160)
    stem_width: int = 16

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``timm.create_model`` beside the architecture's name."""
        return {"layers": list(self.layers), "channels": list(self.channels), "stem_width": self.stem_width}


@dataclass(frozen=True)
class Heads:
    """Questions and their answers, in the order of the network's outputs: name -> answers."""

    answers: dict[str, tuple[str, ...]]

    @property
    def n_outputs(self) -> int:
        """Width of the network's last layer."""
        return sum(len(answers) for answers in self.answers.values())

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the heads with one right answer."""
        return tuple(name for name in self.answers if name not in ("content", "position"))

    def columns(self, name: str) -> slice:
        """Outputs that belong to a head; raises DataError where there is none of this name."""
        start = 0
        for head, answers in self.answers.items():
            if head == name:
                return slice(start, start + len(answers))
            start += len(answers)
        raise DataError(f"Head {name!r} came, one of {', '.join(self.answers)} was wanted: correct its name.")


@dataclass(frozen=True)
class Labels:
    """What is true of some scenes.

    Parameters
    ----------
    content : ndarray (n_scenes, 7) of float32
        1 where a category is shown.
    values : ndarray (n_scenes, n_attributes) of int64
        Number of the right answer of each attribute head; -1 where there is none.
    position : ndarray (n_scenes, 24) of float32
        Centre and sizes of the boxes; NaN where there is not exactly one thing of the category.
    """

    content: np.ndarray
    values: np.ndarray
    position: np.ndarray

    def of(self, rows: np.ndarray) -> Labels:
        """Labels of some scenes."""
        return Labels(self.content[rows], self.values[rows], self.position[rows])


def find_heads(things: Sequence[Sequence[Thing]], least_examples: int = 30) -> Heads:
    """Questions that the training scenes can teach: attributes with two or more values seen ``least_examples`` times.

    Raises
    ------
    DataError
        The scenes show nothing.
    """
    seen = Counter(
        (thing.category, name, value) for scene in things for thing in scene for name, value in thing.attributes.items()
    )
    if not seen:
        raise DataError("No training scene shows a thing, wanted some: render scenes with categories.")
    answers: dict[str, tuple[str, ...]] = {"content": CATEGORIES}
    for category, name in sorted({key[:2] for key in seen}):
        values = sorted(key[2] for key, n in seen.items() if key[:2] == (category, name) and n >= least_examples)
        if len(values) > 1:
            answers[f"{category}.{name}"] = tuple(values)
    answers["position"] = tuple(f"{category}.{side}" for category in PLACED for side in SIDES)
    return Heads(answers)


def label(things: Sequence[Sequence[Thing]], heads: Heads) -> Labels:
    """Right answers of scenes, given the things of each."""
    content = np.zeros((len(things), len(CATEGORIES)), np.float32)
    values = np.full((len(things), len(heads.attributes)), -1, np.int64)
    position = np.full((len(things), len(PLACED) * len(SIDES)), np.nan, np.float32)
    numbers = {name: {value: i for i, value in enumerate(heads.answers[name])} for name in heads.attributes}
    for row, scene in enumerate(things):
        counts = Counter(thing.category for thing in scene)
        for thing in scene:
            content[row, CATEGORIES.index(thing.category)] = 1
            if counts[thing.category] > 1:
                continue
            for column, name in enumerate(heads.attributes):
                category, _, attribute = name.partition(".")
                if category == thing.category:
                    values[row, column] = numbers[name].get(thing.attributes.get(attribute, ""), -1)
            if thing.category in PLACED:
                x0, y0, x1, y1 = thing.box
                start = PLACED.index(thing.category) * len(SIDES)
                position[row, start : start + 4] = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
    return Labels(content, values, position)


def build(n_outputs: int, shape: NetShape = NetShape()) -> Any:
    """Return an untrained network; seed torch before."""
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import timm

    return timm.create_model(ARCHITECTURE, **shape.arguments, num_classes=n_outputs)


def as_input(images: Any) -> Tensor:
    """Images (n_images, size, size, 3) of uint8 -> (n_images, 3, size, size) in -1..1."""
    array = np.array(images)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
        raise DataError(
            f"Images came as {array.dtype} {array.shape}, wanted uint8 (n_images, size, size, 3): pass rendered scenes."
        )
    return torch.from_numpy(array).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def save_network(network: Any, folder: Path, shape: NetShape, heads: Heads | None = None, size: int = 64) -> None:
    """Write the folder that timm reads, half precision, with ``heads.json`` where there are heads."""
    save_arrays(folder / "model.safetensors", half_arrays(network))
    n_outputs = heads.n_outputs if heads else 0
    facts = {
        "input_size": [3, size, size],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "num_classes": n_outputs,
        "first_conv": "conv1.0",
        "classifier": "fc",
    }
    config = {
        "architecture": ARCHITECTURE,
        "num_classes": n_outputs,
        "num_features": shape.channels[-1],
        "model_args": shape.arguments,
        "pretrained_cfg": facts,
    }
    write_json(folder / "config.json", config)
    if heads is not None:
        write_json(folder / "heads.json", heads.answers)


def load_network(folder: Path | str) -> tuple[Any, Heads | None]:
    """Read a network and its heads from a local folder, float32, eval mode, without gradient on its weights.

    Raises
    ------
    DataError
        The folder holds no network of timm.
    """
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import timm

    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder} holds no network, wanted config.json and model.safetensors: point at a trained one.")
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval().requires_grad_(False)
    path = folder / "heads.json"
    answers = read_json(path) if path.is_file() else None
    return network, None if answers is None else Heads({name: tuple(values) for name, values in answers.items()})
