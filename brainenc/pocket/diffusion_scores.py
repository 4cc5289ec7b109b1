"""What a pocket image generator must show: prompted content, clean unprompted pictures, words, nothing by heart.

A **judge** is any function: images (n_images, size, size, 3) of uint8 -> probability of each category (n_images, 7),
columns as ``CATEGORIES``. It must be independent of the generator: pocket-net, or pocket-clip-b.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainenc.core.layout import atomic_path
from brainenc.pocket.net_scores import FIRST_TEST_SEED, Judge, held_out_scenes
from brainenc.world.scene_captions import Wording, captions
from brainenc.world.scenes import CATEGORIES, plan_scene

Verdict = Callable[[np.ndarray], np.ndarray]
FLOORS = {
    "autoencoder_db": 29.0,
    "prompted": 0.93,
    "prompted_worst": 0.80,
    "unprompted_clean": 0.60,
    "novel": 0.95,
    "images_per_second": 0.4,
}
SURE, UNSURE = 0.8, 0.5  # a clean picture: one category at least this probable, every other less than this


def prompts_of(category: str, n_prompts: int, wording: Wording = "train") -> list[str]:
    """Full captions of held-out scenes that show one thing of this category and nothing else."""
    plans = [plan_scene(FIRST_TEST_SEED + i, [category]) for i in range(n_prompts)]
    return [captions(plan, wording=wording)[0] for plan in plans]


def sample(
    generator: Any,
    prompts: Sequence[str],
    seed: int,
    n_steps: int = 25,
    guidance: float = 3.0,
    n_per_batch: int = 50,
) -> np.ndarray:
    """Draw a picture for each prompt (``""``: unprompted, without guidance): (n_prompts, size, size, 3) of uint8."""
    import torch

    parts = []
    for start in range(0, len(prompts), n_per_batch):
        some = list(prompts[start : start + n_per_batch])
        drawn = generator(
            some,
            num_inference_steps=n_steps,
            guidance_scale=guidance if any(some) else 1.0,
            generator=[torch.Generator().manual_seed(seed + start + i) for i in range(len(some))],
            output_type="np",
        ).images
        parts.append((np.asarray(drawn) * 255).round().astype(np.uint8))
    return np.concatenate(parts)


def seconds_per_image(generator: Any, n_steps: int = 25) -> float:
    """Wall-clock seconds of one prompted picture, the middle one of three after a first that does not count."""
    taken = []
    for seed in range(4):
        start = time.perf_counter()
        sample(generator, ["a face"], seed, n_steps)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:]))


def content_agreement(pictures: Mapping[str, np.ndarray], judge: Verdict) -> dict[str, float]:
    """Share of prompted pictures in which the judge finds their category most probable.

    Parameters
    ----------
    pictures : mapping of category -> (n_images, size, size, 3) of uint8
    judge : see the page's head

    Returns
    -------
    dict of str -> float
        ``prompted`` (over all pictures), ``prompted_worst``, and ``prompted_<category>``.
    """
    right = {name: judge(images).argmax(1) == CATEGORIES.index(name) for name, images in pictures.items()}
    shares = {f"prompted_{name}": float(each.mean()) for name, each in right.items()}
    return {
        "prompted": float(np.concatenate(list(right.values())).mean()),
        "prompted_worst": min(shares.values()),
        **shares,
    }


def clean_share(images: np.ndarray, judge: Verdict) -> float:
    """Share of pictures with one clean thing: one category at 0.8 or more, every other under 0.5."""
    ordered = np.sort(judge(images), axis=1)
    return float(((ordered[:, -1] >= SURE) & (ordered[:, -2] < UNSURE)).mean())


def read_share(read: Sequence[str], wanted: Sequence[str]) -> float:
    """Share of pictures in which what was read, such as a word, is what was asked for."""
    return float(np.mean([came == asked for came, asked in zip(read, wanted, strict=True)]))


def halved(images: np.ndarray) -> np.ndarray:
    """Averages of 2 x 2 pixels as rows, in 0..1: (n_images, size / 2 * size / 2 * 3) of float32."""
    array = np.asarray(images, np.float32) / 255
    n_images, size = len(array), array.shape[1] // 2
    means: np.ndarray = array.reshape(n_images, size, 2, size, 2, 3).mean(axis=(2, 4)).reshape(n_images, -1)
    return means


def nearest_distances(images: np.ndarray, others: Any, n_per_block: int = 4000, same: bool = False) -> np.ndarray:
    """Distance (root mean squared, in 0..1 of the grey scale) of each image to the nearest of ``others``.

    Parameters
    ----------
    images : ndarray (n_images, size, size, 3) of uint8
    others : array or data set on disk (n_others, size, size, 3) of uint8
    n_per_block : int
        Read at once.
    same : bool
        The images are the first ones of ``others``: each one's distance to itself is left out.
    """
    rows = halved(images)
    norms = (rows**2).sum(1)
    least = np.full(len(rows), np.inf)
    for start in range(0, len(others), n_per_block):
        block = halved(others[start : start + n_per_block])
        squares = norms[:, None] + (block**2).sum(1) - 2 * rows @ block.T
        if same:
            own = np.arange(len(rows)) - start
            inside = (own >= 0) & (own < len(block))
            squares[np.flatnonzero(inside), own[inside]] = np.inf
        least = np.minimum(least, squares.min(1))
    return np.asarray(np.sqrt(np.maximum(least, 0) / rows.shape[1]))


def novelty(images: np.ndarray, training: Any, n_reference: int = 2000) -> float:
    """Share of pictures farther from their nearest training scene than the 1st percentile of training scenes are.

    Near-copies lie closer to a training scene than all but one in a hundred training scenes lie to another one.
    """
    n_reference = min(n_reference, len(training))
    among = nearest_distances(np.asarray(training[:n_reference]), training, same=True)
    return float((nearest_distances(images, training) > np.percentile(among, 1)).mean())


def contact_sheet(images: np.ndarray, path: Path | str, n_columns: int = 10, scale: int = 2, gap: int = 2) -> None:
    """Write images (n_images, size, size, 3) of uint8 side by side into one PNG, ``scale`` times enlarged."""
    from PIL import Image

    n_images, size = len(images), images.shape[1] * scale
    n_rows = -(-n_images // n_columns)
    sheet = Image.new("RGB", (n_columns * (size + gap) - gap, n_rows * (size + gap) - gap), (255, 255, 255))
    for i, image in enumerate(images):
        row, column = divmod(i, n_columns)
        enlarged = Image.fromarray(image).resize((size, size), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (column * (size + gap), row * (size + gap)))
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def diffusion_scores(
    generator: Any, judge: Verdict, training: Any, n_per_category: int = 200, seed: int = 0, sheets: Path | None = None
) -> dict[str, float]:
    """All floors of the generator on prompts of held-out scenes.

    Parameters
    ----------
    generator : StableDiffusionPipeline
    judge : see the page's head
        A `net_scores.Judge` also reads: then legibility is scored too.
    training : array or data set (n_scenes, size, size, 3) of uint8
        The scenes it was trained on.
    n_per_category : int
        Pictures of each category, and of unprompted ones.
    seed : int
    sheets : path, optional
        Folder for a contact sheet of each category, and ``unprompted.png``.

    Returns
    -------
    dict of str -> float
        Those of `content_agreement`; ``unprompted_clean``; ``novel`` (worst of prompted and unprompted);
        ``word_read``, ``tool_kind`` where the judge reads; ``images_per_second``, one at a time.
    """
    pictures = {
        name: sample(generator, prompts_of(name, n_per_category), seed + 10_000 * i)
        for i, name in enumerate(CATEGORIES)
    }
    unprompted = sample(generator, [""] * n_per_category, seed + 90_000)
    if sheets is not None:
        sheets.mkdir(parents=True, exist_ok=True)
        for name, images in {**pictures, "unprompted": unprompted}.items():
            contact_sheet(images[:60], sheets / f"{name}.png")
    scores = content_agreement(pictures, judge)
    scores["unprompted_clean"] = clean_share(unprompted, judge)
    scores["novel"] = min(novelty(np.concatenate(list(pictures.values())), training), novelty(unprompted, training))
    for name, category, attribute in (("word_read", "word", "word"), ("tool_kind", "tool", "kind")):
        head = f"{category}.{attribute}"
        if isinstance(judge, Judge) and head in judge.heads.answers:
            scenes = held_out_scenes(n_per_category, [category], size=16)
            wanted = [scene.things[0].attributes[attribute] for scene in scenes]
            scores[name] = read_share(judge.read(pictures[category], head), wanted)
    scores["images_per_second"] = 1 / seconds_per_image(generator)
    return scores
