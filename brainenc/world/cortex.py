"""The noiseless planted cortex: contents of scenes in, signal of every vertex out.

Contents of picture i: ``c_ik = min(1.5, extent / (10/32))`` of category k, extent the longer side of its box as a share
of the picture (a place counts 1); the centre of the box; sixteen semantic attributes ``A_i = .7 min(c_i, 1) G + N(0,
I)``, G fixed and public, which stand for a caption embedding; contrast energy ``E_if(p)`` (`brainenc.world.energy`).

Signals, z over the pictures a subject saw, so that every signal has mean 0 and variance 1::

    early      s_v = z( sqrt( sum_f omega_vf sum_p g_v(p) E_f(p) / mean(E_f) ) ),  g_v a Gaussian receptive field
               omega_vf ~ exp(1.2 cos 2(theta_f - phi_v)) exp(+-.8 tanh kappa_v)    (+ for the high frequency)
    category   s_v = z( sqrt(1 - .28^2 - .15^2) z(sum_k M_vk log2(1 + c_k) h_vk) + .28 z(A u_v) + .15 z(contrast) )
               h_vk = 1 + .12 x_k towards the opposite half of the field: near position invariance
    others     s_v = z(A u_v)                                                        (language, auditory, the rest)

``phi, kappa`` are smooth over cortex (3 steps); ``u_v`` too (4 steps), half of it a person's own:
``u = sqrt(1 - .25) u_group + .5 u_own``. ``M_v`` is the region's preference plus .12 of a person's smooth map, whose
mean over the region is taken out, so that each region prefers exactly what was planted. A receptive field with less
than a fifth of its mass on the picture sees nothing: its signal is 0 and so must its signal-to-noise ratio be.

Sizes and attributes may also be what a network makes of the pictures: subjects planted on a network's embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from brainenc.world.energy import FREQUENCIES, N_ORIENTATIONS
from brainenc.world.mesh import smooth_maps
from brainenc.world.regions import EARLY, Parcellation

if TYPE_CHECKING:
    from brainenc.world.scenes import Scene

PLANTED_CATEGORIES = ("face", "body", "place", "word", "food", "object")
N_ATTRIBUTES = 16
FIELD = 4.2  # degrees from the middle of the picture to its edge
VISIBLE_MASS = 0.2  # least share of a receptive field on the picture
UNIT_EXTENT = 10 / 32  # box side, as a share of the picture, that counts as size 1
SEMANTIC, CONTRAST, POSITION = 0.28, 0.15, 0.12  # weights in the category areas
CATEGORY = np.sqrt(1 - SEMANTIC**2 - CONTRAST**2)

PREFERENCES: Mapping[str, Mapping[str, float]] = {
    "OFA": {"face": 1.0, "body": 0.2},
    "FFA-1": {"face": 1.0, "body": 0.35},
    "FFA-2": {"face": 1.0, "body": 0.25},
    "STSface": {"face": 0.9, "body": 0.4},
    "PPA": {"place": 1.0, "object": 0.2},
    "OPA": {"place": 1.0, "object": 0.1},
    "RSC": {"place": 1.0},
    "EBA": {"body": 1.0, "face": 0.3},
    "FBA": {"body": 1.0, "face": 0.35},
    "VWFA": {"word": 1.0, "object": 0.15},
    "FOOD": {"food": 1.0, "object": 0.2},
    "LO": {"object": 1.0, "face": 0.4, "body": 0.4, "food": 0.4, "word": 0.2},
    "hMT+": {"body": 0.4, "object": 0.3},
    "ANTI": {"face": -1.0},
}


def preferred_category(region: str) -> str:
    """The category that ``region`` prefers by its planted weights; ``""`` where nothing excites it."""
    weights = PREFERENCES.get(region, {})
    best = max(weights, key=lambda name: weights[name], default="")
    return best if best and weights[best] > 0 else ""


def followed_categories(S: np.ndarray, sizes: np.ndarray, region: np.ndarray) -> dict[str, str]:
    """Region that prefers a category by its weights -> category that its mean signal really follows most.

    By equations the two are one; a network that confuses categories can make them differ.

    Parameters
    ----------
    S : float array, shape (n, t)
        Signal.
    sizes : float array, shape (n, 6)
        How large each category is shown.
    region : str array, shape (t,)
    """
    shown = standardise(sizes)
    names = [name for name in dict.fromkeys(region) if preferred_category(name)]
    means = {name: S[:, region == name].mean(axis=1, dtype=float) for name in names}
    return {name: PLANTED_CATEGORIES[int((mean @ shown).argmax())] for name, mean in means.items()}


def category_loadings() -> np.ndarray:
    """The matrix G (6, 16) from categories to attributes: the same in every planted world."""
    return np.random.default_rng(77).standard_normal((len(PLANTED_CATEGORIES), N_ATTRIBUTES))


@dataclass(frozen=True, eq=False)
class Contents:
    """What n pictures show.

    Parameters
    ----------
    sizes : float array, shape (n, 6)
        c_k of `PLANTED_CATEGORIES`, 0 where absent.
    positions : float array, shape (n, 6, 2)
        Centres, x right and y up, -1..1 over the picture; NaN where absent.
    attributes : float array, shape (n, 16)
    energy : float32 array, shape (n, 8, height, width)
    """

    sizes: np.ndarray
    positions: np.ndarray
    attributes: np.ndarray
    energy: np.ndarray

    def take(self, rows: np.ndarray) -> Contents:
        """The pictures ``rows``, in that order."""
        return Contents(self.sizes[rows], self.positions[rows], self.attributes[rows], self.energy[rows])


def join(parts: Sequence[Contents]) -> Contents:
    """Contents of several sets of pictures, one after the other."""
    names = ("sizes", "positions", "attributes", "energy")
    return Contents(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def read_scene(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Sizes (6,) and positions (6, 2) of a scene. Of several things of a category the largest counts."""
    sizes, positions = np.zeros(6), np.full((6, 2), np.nan)
    for thing in scene.things:
        name = thing.category if thing.category in PLANTED_CATEGORIES else "object"  # tools and vehicles are objects
        k = PLANTED_CATEGORIES.index(name)
        x0, y0, x1, y1 = thing.box
        size = 1.0 if name == "place" else min(1.5, max(x1 - x0, y1 - y0) / UNIT_EXTENT)
        if size > sizes[k]:
            sizes[k], positions[k] = size, (x0 + x1 - 1, 1 - y0 - y1)
    return sizes, positions


def draw_attributes(sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Attributes A (n, 16) of pictures with ``sizes`` (n, 6); see the module's equation."""
    return 0.7 * np.minimum(sizes, 1) @ category_loadings() + rng.standard_normal((len(sizes), N_ATTRIBUTES))


@dataclass(frozen=True, eq=False)
class Tuning:
    """What the chosen vertices of one subject respond to, t vertices.

    Parameters
    ----------
    region, hemisphere : str array, shape (t,)
    prf_x, prf_y, prf_sigma : float array, shape (t,)
        Degrees, y up; NaN outside the early areas.
    omega : float array, shape (t, 8)
        Weights of the energy channels.
    M : float array, shape (t, 6)
        Weights of the categories; 0 where a region has no preference.
    U : float array, shape (t, 16)
        Weights of the attributes.
    """

    region: np.ndarray
    hemisphere: np.ndarray
    prf_x: np.ndarray
    prf_y: np.ndarray
    prf_sigma: np.ndarray
    omega: np.ndarray
    M: np.ndarray
    U: np.ndarray

    @property
    def early(self) -> np.ndarray:
        """True for V1, V2, V3 and hV4."""
        return np.isin(self.region, EARLY)

    @property
    def sighted(self) -> np.ndarray:
        """True where a signal is possible: everything but early vertices whose receptive field misses the picture."""
        mass = field_mass(self.prf_x, self.prf_sigma) * field_mass(self.prf_y, self.prf_sigma)
        return ~self.early | (mass >= VISIBLE_MASS)


def draw_tuning(
    person: Parcellation, vertices: np.ndarray, group: np.random.Generator, own: np.random.Generator
) -> Tuning:
    """Draw the tuning of ``vertices`` (t,), indices into [left | right].

    ``group`` must be a fresh generator of the same seed for all subjects (they share its maps); ``own`` the subject's.
    """
    channel = smooth_maps(group, 3, 3)[vertices]
    shared, individual = smooth_maps(group, N_ATTRIBUTES, 4), smooth_maps(own, N_ATTRIBUTES, 4)
    weights = np.sqrt(0.75) * shared + 0.5 * individual
    return Tuning(
        region=person.region[vertices],
        hemisphere=person.hemisphere[vertices],
        prf_x=person.prf_x[vertices],
        prf_y=person.prf_y[vertices],
        prf_sigma=person.prf_sigma[vertices],
        omega=_channel_weights(channel),
        M=_category_weights(person.region, smooth_maps(own, len(PLANTED_CATEGORIES), 4))[vertices],
        U=weights[vertices],
    )


def _channel_weights(maps: np.ndarray) -> np.ndarray:
    """omega (t, 8), rows summing to 1, from three smooth maps (t, 3): two give phi, one kappa."""
    turned = np.arctan2(maps[:, 0], maps[:, 1])  # 2 phi
    bias = 0.8 * np.tanh(maps[:, 2])
    angles = 2 * np.arange(N_ORIENTATIONS) * np.pi / N_ORIENTATIONS
    oriented = np.exp(1.2 * np.cos(angles - turned[:, None]))
    omega = np.concatenate(
        [oriented * np.exp(sign * bias)[:, None] for sign in np.linspace(-1, 1, len(FREQUENCIES))], 1
    )
    return omega / omega.sum(axis=1, keepdims=True)


def _category_weights(region: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """M of all vertices: the preference of the region + .12 of ``maps`` without their mean over the region."""
    M = np.zeros(maps.shape)
    for name, weights in PREFERENCES.items():
        inside = region == name
        planted = np.array([weights.get(category, 0.0) for category in PLANTED_CATEGORIES])
        M[inside] = planted + 0.12 * (maps[inside] - maps[inside].mean(axis=0))
    return M


def field_mass(centre: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Share of a Gaussian (degrees, one axis) that lies on the picture, -FIELD..FIELD; NaN for NaN."""
    from scipy.special import ndtr

    return ndtr((FIELD - centre) / sigma) - ndtr((-FIELD - centre) / sigma)


def receptive_fields(x: np.ndarray, y: np.ndarray, sigma: np.ndarray, height: int, width: int) -> np.ndarray:
    """Gaussians g (t, height, width) float32 on the picture's grid, each summing to 1; x right, y up, degrees."""
    columns = ((np.arange(width) + 0.5) / width * 2 - 1) * FIELD
    rows = (1 - (np.arange(height) + 0.5) / height * 2) * FIELD
    across = np.exp(-((columns - x[:, None]) ** 2) / (2 * sigma[:, None] ** 2))
    down = np.exp(-((rows - y[:, None]) ** 2) / (2 * sigma[:, None] ** 2))
    across /= across.sum(axis=1, keepdims=True)
    down /= down.sum(axis=1, keepdims=True)
    return (down[:, :, None] * across[:, None, :]).astype(np.float32)


def standardise(values: np.ndarray) -> np.ndarray:
    """z over rows; a constant column becomes 0."""
    centred = values - values.mean(axis=0)
    sd = centred.std(axis=0)
    return centred / np.where(sd > 1e-6, sd, np.inf)


def signal(contents: Contents, tuning: Tuning) -> np.ndarray:
    """Noiseless signal, shape (n, t) float32: each column has mean 0 and variance 1, or is 0 where nothing is seen."""
    S = standardise(contents.attributes @ tuning.U.T)
    high = np.isin(tuning.region, list(PREFERENCES))
    seen = np.flatnonzero(tuning.early & tuning.sighted)
    S[:, high] = _category_signal(contents, tuning, high, S[:, high])
    S[:, tuning.early] = 0.0
    S[:, seen] = _early_signal(contents.energy, tuning, seen)
    return S.astype(np.float32)


def _category_signal(contents: Contents, tuning: Tuning, high: np.ndarray, semantic: np.ndarray) -> np.ndarray:
    x = np.nan_to_num(contents.positions[:, :, 0])
    size = np.log2(1 + contents.sizes)
    right = np.where(tuning.hemisphere[high] == "left", 1.0, -1.0)  # the half of the field that a hemisphere prefers
    M = tuning.M[high]
    drive = size @ M.T + POSITION * right * ((size * x) @ M.T)
    contrast = standardise(np.sqrt(contents.energy.mean(axis=(1, 2, 3), dtype=float)))
    return standardise(CATEGORY * standardise(drive) + SEMANTIC * semantic + CONTRAST * contrast[:, None])


def _early_signal(energy: np.ndarray, tuning: Tuning, seen: np.ndarray) -> np.ndarray:
    n, n_channels, height, width = energy.shape
    scale = energy.mean(axis=(0, 2, 3), dtype=float)
    drive = np.zeros((n, len(seen)))
    g = receptive_fields(tuning.prf_x[seen], tuning.prf_y[seen], tuning.prf_sigma[seen], height, width)
    g = g.reshape(len(seen), -1).T
    for channel in range(n_channels):
        pooled = energy[:, channel].reshape(n, -1) @ g
        drive += pooled * (tuning.omega[seen, channel] / max(scale[channel], 1e-12))
    return standardise(np.sqrt(drive))
