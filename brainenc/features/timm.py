"""Any image backbone of timm, at any layer: convolutional networks and vision transformers.

Source: R. Wightman, PyTorch Image Models, doi:10.5281/zenodo.4414861.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class TimmExtractor(ImageNetworkExtractor):
    """A timm backbone and its own preprocessing.

    Parameters
    ----------
    name : str
        The feature space as the study names it.
    model : str
        A name of ``timm.list_models()``, with or without a tag, such as ``"vit_base_patch16_clip_224.openai"``,
        ``"local-dir:FOLDER"`` or ``"hf-hub:ORG/NAME"``.
    layer : str
        ``"pooled"`` (the embedding before the classifier), ``"head"`` (the classifier's output), or the dotted name of
        any module, such as ``"blocks.6"`` or ``"layer3"``.
    pooling : {"mean", "cls", "tokens"}
        What becomes of a layer with tokens or a spatial map: mean over space, the class token, or all spatial tokens
        (n_tokens, n_channels) in row-major order. Class and register tokens never enter ``mean`` and ``tokens``.
    pretrained : bool
        Weights that timm publishes for this name (needs them in the local cache, or a network once).
    checkpoint : str, optional
        A local ``.safetensors`` or torch state dict instead.
    random_weights : int, optional
        The seed of an untrained network instead.
    model_kwargs : mapping, optional
        Further arguments of ``timm.create_model``, such as ``{"num_classes": 1001}``.
    size, mean, std, crop_fraction, interpolation : optional
        Override what the model states about its preprocessing.
    layout : {"NCHW", "NHWC"}, optional
        Axes of a four-dimensional layer; default as its square map shows.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``.
    """

    class_name = "timm"
    packages = ("timm", "torch")

    def __init__(
        self,
        name: str,
        model: str,
        layer: str = "pooled",
        pooling: str = "mean",
        pretrained: bool = False,
        checkpoint: str | None = None,
        random_weights: int | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        crop_fraction: float | None = None,
        interpolation: str | None = None,
        layout: str | None = None,
        device: str = "auto",
    ) -> None:
        arguments = {k: v for k, v in locals().items() if k not in ("self", "name", "device", "__class__")}
        super().__init__(name, arguments, device)
        self.owner = f"feature space {name!r}"
        check_choice(self.owner, "pooling", pooling, POOLINGS)
        check_choice(self.owner, "layout", layout, (None, *LAYOUTS))
        check_source(self.owner, pretrained, checkpoint, random_weights, has_own_weights(model))
        check_folder(self.owner, model, "config.json")
        if layer in ("pooled", "head") and pooling != "mean":
            raise DataError(
                f"{self.owner}: layer {layer!r} has no tokens, so pooling {pooling!r} cannot be taken: drop 'pooling' "
                "or name a block such as 'blocks.6'."
            )
        self.layer, self.pooling = layer, pooling
        self._overrides = {
            "size": size,
            "mean": mean,
            "std": std,
            "crop_fraction": crop_fraction,
            "interpolation": interpolation,
        }

    @cached_property
    def network(self) -> torch.nn.Module:
        """The timm model in eval mode, float32, without gradient on its weights."""
        from brainenc.nn.device import choose_device
        from brainenc.nn.torchvision_shim import ensure_torchvision

        ensure_torchvision()
        import timm

        chosen = self.arguments
        kwargs = dict(chosen["model_kwargs"] or {})
        own = has_own_weights(chosen["model"])
        if not own and not timm.is_model(chosen["model"].split(".")[0]):
            near = timm.list_models(f"*{chosen['model'].split('_')[0]}*")[:5]
            raise DataError(
                f"{self.owner}: timm has no model {chosen['model']!r}: use a name of timm.list_models()"
                + (f", such as {', '.join(near)}." if near else ".")
            )
        try:
            with seeded_weights(chosen["random_weights"]):
                trained = bool(chosen["pretrained"]) or (
                    own and not chosen["checkpoint"] and chosen["random_weights"] is None
                )
                network = timm.create_model(chosen["model"], pretrained=trained, **kwargs)
        except Exception as error:  # timm, the hub and the constructors each raise their own kinds
            cure = (
                "fetch them once where there is a network, or give 'checkpoint'"
                if chosen["pretrained"]
                else ("correct model_kwargs")
            )
            raise DataError(
                f"{self.owner}: timm cannot build {chosen['model']!r} with pretrained={chosen['pretrained']} and "
                f"model_kwargs={kwargs} ({first_line(error)}): {cure}."
            ) from error
        if chosen["checkpoint"]:
            load_weights(network, chosen["checkpoint"], self.owner)
        return network.eval().requires_grad_(False).to(choose_device(self.device_name))

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The model's own configuration with the overrides of the constructor."""
        stated = self.network.pretrained_cfg  # type: ignore[union-attr]
        _, height, width = stated.get("input_size", (3, 224, 224))
        if height != width and self._overrides["size"] is None:
            raise DataError(f"{self.owner}: the model's input is {height} x {width}, wanted a square: set 'size'.")
        values = {
            "size": height,
            "mean": stated.get("mean", (0.5,) * 3),
            "std": stated.get("std", (0.5,) * 3),
            "crop_fraction": stated.get("crop_pct") or 1.0,
            "interpolation": stated.get("interpolation", "bicubic"),
            "resize_mode": "squash" if stated.get("crop_mode") == "squash" else "shortest",
        }
        values |= {k: v for k, v in self._overrides.items() if v is not None}
        return Preprocessing(**values)

    @cached_property
    def _reader(self) -> LayerReader:
        return LayerReader(self.network, self.layer, self.owner)

    def compute(self, inputs: torch.Tensor) -> torch.Tensor:
        """Network input (batch, 3, size, size) -> (batch, n_channels) or (batch, n_tokens, n_channels)."""
        network = self.network
        if self.layer == "head":
            return network(inputs)
        if self.layer == "pooled":
            return network.forward_head(network.forward_features(inputs), pre_logits=True)
        stated = getattr(network, "output_fmt", None)
        output = self._reader(network, inputs)
        if output.ndim == 4:
            layout, stated = self.arguments["layout"], getattr(stated, "value", stated)
            return pool_tokens(as_tokens(output, layout, stated, self.owner), self.pooling, self.owner)
        return pool_tokens(output, self.pooling, self.owner, *count_tokens(network))
