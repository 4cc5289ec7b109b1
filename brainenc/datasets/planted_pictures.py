"""The pictures of the planted data set: which scene is which, what it shows, and its file.

Categories are present independently: face .28, body .28, place .30, word .22, food .22, object (a tool or a vehicle)
.35; a picture without any gets one at random. Pictures come in blocks: ``shared`` by all subjects, ``copy`` of some
test pictures, and one block per subject. A block depends on the seed and its own name alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brainenc.core.storage import atomic_path
from brainenc.world import cortex
from brainenc.world.energy import contrast_energy, luminance

if TYPE_CHECKING:
    from brainenc.datasets.planted_network import NetworkEye

IMAGE_SIZE = 64  # pixels, over 8.4 degrees of visual angle
PRESENCE = (0.28, 0.28, 0.30, 0.22, 0.22, 0.35)  # of PLANTED_CATEGORIES
BRIGHTER = 1.01  # every second copy
BLOCKS = ("shared", "copy")


def stream(seed: int, *names: str) -> np.random.Generator:
    """An independent generator for every purpose, decided by the seed and the names alone."""
    return np.random.default_rng([seed, zlib.crc32("/".join(names).encode())])


def choose_contents(rng: np.random.Generator, n: int) -> list[list[str]]:
    """Draw the categories of ``n`` scenes, a list of names for each."""
    present = rng.random((n, len(PRESENCE))) < PRESENCE
    spare = rng.integers(len(PRESENCE), size=n)
    empty = ~present.any(axis=1)
    present[empty, spare[empty]] = True
    objects = np.where(rng.random(n) < 0.5, "tool", "vehicle")
    names = [[str(objects[i]) if c == "object" else c for c in cortex.PLANTED_CATEGORIES] for i in range(n)]
    return [[c for c, shown in zip(names[i], present[i], strict=True) if shown] for i in range(n)]


@dataclass(frozen=True, eq=False)
class Block:
    """Pictures that belong together: ids and captions (n,), their contents.

    ``images`` (n, 64, 64, 3) uint8 are kept where a network will look at them; otherwise there are none, (0, ...).
    """

    stimulus_ids: list[str]
    captions: list[str]
    contents: cortex.Contents
    images: np.ndarray


@dataclass(frozen=True, eq=False)
class Pictures:
    """All pictures of a planted data set.

    Parameters
    ----------
    seed, n_shared, n_own : int
        ``n_own`` per subject.
    n_test : int
        Shared pictures whose suggested split is ``test``.
    n_duplicates : int
        Test pictures that return as training pictures under another id.
    eye : NetworkEye, optional
        The network through which subjects see them.
    """

    seed: int
    n_shared: int
    n_own: int
    n_test: int
    n_duplicates: int
    eye: NetworkEye | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_made", {})
        object.__setattr__(self, "_seen", {})

    def test_rows(self) -> np.ndarray:
        """Rows of the shared block that are for testing, ascending."""
        return np.sort(stream(self.seed, "split").permutation(self.n_shared)[: self.n_test])

    def block(self, name: str) -> Block:
        """Block ``shared``, ``copy``, or the one of a subject; rendered once per process and kept."""
        if name not in self._made:
            self.render(name, None)
        return self._made[name]

    def seen(self, name: str) -> cortex.Contents:
        """Contents of a block as cortex sees them: the scenes' own, or what the network makes of its pictures."""
        block = self.block(name)
        if self.eye is None or not block.stimulus_ids:
            return block.contents
        if name not in self._seen:
            self._seen[name] = self.eye.see(block.images, block.contents)
        return self._seen[name]

    def table(self, subjects: Sequence[str], folder: Path) -> pd.DataFrame:
        """Write every picture below ``folder`` and describe them, index ``stimulus_id``."""
        tables = [self._rows(name, folder) for name in (*BLOCKS, *subjects) if self._count(name)]
        return pd.concat(tables)

    def render(self, name: str, folder: Path | None) -> None:
        """Render a block, keep its contents, and write its pictures to ``folder`` if there is one."""
        images = np.zeros((self._count(name), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        captions, sizes, positions = [], np.zeros((len(images), 6)), np.full((len(images), 6, 2), np.nan)
        for row, scene in enumerate(self._scenes(name)):
            images[row] = scene.image
            captions.append(scene.captions[0])
            sizes[row], positions[row] = cortex.read_scene(scene)
        if name == "copy":
            images[1::2] = np.minimum(images[1::2] * BRIGHTER, 255).round().astype(np.uint8)
        ids = self._ids(name)
        if folder is not None:
            for stimulus_id, image in zip(ids, images, strict=True):
                write_picture(folder / f"{stimulus_id}.png", image)
        if name not in self._made:
            energy = contrast_energy(luminance(images))
            contents = cortex.Contents(sizes, positions, self._attributes(name, sizes), energy)
            self._made[name] = Block(ids, captions, contents, images if self.eye else images[:0].copy())

    def _count(self, name: str) -> int:
        return {"shared": self.n_shared, "copy": self.n_duplicates}.get(name, self.n_own)

    def _ids(self, name: str) -> list[str]:
        prefix = name if name in BLOCKS else f"sub-{name}"
        return [f"{prefix}-{row:04d}" for row in range(self._count(name))]

    def _scenes(self, name: str) -> Iterator:
        from brainenc.world.scenes import render_scene

        seeds, contents = self._plan("shared" if name == "copy" else name)
        rows = self.test_rows()[: self.n_duplicates] if name == "copy" else range(len(seeds))
        for row in rows:
            yield render_scene(int(seeds[row]), size=IMAGE_SIZE, categories=contents[row])

    def _plan(self, name: str) -> tuple[np.ndarray, list[list[str]]]:
        """Scene seeds (n,) and the categories of each scene."""
        rng, n = stream(self.seed, "pictures", name), self._count(name)
        return rng.integers(2**31, size=n), choose_contents(rng, n)

    def _attributes(self, name: str, sizes: np.ndarray) -> np.ndarray:
        if name == "copy":
            return self.block("shared").contents.attributes[self.test_rows()[: self.n_duplicates]]
        return cortex.draw_attributes(sizes, stream(self.seed, "attributes", name))

    def _rows(self, name: str, folder: Path) -> pd.DataFrame:
        self.render(name, folder)
        block = self.block(name)
        split = np.full(len(block.stimulus_ids), "train", object)
        if name == "shared":
            split[self.test_rows()] = "test"
        columns = {
            "path": [str(folder / f"{stimulus_id}.png") for stimulus_id in block.stimulus_ids],
            "text": block.captions,
            "split": split,
            "shared": name in BLOCKS,
            "subjects": "all" if name in BLOCKS else name,
        }
        columns |= {f"size_{c}": block.contents.sizes[:, k] for k, c in enumerate(cortex.PLANTED_CATEGORIES)}
        columns |= {f"attribute_{k:02d}": a for k, a in enumerate(block.contents.attributes.T)}
        return pd.DataFrame(columns, index=pd.Index(block.stimulus_ids, name="stimulus_id", dtype=object))


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write ``image`` (height, width, 3) uint8 as PNG, atomically, unless the file already holds just that picture."""
    from PIL import Image

    if path.exists():
        try:
            with Image.open(path) as found:
                if np.array_equal(np.asarray(found), image):
                    return
        except (OSError, SyntaxError):  # truncated or no picture: written anew
            pass
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")
