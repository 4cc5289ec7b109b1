"""Regions of the planted cortex: discs around published centres, and the early areas of the closed-form map.

A vertex at geodesic distance d from the centre of a disc of radius r belongs to it if ``d < r``; where discs overlap
the owner is ``argmin (d / r + offset)``. Early visual areas win over every disc, but not over OFA and LO where that sum
is at most 0.6. A person differs from the template: centres move by N(0, 5 mm) per axis, radii by exp(.15 N), the early
map by a small turn and scaling. The jitter of 5 mm gives a Dice overlap of about .6 with the template and matches the
spread between studies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from brainenc.core.share import find_shared
from brainenc.core.types import DataError
from brainenc.world.mesh import HEMISPHERES, N_VERTICES, load_fsaverage5
from brainenc.world.retinotopy import Wedges, retinotopic_map, visual_field

EARLY = ("V1", "V2", "V3", "hV4")
ARTIFICIAL = ("NOISE", "ANTI", "DRIFTONLY")  # take only vertices that nothing else owns
OVER_EARLY = ("OFA", "LO")  # discs whose core wins over the early areas
CORE = 0.6  # of d / r + offset
CENTRE_JITTER, RADIUS_JITTER = 5.0, 0.15  # mm per axis; sd of the log radius
FEWEST = 12  # vertices of both hemispheres that a person's region keeps


@dataclass(frozen=True, eq=False)
class Atlas:
    """Labels (one row per region and hemisphere, columns of ``labels.tsv``) and the card's section ``early``."""

    labels: pd.DataFrame
    early: Mapping

    @property
    def names(self) -> tuple[str, ...]:
        """Every region, early areas first."""
        return (*EARLY, *dict.fromkeys(self.labels["region"]))


@dataclass(frozen=True, eq=False)
class Parcellation:
    """Who owns each vertex of [left | right], and what the early ones see.

    Parameters
    ----------
    region : object array of str, shape (n_vertices,)
        ``""`` for the rest of the cortex and for the medial wall.
    cortex : bool array, shape (n_vertices,)
        False on the medial wall.
    prf_x, prf_y, prf_sigma : float array, shape (n_vertices,)
        Receptive fields of the early areas in degrees, x right and y up; NaN elsewhere.
    """

    region: np.ndarray
    cortex: np.ndarray
    prf_x: np.ndarray
    prf_y: np.ndarray
    prf_sigma: np.ndarray

    @property
    def hemisphere(self) -> np.ndarray:
        """``"left"`` or ``"right"`` per vertex."""
        return np.repeat(HEMISPHERES, N_VERTICES)


@lru_cache(maxsize=1)
def load_atlas() -> Atlas:
    """Read ``atlases/planted-regions``; `DataError` if it is not installed or its table has other columns."""
    import yaml

    folder = find_shared("atlases/planted-regions")
    labels = pd.read_csv(folder / "labels.tsv", sep="\t", keep_default_na=False)
    wanted = ["region", "hemisphere", "x", "y", "z", "radius", "offset", "certainty", "sources"]
    if list(labels.columns) != wanted:
        raise DataError(f"{folder / 'labels.tsv'}: columns {list(labels.columns)}, wanted {wanted}: restore the file.")
    return Atlas(labels, yaml.safe_load((folder / "card.yaml").read_text(encoding="utf-8"))["early"])


def parcellate(rng: np.random.Generator | None = None) -> Parcellation:
    """The template (``rng`` None), or a person drawn from ``rng``.

    A person is drawn again, up to 100 times, until every region keeps ``FEWEST`` vertices over both hemispheres.

    Raises
    ------
    DataError
        No such person was found.
    """
    if rng is None:
        return _draw(load_atlas(), None)
    for _ in range(100):
        person = _draw(load_atlas(), rng)
        if all(np.count_nonzero(person.region == name) >= FEWEST for name in load_atlas().names):
            return person
    raise DataError(f"no person with {FEWEST} vertices in every region was drawn: make the discs of the atlas larger.")


def _draw(atlas: Atlas, rng: np.random.Generator | None) -> Parcellation:
    region, cortex, fields = [], [], []
    for side in HEMISPHERES:
        mesh = load_fsaverage5()[side]
        wedges = Wedges.from_card(atlas.early, side)
        if rng is not None:
            wedges = wedges.jittered(rng)
        area, angle, eccentricity = _early_areas(atlas, wedges, side)
        owner = _own(_discs(atlas.labels[atlas.labels["hemisphere"] == side], side, rng), area, mesh.cortex)
        inside = np.isin(owner, EARLY)
        x, y = visual_field(angle, eccentricity, np.full(len(area), side))
        sigma = _sigma(atlas, owner, eccentricity)
        region.append(owner)
        cortex.append(mesh.cortex)
        fields.append(np.where(inside, np.stack([x, y, sigma]), np.nan))
    return Parcellation(np.concatenate(region), np.concatenate(cortex), *np.concatenate(fields, axis=1))


def _early_areas(atlas: Atlas, wedges: Wedges, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mesh = load_fsaverage5()[side]
    area, angle, eccentricity = retinotopic_map(wedges, mesh.sphere)
    centre, _ = mesh.nearest(np.array(atlas.early[side]["hV4"], float))
    radius = atlas.early["hV4_radius"]
    far = np.where(
        area == "hV4", mesh.distance(centre, radius) >= radius, eccentricity >= atlas.early["eccentricity_limit"]
    )
    area = np.where(far | ~mesh.cortex, "", area)
    return area.astype(object), angle, eccentricity


def _sigma(atlas: Atlas, owner: np.ndarray, eccentricity: np.ndarray) -> np.ndarray:
    sigma = np.full(len(owner), np.nan)
    for name, (start, slope) in atlas.early["sigma"].items():
        sigma = np.where(owner == name, start + slope * eccentricity, sigma)
    return sigma


@dataclass(frozen=True, eq=False)
class Disc:
    """``weight`` (n_vertices,) is d / r, infinite outside."""

    region: str
    weight: np.ndarray
    offset: float


def _discs(labels: pd.DataFrame, side: str, rng: np.random.Generator | None) -> list[Disc]:
    mesh = load_fsaverage5()[side]
    discs = []
    for row in labels.itertuples():
        centre, radius = np.array([row.x, row.y, row.z], float), float(row.radius)
        if rng is not None:
            centre = centre + CENTRE_JITTER * rng.standard_normal(3)
            radius *= np.exp(RADIUS_JITTER * rng.standard_normal())
        vertex, _ = mesh.nearest(centre)
        distance = mesh.distance(vertex, radius)
        discs.append(Disc(row.region, np.where(distance < radius, distance / radius, np.inf), float(row.offset)))
    return discs


def _own(discs: Sequence[Disc], area: np.ndarray, cortex: np.ndarray) -> np.ndarray:
    """Owner of each vertex by the overlap rule, object array of str (n_vertices,)."""
    owner, best = area.copy(), np.full(len(area), np.inf)
    for disc in discs:
        if disc.region in ARTIFICIAL:
            continue
        beaten = area == "" if disc.region not in OVER_EARLY else (area == "") | (disc.weight + disc.offset <= CORE)
        claim = np.where(beaten & cortex, disc.weight + disc.offset, np.inf)
        owner[claim < best] = disc.region
        best = np.minimum(best, claim)
    for disc in discs:
        if disc.region in ARTIFICIAL:
            owner[np.isfinite(disc.weight) & cortex & (owner == "")] = disc.region
    return owner
