"""pocket-text: the text tower of pocket-clip as a sentence encoder of transformers.

Nothing is trained: the tower is renamed (`text_tower`) and saved with its tokenizer, and a sentence is the state of its
end mark. The folder states that pooling as sentence-transformers does, so that the feature class ``sentence`` with
``pooling: last`` reads it.

Source: Reimers & Gurevych 2019, Sentence-BERT, arXiv:1908.10084.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainenc.core.provenance import file_hash
from brainenc.core.storage import write_json
from brainenc.core.types import DataError
from brainenc.pocket.cards import Made
from brainenc.pocket.clip_model import WEIGHTS, load_clip
from brainenc.pocket.clip_scores import retrieval
from brainenc.pocket.making import find_network
from brainenc.pocket.saving import save_half
from brainenc.pocket.scenes_cache import ScenesCache, open_scenes
from brainenc.pocket.text_tower import convert_text_tower
from brainenc.pocket.tokenizer import encode, save_tokenizer

N_TEST = 1_000
FLOORS: dict[str, float] = {}


def write_encoder(clip: nn.Module, tokenizer: Any, out: Path) -> Any:
    """Write the text tower of a pocket CLIP as a folder of transformers, half precision; return it as read back."""
    tower = convert_text_tower(clip, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    save_half(tower, out)
    save_tokenizer(tokenizer, out)
    write_json(out / "1_Pooling" / "config.json", {"pooling_mode_lasttoken": True})
    write_json(out / "sentence_bert_config.json", {"max_seq_length": tokenizer.model_max_length})
    return tower.half().float()


def embed_sentences(tower: Any, tokenizer: Any, texts: list[str]) -> Tensor:
    """Unit states of the end mark, (n_texts, width)."""
    with torch.no_grad():
        states: Tensor = tower(input_ids=encode(tokenizer, texts)).pooler_output
    return nn.functional.normalize(states.float(), dim=1)


def score_encoder(tower: Any, tokenizer: Any, scenes: ScenesCache) -> dict[str, float]:
    """How often the nearest training-style sentence to an unseen sentence form is that of the same scene."""
    at = scenes.styles.index("full")
    asked = embed_sentences(tower, tokenizer, [styles[at] for styles in scenes.test_captions])
    known = [styles[at] for styles in scenes.captions]
    found = retrieval(asked, embed_sentences(tower, tokenizer, known), known, 1)
    return {"paraphrase_1": found, "n_paraphrase": len(scenes)}


def make(
    name: str, out: Path, cache: Path, steps: int | None = None, resume: bool = False, device: str = "cpu"
) -> Made:
    """Write ``out/pocket-text`` from the pocket-clip in ``out``, else the shipped one; see `train_clip.make`.

    Raises
    ------
    DataError
        Another name, steps asked for, or no pocket-clip in either place.
    """
    if name != "pocket-text":
        raise DataError(f"{name!r} is no sentence encoder, wanted 'pocket-text': use the page that trains it.")
    if steps is not None:
        raise DataError("pocket-text is converted from pocket-clip, not trained: leave the number of steps out.")
    source = find_network("pocket-clip", out)
    clip, tokenizer = load_clip(source)
    tower = write_encoder(clip, tokenizer, out / name)
    scores = score_encoder(tower, tokenizer, open_scenes(cache, "test", N_TEST))
    facts = {"converted_from": "pocket-clip", "sha256": file_hash(source / WEIGHTS)}
    return Made(out / name, facts, {}, 0, None, scores, FLOORS)
