"""The image tower of any CLIP-like model of open_clip, at its embedding or at any layer.

Sources: Radford et al. 2021, arXiv:2103.00020; Ilharco et al. 2021, OpenCLIP, doi:10.5281/zenodo.5143773.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from brainenc.core.types import DataError
from brainenc.features.base import ImageNetworkExtractor
from brainenc.features.images import Preprocessing
from brainenc.features.layers import LAYOUTS, POOLINGS, LayerReader, as_tokens, check_choice, count_tokens, pool_tokens
from brainenc.features.weights import (
    check_folder,
    check_source,
    first_line,
    has_own_weights,
    load_weights,
    seeded_weights,
)

if TYPE_CHECKING:
    import torch


def load_clip(chosen: Mapping[str, Any], owner: str) -> torch.nn.Module:
    """Build the whole model on the processor in float32, eval mode, weights frozen.

    Parameters
    ----------
    chosen : mapping
        ``model``, ``pretrained``, ``checkpoint``, ``random_weights`` of an extractor.
    owner : str
        For messages.

    Raises
    ------
    DataError
        Unknown model or tag, weights that are not there or do not fit.
    """
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import open_clip

    model, tag = chosen["model"], chosen["pretrained"]
    own = has_own_weights(model) and not chosen["checkpoint"] and chosen["random_weights"] is None
    if not has_own_weights(model) and model not in open_clip.list_models():
        raise DataError(
            f"{owner}: open_clip has no model {model!r}: use a name of open_clip.list_models(), such as 'ViT-B-32', or "
            "'local-dir:FOLDER' for a folder with an open_clip_config.json."
        )
    if tag and tag not in open_clip.list_pretrained_tags_by_model(model):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)[:6])
        raise DataError(f"{owner}: {model!r} has no pretrained tag {tag!r}: use one of {tags}, or give 'checkpoint'.")
    try:
        with seeded_weights(chosen["random_weights"]):
            network = open_clip.create_model(
                model,
                pretrained=tag,
                load_weights=bool(own or tag),
                require_pretrained=bool(own or tag),
                pretrained_text=False,
                device="cpu",
            )
    except Exception as error:  # open_clip, the hub and torch each raise their own kinds
        raise DataError(
            f"{owner}: open_clip cannot build {model!r} with pretrained={tag!r} ({first_line(error)}): check the "
            "folder, fetch the weights once where there is a network, or give 'checkpoint'."
        ) from error
    if chosen["checkpoint"]:
        load_weights(network, chosen["checkpoint"], owner)
    return network.float().eval().requires_grad_(False)


def check_model(owner: str, chosen: Mapping[str, Any]) -> None:
    """Refuse an impossible choice of model and weights without building anything."""
    model = chosen["model"]
    check_source(owner, chosen["pretrained"], chosen["checkpoint"], chosen["random_weights"], has_own_weights(model))
    check_folder(owner, model, "open_clip_config.json")


class OpenClipExtractor(ImageNetworkExtractor):
    """The image tower of an open_clip model and its own preprocessing.

    Parameters
    ----------
    name : str
        The feature space as the study names it.
    model : str
        A name of ``open_clip.list_models()``, ``"local-dir:FOLDER"`` or ``"hf-hub:ORG/NAME"``.
    layer : str
        ``"pooled"`` (the joint embedding, not normalised), or the dotted name of a module of the image tower, such as
        ``"transformer.resblocks.11"`` (``"trunk.blocks.11"`` where timm is the tower).
    pooling : {"mean", "cls", "tokens"}
        As in the timm class: mean over patches, class token, or all patches (n_tokens, n_channels).
    pretrained : str, optional
        A tag of ``open_clip.list_pretrained()``.
    checkpoint : str, optional
        A local state dict of the whole model (safetensors or torch) instead.
    random_weights : int, optional
        The seed of an untrained network instead.
    layout : {"NCHW", "NHWC"}, optional
        Axes of a four-dimensional layer; default as its square map shows.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``.
    """

    class_name = "open_clip"
    packages = ("open_clip_torch", "timm", "torch")

    def __init__(
        self,
        name: str,
        model: str,
        layer: str = "pooled",
        pooling: str = "mean",
        pretrained: str | None = None,
        checkpoint: str | None = None,
        random_weights: int | None = None,
        layout: str | None = None,
        device: str = "auto",
    ) -> None:
        arguments = {k: v for k, v in locals().items() if k not in ("self", "name", "device", "__class__")}
        super().__init__(name, arguments, device)
        self.owner = f"feature space {name!r}"
        check_choice(self.owner, "pooling", pooling, POOLINGS)
        check_choice(self.owner, "layout", layout, (None, *LAYOUTS))
        check_model(self.owner, arguments)
        if layer == "pooled" and pooling != "mean":
            raise DataError(
                f"{self.owner}: layer 'pooled' has no tokens, so pooling {pooling!r} cannot be taken: drop 'pooling' "
                "or name a block such as 'transformer.resblocks.11'."
            )
        self.layer, self.pooling = layer, pooling

    @cached_property
    def network(self) -> torch.nn.Module:
        """The image tower, ``model.visual``."""
        from brainenc.nn.device import choose_device

        return load_clip(self.arguments, self.owner).visual.to(choose_device(self.device_name))

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """As the model states it."""
        stated = self.network.preprocess_cfg
        size = stated["size"]
        height, width = (size, size) if isinstance(size, int) else size
        if height != width:
            raise DataError(
                f"{self.owner}: the model's input is {height} x {width}, wanted a square: use another model."
            )
        return Preprocessing(
            size=height,
            mean=stated["mean"],
            std=stated["std"],
            interpolation=stated.get("interpolation", "bicubic"),
            resize_mode="squash" if stated.get("resize_mode") == "squash" else "shortest",
        )

    @cached_property
    def _reader(self) -> LayerReader:
        return LayerReader(self.network, self.layer, self.owner)

    @cached_property
    def _n_tokens(self) -> tuple[int, int | None]:
        """Prefix tokens, and spatial tokens where the tower knows."""
        trunk = getattr(self.network, "trunk", None)
        if trunk is not None:
            return count_tokens(trunk)
        if hasattr(self.network, "class_embedding"):
            rows, columns = self.network.grid_size
            return 1, rows * columns
        return 0, None

    def compute(self, inputs: torch.Tensor) -> torch.Tensor:
        """Network input (batch, 3, size, size) -> (batch, n_channels) or (batch, n_tokens, n_channels)."""
        if self.layer == "pooled":
            output = self.network(inputs)
            return output[0] if isinstance(output, tuple) else output
        output = self._reader(self.network, inputs)
        if output.ndim == 4:
            return pool_tokens(as_tokens(output, self.arguments["layout"], None, self.owner), self.pooling, self.owner)
        return pool_tokens(output, self.pooling, self.owner, *self._n_tokens)
