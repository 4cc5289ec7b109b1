"""How much of everything a planted data set has: pictures, repetitions, sessions, vertices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainenc.world.regions import EARLY, Parcellation, load_atlas

FEW = 45, 21  # vertices kept per early and per other region with vertices "few"
VERTICES = ("few", "regions", "all")


@dataclass(frozen=True)
class Size:
    """How much of everything: pictures, repetitions, sessions, test pictures, vertices, and the default subjects."""

    n_shared: int
    n_own: int
    n_repetitions: int
    n_sessions: int
    n_runs: int
    n_test: int
    vertices: str
    subjects: tuple[str, ...]


SIZES = {
    "tiny": Size(240, 0, 2, 4, 2, 40, "few", ("01", "02")),
    "small": Size(1000, 0, 3, 6, 4, 200, "regions", ("01", "02")),
    "demo": Size(400, 600, 3, 6, 4, 200, "all", ("01", "02", "03", "04")),
}


def choose_vertices(person: Parcellation, which: str) -> np.ndarray:
    """Indices into [left | right] that one of `VERTICES` keeps, ascending."""
    if which == "all":
        return np.flatnonzero(person.cortex)
    if which == "regions":
        return np.flatnonzero(person.region != "")
    kept = []
    for name in load_atlas().names:
        members = np.flatnonzero(person.region == name)
        count = min(len(members), FEW[0] if name in EARLY else FEW[1])
        kept.append(members[np.linspace(0, len(members) - 1, count).round().astype(int)])
    return np.sort(np.concatenate(kept))
