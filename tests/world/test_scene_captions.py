"""Captions: every style says what is shown, and the test wording is new although all its words are known."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from brainenc.core.types import DataError
from brainenc.world import scene_captions
from brainenc.world.scene_captions import STYLES, captions, name_categories, spot
from brainenc.world.scene_colours import COLOURS
from brainenc.world.scenes import CATEGORIES, plan_scene

# Words that belong to sentences rather than to contents; everything else is masked.
SENTENCE_WORDS = """
there is this image picture photo view of shows shown background alone all around behind with and on in at the
top bottom left right middle nothing near front under
"""
FUNCTION = frozenset(SENTENCE_WORDS.split())


def plans(n: int = 3000):
    """Scenes of every kind: default contents, none, several, places with things, twins."""
    for seed in range(n):
        kind = seed % 5
        if kind < 2:
            yield plan_scene(seed)
        elif kind == 4 and seed % 2:
            yield plan_scene(seed, ["tool", "tool", "place"] if seed % 4 == 1 else ["face", "face"])
        else:
            yield plan_scene(seed, n_things=seed % 4)


def template(caption: str) -> str:
    """A caption without its contents, articles and punctuation: runs of content words become one underscore."""
    words = [word for word in re.findall(r"[a-z]+", caption.lower()) if word not in ("a", "an")]
    masked = " ".join(word if word in FUNCTION else "_" for word in words)
    return re.sub(r"_( _)+", "_", masked)


@pytest.fixture(scope="module")
def said() -> dict[str, list[tuple[str, ...]]]:
    return {wording: [captions(plan, wording=wording) for plan in plans()] for wording in ("train", "test")}


def shared_templates(first, second) -> set[str]:
    """The check: sentence forms that occur in both."""
    return {template(c) for row in first for c in row} & {template(c) for row in second for c in row}


def test_the_test_wording_has_no_sentence_form_of_training(said) -> None:
    assert shared_templates(said["train"], said["test"]) == set()
    assert len({template(c) for row in said["train"] for c in row}) > 50
    # The broken twin: training captions of other scenes share nearly all forms.
    half = len(said["train"]) // 2
    assert len(shared_templates(said["train"][:half], said["train"][half:])) > 30


def test_no_test_caption_was_said_in_training(said) -> None:
    train, test = ({c for row in said[wording] for c in row} for wording in ("train", "test"))
    assert train & test == set()
    three = set()
    for plan in plans(600):
        three |= set(scene_captions.three_captions(np.random.default_rng(plan.seed), plan))
    assert three & test == set(), "the three captions of a scene are training wording"
    assert three & train


def test_every_word_of_the_test_wording_is_known_from_training(said) -> None:
    train, test = ({w for row in said[k] for c in row for w in re.findall(r"[a-z]+", c)} for k in ("train", "test"))
    assert test <= train


def test_one_caption_per_style_and_seeds_choose_templates() -> None:
    plan = plan_scene(3, ["tool"])
    assert len(STYLES) >= 5
    for wording in ("train", "test"):
        made = {captions(plan, seed, wording) for seed in range(40)}
        assert all(len(row) == len(STYLES) for row in made) and len(made) > 5
        assert captions(plan, 4, wording) == captions(plan, 4, wording)
    assert captions(plan) == captions(plan, plan.seed)


def test_contents_are_said(said) -> None:
    for plan, train, test in zip(plans(), said["train"], said["test"], strict=True):
        for row in (train, test):
            by_style = dict(zip(STYLES, row, strict=True))
            for layer in plan.layers:
                assert layer.sketch.phrase in by_style["full"] and layer.sketch.phrase in by_style["things"]
                assert layer.sketch.short in by_style["short"] and spot(layer) in by_style["placed"]
                bare = layer.sketch.phrase.split(" ", 1)[1]
                assert bare in by_style["attributes"] and bare in by_style["list"]
            assert name_categories(plan) in by_style["category"]
            if plan.place is not None:
                assert plan.place.phrase in by_style["full"]
            else:
                assert plan.backdrop[1] in by_style["full"]


def test_no_braces_no_double_blanks_and_right_articles(said) -> None:
    for rows in said.values():
        for row in rows:
            for caption in row:
                assert "{" not in caption and "  " not in caption and caption == caption.strip()
                for article, letter in re.findall(r"\b(a|an) (\w)", caption):
                    assert (article == "an") == (letter in "aeiou"), caption


def test_positions_in_words() -> None:
    (layer,) = plan_scene(1, ["food"]).layers
    for centre, words in {
        (0.2, 0.2): "at the top left",
        (0.8, 0.5): "at the right",
        (0.5, 0.9): "at the bottom",
        (0.5, 0.5): "in the middle",
    }.items():
        assert spot(replace(layer, centre=centre)) == words


def test_counted_categories() -> None:
    assert name_categories(plan_scene(0, ["tool", "tool", "place"])) == "two tools and a place"
    assert name_categories(plan_scene(0, ["food"])) == "food"
    assert name_categories(plan_scene(0, [])) == "nothing"
    assert all(name_categories(plan_scene(0, [c])).split()[-1] == scene_captions.NAMES[c][0] for c in CATEGORIES)


def test_colours_occur_alike_in_both_wordings(said) -> None:
    for rows in said.values():
        text = " ".join(caption for row in rows for caption in row)
        assert all(f" {colour} " in text for colour in COLOURS)


def test_another_wording_is_refused() -> None:
    with pytest.raises(DataError, match="'new' came, 'train' or 'test' was wanted"):
        captions(plan_scene(0), wording="new")
