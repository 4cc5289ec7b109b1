"""How often a captioner names what a scene shows and its colours, from embeddings of images and of texts.

A thing counts as named when one of its **content nouns** is in the caption: the noun of its kind ("hammer", "pizza",
"bus", "beach"); for a written word any of "word", "sign", "letters", "text"; for a face or a whole person any noun for a
person, since woman and man differ by little more than the length of the hair here: that is scored apart, as ``who``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from brainenc.pocket.net_scores import held_out_scenes, single_content_scenes
from brainenc.world.scenes import CATEGORIES, Scene, Thing

if TYPE_CHECKING:
    import torch

    from brainenc.pocket.captioner import Captioner

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


def score_captions(captions: Sequence[str], scenes: Sequence[Scene]) -> dict[str, float]:
    """Shares of right words in captions of scenes.

    Returns
    -------
    dict of str -> float
        ``noun``: share of scenes with every thing named; ``noun_<category>``: share of things named; ``colour``: share of
        things whose colour word is in the caption, where their phrase has one; ``who``: woman or man right, where
        the thing has one. What no scene can show is left out.
    """
    named: dict[str, list[bool]] = {"noun": [], "colour": [], "who": []}
    for caption, scene in zip(captions, scenes, strict=True):
        words = words_of(caption)
        each = [bool(words & content_nouns(thing)) for thing in scene.things]
        named["noun"].append(all(each))
        for thing, is_named in zip(scene.things, each, strict=True):
            named.setdefault(f"noun_{thing.category}", []).append(is_named)
            colour = colour_said(thing)
            if colour is not None:
                named["colour"].append(colour in words)
            if "who" in thing.attributes:
                named["who"].append(thing.attributes["who"] in words)
    return {name: float(np.mean(values)) for name, values in named.items() if values}


def embed_images(clip: Any, preprocess: Any, images: Sequence[np.ndarray], n_per_batch: int = 250) -> torch.Tensor:
    """Unit embeddings (n_images, width) of images (size, size, 3) of uint8, by open_clip's own preprocessing."""
    import torch
    from PIL import Image

    parts = []
    with torch.no_grad():
        for start in range(0, len(images), n_per_batch):
            batch = [preprocess(Image.fromarray(image)) for image in images[start : start + n_per_batch]]
            parts.append(torch.nn.functional.normalize(clip.encode_image(torch.stack(batch)).float(), dim=-1))
    return torch.cat(parts)


def embed_texts(clip: Any, tokenizer: Any, texts: Sequence[str], n_per_batch: int = 500) -> torch.Tensor:
    """Unit embeddings (n_texts, width) of texts; ``tokenizer`` is open_clip's."""
    import torch

    with torch.no_grad():
        parts = [
            clip.encode_text(tokenizer(list(texts[start : start + n_per_batch]))).float()
            for start in range(0, len(texts), n_per_batch)
        ]
    return torch.nn.functional.normalize(torch.cat(parts), dim=-1)


def pair_scenes(n_scenes: int, size: int = 64) -> list[Scene]:
    """Held-out scenes with two categories each, every pair in turn."""
    per_pair = -(-n_scenes // len(PAIRS))
    scenes = [scene for pair in PAIRS for scene in held_out_scenes(per_pair, pair, size)]
    return [scenes[i] for i in np.linspace(0, len(scenes) - 1, n_scenes).astype(int)]


def captioner_scores(
    captioner: Captioner, clip: Any, preprocess: Any, tokenizer: Any, n_per_category: int = 100, n_pairs: int = 420
) -> dict[str, float]:
    """All floors of the captioner on held-out scenes.

    Parameters
    ----------
    captioner : Captioner
    clip, preprocess, tokenizer
        The open_clip model that it was trained on, its image preprocessing, its tokenizer.
    n_per_category, n_pairs : int
        Scenes with one content per category, and with two in all.

    Returns
    -------
    dict of str -> float
        Those of `score_captions` for ``image_single``, ``image_pair``, ``text_single``, ``text_pair``, as
        ``<kind of embedding>_<scenes>_<score>``. The texts are the scenes' full captions.
    """
    scores = {}
    for name, scenes in (("single", single_content_scenes(n_per_category)), ("pair", pair_scenes(n_pairs))):
        embeddings = {
            "image": embed_images(clip, preprocess, [scene.image for scene in scenes]),
            "text": embed_texts(clip, tokenizer, [scene.captions[0] for scene in scenes]),
        }
        for modality, given in embeddings.items():
            came = score_captions(captioner.caption(given, modality), scenes)
            scores |= {f"{modality}_{name}_{score}": value for score, value in came.items()}
    return scores
