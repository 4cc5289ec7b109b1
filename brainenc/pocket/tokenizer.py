"""A small byte-level tokenizer, learnt from captions: any text becomes at most a thousand different tokens.

Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) on bytes (Radford et al. 2019), so no text is unknown. The
256 bytes come first, pairs are merged by their counts, and the end mark has the largest number of all: open_clip pools
the text tower where the token number is largest. Text is normalised (NFKC) and lower case.

One folder serves ``open_clip.get_tokenizer("local-dir:FOLDER")`` and ``transformers.AutoTokenizer``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainenc.core.storage import read_json, write_text
from brainenc.core.types import DataError

if TYPE_CHECKING:
    import torch

PAD, BEGIN, END = "<|pad|>", "<|startoftext|>", "<|endoftext|>"
N_TOKENS = 1000
CONTEXT_LENGTH = 32
FEWEST = 259  # all bytes and the three marks


def train_tokenizer(captions: Iterable[str], n_tokens: int = N_TOKENS, context_length: int = CONTEXT_LENGTH) -> Any:
    """Learn a ``PreTrainedTokenizerFast`` with at most ``n_tokens``; the same captions give the same tokenizer.

    Raises
    ------
    DataError
        Fewer tokens than bytes and marks.
    """
    if n_tokens < FEWEST:
        raise DataError(f"{n_tokens} tokens came, at least {FEWEST} (bytes and marks) were wanted: ask for more.")
    _healthy_transformers()
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens - 2,
        special_tokens=[PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.add_special_tokens([BEGIN, END])
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in (BEGIN, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A {END}", special_tokens=marks)
    return _wrapped(tokenizer, context_length)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``, the class by the name that every transformers knows."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content.update(truncation=None, padding=None)  # left there by the last call, whatever it was
    write_text(folder / "tokenizer.json", json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")
    facts = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": tokenizer.model_max_length,
        "pad_token": PAD,
        "bos_token": BEGIN,
        "eos_token": END,
        "clean_up_tokenization_spaces": False,
    }
    write_text(folder / "tokenizer_config.json", json.dumps(facts, indent=1) + "\n")


def load_tokenizer(folder: Path) -> Any:
    """Read what `save_tokenizer` wrote.

    Raises
    ------
    DataError
        The folder holds no tokenizer.
    """
    if not (folder / "tokenizer.json").is_file():
        raise DataError(f"{folder} holds no tokenizer.json: point at the folder of a pocket network with words.")
    _healthy_transformers()
    from tokenizers import Tokenizer

    facts = read_json(folder / "tokenizer_config.json")
    return _wrapped(Tokenizer.from_file(str(folder / "tokenizer.json")), int(facts["model_max_length"]))


def encode(tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
    """Token numbers (n_texts, context_length) int64: begin, words, end, padding; longer texts are cut, the end kept."""
    coded = tokenizer(
        list(texts),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    numbers: torch.Tensor = coded.input_ids
    return numbers


def _wrapped(tokenizer: Any, context_length: int) -> Any:
    from transformers import PreTrainedTokenizerFast

    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        unk_token=None,
        model_max_length=context_length,
        clean_up_tokenization_spaces=False,
    )


def _healthy_transformers() -> None:
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
