"""The captioner: its folder, its loss, the modality gap, its scores, and a few steps of training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainenc.core.types import DataError
from brainenc.nn.training import Recipe
from brainenc.pocket import train_captioner
from brainenc.pocket.captioner import load_captioner, save_captioner
from brainenc.pocket.captioner_scores import FLOORS, content_nouns, score_captions
from brainenc.pocket.clip_model import DESIGNS, save_clip
from brainenc.pocket.clip_model import build as build_clip
from brainenc.pocket.tokenizer import encode
from brainenc.pocket.train_captioner import CaptionerRecipe, build, caption_loss, centre, mixed
from brainenc.world.scenes import render_scene

TINY = CaptionerRecipe(
    width=32,
    n_layers=1,
    n_heads=2,
    hidden_width=32,
    n_scenes=192,
    n_scored=1,
    batch_size=16,
    course=Recipe(steps=30, learning_rate=1e-2, validate_every=30, log_every=5),
)


@pytest.fixture
def captioner(tokenizer):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(tokenizer, 24, TINY).eval()


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)


def test_the_loss_is_the_mean_surprise_per_word(captioner, tokenizer):
    tokens, embeddings = encode(tokenizer, ["a red car", "two faces on a blue texture"]), unit(2, 24)
    with torch.no_grad():
        scores = captioner(embeddings, tokens).log_softmax(-1)
        came = caption_loss(captioner, embeddings, tokens)
    surprise = [
        -scores[row, place - 1, tokens[row, place]].item()
        for row in range(2)
        for place in range(1, tokens.shape[1])
        if tokens[row, place] != tokenizer.pad_token_id
    ]
    assert came.item() == pytest.approx(np.mean(surprise), rel=1e-4)


def test_no_word_is_seen_before_it_is_asked_for(captioner, tokenizer):
    tokens, embeddings = encode(tokenizer, ["a red car on a road"]), unit(1, 24)
    other = tokens.clone()
    other[0, 4] = 5
    with torch.no_grad():
        first, second = captioner(embeddings, tokens), captioner(embeddings, other)
    assert torch.allclose(first[0, :4], second[0, :4], atol=1e-6)  # scores of tokens 1..4
    assert not torch.allclose(first[0, 4], second[0, 4], atol=1e-4)


def test_moving_by_the_gap_lays_texts_where_images_are(captioner):
    images = torch.nn.functional.normalize(unit(500, 24) + 2 * unit(1, 24, seed=1), dim=-1)
    texts = torch.nn.functional.normalize(unit(500, 24, seed=2) + 2 * unit(1, 24, seed=3), dim=-1)
    centre(captioner, images, texts)
    moved = captioner.as_image(texts, "text")
    assert torch.allclose(moved.norm(dim=-1), torch.ones(500), atol=1e-5)
    before, after = ((texts - images).mean(0).norm(), (moved - images).mean(0).norm())
    assert after < 0.2 * before
    assert torch.allclose(captioner.as_image(5 * images), images, atol=1e-6)
    with pytest.raises(DataError, match="'sound' came"):
        captioner.as_image(images, "sound")
    with pytest.raises(DataError, match=r"\(n_samples, 24\) was wanted"):
        captioner.as_image(images[:, :5])


def test_rows_are_mixed_by_share(captioner):
    images, texts = unit(4000, 24), unit(4000, 24, seed=1)
    recipe = CaptionerRecipe(noise=0.0, texts=0.3)
    came = mixed(captioner, images, texts, torch.Generator().manual_seed(0), recipe)
    from_text = torch.isclose(came, texts, atol=1e-5).all(1)
    assert abs(from_text.float().mean() - 0.3) < 0.03
    assert torch.allclose(came[~from_text], images[~from_text], atol=1e-5)


def test_the_folder_comes_back_and_loads_through_transformers(captioner, tmp_path):
    from transformers import AutoTokenizer, GPT2LMHeadModel

    centre(captioner, unit(9, 24), unit(9, 24, seed=1))
    save_captioner(captioner, tmp_path)
    again = load_captioner(tmp_path)
    assert next(captioner.parameters()).dtype == torch.float32
    assert torch.allclose(again.text_mean, captioner.text_mean, atol=1e-3)
    with torch.no_grad():
        tokens = encode(captioner.tokenizer, ["a face"])
        first, second = again(unit(1, 24), tokens), captioner(unit(1, 24), tokens)
    assert (first - second).abs().max() < 0.02
    captions = again.caption(unit(3, 24))
    assert len(captions) == 3 and all(isinstance(text, str) for text in captions)
    language = GPT2LMHeadModel.from_pretrained(tmp_path / "gpt2", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "gpt2", local_files_only=True)
    assert language.config.vocab_size == len(tokenizer)
    with pytest.raises(DataError, match="holds no captioner"):
        load_captioner(tmp_path / "nowhere")


def test_true_captions_score_one_and_those_of_other_scenes_do_not():
    scenes = [render_scene(500_000 + i, 16) for i in range(300)]
    things = [scene.things for scene in scenes]
    true = [scene.captions[1] for scene in scenes]
    scores = score_captions(true, things)
    assert scores["noun"] > 0.99 and scores["colour"] == 1.0 and scores["who"] == 1.0
    wrong = score_captions(true[7:] + true[:7], things)
    assert wrong["noun"] < 0.5 and wrong["colour"] < 0.5
    assert not set(content_nouns(scenes[0].things[0])) & {"a", "the", "on"}


def test_training_lowers_the_loss_and_says_its_scores(tmp_path, cache_folder, scenes, tokenizer, monkeypatch):
    few = train_captioner.open_scenes
    monkeypatch.setattr(
        train_captioner, "open_scenes", lambda cache, split, n: few(cache, split, min(n, 192), processes=1)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = build_clip(DESIGNS["pocket-clip"], tokenizer).eval()
    save_clip(clip, DESIGNS["pocket-clip"], tokenizer, tmp_path / "pocket-clip")
    (tmp_path / "pocket-clip" / "card.json").write_text("{}")
    made = train_captioner.make("pocket-captioner", tmp_path, cache_folder, recipe=TINY)
    losses = made.log.column("loss")
    assert losses[-1] < 0.8 * losses[0]
    assert set(FLOORS) <= set(made.scores) and "paraphrase_pair_noun" in made.scores
    with pytest.raises(DataError, match="is no captioner"):
        train_captioner.make("pocket-clip", tmp_path, cache_folder)
