"""Any text goes in and comes out, the end mark is the largest token, and both libraries read the folder alike."""

from __future__ import annotations

import unicodedata

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainenc.core.types import DataError
from brainenc.pocket.tokenizer import BEGIN, END, FEWEST, N_TOKENS, PAD, encode, load_tokenizer, save_tokenizer
from brainenc.pocket.tokenizer import train_tokenizer as learn

ROUND_TRIP = learn(["a red car", "a blue car"], FEWEST + 5, 400)


def test_marks_and_size(tokenizer):
    assert len(tokenizer) <= N_TOKENS
    assert tokenizer.convert_tokens_to_ids([PAD, BEGIN, END]) == [0, len(tokenizer) - 2, len(tokenizer) - 1]
    row = encode(tokenizer, ["a smiling face"])[0].tolist()
    end = row.index(len(tokenizer) - 1)
    assert row[0] == len(tokenizer) - 2 and max(row) == row[end] and set(row[end + 1 :]) == {0}


def test_a_long_text_keeps_its_end_mark(tokenizer):
    rows = encode(tokenizer, ["zebra " * 100, "a face"])
    assert rows.shape == (2, tokenizer.model_max_length) and rows.dtype == torch.int64
    assert (rows.max(dim=1).values == len(tokenizer) - 1).all()


def test_the_same_captions_give_the_same_file_used_or_not(tmp_path, scenes, tokenizer):
    """The library keeps padding and truncation of the last call inside the tokenizer; the file must not."""
    again = learn(caption for scene in scenes.captions for caption in scene)
    save_tokenizer(again, tmp_path / "fresh")
    encode(again, ["a face"])
    again(["a face"], padding="max_length", max_length=7, truncation=True)
    save_tokenizer(again, tmp_path / "used")
    save_tokenizer(tokenizer, tmp_path / "other")
    files = {(tmp_path / name / "tokenizer.json").read_bytes() for name in ("fresh", "used", "other")}
    assert len(files) == 1


def test_known_words_are_short(scenes, tokenizer):
    """What was learnt from is coded in fewer tokens than letters; bytes alone are the broken twin."""
    captions = [scene[0] for scene in scenes.captions[:50]]
    bare = learn(captions, FEWEST)
    n_tokens, n_bytes = (sum(len(ids) for ids in t(captions)["input_ids"]) for t in (tokenizer, bare))
    assert n_tokens < 0.4 * n_bytes


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_any_text_comes_back(text):
    wanted = unicodedata.normalize("NFKC", text).lower()
    if any(mark in wanted for mark in (PAD, BEGIN, END)):
        return
    ids = ROUND_TRIP(text, add_special_tokens=False)["input_ids"]
    came = ROUND_TRIP.decode(ids)
    assert came.removeprefix(" ") == wanted.removeprefix(" ")


def test_open_clip_and_transformers_read_the_folder_alike(tmp_path, tokenizer):
    import json

    import open_clip
    from transformers import AutoTokenizer

    save_tokenizer(tokenizer, tmp_path)
    words = {"context_length": 32, "vocab_size": len(tokenizer), "hf_tokenizer_name": "pocket"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"text_cfg": words}}))
    texts = ["a smiling woman with brown hair", "on a beach there is a red car", "été ☃ 12"]
    wanted = encode(tokenizer, texts)
    assert torch.equal(encode(load_tokenizer(tmp_path), texts), wanted)
    assert torch.equal(open_clip.get_tokenizer(f"local-dir:{tmp_path}")(texts), wanted)
    hugging = AutoTokenizer.from_pretrained(tmp_path)
    assert hugging.eos_token_id == len(tokenizer) - 1 and hugging.pad_token_id == 0
    assert torch.equal(hugging(texts, padding="max_length", max_length=32, return_tensors="pt").input_ids, wanted)


def test_refusals(tmp_path):
    with pytest.raises(DataError, match="10 tokens came, at least 259"):
        learn(["a"], 10)
    with pytest.raises(DataError, match="holds no tokenizer.json"):
        load_tokenizer(tmp_path)
