"""What each target is. A space knows how many targets there are and where a value goes; geometry lives in `surfaces`.

``scatter`` puts one value per target into the full frame (volume, both hemispheres, sensors x time), NaN elsewhere;
``gather`` takes them back; ``select`` keeps some targets. ``gather(scatter(v)) == v`` for every space.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from brainenc.core.types import DataError, duplicates


class Space(ABC):
    """Base of all spaces; ``kind`` names the type in files."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def n_targets(self) -> int: ...

    @property
    @abstractmethod
    def frame(self) -> tuple[int, ...]:
        """Shape of the full frame that targets live in."""

    @property
    @abstractmethod
    def positions(self) -> np.ndarray:
        """Flat index of each target into the frame, shape (n_targets,)."""

    @abstractmethod
    def select(self, mask: np.ndarray) -> Space:
        """Return the space of the targets where ``mask`` (n_targets,) is true, in order."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Arrays and plain values from which `space_from_dict` rebuilds the space."""

    def scatter(self, values: np.ndarray, fill: float = np.nan) -> np.ndarray:
        """Put ``values`` (n_targets,) into the frame, ``fill`` elsewhere."""
        if values.shape != (self.n_targets,):
            raise DataError(
                f"{self.kind} space: cannot scatter shape {values.shape}, wanted ({self.n_targets},): one per target."
            )
        full = np.full(int(np.prod(self.frame)), fill, dtype=np.result_type(values.dtype, np.float32))
        full[self.positions] = values
        return full.reshape(self.frame)

    def gather(self, full: np.ndarray) -> np.ndarray:
        """Take the targets' values, shape (n_targets,), out of a full frame."""
        if full.shape != self.frame:
            raise DataError(f"{self.kind} space: got a frame of shape {full.shape}, wanted {self.frame}.")
        return np.asarray(np.asarray(full).reshape(-1)[self.positions])

    def _checked(self, mask: np.ndarray) -> np.ndarray:
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != (self.n_targets,):
            raise DataError(
                f"{self.kind} space: cannot select with {mask.dtype} of shape {mask.shape}, "
                f"wanted a boolean mask of shape ({self.n_targets},)."
            )
        if not mask.any():
            raise DataError(f"{self.kind} space: the mask selects no target, wanted at least one.")
        return mask

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Space) or self.kind != other.kind:
            return NotImplemented if not isinstance(other, Space) else False
        mine, theirs = self.to_dict(), other.to_dict()
        return all(np.array_equal(np.asarray(mine[key]), np.asarray(theirs[key])) for key in mine)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class VoxelSpace(Space):
    """Voxels of a volume: ``mask`` (x, y, z) bool in C order, ``affine`` (4, 4) from voxel to millimetres."""

    mask: np.ndarray
    affine: np.ndarray
    kind: ClassVar[str] = "voxel"

    def __post_init__(self) -> None:
        if self.mask.ndim != 3 or self.mask.dtype != bool or not self.mask.any():
            raise DataError(
                f"VoxelSpace: mask is {self.mask.dtype} of shape {self.mask.shape}, "
                "wanted a boolean (x, y, z) volume with at least one voxel: threshold it with `mask > 0`."
            )
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all() or np.linalg.det(self.affine) == 0:
            raise DataError(f"VoxelSpace: affine has shape {self.affine.shape}, wanted an invertible (4, 4) matrix.")

    @property
    def n_targets(self) -> int:
        return int(np.count_nonzero(self.mask))

    @property
    def frame(self) -> tuple[int, ...]:
        return self.mask.shape

    @property
    def positions(self) -> np.ndarray:
        return np.flatnonzero(self.mask)

    def select(self, mask: np.ndarray) -> VoxelSpace:
        kept = np.zeros(self.mask.size, bool)
        kept[self.positions[self._checked(mask)]] = True
        return VoxelSpace(kept.reshape(self.mask.shape), self.affine)

    def to_dict(self) -> dict[str, Any]:
        return {"mask": self.mask, "affine": self.affine}


@dataclass(frozen=True, eq=False)
class VertexSpace(Space):
    """Vertices of a mesh: ``vertices`` (n_targets,) index [left | right] of ``n_left + n_right`` vertices."""

    mesh: str
    n_left: int
    n_right: int
    vertices: np.ndarray
    kind: ClassVar[str] = "vertex"

    def __post_init__(self) -> None:
        vertices = np.asarray(self.vertices)
        if vertices.ndim != 1 or len(vertices) == 0 or not np.issubdtype(vertices.dtype, np.integer):
            raise DataError(
                f"VertexSpace: vertices are {vertices.dtype} of shape {vertices.shape}, wanted integers (n_targets,)."
            )
        n_vertices = self.n_left + self.n_right
        outside = vertices[(vertices < 0) | (vertices >= n_vertices)]
        if len(outside):
            raise DataError(
                f"VertexSpace: vertex {outside[0]} is outside mesh {self.mesh!r} with {n_vertices} vertices "
                f"({self.n_left} left, {self.n_right} right): name the mesh the responses were made on."
            )
        if len(np.unique(vertices)) != len(vertices):
            twice = np.sort(vertices)[1:][np.diff(np.sort(vertices)) == 0][0]
            raise DataError(
                f"VertexSpace: vertex {twice} of mesh {self.mesh!r} occurs twice, wanted each at most once."
            )
        object.__setattr__(self, "vertices", vertices)

    @property
    def n_targets(self) -> int:
        return len(self.vertices)

    @property
    def frame(self) -> tuple[int, ...]:
        return (self.n_left + self.n_right,)

    @property
    def positions(self) -> np.ndarray:
        return self.vertices

    @property
    def hemisphere(self) -> np.ndarray:
        """``"left"`` or ``"right"`` per target, shape (n_targets,)."""
        return np.where(self.vertices < self.n_left, "left", "right")

    def select(self, mask: np.ndarray) -> VertexSpace:
        return VertexSpace(self.mesh, self.n_left, self.n_right, self.vertices[self._checked(mask)])

    def to_dict(self) -> dict[str, Any]:
        return {"mesh": self.mesh, "n_left": self.n_left, "n_right": self.n_right, "vertices": self.vertices}


@dataclass(frozen=True, eq=False)
class SensorSpace(Space):
    """Sensor x time: ``names`` (n_sensors), ``times`` (n_times,) in seconds from onset; targets in C order.

    ``kept`` (n_targets,) are flat indices of the targets into sensors x times; all of them by default.
    """

    names: tuple[str, ...]
    times: np.ndarray
    kept: np.ndarray | None = None
    kind: ClassVar[str] = "sensor"

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _unique_names(self.names, "SensorSpace"))
        times = self.times
        if times.ndim != 1 or len(times) == 0 or not np.isfinite(times).all() or not (np.diff(times) > 0).all():
            raise DataError(
                f"SensorSpace: times have shape {times.shape} or do not increase, wanted (n_times,) finite, increasing "
                "seconds from onset: sort the time points and drop repeated ones."
            )
        size = len(self.names) * len(self.times)
        kept = np.arange(size) if self.kept is None else np.asarray(self.kept)
        whole = kept.ndim == 1 and len(kept) > 0 and np.issubdtype(kept.dtype, np.integer)
        if not whole or kept.min() < 0 or kept.max() >= size or len(np.unique(kept)) != len(kept):
            raise DataError(
                f"SensorSpace: kept is {kept.dtype} of shape {kept.shape}, wanted at least one and "
                f"distinct integers in 0 ... {size - 1}: give flat indices into sensors x times."
            )
        object.__setattr__(self, "kept", kept)

    @property
    def n_targets(self) -> int:
        return len(self.positions)

    @property
    def frame(self) -> tuple[int, ...]:
        return (len(self.names), len(self.times))

    @property
    def positions(self) -> np.ndarray:
        assert self.kept is not None
        return self.kept

    def select(self, mask: np.ndarray) -> SensorSpace:
        return SensorSpace(self.names, self.times, self.positions[self._checked(mask)])

    def to_dict(self) -> dict[str, Any]:
        return {"names": list(self.names), "times": self.times, "kept": self.positions}


@dataclass(frozen=True, eq=False)
class ParcelSpace(Space):
    """Named parcels: one target per name."""

    names: tuple[str, ...]
    kind: ClassVar[str] = "parcel"

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _unique_names(self.names, "ParcelSpace"))

    @property
    def n_targets(self) -> int:
        return len(self.names)

    @property
    def frame(self) -> tuple[int, ...]:
        return (len(self.names),)

    @property
    def positions(self) -> np.ndarray:
        return np.arange(len(self.names))

    def select(self, mask: np.ndarray) -> ParcelSpace:
        keep = self._checked(mask)
        return ParcelSpace(tuple(name for name, kept in zip(self.names, keep, strict=True) if kept))

    def to_dict(self) -> dict[str, Any]:
        return {"names": list(self.names)}


def _unique_names(names: Iterable[str], owner: str) -> tuple[str, ...]:
    """Names as a tuple of at least one distinct string; a bare string, which would fall into letters, is refused."""
    found = (names,) if isinstance(names, str) else tuple(str(name) for name in names)
    repeated = duplicates(found)
    if isinstance(names, str) or not found or repeated:
        came = f"{repeated[0]!r} more than once" if repeated else repr(names)
        raise DataError(f"{owner}: names hold {came}, wanted a tuple of at least one, all different: rename them.")
    return found


_BUILDERS: dict[str, Callable[[dict[str, Any]], Space]] = {
    "voxel": lambda d: VoxelSpace(np.asarray(d["mask"], bool), np.asarray(d["affine"], float)),
    "vertex": lambda d: VertexSpace(str(d["mesh"]), int(d["n_left"]), int(d["n_right"]), np.asarray(d["vertices"])),
    "sensor": lambda d: SensorSpace(tuple(d["names"]), np.asarray(d["times"], float), np.asarray(d["kept"])),
    "parcel": lambda d: ParcelSpace(tuple(d["names"])),
}


def space_from_dict(kind: str, parts: dict[str, Any]) -> Space:
    """Rebuild a space from its ``kind`` and `Space.to_dict`; an unknown kind raises `DataError`."""
    if kind not in _BUILDERS:
        raise DataError(f"space kind {kind!r} is unknown, wanted one of {sorted(_BUILDERS)}.")
    return _BUILDERS[kind](parts)
