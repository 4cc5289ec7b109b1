"""The pocket image network: a small ResNet of timm that learns to say what a scene shows, and where.

One linear layer gives all answers; `Heads` says which of its outputs answer which question:

    content     what is shown, several may be: binary cross-entropy
    c.a         value of attribute a where exactly one thing of category c is shown: cross-entropy
    position    centre and sizes of the box of such a thing, in 0..1 of the image: smooth absolute error

    loss = content + mean of the attributes + position_weight position

Pictures are blurred, made noisy, lighter and darker at random, so that a verdict on generated pictures does not hang on
their finest grain. A folder holds ``config.json`` and ``model.safetensors`` as timm reads them
(``timm.create_model("local-dir:FOLDER", pretrained=True)``), and ``heads.json``.

Sources: He et al. 2016, arXiv:1512.03385; Wightman, PyTorch Image Models, doi:10.5281/zenodo.4414861.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from brainenc.core.types import DataError
from brainenc.world.scenes import CATEGORIES, Thing

ARCHITECTURE = "resnet10t"
PLACED = tuple(category for category in CATEGORIES if category != "place")  # a place fills the image: no position
SIDES = ("x", "y", "width", "height")


@dataclass(frozen=True)
class Recipe:
    """Size of the network and course of its training."""

    layers: tuple[int, ...] = (2, 2, 2, 1)
    channels: tuple[int, ...] = (32, 64, 112, 160)
    stem_width: int = 16
    n_steps: int = 8_000
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    position_weight: float = 5.0
    share_altered: float = 0.6
    least_examples: int = 30


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


def build(n_outputs: int, recipe: Recipe = Recipe()) -> Any:
    """Return an untrained network; seed torch before."""
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import timm

    return timm.create_model(ARCHITECTURE, **model_arguments(recipe), num_classes=n_outputs)


def model_arguments(recipe: Recipe) -> dict[str, Any]:
    """Arguments of ``timm.create_model`` beside the architecture's name."""
    return {"layers": list(recipe.layers), "channels": list(recipe.channels), "stem_width": recipe.stem_width}


def as_input(images: Any) -> torch.Tensor:
    """Images (n_images, size, size, 3) of uint8 -> (n_images, 3, size, size) in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def altered(images: torch.Tensor, generator: torch.Generator, share: float = 0.6) -> torch.Tensor:
    """Blur, noise, light and contrast at random, in a share of the images (n_images, 3, size, size)."""
    n_images = len(images)

    def draw(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(n_images, 1, 1, 1, generator=generator)

    size = images.shape[-2:]
    soft = functional.interpolate(functional.avg_pool2d(images, 2), size=size, mode="bilinear")
    changed = images + draw(0, 1) * (soft - images)
    changed = draw(0.8, 1.2) * changed + draw(-0.15, 0.15)
    changed = changed + draw(0, 0.1) * torch.randn(images.shape, generator=generator)
    return torch.where(draw(0, 1) < share, changed, images)


def loss(outputs: torch.Tensor, labels: Labels, heads: Heads, position_weight: float = 5.0) -> torch.Tensor:
    """The loss of the page's head; outputs (n_scenes, heads.n_outputs), labels of the same scenes."""
    total = functional.binary_cross_entropy_with_logits(
        outputs[:, heads.columns("content")], torch.from_numpy(labels.content)
    )
    parts = []
    for column, name in enumerate(heads.attributes):
        values = torch.from_numpy(labels.values[:, column])
        if (values >= 0).any():
            parts.append(functional.cross_entropy(outputs[:, heads.columns(name)], values, ignore_index=-1))
    if parts:
        total = total + torch.stack(parts).mean()
    known = torch.from_numpy(np.isfinite(labels.position))
    if known.any():
        came = outputs[:, heads.columns("position")][known]
        total = total + position_weight * functional.smooth_l1_loss(
            came, torch.from_numpy(labels.position)[known], beta=0.1
        )
    return total


def save_network(network: Any, folder: Path, recipe: Recipe, heads: Heads | None = None, size: int = 64) -> None:
    """Write the folder that timm reads, half precision, with ``heads.json`` where there are heads."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors")
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
        "num_features": recipe.channels[-1],
        "model_args": model_arguments(recipe),
        "pretrained_cfg": facts,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    if heads is not None:
        (folder / "heads.json").write_text(json.dumps(asdict(heads)["answers"], indent=1) + "\n", encoding="utf-8")


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
    answers = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return network, None if answers is None else Heads({name: tuple(values) for name, values in answers.items()})
