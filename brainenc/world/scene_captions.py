"""Captions of a scene in several styles and two wordings.

``captions(plan)`` says one scene in every style of ``STYLES``. The wording ``train`` is for training networks, ``test``
for judging them: its templates and orders never occur in ``train``, while nouns, colours, attributes and function words
are shared. So a score on ``test`` captions measures the understanding of known words in new sentences.

====================  ===========================================  ==================================================
style                 train, for instance                          test, for instance
====================  ===========================================  ==================================================
full                  a red car on a blue texture                  on a blue texture there is a red car
things                a red car                                    an image of a red car
short                 a vehicle                                    this is a vehicle
attributes            red car, blue texture                        blue texture behind red car
list                  shown: red car. background: blue texture     background: blue texture. shown: red car
sentence              this image shows a red car on a blue texture an image with a blue texture and a red car
placed                a red car at the top left                    at the top left there is a red car
category              a picture of a vehicle                       an image of a vehicle
====================  ===========================================  ==================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from brainenc.core.types import DataError
from brainenc.world.scene_colours import pick, with_article
from brainenc.world.scene_places import ambience, preposition

if TYPE_CHECKING:
    from brainenc.world.scene_plan import Layer, ScenePlan

STYLES = ("full", "things", "short", "attributes", "list", "sentence", "placed", "category")
NAMES = {
    "face": ("face", "faces"),
    "body": ("body", "bodies"),
    "place": ("place", "places"),
    "word": ("word", "words"),
    "food": ("food", "food"),
    "tool": ("tool", "tools"),
    "vehicle": ("vehicle", "vehicles"),
}
COUNTS = ("no", "one", "two", "three", "four", "five", "six")
Wording = Literal["train", "test"]

_STREAMS = {"train": 101, "test": 102}
# {T} things, {B} backdrop or place with its light, {P} the place alone, {on} its preposition.
_ON_BACKDROP = {
    "train": {
        "full": ("{T} {on} {B}", "{T} {on} {B}", "{T}, with {B} behind", "{B} with {T}"),
        "attributes": ("{T}, {B}",),
        "list": ("shown: {T}. background: {B}",),
        "sentence": ("there is {T} {on} {B}", "a picture of {T} {on} {B}", "this image shows {T} {on} {B}"),
    },
    "test": {
        "full": ("{on} {B} there is {T}", "behind {T} is {B}", "{on} {B}: {T}"),
        "attributes": ("{B} behind {T}",),
        "list": ("background: {B}. shown: {T}",),
        "sentence": ("an image with {B} and {T}", "this picture shows {B} behind {T}"),
    },
}
_ALONE = {
    "train": {
        "full": ("{T}", "{T}", "a view of {T}"),
        "things": ("{T}",),
        "short": ("{T}", "{T}", "a photo of {T}"),
        "attributes": ("{T}, alone",),
        "list": ("shown: {T}",),
        "sentence": ("there is {T}", "a picture of {T}", "this image shows {T}"),
        "category": ("{T}", "a picture of {T}", "this image shows {T}", "a photo of {T}"),
    },
    "test": {
        "full": ("an image of {T} alone", "alone there is {T}"),
        "things": ("an image of {T}", "this is {T}"),
        "short": ("this is {T}", "an image of {T}"),
        "attributes": ("alone: {T}",),
        "list": ("background: {T}",),
        "sentence": ("this is a view of {T}", "this picture shows {T}"),
        "category": ("an image of {T}", "this is {T}", "this picture shows {T}"),
    },
}


def captions(plan: ScenePlan, seed: int | None = None, wording: Wording = "train") -> tuple[str, ...]:
    """One caption per style of ``STYLES``.

    Parameters
    ----------
    plan : ScenePlan
    seed : int, optional
        Chooses among the templates of a style; by default the seed of the scene.
    wording : "train" or "test"
        Two sets of templates that share words but no sentence form.

    Returns
    -------
    tuple of str, length ``len(STYLES)``

    Raises
    ------
    DataError
        For another wording.
    """
    if wording not in _STREAMS:
        raise DataError(f"Wording {wording!r} came, 'train' or 'test' was wanted: choose one of the two.")
    rng = np.random.default_rng([plan.seed if seed is None else seed, _STREAMS[wording]])
    said = {
        "full": _with_background(rng, plan, "full", wording),
        "things": _alone(rng, "things", wording, _things(plan) or _nothing_or_place(plan)),
        "short": _alone(rng, "short", wording, _shorts(plan)),
        "attributes": _with_background(rng, plan, "attributes", wording),
        "list": _with_background(rng, plan, "list", wording),
        "sentence": _with_background(rng, plan, "sentence", wording),
        "placed": _placed(rng, plan, wording),
        "category": _alone(rng, "category", wording, name_categories(plan)),
    }
    return tuple(said[style] for style in STYLES)


def three_captions(rng: np.random.Generator, plan: ScenePlan) -> tuple[str, str, str]:
    """Everything with the backdrop; the things; a short version."""
    link = pick(rng, (" and ", " next to ")) if len(plan.layers) == 2 else " and "
    things = enumerate_phrases([layer.sketch.phrase for layer in plan.layers], link)
    short = enumerate_phrases([layer.sketch.short for layer in plan.layers])
    if plan.place is None:
        backdrop = plan.backdrop[1]
        if not things:
            return f"nothing but {backdrop}", backdrop, "nothing"
        return f"{things} on {backdrop}", things, short
    place, light = plan.place, ambience(plan.place)
    if not things:
        opening = pick(rng, ("a view of ", "a picture of ", ""))
        return f"{opening}{place.phrase} {light}", place.phrase, place.short
    main = f"{things} {preposition(place)} {place.phrase}"
    return f"{main} {light}", main, f"{short} and {place.short}"


def name_categories(plan: ScenePlan) -> str:
    """The categories shown, counted: ``"a face"``, ``"two tools and a place"``, ``"food"``."""
    shown = [layer.category for layer in plan.layers] + ([] if plan.place is None else ["place"])
    phrases = []
    for category in dict.fromkeys(shown):
        one, several = NAMES[category]
        n = shown.count(category)
        if category == "food":
            phrases.append(one)
        else:
            phrases.append(with_article(one) if n == 1 else f"{COUNTS[n]} {several}")
    return enumerate_phrases(phrases) or "nothing"


def enumerate_phrases(phrases: Sequence[str], link: str = " and ") -> str:
    """``[a, b, c] -> "a, b and c"``."""
    if len(phrases) < 2:
        return "".join(phrases)
    return ", ".join(phrases[:-1]) + link + phrases[-1]


def spot(layer: Layer) -> str:
    """Where the middle of a thing is, in words: ``"at the top left"``, ``"in the middle"``."""
    x, y = layer.centre
    column = "left" if x < 0.4 else "right" if x > 0.6 else ""
    row = "top" if y < 0.4 else "bottom" if y > 0.6 else ""
    words = f"{row} {column}".strip()
    return f"at the {words}" if words else "in the middle"


def _things(plan: ScenePlan) -> str:
    return enumerate_phrases([layer.sketch.phrase for layer in plan.layers])


def _shorts(plan: ScenePlan) -> str:
    shorts = [layer.sketch.short for layer in plan.layers]
    return enumerate_phrases(shorts + ([] if plan.place is None else [plan.place.short])) or "nothing"


def _nothing_or_place(plan: ScenePlan) -> str:
    return "nothing" if plan.place is None else plan.place.phrase


def _bare(phrase: str) -> str:
    """A phrase without its article: ``"a red car" -> "red car"``."""
    for article in ("a ", "an ", "the "):
        if phrase.startswith(article):
            return phrase[len(article) :]
    return phrase


def _with_background(rng: np.random.Generator, plan: ScenePlan, style: str, wording: Wording) -> str:
    is_bare = style in ("attributes", "list")
    place = plan.place
    backdrop = plan.backdrop[1] if place is None else f"{place.phrase} {ambience(place)}"
    if place is not None and not plan.layers:
        return _alone(rng, style, wording, _bare(backdrop) if is_bare else backdrop)
    phrases = [layer.sketch.phrase for layer in plan.layers] or ["nothing"]
    things = ", ".join(map(_bare, phrases)) if is_bare else enumerate_phrases(phrases)
    on = "on" if place is None else preposition(place)
    template = pick(rng, _ON_BACKDROP[wording][style])
    return template.format(T=things, B=_bare(backdrop) if is_bare else backdrop, on=on)


def _alone(rng: np.random.Generator, style: str, wording: Wording, words: str) -> str:
    return pick(rng, _ALONE[wording][style]).format(T=words)


def _placed(rng: np.random.Generator, plan: ScenePlan, wording: Wording) -> str:
    around = "" if plan.place is None else plan.place.phrase
    if not plan.layers:
        around = around or plan.backdrop[1]
        return f"{around} all around" if wording == "train" else f"all around is {around}"
    pairs = [(layer.sketch.phrase, spot(layer)) for layer in plan.layers]
    if wording == "train":
        order = pick(rng, ("{0} {1}", "{0} {1}", "{1}: {0}"))
        said = enumerate_phrases([order.format(*pair) for pair in pairs])
        return f"{said}, {around} all around" if around else said
    said = enumerate_phrases([f"{where} there is {what}" for what, where in pairs])
    return f"all around is {around} and {said}" if around else said
