"""Rendered scenes in one file, so that several trainings and epochs share the work of drawing them.

``open_scenes(folder, split, n)`` renders what is not there yet, with several processes, and opens it: images stay on
disk and are mapped, texts are in memory. A rendering that was stopped goes on where it stood. The file's name holds a
checksum of the renderer's source, so scenes of an older renderer are never taken for today's.

Layout: ``/images`` (n, size, size, 3) uint8, contiguous; ``/texts`` (n,) JSON of captions and things.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import brainenc.world
from brainenc.core.machine import look
from brainenc.core.types import DataError
from brainenc.world.scene_captions import STYLES, captions
from brainenc.world.scenes import CATEGORIES, Thing, paint_scene, plan_scene

# Seeds below 1,000,000 are for users and tests: what was trained on is never met there.
FIRST_SEED = {"train": 1_000_000, "validation": 900_000, "test": 500_000}
MOST = {"train": 10**9, "validation": 100_000, "test": 400_000}
BLOCK = 512  # scenes written at once
FACTS = ("category", "phrase", "box", "attributes")  # of a thing
TEXT = h5py.string_dtype("utf-8")


@dataclass(frozen=True)
class ScenesCache:
    """Scenes of one split; scene i has the seed ``FIRST_SEED[split] + i``.

    Parameters
    ----------
    images : ndarray (n, size, size, 3) of uint8
        Mapped from disk, read-only.
    captions : tuple of n tuples of str
        One per style of `scene_captions.STYLES`, wording "train".
    test_captions : tuple of n tuples of str
        The same scenes in sentence forms that no training caption has.
    things : tuple of n tuples of Thing
    seeds : ndarray (n,) of int64
    path : path
        Of the file.
    """

    images: np.ndarray
    captions: tuple[tuple[str, ...], ...]
    test_captions: tuple[tuple[str, ...], ...]
    things: tuple[tuple[Thing, ...], ...]
    seeds: np.ndarray
    path: Path

    styles = STYLES

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> ScenesCache:
        """Some of the scenes, in the same file."""
        texts = self.captions[rows], self.test_captions[rows]
        return ScenesCache(self.images[rows], *texts, self.things[rows], self.seeds[rows], self.path)

    @property
    def shown(self) -> np.ndarray:
        """Whether a category is in a scene, (n, 7) of bool in the order of ``CATEGORIES``."""
        kinds = [{thing.category for thing in scene} for scene in self.things]
        return np.array([[category in kind for category in CATEGORIES] for kind in kinds])

    @property
    def is_single(self) -> np.ndarray:
        """Whether a scene shows exactly one thing, (n,) of bool."""
        return np.array([len(scene) == 1 for scene in self.things])

    @property
    def main(self) -> np.ndarray:
        """The category of the largest thing, a place only where it stands alone, "" for nothing; (n,) of str."""
        return np.array([main_category(scene) for scene in self.things])


def main_category(things: Sequence[Thing]) -> str:
    """The category of the largest thing that is no place; "place" for a place alone; "" for nothing."""
    standing = [thing for thing in things if thing.category != "place"]
    if not standing:
        return "place" if things else ""
    return max(standing, key=lambda t: (t.box[2] - t.box[0]) * (t.box[3] - t.box[1])).category


def open_scenes(folder: Path, split: str, n: int, size: int = 64, processes: int | None = None) -> ScenesCache:
    """Open the first ``n`` scenes of a split, rendering those that are missing.

    Parameters
    ----------
    folder : path
        Of the cache; made if need be.
    split : "train", "validation" or "test"
    n : int
    size : int
        Side of the images in pixels.
    processes : int, optional
        That render; default as many as there are cores. 1 renders in this one.

    Raises
    ------
    DataError
        Unknown split, a number out of its range, a damaged file, or a rendering by another process at work.
    """
    if split not in FIRST_SEED:
        raise DataError(f"Split {split!r} came, one of {', '.join(FIRST_SEED)} was wanted: choose one of those.")
    if not 1 <= n <= MOST[split]:
        raise DataError(f"{n} scenes of {split!r} came, 1..{MOST[split]} were wanted: choose such a number.")
    stem = f"scenes-{split}-{size}-{renderer_checksum()[:12]}"
    found = {int(path.stem.rpartition("-")[2]): path for path in folder.glob(f"{stem}-*.h5")}
    enough = [held for held in sorted(found) if held >= n]
    path = found[enough[0]] if enough else folder / f"{stem}-{n}.h5"
    if not enough:
        folder.mkdir(parents=True, exist_ok=True)
        _render_file(path, FIRST_SEED[split], n, size, processes or look(folder).n_cores)
    return _read(path, n, FIRST_SEED[split])


def renderer_checksum() -> str:
    """SHA-256 of the source of the renderer and its captions."""
    digest = hashlib.sha256()
    for page in sorted(Path(brainenc.world.__file__).parent.glob("scene*.py")):
        digest.update(page.name.encode() + page.read_bytes())
    return digest.hexdigest()


def _render_file(path: Path, first_seed: int, n: int, size: int, processes: int) -> None:
    partial = path.with_suffix(".partial")
    with _open_partial(partial, n, size) as file:
        done = int(file.attrs["n_done"])
        with _drawn(range(first_seed + done, first_seed + n), size, processes) as scenes:
            for start in range(done, n, BLOCK):
                block = [next(scenes) for _ in range(start, min(start + BLOCK, n))]
                file["images"][start : start + len(block)] = np.stack([image for image, _ in block])
                file["texts"][start : start + len(block)] = [text for _, text in block]
                file.flush()
                file.attrs["n_done"] = start + len(block)
                file.flush()
    os.replace(partial, path)


@contextmanager
def _open_partial(partial: Path, n: int, size: int) -> Iterator[h5py.File]:
    """The file being rendered: as it was left, or new where there is none or it was damaged by a hard stop."""
    try:
        file = h5py.File(partial, "r+")
        if file.attrs.get("n_done") is None:
            raise OSError("it was never begun")
    except BlockingIOError as error:
        raise DataError(f"{partial} is being rendered by another process: wait until that one is done.") from error
    except OSError:
        file = h5py.File(partial, "w")
        file.create_dataset("images", (n, size, size, 3), np.uint8)
        file.create_dataset("texts", (n,), TEXT)
        file.attrs["layout"], file.attrs["kind"], file.attrs["n_done"] = "brainenc-1", "scenes", 0
        file.flush()
    with file:
        yield file


@contextmanager
def _drawn(seeds: range, size: int, processes: int) -> Iterator[Iterator[tuple[np.ndarray, str]]]:
    """Scenes in the order of their seeds, with a progress bar."""
    from tqdm import tqdm

    jobs = [(seed, size) for seed in seeds]
    bar = {"total": len(jobs), "desc": "rendering scenes", "unit": "scene", "mininterval": 2, "delay": 5}
    if processes == 1 or len(jobs) < 2 * BLOCK:
        yield iter(tqdm(map(_draw, jobs), **bar))
        return
    with get_context("spawn").Pool(processes) as pool:
        yield iter(tqdm(pool.imap(_draw, jobs, chunksize=64), **bar))


def _draw(job: tuple[int, int]) -> tuple[np.ndarray, str]:
    seed, size = job
    plan = plan_scene(seed)
    scene = paint_scene(plan, size)
    texts = {
        "captions": captions(plan, wording="train"),
        "test_captions": captions(plan, wording="test"),
        "things": [{name: getattr(thing, name) for name in FACTS} for thing in scene.things],
    }
    return scene.image, json.dumps(texts, separators=(",", ":"))


def _read(path: Path, n: int, first_seed: int) -> ScenesCache:
    try:
        with h5py.File(path, "r") as file:
            stored = file["images"]
            shape, offset = stored.shape, stored.id.get_offset()
            texts = [json.loads(text) for text in file["texts"][:n]]
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is damaged: delete it, and it is rendered again.") from error
    images: Any = np.memmap(path, np.uint8, "r", offset, shape)[:n]
    return ScenesCache(
        images,
        tuple(tuple(text["captions"]) for text in texts),
        tuple(tuple(text["test_captions"]) for text in texts),
        tuple(tuple(_thing(facts) for facts in text["things"]) for text in texts),
        np.arange(first_seed, first_seed + n),
        path,
    )


def _thing(facts: dict[str, Any]) -> Thing:
    return Thing(**{name: facts[name] for name in FACTS if name != "box"}, box=tuple(facts["box"]))
