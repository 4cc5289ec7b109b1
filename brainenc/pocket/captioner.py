"""A captioner as CLIPCap: an embedding becomes the first words of a small GPT-2.

    prefix = mlp(sqrt(width) e'),      caption = greedy continuation of [prefix, begin]

with e' the unit embedding of an image, or of a text moved by the gap between the two modalities: text embeddings lie
apart from those of images, so e_text - mean(text) + mean(image), scaled to length 1.

A folder holds ``gpt2/`` (``GPT2LMHeadModel`` and its tokenizer, as transformers saves them), ``prefix.safetensors``
(the mlp and the two means) and ``prefix.json`` (sizes).

Sources: Mokady et al. 2021 (ClipCap), arXiv:2111.09734; Liang et al. 2022 (modality gap), arXiv:2203.02053.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from brainenc.core.storage import read_json, write_json
from brainenc.core.tensors import load_arrays, save_arrays
from brainenc.core.types import DataError
from brainenc.pocket.saving import half_arrays, save_half
from brainenc.pocket.tokenizer import load_tokenizer, save_tokenizer

MODALITIES = ("image", "text")


class Captioner(nn.Module):
    """Prefix network and language model.

    Parameters
    ----------
    language : GPT2LMHeadModel
    tokenizer : PreTrainedTokenizerFast
        With begin, end and padding marks.
    embedding_width : int
        Of the CLIP embedding.
    n_prefix : int
        How many word places an embedding fills.
    hidden_width : int
        Of the prefix network.

    Raises
    ------
    DataError
        The tokenizer has more words than the language model.
    """

    image_mean: torch.Tensor
    text_mean: torch.Tensor

    def __init__(
        self, language: Any, tokenizer: Any, embedding_width: int, n_prefix: int = 6, hidden_width: int = 384
    ) -> None:
        super().__init__()
        width = language.config.n_embd
        if len(tokenizer) > language.config.vocab_size:
            raise DataError(
                f"The tokenizer has {len(tokenizer)} words, the language model {language.config.vocab_size}, wanted "
                "as many: build the language model from this tokenizer."
            )
        self.language, self.tokenizer, self.n_prefix = language, tokenizer, n_prefix
        self.prefix_network = nn.Sequential(
            nn.Linear(embedding_width, hidden_width), nn.GELU(), nn.Linear(hidden_width, n_prefix * width)
        )
        self.register_buffer("image_mean", torch.zeros(embedding_width))
        self.register_buffer("text_mean", torch.zeros(embedding_width))

    @property
    def embedding_width(self) -> int:
        """Width of the embeddings that can be captioned."""
        return len(self.image_mean)

    def as_image(self, embeddings: torch.Tensor, modality: str = "image") -> torch.Tensor:
        """Embeddings of either modality, of any length -> unit embeddings where those of images lie.

        Parameters
        ----------
        embeddings : Tensor (n_samples, embedding_width)
        modality : {"image", "text"}

        Raises
        ------
        DataError
            Unknown modality, or embeddings of another width.
        """
        if modality not in MODALITIES:
            raise DataError(f"Modality {modality!r} came, one of {', '.join(MODALITIES)} was wanted: correct it.")
        if embeddings.ndim != 2 or embeddings.shape[1] != self.embedding_width:
            raise DataError(
                f"Embeddings of shape {tuple(embeddings.shape)} came, (n_samples, {self.embedding_width}) was wanted: "
                "use the CLIP model that the captioner was trained on."
            )
        unit = nn.functional.normalize(embeddings.float(), dim=-1)
        if modality == "text":
            unit = nn.functional.normalize(unit - self.text_mean + self.image_mean, dim=-1)
        return unit

    def prefix(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Unit embeddings (n_samples, embedding_width) -> word places (n_samples, n_prefix, width)."""
        places: torch.Tensor = self.prefix_network(embeddings * self.embedding_width**0.5)
        return places.view(len(embeddings), self.n_prefix, -1)

    def forward(self, embeddings: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of the next tokens, (n_samples, n_tokens - 1, n_words), for tokens (n_samples, n_tokens)."""
        words = self.language.transformer.wte(tokens[:, :-1])
        scores: torch.Tensor = self.language(inputs_embeds=torch.cat([self.prefix(embeddings), words], 1)).logits
        return scores[:, self.n_prefix :]

    @torch.no_grad()
    def caption(
        self,
        embeddings: torch.Tensor,
        modality: str = "image",
    ) -> list[str]:
        """Greedy captions of embeddings (n_samples, embedding_width); see `as_image` for modality and errors."""
        marks, device = self.tokenizer, self.image_mean.device
        begin = self.language.transformer.wte(torch.full((len(embeddings), 1), marks.bos_token_id, device=device))
        given = torch.cat([self.prefix(self.as_image(embeddings.to(device), modality)), begin], 1)
        written = self.language.generate(
            inputs_embeds=given,
            attention_mask=torch.ones(given.shape[:2], dtype=torch.long, device=device),
            max_new_tokens=marks.model_max_length - 2,
            do_sample=False,
            eos_token_id=marks.eos_token_id,
            pad_token_id=marks.pad_token_id,
        )
        return [text.strip() for text in marks.batch_decode(written, skip_special_tokens=True)]


def save_captioner(captioner: Captioner, folder: Path) -> None:
    """Write the folder that `load_captioner` reads, half precision."""
    save_half(captioner.language, folder / "gpt2")
    save_tokenizer(captioner.tokenizer, folder / "gpt2")
    means = {name: getattr(captioner, name).half().numpy() for name in ("image_mean", "text_mean")}
    save_arrays(folder / "prefix.safetensors", half_arrays(captioner.prefix_network) | means)
    sizes = {
        "embedding_width": captioner.embedding_width,
        "hidden_width": captioner.prefix_network[0].out_features,
        "n_prefix": captioner.n_prefix,
    }
    write_json(folder / "prefix.json", sizes)


def load_captioner(folder: Path | str) -> Captioner:
    """Read a captioner from its local folder, float32, eval mode.

    Raises
    ------
    DataError
        The folder holds no captioner.
    """
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from transformers import GPT2LMHeadModel

    folder = Path(folder)
    if not (folder / "prefix.json").is_file():
        raise DataError(f"{folder} holds no captioner, wanted prefix.json and gpt2/: point at a trained one.")
    language = GPT2LMHeadModel.from_pretrained(folder / "gpt2", dtype=torch.float32, local_files_only=True)
    captioner = Captioner(language, load_tokenizer(folder / "gpt2"), **read_json(folder / "prefix.json"))
    arrays = load_arrays(folder / "prefix.safetensors")
    weights = {name: torch.from_numpy(array).float() for name, array in arrays.items()}
    captioner.image_mean, captioner.text_mean = weights.pop("image_mean"), weights.pop("text_mean")
    captioner.prefix_network.load_state_dict(weights)
    return captioner.eval().requires_grad_(False)
