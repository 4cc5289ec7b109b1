"""Sentences that ask for one attribute of a thing, and sentences that differ in one attribute.

``say(thing, "expression")`` -> "a smiling face"; ``swaps(thing, "colour", ("red", "blue"))`` for a red car ->
["a red car", "a blue car"]. The first makes training batches in which one attribute decides; the second makes the
answers among which a network has to choose.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from brainenc.core.types import DataError
from brainenc.world.scene_colours import with_article
from brainenc.world.scenes import Thing

# {v} the value, {a} the value with its article
TEMPLATES: dict[tuple[str, str], str] = {
    ("face", "expression"): "{a} face",
    ("face", "who"): "the face of {a}",
    ("body", "kind"): "{a}",
    ("body", "action"): "{a} person",
    ("body", "who"): "the body of {a}",
    ("place", "kind"): "a view: {v}",
    ("word", "word"): "the word {v}",
    ("word", "colour"): "a word in {v} letters",
    ("food", "kind"): "{v}",
    ("tool", "kind"): "{a}",
    ("tool", "colour"): "{a} tool",
    ("vehicle", "kind"): "{a}",
    ("vehicle", "colour"): "{a} vehicle",
}


def say(thing: Thing, attribute: str) -> str | None:
    """A sentence about one attribute of a thing; None where it has no such attribute or there is no sentence for it."""
    template, value = TEMPLATES.get((thing.category, attribute)), thing.attributes.get(attribute)
    if template is None or value is None:
        return None
    return template.format(v=value, a=with_article(value))


def swaps(thing: Thing, attribute: str, values: Sequence[str]) -> list[str]:
    """The phrase of a thing with each of ``values`` in place of its own; articles agree.

    Raises
    ------
    DataError
        If the phrase does not name the attribute.
    """
    own = thing.attributes.get(attribute, "")
    found = list(re.finditer(rf"(\ban? )?\b{re.escape(own)}\b", thing.phrase)) if own else []
    if not found:
        raise DataError(f"The phrase {thing.phrase!r} does not name its {attribute}: ask for another attribute.")
    start, end = found[-1].span()
    has_article = found[-1].group(1) is not None
    said = [with_article(value) if has_article else value for value in values]
    return [thing.phrase[:start] + words + thing.phrase[end:] for words in said]


def names(thing: Thing, attribute: str) -> bool:
    """Whether the phrase of a thing names the attribute."""
    value = thing.attributes.get(attribute)
    return value is not None and re.search(rf"\b{re.escape(value)}\b", thing.phrase) is not None
