"""What the pages that train pocket networks share: where other pocket networks lie, and shorter courses."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from brainenc.nn.recipe import Recipe
from brainenc.pocket import folder


def find_network(name: str, out: Path) -> Path:
    """Folder of a pocket network that a training needs: the one made in ``out`` before, else the shipped one.

    Raises
    ------
    DataError
        It is in neither place.
    """
    return out / name if (out / name / "card.json").is_file() else folder(name)


def shorten(course: Recipe, steps: int | None) -> Recipe:
    """The course with other steps and a warm-up that fits them; None leaves it as it is."""
    if steps is None:
        return course
    return replace(course, steps=steps, warmup=min(course.warmup, max(1, steps // 10)))


def facts_of(recipe: Any, *without: str) -> dict[str, Any]:
    """Fields of a recipe that must be the same when a training goes on; the loop looks after the course itself."""
    return {name: value for name, value in asdict(recipe).items() if name not in ("course", *without)}
