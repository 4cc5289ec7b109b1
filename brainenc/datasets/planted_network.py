"""What a network makes of pictures, in place of what they show: for subjects planted on a network's embedding.

Embedding e_i (n_channels,) of picture i; over reference pictures that no subject sees, m is its mean, V its sixteen
largest principal components, sd their standard deviations::

    attributes       A_i = (e_i - m) V / sd                  uncorrelated, variance 1 over the reference pictures
    category sizes   log2(1 + c_ik) = mean_k + A_i . w_k     w_k least squares of the true sizes, = mean(A l_k)

Both stand in `brainenc.world.cortex` where the scene's own attributes and sizes stand otherwise. So a category area
follows the direction ``sum_k M_vk w_k`` of the embedding, which tells its category from the rest, mixed with a
direction ``u_v`` that is smooth over cortex and with global contrast, in the proportions of the equations; language
areas follow ``u_v`` alone; early areas keep their contrast energy. No equation of the scene gives such a signal, and no
other network gives it exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from brainenc.core.types import DataError
from brainenc.datasets.planted_pictures import IMAGE_SIZE, choose_contents
from brainenc.nn.embedding import PictureEmbedder, load_embedder, network_library
from brainenc.world import cortex

N_REFERENCE = 600
REFERENCE_SEED = 400_000  # the first; subjects' scenes have seeds anywhere below 2^31, and other categories
SMALLEST = 1e-4  # of the largest standard deviation: below it a component is rounding


@lru_cache(1)
def reference_pictures() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (600, 64, 64, 3) uint8 and how large they show each category (600, 6); the same for everybody."""
    from brainenc.world.scenes import render_scene

    contents = choose_contents(np.random.default_rng(REFERENCE_SEED), N_REFERENCE)
    scenes = [
        render_scene(REFERENCE_SEED + row, size=IMAGE_SIZE, categories=names) for row, names in enumerate(contents)
    ]
    return np.stack([scene.image for scene in scenes]), np.stack([cortex.read_scene(scene)[0] for scene in scenes])


@dataclass(frozen=True, eq=False)
class Readout:
    """From embeddings to attributes and category sizes.

    Parameters
    ----------
    mean : float array, shape (n_channels,)
    components : float array, shape (n_channels, 16)
        V / sd.
    level : float array, shape (6,)
        Mean of log2(1 + c).
    weights : float array, shape (16, 6)
    """

    mean: np.ndarray
    components: np.ndarray
    level: np.ndarray
    weights: np.ndarray

    def attributes(self, E: np.ndarray) -> np.ndarray:
        """Attributes (n, 16) of embeddings (n, n_channels)."""
        return (E - self.mean) @ self.components

    def sizes(self, attributes: np.ndarray) -> np.ndarray:
        """Sizes c (n, 6) that the network takes the categories to have, from attributes (n, 16); may be below 0."""
        return np.exp2(self.level + attributes @ self.weights) - 1


def fit_readout(E: np.ndarray, sizes: np.ndarray) -> Readout:
    """Fit on embeddings (n, n_channels) of pictures that show categories ``sizes`` (n, 6) large.

    Raises
    ------
    DataError
        Fewer than sixteen directions in which the embedding varies.
    """
    E = E.astype(float)
    centred = E - E.mean(axis=0)
    variance, V = np.linalg.eigh(centred.T @ centred / len(E))
    variance, V = variance[::-1], V[:, ::-1]
    n_directions = int((variance > SMALLEST**2 * variance[0]).sum())
    if n_directions < cortex.N_ATTRIBUTES:
        raise DataError(
            f"planted data: the network's embedding of {E.shape[1]} numbers varies in {n_directions} directions, "
            f"wanted at least {cortex.N_ATTRIBUTES}: use a network that tells more pictures apart."
        )
    variance, V = variance[: cortex.N_ATTRIBUTES], V[:, : cortex.N_ATTRIBUTES]
    V = V * np.sign(V[np.abs(V).argmax(axis=0), np.arange(V.shape[1])])  # the sign of a component is not defined
    components = V / np.sqrt(variance)
    strength = np.log2(1 + sizes)
    weights = (centred @ components).T @ (strength - strength.mean(axis=0)) / len(E)
    return Readout(E.mean(axis=0), components, strength.mean(axis=0), weights)


class NetworkEye:
    """The network through which planted subjects see pictures.

    Parameters
    ----------
    folder : Path
        As timm or open_clip wrote it; read when pictures are first seen.

    Raises
    ------
    DataError
        No network lies there.
    """

    def __init__(self, folder: Path) -> None:
        network_library(folder)
        self.folder = folder

    @cached_property
    def embed(self) -> PictureEmbedder:
        """Pictures (n, height, width, 3) uint8 -> embeddings (n, n_channels) float32."""
        return load_embedder(self.folder)

    @cached_property
    def readout(self) -> Readout:
        """Fitted on the reference pictures."""
        pictures, sizes = reference_pictures()
        return fit_readout(self.embed(pictures), sizes)

    def see(self, pictures: np.ndarray, contents: cortex.Contents) -> cortex.Contents:
        """``contents`` with the sizes and attributes that the network finds; positions and energy stay."""
        attributes = self.readout.attributes(self.embed(pictures))
        return replace(contents, sizes=self.readout.sizes(attributes), attributes=attributes)
