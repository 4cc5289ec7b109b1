"""The text tower of any CLIP-like model of open_clip, over the captions of the stimulus table.

Source: Radford et al. 2021, arXiv:2103.00020.
"""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from brainenc.core.types import DataError, StimulusSet
from brainenc.features.layers import LayerReader, check_choice
from brainenc.features.open_clip import check_model, load_clip
from brainenc.features.rows import RowBatches, require_column, versions
from brainenc.features.weights import first_line, hash_weights

if TYPE_CHECKING:
    import torch

TEXT_POOLINGS = ("end", "mean")


class OpenClipTextExtractor:
    """The text tower of an open_clip model.

    Parameters
    ----------
    name : str
        The feature space as the study names it.
    model, pretrained, checkpoint, random_weights
        As in the image class ``open_clip``.
    layer : str
        ``"pooled"`` (the joint embedding, not normalised), or a block of the text transformer by its dotted name in
        the whole model, such as ``"transformer.resblocks.5"`` or ``"text.transformer.resblocks.5"``.
    pooling : {"end", "mean"}
        For a block: the end-of-text token, or the mean over the tokens from start to end. Padding never enters.
    column : str
        The column of the stimulus table that is read.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``.
    """

    class_name = "open_clip_text"

    def __init__(
        self,
        name: str,
        model: str,
        layer: str = "pooled",
        pooling: str = "end",
        pretrained: str | None = None,
        checkpoint: str | None = None,
        random_weights: int | None = None,
        column: str = "text",
        device: str = "auto",
    ) -> None:
        self.arguments = {k: v for k, v in locals().items() if k not in ("self", "name", "device")}
        self.name, self.device_name, self.owner = name, device, f"feature space {name!r}"
        check_choice(self.owner, "pooling", pooling, TEXT_POOLINGS)
        check_model(self.owner, self.arguments)
        self.layer, self.pooling, self.column = layer, pooling, column

    @cached_property
    def network(self) -> torch.nn.Module:
        """The whole model (both towers)."""
        from brainenc.nn.device import choose_device

        return load_clip(self.arguments, self.owner).to(choose_device(self.device_name))

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer; the byte-pair vocabulary of CLIP ships with open_clip."""
        import open_clip

        _ = self.network
        try:
            tokenizer = open_clip.get_tokenizer(self.arguments["model"])
        except Exception as error:  # the hub raises many kinds
            raise DataError(
                f"{self.owner}: the tokenizer of {self.arguments['model']!r} cannot be loaded ({first_line(error)}): "
                "fetch it once where there is a network, or use a CLIP model, whose vocabulary is built in."
            ) from error
        if self.layer != "pooled" and not isinstance(tokenizer, open_clip.SimpleTokenizer):
            raise DataError(f"{self.owner}: blocks can be read only with CLIP's own tokenizer: use layer 'pooled'.")
        return tokenizer

    @cached_property
    def _reader(self) -> LayerReader:
        return LayerReader(self.network, self.layer, self.owner)

    def check(self, stimuli: StimulusSet) -> None:
        """Raise `DataError` unless every stimulus has a text; no network is built."""
        require_column(self.name, stimuli, self.column)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids (batch, context_length) -> (batch, n_channels)."""
        if self.layer == "pooled":
            return self.network.encode_text(tokens)
        hidden = self._reader(self.network.encode_text, tokens)
        if hidden.ndim != 3 or hidden.shape[0] != len(tokens):
            raise DataError(
                f"{self.owner}: layer {self.layer!r} gave shape {tuple(hidden.shape)}, wanted (batch, tokens, "
                "channels): name a block of the text transformer."
            )
        end = tokens.argmax(dim=1)  # end-of-text is the largest id of CLIP's vocabulary
        positions = hidden.new_tensor(range(hidden.shape[1]))[None]
        inside = positions <= end[:, None] if self.pooling == "mean" else positions == end[:, None]
        weight = inside.to(hidden.dtype)
        return (hidden * weight[..., None]).sum(dim=1) / weight.sum(dim=1, keepdim=True)

    def extract(self, stimuli: StimulusSet, batch_size: int = 64) -> RowBatches:
        """Iterate over (batch, n_channels) float32 in row order; `DataError` before the first batch if text lacks."""
        self.check(stimuli)
        batches = RowBatches(self.name, stimuli, batch_size, self._extract_batch)
        self._warn_if_cut(stimuli)
        _ = self.shape
        return batches

    def _warn_if_cut(self, stimuli: StimulusSet) -> None:
        encode = getattr(self.tokenizer, "encode", None)
        if encode is None:
            return
        limit = self.tokenizer.context_length - 2
        n_cut = sum(len(encode(text)) > limit for text in stimuli.table[self.column])
        if n_cut:
            warnings.warn(f"{self.owner}: {n_cut} texts are longer than {limit} tokens and are cut there", stacklevel=3)

    def _extract_batch(self, part: StimulusSet) -> np.ndarray:
        return self._encode(part.table[self.column].tolist())

    def _encode(self, texts: list[str]) -> np.ndarray:
        from brainenc.nn.device import repeatable_inference

        with repeatable_inference():
            tokens = self.tokenizer(texts).to(next(self.network.parameters()).device)
            return self.forward(tokens).float().cpu().numpy()

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row, ``(n_channels,)``."""
        return self._encode(["a"]).shape[1:]

    @property
    def n_channels(self) -> int:
        """Length of the last axis."""
        return self.shape[-1]

    def row_shape(self, stimuli: StimulusSet) -> tuple[int, ...]:
        """Shape of one row."""
        return self.shape

    def fingerprint(self) -> dict[str, Any]:
        """What decides the numbers: class, arguments, checksum of the weights, versions."""
        return {
            "class": self.class_name,
            "arguments": self.arguments,
            "weights_sha256": hash_weights(self.network),
            "versions": versions("brainenc", "open_clip_torch", "torch"),
        }
