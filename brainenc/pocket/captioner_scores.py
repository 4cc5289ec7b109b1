"""How often a captioner names what a scene shows and its colours, from embeddings of images and of texts.

A thing counts as named when one of its **content nouns** is in the caption: the noun of its kind ("hammer", "pizza",
"bus", "beach"); for a written word any of "word", "sign", "letters", "text"; for a face or a whole person any noun
for a person, since woman and man differ by little more than the length of the hair here: that is ``who``, scored apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from brainenc.pocket.scenes_cache import FIRST_SEED
from brainenc.world.scene_captions import STYLES, Wording, captions
from brainenc.world.scenes import CATEGORIES, Thing, paint_scene, plan_scene

if TYPE_CHECKING:
    from brainenc.pocket.captioner import Captioner

FLOORS = {
    f"{kind}_{score}": floor
    for kind in ("image", "text")
    for score, floor in (("single_noun", 0.92), ("pair_noun", 0.75), ("single_colour", 0.85))
}
PERSON = frozenset({"man", "woman", "person", "face", "portrait"})
NOUNS = {
    ("face", "face"): PERSON,
    ("body", "person"): PERSON | {"body"},
    ("place", "room"): frozenset({"room", "kitchen"}),
    ("place", "street"): frozenset({"street", "city"}),
    ("place", "house"): frozenset({"house", "building"}),
}
WRITTEN = frozenset({"word", "sign", "letters", "text"})
PAIRS = tuple((first, second) for i, first in enumerate(CATEGORIES) for second in CATEGORIES[i + 1 :])


def words_of(caption: str) -> set[str]:
    """Lower-case words of a caption."""
    return set(re.findall(r"[a-z]+", caption.lower()))


def content_nouns(thing: Thing) -> frozenset[str]:
    """Nouns of which one must be in a caption of this thing; see the page's head."""
    if thing.category == "word":
        return WRITTEN
    kind = thing.attributes["kind"]
    return NOUNS.get((thing.category, kind), frozenset({kind}))


def colour_said(thing: Thing) -> str | None:
    """The colour that the thing's own phrase names, or none."""
    colour = thing.attributes.get("colour")
    return colour if colour in words_of(thing.phrase) else None


def score_captions(written: Sequence[str], things: Sequence[Sequence[Thing]]) -> dict[str, float]:
    """Shares of right words in captions of scenes, given the things of each.

    Returns
    -------
    dict of str -> float
        ``noun``: share of scenes with every thing named; ``noun_<category>``: share of things named; ``colour``: share
        of things whose colour word is in the caption, where their phrase has one; ``who``: woman or man right, where
        the thing has one. What no scene can show is left out.
    """
    named: dict[str, list[bool]] = {"noun": [], "colour": [], "who": []}
    for caption, scene in zip(written, things, strict=True):
        words = words_of(caption)
        each = [bool(words & content_nouns(thing)) for thing in scene]
        named["noun"].append(all(each))
        for thing, is_named in zip(scene, each, strict=True):
            named.setdefault(f"noun_{thing.category}", []).append(is_named)
            colour = colour_said(thing)
            if colour is not None:
                named["colour"].append(colour in words)
            if "who" in thing.attributes:
                named["who"].append(thing.attributes["who"] in words)
    return {name: float(np.mean(values)) for name, values in named.items() if values}


def captioner_scores(
    captioner: Captioner, clip: Any, n_per_category: int = 100, n_pairs: int = 420
) -> dict[str, float]:
    """All floors of the captioner on held-out scenes.

    Parameters
    ----------
    captioner : Captioner
    clip : open_clip model
        That it was trained on.
    n_per_category, n_pairs : int
        Scenes with one content per category, and with two in all.

    Returns
    -------
    dict of str -> float
        Those of `score_captions`, as ``<embedding>_<scenes>_<score>``: embeddings of the ``image``, of the full caption
        as ``text``, of the same in a sentence form that no training caption has as ``paraphrase``; ``single`` or
        ``pair`` scenes.
    """
    from brainenc.pocket.clip_model import embed_images, embed_texts

    scores: dict[str, float] = {}
    sets: dict[str, list[tuple[int, tuple[str, ...]]]] = {
        "single": [(seed, (name,)) for name in CATEGORIES for seed in range(n_per_category)],
        "pair": [(i, PAIRS[i % len(PAIRS)]) for i in range(n_pairs)],
    }
    for name, wanted in sets.items():
        plans = [plan_scene(FIRST_SEED["test"] + seed, shown) for seed, shown in wanted]
        scenes = [paint_scene(plan, 64) for plan in plans]
        given = {"image": embed_images(clip, np.stack([scene.image for scene in scenes]))}
        wordings: dict[str, Wording] = {"text": "train", "paraphrase": "test"}
        for kind, wording in wordings.items():
            said = [captions(plan, wording=wording)[STYLES.index("full")] for plan in plans]
            given[kind] = embed_texts(clip, captioner.tokenizer, said)
        for kind, embeddings in given.items():
            written = captioner.caption(embeddings, "image" if kind == "image" else "text")
            came = score_captions(written, [scene.things for scene in scenes])
            scores |= {f"{kind}_{name}_{score}": value for score, value in came.items()}
    return scores
