"""Regions drawn by hand in pycortex: closed paths of ``overlays.svg`` to masks of vertices.

Pycortex lays both flat sheets side by side without a gap (left sheet's right edge and right sheet's left edge at x = 0)
and stretches their joint bounding box over the SVG page, y downwards. A vertex belongs to a region when it lies inside
one of its paths. Format: Gao et al. 2015, doi:10.3389/fninf.2015.00023; paths: SVG 1.1, section 8.3.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from brainenc.core.spaces import VertexSpace
from brainenc.core.types import DataError
from brainenc.surfaces.mesh import SurfaceMesh
from brainenc.surfaces.readers import existing

_SVG = "{http://www.w3.org/2000/svg}"
_LABEL = "{http://www.inkscape.org/namespaces/inkscape}label"
_ARGUMENTS = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "A": 7, "Z": 0}
_TOKEN = re.compile(r"[MmLlHhVvCcSsQqTtAaZz]|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_CURVE = np.linspace(0, 1, 13)[1:, None]


def read_overlays(
    path: str | Path, mesh: SurfaceMesh, space: VertexSpace | None = None, layer: str = "rois"
) -> dict[str, np.ndarray]:
    """Read the regions of one layer of ``overlays.svg``.

    Parameters
    ----------
    path : path of the SVG
    mesh : SurfaceMesh
        The pycortex subject's own surfaces, flat included.
    space : VertexSpace, optional
        Over which the masks are wanted; all vertices of the mesh by default.
    layer : str
        Its ``inkscape:label``: ``rois``, ``sulci`` or another of the user's.

    Returns
    -------
    dict of str to bool array, shape (n_targets,)

    Raises
    ------
    DataError
        Unreadable SVG, no such layer, a path that cannot be understood, a space of another mesh.
    """
    space = mesh.space if space is None else space
    mesh.check(space, f"{path}")
    try:
        root = ElementTree.parse(existing(path)).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: not a readable SVG ({error}).") from error
    layers = {group.get(_LABEL): group for group in root.iter(f"{_SVG}g")}
    if layer not in layers:
        raise DataError(f"{path}: there is no layer {layer!r}, wanted one of {sorted(filter(None, layers))[:12]}.")
    points, used = page_positions(mesh, _page(root, path))
    regions: dict[str, np.ndarray] = {}
    for name, shape, matrix in _shapes(layers[layer], _outer(root, layers[layer])):
        inside = regions.setdefault(name, np.zeros(mesh.n_vertices, bool))
        for curve in trace_path(shape, f"{path}, region {name!r}"):
            inside |= used & _contains(np.c_[curve, np.ones(len(curve))] @ matrix[:2].T, points)
    return {name: mask[space.vertices] for name, mask in regions.items() if mask[space.vertices].any()}


def page_positions(mesh: SurfaceMesh, page: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Where every vertex lies on a page of (width, height), shape (n_vertices, 2), and which lie on the sheet."""
    if mesh.left.flat is None or mesh.right.flat is None:
        raise DataError(f"mesh {mesh.name!r} has no flat surfaces, wanted those the overlays were drawn on: add them.")
    left, right = mesh.left.flat.copy(), mesh.right.flat.copy()
    left[:, 0] -= left[mesh.left.on_flat, 0].max()
    right[:, 0] -= right[mesh.right.on_flat, 0].min()
    points, used = np.concatenate([left, right]), mesh.on_flat
    points = (points - points[used].min(0)) / np.ptp(points[used], axis=0)
    return np.stack([points[:, 0] * page[0], (1 - points[:, 1]) * page[1]], 1), used


def _page(root: ElementTree.Element, path: str | Path) -> tuple[float, float]:
    box = [float(part) for part in re.split(r"[ ,]+", root.get("viewBox", "").strip()) if part]
    if len(box) == 4:
        return box[2], box[3]
    sizes = [re.match(r"[\d.]+", root.get(key, "")) for key in ("width", "height")]
    if not all(sizes):
        raise DataError(f"{path}: the page has no width and height, wanted the SVG that pycortex made.")
    return float(sizes[0][0]), float(sizes[1][0])  # type: ignore[index]


def _outer(root: ElementTree.Element, target: ElementTree.Element) -> np.ndarray:
    """The joint transform of everything around ``target``."""
    parents = {child: parent for parent in root.iter() for child in parent}
    matrix, node = np.eye(3), parents.get(target)
    while node is not None:
        matrix, node = _matrix(node) @ matrix, parents.get(node)
    return matrix


def _shapes(group: ElementTree.Element, matrix: np.ndarray, name: str = "") -> list[tuple[str, str, np.ndarray]]:
    """(region, path data, transform) of every path below; the region is the label of the nearest group."""
    matrix = matrix @ _matrix(group)
    found = []
    for child in group:
        if child.tag == f"{_SVG}g":
            found += _shapes(child, matrix, child.get(_LABEL) or name)
        elif child.tag == f"{_SVG}path" and name:
            found.append((name, child.get("d", ""), matrix @ _matrix(child)))
    return found


def _matrix(element: ElementTree.Element) -> np.ndarray:
    """The element's ``transform`` as (3, 3): matrix, translate and scale."""
    total = np.eye(3)
    for kind, text in re.findall(r"(\w+)\s*\(([^)]*)\)", element.get("transform", "")):
        numbers = [float(part) for part in _TOKEN.findall(text)]
        step = np.eye(3)
        if kind == "matrix" and len(numbers) == 6:
            step[:2] = np.array(numbers).reshape(3, 2).T
        elif kind == "translate" and numbers:
            step[:2, 2] = numbers[0], numbers[1] if len(numbers) > 1 else 0.0
        elif kind == "scale" and numbers:
            step[0, 0], step[1, 1] = numbers[0], numbers[-1]
        else:
            raise DataError(
                f"SVG transform {kind!r} is not read, wanted matrix, translate or scale: apply it in Inkscape."
            )
        total = total @ step
    return total


def trace_path(data: str, owner: str = "SVG path") -> list[np.ndarray]:
    """Polygons (n_points, 2) of an SVG path: every subpath, curves cut into twelve straight pieces.

    Arcs are drawn as straight lines. Raises `DataError` naming ``owner`` when the path cannot be understood.
    """
    tokens = _TOKEN.findall(data)
    if not tokens or tokens[0] not in "Mm" or _TOKEN.sub("", data).strip(" ,\t\r\n"):
        raise DataError(f"{owner}: cannot read the path {data[:40]!r}, wanted SVG path commands beginning with M.")
    polygons: list[np.ndarray] = []
    points: list[np.ndarray] = []
    here, handle, command, position = np.zeros(2), None, "", 0
    while position < len(tokens):
        if tokens[position].isalpha():
            command, position = tokens[position], position + 1
        kind, count = command.upper(), _ARGUMENTS.get(command.upper(), 0)
        numbers = tokens[position : position + count]
        if not command or len(numbers) < count or any(part.isalpha() for part in numbers):
            raise DataError(f"{owner}: the command {command!r} lacks its {count} numbers: save the drawing again.")
        position += count
        base = here if command.islower() else np.zeros(2)
        if kind == "Z":
            here, command = points[0] if points else here, ""
            continue
        pieces, handle = _step(kind, [float(part) for part in numbers], here, base, handle)
        here = pieces[-1]
        if kind == "M":
            polygons, points = [*polygons, np.array(points)] if len(points) > 2 else polygons, [here]
            command = "l" if command == "m" else "L"
        else:
            points.extend(pieces)
    return [*polygons, np.array(points)] if len(points) > 2 else polygons


def _step(
    kind: str, numbers: list[float], here: np.ndarray, base: np.ndarray, handle: np.ndarray | None
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Points that one command adds, and the control point that a following smooth curve mirrors."""
    if kind in "HV":
        axis = "HV".index(kind)
        end = here.copy()
        end[axis] = base[axis] + numbers[0]
        return [end], None
    knots = [base + pair for pair in np.array(numbers[-2:] if kind in "MLA" else numbers).reshape(-1, 2)]
    if kind in "MLA":
        return knots, None
    if kind in "ST":
        knots = [2 * here - handle if handle is not None else here, *knots]
    t = _CURVE
    if len(knots) == 3:
        curve = (1 - t) ** 3 * here + 3 * (1 - t) ** 2 * t * knots[0] + 3 * (1 - t) * t**2 * knots[1] + t**3 * knots[2]
    else:
        curve = (1 - t) ** 2 * here + 2 * (1 - t) * t * knots[0] + t**2 * knots[1]
    return list(curve), knots[-2]


def _contains(polygon: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which of ``points`` (n, 2) lie inside the closed polygon, by the even-odd rule."""
    from matplotlib.path import Path as Polygon

    near = ((points >= polygon.min(0)) & (points <= polygon.max(0))).all(1)
    inside = np.zeros(len(points), bool)
    inside[near] = Polygon(np.concatenate([polygon, polygon[:1]])).contains_points(points[near])
    return inside
