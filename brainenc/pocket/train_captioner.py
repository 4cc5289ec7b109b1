"""The pocket captioner: learns to write the captions of a scene from its pocket-clip embedding.

    loss = cross-entropy of each next token, given the prefix of  e'  and the words so far
    e' = unit(e + sigma n)

e is the embedding of the image, or in a share of the rows that of another caption of the same scene moved by the
modality gap; the noise n covers what is left between the two, and what a decoder of brain activity will get wrong.

Sources: Mokady et al. 2021 (ClipCap), arXiv:2111.09734; Nukrai et al. 2022 (CapDec: noise), arXiv:2211.00575.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from brainenc.pocket.captioner import Captioner


@dataclass(frozen=True)
class Recipe:
    """Size of the network, its mixture of embeddings and captions, course of its training."""

    width: int = 128
    n_layers: int = 3
    n_heads: int = 4
    n_prefix: int = 6
    hidden_width: int = 384
    n_steps: int = 4_000
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    noise: float = 0.02
    share_of_texts: float = 0.3
    caption_shares: tuple[float, ...] = (0.7, 0.2, 0.1)
    n_tokens: int = 32


def build(tokenizer: Any, embedding_width: int, recipe: Recipe = Recipe()) -> Captioner:
    """Return an untrained captioner for a tokenizer with begin, end and padding marks; seed torch before."""
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=64,
        n_embd=recipe.width,
        n_layer=recipe.n_layers,
        n_head=recipe.n_heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Captioner(GPT2LMHeadModel(config), tokenizer, embedding_width, recipe.n_prefix, recipe.hidden_width)


def centre(captioner: Captioner, image_embeddings: torch.Tensor, text_embeddings: torch.Tensor) -> None:
    """Set the means of the two modalities from embeddings (n_samples, embedding_width) of training scenes."""
    captioner.image_mean = torch.nn.functional.normalize(image_embeddings.float(), dim=-1).mean(0)
    captioner.text_mean = torch.nn.functional.normalize(text_embeddings.float(), dim=-1).mean(0)


def loss(captioner: Captioner, embeddings: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Cross-entropy per token, the end mark counted and padding not.

    Parameters
    ----------
    captioner : Captioner
    embeddings : Tensor (n_samples, embedding_width)
        Unit embeddings where those of images lie.
    tokens : Tensor (n_samples, n_tokens) of int64
        Begin mark, words, end mark, padding.
    """
    wanted = tokens[:, 1:]
    scores = captioner(embeddings, tokens)
    padding = captioner.tokenizer.pad_token_id
    return torch.nn.functional.cross_entropy(scores.flatten(0, 1), wanted.flatten(), ignore_index=padding)


def mixed(
    captioner: Captioner, images: torch.Tensor, texts: torch.Tensor, generator: torch.Generator, recipe: Recipe
) -> torch.Tensor:
    """Rows of image embeddings, in a share of the rows text embeddings instead, with noise, of length 1.

    ``images`` and ``texts`` are (n_samples, embedding_width), as is the result.
    """
    is_text = torch.rand(len(images), generator=generator) < recipe.share_of_texts
    clean = torch.where(is_text[:, None], captioner.as_image(texts, "text"), captioner.as_image(images))
    noisy = clean + recipe.noise * torch.randn(clean.shape, generator=generator)
    return torch.nn.functional.normalize(noisy, dim=-1)


def tokenise(tokenizer: Any, captions: Sequence[str], n_tokens: int = 32) -> torch.Tensor:
    """Token numbers (n_captions, n_longest), padded to the longest of the captions and cut at ``n_tokens``."""
    coded = tokenizer(list(captions), padding="longest", truncation=True, max_length=n_tokens, return_tensors="pt")
    tokens: torch.Tensor = coded.input_ids
    return tokens


def chosen_captions(
    captions: Sequence[Sequence[str]], generator: np.random.Generator, shares: Sequence[float]
) -> list[str]:
    """One caption of each scene by the shares of the styles; styles beyond them share as the last."""
    texts = []
    for styles in captions:
        weights = np.array([shares[min(i, len(shares) - 1)] for i in range(len(styles))])
        texts.append(styles[generator.choice(len(styles), p=weights / weights.sum())])
    return texts
