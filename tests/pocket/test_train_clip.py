"""pocket-clip: the loss and its gradient, batches that keep their word, files that open_clip loads, honest scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainenc.core.types import DataError
from brainenc.nn.training import Recipe
from brainenc.pocket import clip_model
from brainenc.pocket.cards import write_card
from brainenc.pocket.clip_batches import Batches, Mixture, cut_out
from brainenc.pocket.clip_model import (
    DESIGNS,
    as_input,
    build,
    embed_images,
    embed_texts,
    load_clip,
    save_clip,
    token_maps,
)
from brainenc.pocket.clip_scores import (
    FRAMES,
    PROMPTS,
    choose_attribute,
    probe_position,
    retrieval,
    score_clip,
    zero_shot,
)
from brainenc.pocket.text_encoder import embed_sentences, write_encoder
from brainenc.pocket.tokenizer import encode
from brainenc.pocket.train_clip import ClipRecipe, Stage, contrastive_loss, make
from brainenc.pocket.wordings import TEMPLATES, names, say, swaps
from brainenc.world.scene_captions import STYLES
from brainenc.world.scenes import CATEGORIES, Thing, captions, plan_scene

COURSE = Recipe(20, 2e-3, warmup=3, validate_every=10, checkpoint_every=10, log_every=5, ema=0.9)
SMALL = ClipRecipe(
    n_validation=24,
    n_test=60,
    stages=(
        Stage(160, Mixture(batch_size=24), COURSE),
        Stage(192, Mixture(batch_size=24, crowded=0.5), replace(COURSE, steps=10, learning_rate=1e-3)),
    ),
)


# --------------------------------------------------------------------------------------------------------------- loss


def test_the_loss_is_cross_entropy_both_ways_where_all_captions_differ():
    images, texts = (torch.nn.functional.normalize(torch.randn(6, 4), dim=1) for _ in range(2))
    logits, target = 7 * images @ texts.T, torch.arange(6)
    wanted = 0.5 * sum(torch.nn.functional.cross_entropy(way, target) for way in (logits, logits.T))
    came = contrastive_loss(images, texts, torch.tensor(7.0), torch.arange(6)[:, None])
    torch.testing.assert_close(came, wanted)


def test_equal_captions_are_no_negatives():
    """Two groups, embedded as two points: nothing is left to learn. With every caption for itself there would be."""
    points = torch.eye(4)[[0, 0, 1, 1]]
    groups = torch.tensor([[5, 1], [5, 1], [5, 2], [5, 2]])
    assert contrastive_loss(points, points, torch.tensor(50.0), groups) == pytest.approx(np.log(2), abs=1e-4)
    moved = (points + torch.tensor([0, 0.2, 0, 0.3])).clone().requires_grad_(True)
    contrastive_loss(torch.nn.functional.normalize(moved, dim=1), points, torch.tensor(1.0), groups).backward()
    assert moved.grad is not None and moved.grad.abs().max() > 0
    alone = contrastive_loss(points, points, torch.tensor(50.0), torch.arange(4)[:, None])
    worse = contrastive_loss(points, points[[2, 3, 0, 1]], torch.tensor(50.0), groups)
    assert alone == pytest.approx(np.log(2), abs=1e-4) and worse > 10


# ------------------------------------------------------------------------------------------------------------- batches


def test_a_batch_is_a_function_of_its_generator(scenes, tokenizer):
    batches = Batches(scenes, tokenizer, Mixture(batch_size=16))
    one, other, next_one = (batches.draw(torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True)) and not torch.equal(one[0], next_one[0])
    assert one[0].shape == (16, 3, 64, 64) and one[1].shape == (16, tokenizer.model_max_length)


@pytest.mark.parametrize(
    "mixture", [Mixture(16, hard=1.0, asking=0.0), Mixture(16, hard=0.0, asking=1.0)], ids=["hard", "asking"]
)
def test_hard_and_asking_batches_are_of_one_category(scenes, tokenizer, mixture, monkeypatch):
    batches = Batches(scenes, tokenizer, replace(mixture, zoomed=0.0))
    seen = []
    original = scenes.images
    for seed in range(6):
        images, tokens = batches.draw(torch.Generator().manual_seed(seed))
        known = as_input(original)
        rows = [int((known - image).abs().flatten(1).sum(1).argmin()) for image in images]
        assert len({scenes.main[row] for row in rows}) == 1
        seen.append(len(torch.unique(tokens, dim=0)))
        if mixture.asking:
            texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
            said = {a: [say(scenes.things[row][0], a) for row in rows] for _, a in TEMPLATES}
            assert any([t.strip() for t in texts] == list(words) for words in said.values())
    assert max(seen) > 1


def test_crowded_batches_show_several_things_and_half_of_them_share_a_category(scenes, tokenizer):
    batches = Batches(scenes, tokenizer, Mixture(32, hard=0.0, asking=0.0, crowded=1.0))
    several = np.array([len(scene) > 1 for scene in scenes.things])
    assert all(several[rows].all() for rows in batches.crowds)
    sharing = [rows for rows in batches.crowds if scenes.shown[rows].all(0).any()]
    assert 2 * len(sharing) == len(batches.crowds) and sum(len(rows) for rows in sharing) > several.sum()
    known = as_input(scenes.images)
    for seed in range(4):
        images, _ = batches.draw(torch.Generator().manual_seed(seed))  # pictures of several things are never cut
        assert several[[int((known - image).abs().flatten(1).sum(1).argmin()) for image in images]].all()
    plain = [Batches(scenes, tokenizer, Mixture(32, crowded=share)) for share in (0.0, 0.2)]
    plain[1].crowds = []  # nothing to take them from: the batch is a free one
    one, other = (batches.draw(torch.Generator().manual_seed(1)) for batches in plain)
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_fewer_steps_are_shared_by_the_stages():
    assert [stage.course.steps for stage in ClipRecipe().shortened(None).stages] == [5_000, 5_000]
    assert [stage.course.steps for stage in SMALL.shortened(15).stages] == [10, 5]
    assert [stage.course.steps for stage in SMALL.shortened(1).stages] == [1, 1]


def test_a_zoom_shows_the_thing_and_the_words_do_not_say_where(scenes, tokenizer):
    batches = Batches(
        scenes,
        tokenizer,
        Mixture(batch_size=64, zoomed=1.0, hard=0.0, asking=0.0, styles=(("full", 0.5), ("placed", 0.5))),
    )
    rng = np.random.default_rng(0)
    cut = [row for row in range(len(scenes)) if batches._may_zoom(row)]
    assert 0.5 * len(scenes) < len(cut) < len(scenes)
    for row in cut:
        left, top, side = batches._window(rng, row, True)
        x0, y0, x1, y1 = scenes.things[row][0].box
        assert left >= -1e-9 and top >= -1e-9 and left + side <= 1 + 1e-9 and top + side <= 1 + 1e-9
        assert left <= x0 + 1e-9 and x1 <= left + side + 1e-9 and top <= y0 + 1e-9 and y1 <= top + side + 1e-9
        assert batches._caption(rng, row, True) == scenes.captions[row][scenes.styles.index("full")]
    assert any(batches._caption(rng, row, False) == scenes.captions[row][scenes.styles.index("placed")] for row in cut)


def test_cut_out_is_the_identity_on_whole_images_and_exact_on_ramps():
    """Linear interpolation keeps a ramp: output pixel i of a window shows the place left + side (i + 1/2) / size."""
    images = torch.rand(2, 2, 8, 8)
    assert torch.equal(cut_out(images, torch.tensor([[0.0, 0.0, 1.0]] * 2)), images)
    ramp = ((torch.arange(8) + 0.5) / 8).expand(8, 8)
    both = torch.stack([ramp, ramp.T])[None].expand(3, 2, 8, 8)
    windows = torch.tensor([[0.0, 0.0, 1.0], [0.25, 0.125, 0.5], [0.375, 0.125, 0.25]])
    came = cut_out(both, windows)
    for (left, top, side), (across, down) in zip(windows.tolist(), came, strict=True):
        places = side * (torch.arange(8) + 0.5) / 8
        torch.testing.assert_close(across, (left + places).expand(8, 8))
        torch.testing.assert_close(down.T, (top + places).expand(8, 8))


# ------------------------------------------------------------------------------------------------------------ wordings

WOMAN = Thing("face", "an angry woman with red hair", (0.1, 0.1, 0.5, 0.5), {"expression": "angry", "who": "woman"})
SIGN = Thing("word", "a red sign with the word red in red letters", (0, 0, 1, 1), {"colour": "red", "word": "red"})


def test_wordings():
    assert say(WOMAN, "expression") == "an angry face" and say(WOMAN, "colour") is None
    assert swaps(WOMAN, "expression", ["sad", "angry"]) == ["a sad woman with red hair", "an angry woman with red hair"]
    assert swaps(SIGN, "colour", ["blue"]) == ["a red sign with the word red in blue letters"]
    assert names(WOMAN, "who") and not names(WOMAN, "hair")
    with pytest.raises(DataError, match="does not name its hair"):
        swaps(WOMAN, "hair", ["red"])


# --------------------------------------------------------------------------------------------------- models and files


@pytest.fixture(scope="module", params=DESIGNS)
def made(request, cache_folder, scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return request.param, make(request.param, out, cache_folder, recipe=SMALL)


def test_a_few_steps_lower_the_loss_and_the_files_load(made):
    import open_clip

    name, result = made
    losses = result.log.column("loss")
    assert losses[-1] < losses[0] and len(result.log.column("validation_zero_shot")) == 3
    assert result.log.column("step") == [5, 10, 15, 20, 25, 30] and result.log.steps == 30  # both stages, one log
    assert result.log.column("seconds") == sorted(result.log.column("seconds"))
    assert {path.name for path in result.folder.iterdir()} >= {
        "open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json"
    }  # fmt: skip
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{result.folder}")
    words = open_clip.get_tokenizer(f"local-dir:{result.folder}")
    assert words.context_length == 32 and sum(t.numel() for t in model.parameters()) < 2.5e6
    with torch.no_grad():
        assert model.encode_text(words(["a face"])).shape == (1, DESIGNS[name].embedding_width)
    assert set(result.scores) >= set(result.floors) | {"retrieval_5", "position"}
    assert result.below  # thirty steps reach no floor: a score that did would not be honest


def test_open_clip_prepares_images_as_we_do(made, scenes):
    import open_clip
    from PIL import Image

    _, result = made
    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{result.folder}")
    theirs = torch.stack([preprocess(Image.fromarray(np.array(image))) for image in scenes.images[:4]])
    torch.testing.assert_close(theirs, as_input(scenes.images[:4]))


def test_every_parameter_learns(tokenizer, scenes):
    for design in DESIGNS.values():
        model = build(design, tokenizer).train()
        with torch.no_grad():  # blocks of a ResNet begin with a last norm of zero, which hides what is before it
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        images, tokens = Batches(scenes, tokenizer, Mixture(batch_size=8)).draw(torch.Generator().manual_seed(0))
        outputs = model.encode_image(images, normalize=True), model.encode_text(tokens, normalize=True)
        contrastive_loss(*outputs, model.logit_scale.exp(), tokens).backward()
        silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
        # the bias of the keys moves all scores of a query alike, which softmax does not see
        assert not [name for name in silent if "k_proj.bias" not in name], silent


def test_half_precision_files_are_the_model(tmp_path, tokenizer, scenes):
    design = DESIGNS["pocket-clip"]
    model = build(design, tokenizer).eval()
    save_clip(model, design, tokenizer, tmp_path)
    again, words = load_clip(tmp_path)
    both = [embed_images(m, scenes.images[:6]) for m in (model, again)]
    assert (both[0] * both[1]).sum(1).min() > 0.999 and (tmp_path / clip_model.WEIGHTS).stat().st_size < 4.5e6
    both = [embed_texts(m, words, ["a face", "a red car"]) for m in (model, again)]
    assert (both[0] * both[1]).sum(1).min() > 0.999
    assert token_maps(again, design.token_layer, scenes.images[:3]).shape[2:] == (4, 4)
    with pytest.raises(DataError, match="holds no CLIP"):
        load_clip(tmp_path / "nowhere")


def test_the_card(made, monkeypatch):
    import json

    name, result = made
    card = write_card(name, result, "1 CPU thread")
    assert json.loads((result.folder / "card.json").read_text())["name"] == name
    assert card["steps"] == 30 and card["below_floor"] == result.below and card["licence"] == "BSD-3-Clause"
    text = (result.folder / "CARD.md").read_text()
    assert f"| zero shot | {result.scores['zero_shot']:.3f} | 0.970 |" in text and "30 steps" in text
    assert (result.folder / "log.csv").read_text().startswith("step,loss")


def test_make_refuses_a_name_of_another_page(tmp_path):
    with pytest.raises(DataError, match="'pocket-net' is no CLIP"):
        make("pocket-net", tmp_path, tmp_path)
    with pytest.raises(DataError, match="'pocket' is unknown"):
        make("pocket", tmp_path, tmp_path)


def test_the_sentence_encoder_is_the_text_tower(tmp_path, made):
    """Its end state times the projection is open_clip's own embedding, and the folder loads in transformers."""
    from transformers import AutoModel

    _, result = made
    clip, words = load_clip(result.folder)
    tower = write_encoder(clip, words, tmp_path)
    texts = ["a smiling face", "at the top left there is a red car"]
    with torch.no_grad():
        projected = tower(input_ids=encode(words, texts)).pooler_output @ clip.text_projection
        assert torch.allclose(projected, clip.encode_text(encode(words, texts)), atol=5e-3)
    loaded = AutoModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    torch.testing.assert_close(embed_sentences(loaded, words, texts), embed_sentences(tower, words, texts))


# -------------------------------------------------------------------------------------------------------------- scores


class Oracle(torch.nn.Module):
    """A model whose text embedding is a hash of the words; images are given as texts."""

    def encode_text(self, tokens, normalize=True):
        rows = [
            torch.randn(64, generator=torch.Generator().manual_seed(hash(tuple(row)) % 2**31))
            for row in tokens.tolist()
        ]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1)

    def __init__(self):
        super().__init__()
        self.logit_scale = torch.nn.Parameter(torch.tensor(3.0))


def test_retrieval_counts_equal_sentences_and_ranks():
    texts = torch.eye(4)
    assert retrieval(texts, texts, list("abcd"), 1) == 1.0
    swapped = texts[[1, 0, 2, 3]]
    assert retrieval(swapped, texts, list("abcd"), 1) == 0.5 and retrieval(swapped, texts, list("aacd"), 1) == 1.0
    assert retrieval(swapped + 0.5 * texts, texts, list("abcd"), 2) == 1.0
    with pytest.raises(DataError, match="3 images, 4 texts"):
        retrieval(texts[:3], texts, list("abcd"), 1)


def test_sentences_of_one_scene_state_the_same_facts():
    """Two wordings with other sentence forms, one list of facts; another scene has another."""
    plans = [plan_scene(500_000 + i, ["tool"]) for i in range(20)]
    at = STYLES.index("list")
    for plan in plans:
        told = {captions(plan, seed, wording="train")[at] for seed in range(10)}
        assert len(told) == 1
        assert len({captions(plan, seed, wording="test")[STYLES.index("full")] for seed in range(10)}) > 1
    assert len({captions(plan)[at] for plan in plans}) > 15


def test_a_planted_understanding_is_found_and_a_blind_one_is_not(scenes, tokenizer):
    """Images embedded at the sentence of their own attribute are right; at that of another value, wrong."""
    oracle = Oracle()
    rows = [i for i in np.flatnonzero(scenes.is_single) if names(scenes.things[i][0], "expression")]
    things = [(i, scenes.things[i][0]) for i in rows]
    seen = sorted({thing.attributes["expression"] for _, thing in things})
    images = torch.zeros(len(scenes), 64)
    for i, thing in things:
        images[i] = embed_texts(oracle, tokenizer, [thing.phrase])[0]
    assert choose_attribute(oracle, tokenizer, images, things, "expression").all()
    for i, thing in things:
        other = next(value for value in seen if value != thing.attributes["expression"])
        images[i] = embed_texts(oracle, tokenizer, swaps(thing, "expression", [other]))[0]
    assert not choose_attribute(oracle, tokenizer, images, things, "expression").any()


def test_zero_shot_finds_the_category_of_every_kind(tokenizer):
    """An image embedded where the sentences of a kind lie is of its category, and of no other."""
    oracle = Oracle()
    asked = [(c, kind) for c in CATEGORIES for kind in PROMPTS[c]]
    sentences = [frame.format(kind) for _, kind in asked for frame in FRAMES]
    images = embed_texts(oracle, tokenizer, sentences).view(len(asked), len(FRAMES), -1).mean(1)
    images = torch.nn.functional.normalize(images, dim=1)
    assert zero_shot(oracle, tokenizer, images, [c for c, _ in asked]).all()
    others = [CATEGORIES[(CATEGORIES.index(c) + 1) % len(CATEGORIES)] for c, _ in asked]
    assert not zero_shot(oracle, tokenizer, images, others).any()


def test_a_category_is_the_mean_of_its_kinds(tokenizer):
    """Against a slow loop over p(c) ~ mean_k exp(s cos), on random images."""
    oracle = Oracle()
    images = torch.nn.functional.normalize(torch.randn(20, 64, generator=torch.Generator().manual_seed(5)), dim=1)
    for image in images:
        evidence = {}
        for c in CATEGORIES:
            terms = []
            for kind in PROMPTS[c]:
                v = sum(embed_texts(oracle, tokenizer, [frame.format(kind)])[0] for frame in FRAMES)
                terms.append(np.exp(np.exp(3.0) * float(image @ v / v.norm())))
            evidence[c] = np.mean(terms)
        best = max(evidence, key=evidence.get)
        assert zero_shot(oracle, tokenizer, image[None], [best]).all()


def test_every_kind_that_scenes_show_has_a_prompt(scenes):
    shown = {(thing.category, thing.attributes["kind"]) for things in scenes.things for thing in things}
    assert len({category for category, _ in shown}) == len(CATEGORIES)
    for category, kind in shown:
        assert any(kind in prompt.split() for prompt in PROMPTS[category]), f"no prompt for {kind}"


def test_the_probe_finds_a_planted_position_and_none_in_noise():
    rng = np.random.default_rng(0)
    centres, half = rng.uniform(0.2, 0.8, (300, 2)), rng.uniform(0.05, 0.15, (300, 2))
    boxes = np.stack([*(centres - half).T, *(centres + half).T], 1)
    mixing = rng.standard_normal((2, 48))
    maps = torch.from_numpy((centres @ mixing + 0.01 * rng.standard_normal((300, 48))).reshape(300, 3, 4, 4))
    assert probe_position(maps, boxes, np.random.default_rng(1)) > 0.95
    assert probe_position(maps[rng.permutation(300)], boxes, np.random.default_rng(1)) < 0.1


def test_an_untrained_network_scores_at_chance(scenes, tokenizer):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(DESIGNS["pocket-clip"], tokenizer).eval()
    scores = score_clip(model, tokenizer, scenes, "layer3", np.random.default_rng(0))
    assert scores["zero_shot"] < 0.4 and scores["retrieval_1"] < 0.1 and scores["expression"] < 0.6
    assert scores["n_zero_shot"] == scenes.is_single.sum() and scores["n_retrieval"] == len(scenes)
