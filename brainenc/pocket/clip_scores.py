"""How well a pocket CLIP understands scenes that it has never seen, in sentences that it has never read.

=====================  ================================================================================================
zero_shot              right category among seven, by prompts for its kinds, on scenes with exactly one thing
retrieval_1, _5        the scene's own caption (wording "test") among the first 1, 5 of 1,000; captions that state the
                       same facts in other forms count
colour                 right colour among all of the category, everything else in the sentence being true
expression             right expression among five, everything else in the sentence being true
position               r2 of a ridge from the tokens to the centre of the thing, mean over x and y, held-out scenes
=====================  ================================================================================================

Sources: Radford et al. 2021 (prompts, ensembles), arXiv:2103.00020; Novack et al. 2023 (a class by its subclasses),
arXiv:2302.02551.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainenc.core.types import DataError
from brainenc.pocket.clip_model import embed_images, embed_texts, token_maps
from brainenc.pocket.scenes_cache import ScenesCache
from brainenc.pocket.wordings import names, swaps
from brainenc.world.scenes import CATEGORIES, Thing

FLOORS = {"zero_shot": 0.97, "retrieval_1": 0.80, "colour": 0.85, "expression": 0.50}
PROMPTS: dict[str, tuple[str, ...]] = {
    "face": ("a face", "the face of a woman", "the face of a man"),
    "body": ("a person", "a woman", "a man", "an arm", "a leg", "a hand"),
    "place": ("a house", "a street", "a room", "mountains", "a forest", "a road", "a field", "a beach"),
    "word": ("a word", "letters", "a sign"),
    "food": (
        "salad", "pasta", "an egg", "an apple", "a banana", "an orange", "a burger", "pizza", "cake", "a strawberry",
        "soup", "a watermelon", "rice",
    ),
    "tool": ("a hammer", "scissors", "a screwdriver", "a wrench", "a paintbrush", "a saw"),
    "vehicle": ("a car", "a truck", "a bus", "a bicycle", "a boat", "a plane"),
}  # fmt: skip
FRAMES = ("{}", "an image of {}", "this is {}")
N_RETRIEVED = 1_000


def score_clip(
    model: nn.Module, tokenizer: Any, scenes: ScenesCache, token_layer: str, rng: np.random.Generator
) -> dict[str, float]:
    """All scores of this page's head, and the number of scenes behind each (``n_<score>``)."""
    images = embed_images(model, scenes.images)
    single = np.flatnonzero(scenes.is_single)
    scores: dict[str, float] = {}
    right = zero_shot(model, tokenizer, images[single], scenes.main[single])
    scores["zero_shot"], scores["n_zero_shot"] = float(right.mean()), len(single)
    first = min(N_RETRIEVED, len(scenes))
    texts = [styles[scenes.styles.index("full")] for styles in scenes.test_captions[:first]]
    embedded = embed_texts(model, tokenizer, texts)
    for k in (1, 5):
        scores[f"retrieval_{k}"] = retrieval(images[:first], embedded, facts_of(scenes)[:first], k)
    scores["n_retrieval"] = first
    for attribute in ("colour", "expression"):
        things = [(int(i), scenes.things[i][0]) for i in single if names(scenes.things[i][0], attribute)]
        things = [(i, thing) for i, thing in things if thing.category != "place"]
        chosen = choose_attribute(model, tokenizer, images, things, attribute)
        scores[attribute], scores[f"n_{attribute}"] = float(chosen.mean()) if len(chosen) else np.nan, len(chosen)
    placed = np.array([i for i in single if scenes.things[i][0].category != "place"])
    maps = token_maps(model, token_layer, scenes.images[placed])
    boxes = np.array([scenes.things[i][0].box for i in placed])
    scores["position"], scores["n_position"] = probe_position(maps, boxes, rng), len(placed)
    return scores


def quick_scores(model: nn.Module, tokenizer: Any, scenes: ScenesCache) -> dict[str, float]:
    """Zero-shot, retrieval among these scenes and expression: what is looked at during training."""
    images = embed_images(model, scenes.images)
    single = np.flatnonzero(scenes.is_single)
    texts = [styles[scenes.styles.index("full")] for styles in scenes.test_captions]
    faces = [(int(i), scenes.things[i][0]) for i in single if names(scenes.things[i][0], "expression")]
    chosen = choose_attribute(model, tokenizer, images, faces, "expression")
    return {
        "zero_shot": float(zero_shot(model, tokenizer, images[single], scenes.main[single]).mean()),
        "retrieval_1": retrieval(images, embed_texts(model, tokenizer, texts), facts_of(scenes), 1),
        "expression": float(chosen.mean()) if len(chosen) else float("nan"),
    }


def zero_shot(model: nn.Module, tokenizer: Any, images: Tensor, categories: Sequence[str] | np.ndarray) -> np.ndarray:
    """Whether the most probable category is the true one, (n,) of bool.

    A category is as probable as its kinds are on average: ``p(c) ~ mean_k exp(s u . v_ck)``, s the model's own scale,
    v_ck the unit mean of a kind's prompts.

    Parameters
    ----------
    images : Tensor (n, width)
        Unit embeddings u.
    categories : sequence of n str
    """
    scale = torch.as_tensor(model.logit_scale).detach().float().exp().cpu()
    evidence = []
    for category in CATEGORIES:
        framed = [frame.format(words) for words in PROMPTS[category] for frame in FRAMES]
        kinds = embed_texts(model, tokenizer, framed).view(len(PROMPTS[category]), len(FRAMES), -1).mean(1)
        kinds = torch.nn.functional.normalize(kinds, dim=1)
        evidence.append(torch.logsumexp(scale * images @ kinds.T, 1) - math.log(len(kinds)))
    found = torch.stack(evidence, 1).argmax(1).tolist()
    return np.array([CATEGORIES[best] == category for best, category in zip(found, categories, strict=True)])


def facts_of(scenes: ScenesCache) -> list[str]:
    """What the full captions state, in one form whatever the sentence: things and background."""
    return [styles[scenes.styles.index("list")] for styles in scenes.captions]


def retrieval(images: Tensor, texts: Tensor, sentences: Sequence[str], k: int) -> float:
    """Share of images (n, width) among whose ``k`` nearest texts (n, width) is one that states what their own does.

    ``sentences`` are n statements; texts whose statements are equal stand for each other.

    Raises
    ------
    DataError
        Other numbers of images, texts and sentences.
    """
    if not len(images) == len(texts) == len(sentences):
        came = f"{len(images)} images, {len(texts)} texts and {len(sentences)} sentences"
        raise DataError(f"Retrieval: {came} came, equal numbers were wanted: give one text to each image.")
    nearest = (images @ texts.T).topk(min(k, len(texts)), dim=1).indices.tolist()
    hits = [any(sentences[j] == sentences[i] for j in found) for i, found in enumerate(nearest)]
    return float(np.mean(hits))


def choose_attribute(
    model: nn.Module, tokenizer: Any, images: Tensor, things: Sequence[tuple[int, Thing]], attribute: str
) -> np.ndarray:
    """Whether the true value wins over all values of the category in the thing's own sentence, (n_things,) of bool.

    Parameters
    ----------
    images : Tensor (n, width)
        Unit embeddings of all scenes.
    things : sequence of (scene, Thing)
        Each the only thing of its scene; its phrase names the attribute.
    attribute : str
    """
    values: dict[str, list[str]] = {}
    for _, thing in things:
        values.setdefault(thing.category, []).append(thing.attributes[attribute])
    values = {category: sorted(set(found)) for category, found in values.items()}
    asked = [swaps(thing, attribute, values[thing.category]) for _, thing in things]
    number = {sentence: i for i, sentence in enumerate(dict.fromkeys(s for sentences in asked for s in sentences))}
    if not number:
        return np.zeros(0, bool)
    framed = [frame.format(sentence) for sentence in number for frame in FRAMES]
    texts = embed_texts(model, tokenizer, framed).view(len(number), len(FRAMES), -1).mean(1)
    texts = torch.nn.functional.normalize(texts, dim=1)
    right = []
    for (scene, thing), sentences in zip(things, asked, strict=True):
        best = int((texts[[number[sentence] for sentence in sentences]] @ images[scene]).argmax())
        right.append(values[thing.category][best] == thing.attributes[attribute])
    return np.array(right, bool)


def probe_position(maps: Tensor, boxes: np.ndarray, rng: np.random.Generator) -> float:
    """Held-out r2 of the centres of boxes from token maps by a ridge, mean over x and y.

    Parameters
    ----------
    maps : Tensor (n, n_channels, rows, columns)
    boxes : ndarray (n, 4)
        x0, y0, x1, y1.
    rng : Generator
        Chooses the third that is held out.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    centres = np.stack([boxes[:, [0, 2]].mean(1), boxes[:, [1, 3]].mean(1)], 1)
    features = maps.flatten(1).numpy().astype(np.float64)
    order = rng.permutation(len(features))
    test, fit = np.split(order, [len(order) // 3])
    probe = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 6, 7)))
    predicted = probe.fit(features[fit], centres[fit]).predict(features[test])
    residual = ((centres[test] - predicted) ** 2).sum(0)
    return float((1 - residual / ((centres[test] - centres[test].mean(0)) ** 2).sum(0)).mean())
