"""A real subject's surfaces and hand-drawn regions (pycortex S1), read, mapped and painted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from brainenc.core.types import TargetMap
from brainenc.surfaces.colour import ColourScale
from brainenc.surfaces.figure import paint_flatmap, save_figure
from brainenc.surfaces.flatmap import flatmap_lookup
from brainenc.surfaces.mesh import read_mesh
from brainenc.surfaces.pycortex import read_overlays
from brainenc.surfaces.raster import cross

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "surfaces" / "pycortex_S1"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not FOLDER.exists(), reason="the pycortex S1 surfaces are not beside the checkout"),
]


@pytest.fixture(scope="module")
def mesh():
    names = {"flat": "flat", "pial": "pia", "white": "wm"}
    sides = [{key: FOLDER / f"{stem}_{half}.gii" for key, stem in names.items()} for half in ("lh", "rh")]
    return read_mesh("S1", *sides)


@pytest.fixture(scope="module")
def regions(mesh, tmp_path_factory):
    drawn = json.loads((FOLDER / "S1_visual_roi_svg_paths.json").read_text())
    groups = "".join(
        f'<g inkscape:label="{name}">' + "".join(f'<path d="{path}"/>' for path in paths) + "</g>"
        for name, paths in drawn["rois"].items()
    )
    svg = tmp_path_factory.mktemp("S1") / "overlays.svg"
    svg.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape" '
        f'width="{drawn["svg_width"]}" height="{drawn["svg_height"]}"><g inkscape:label="rois">'
        f'<g inkscape:label="shapes">{groups}</g></g></svg>'
    )
    return read_overlays(svg, mesh)


def test_the_mesh_is_whole_and_faces_outwards(mesh):
    assert (mesh.left.n_vertices, mesh.right.n_vertices) == (152893, 151487)
    for half in (mesh.left, mesh.right):
        corner = half.flat[half.flat_faces]
        assert (cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]) > 0).mean() > 0.999


def test_regions_lie_where_anatomy_has_them(mesh, regions):
    assert set(regions) == {"V1", "V2", "V3", "OFA", "OPA", "EBA", "RSC", "FFA", "PPA", "IPS"}
    points = np.concatenate([mesh.left.shapes["pial"], mesh.right.shapes["pial"]])
    n = mesh.left.n_vertices
    for name, mask in regions.items():
        left, right = points[:n][mask[:n]].mean(0), points[n:][mask[n:]].mean(0)
        assert left[0] < 0 < right[0], name
        assert abs(left[0] + right[0]) < 15 and np.abs(left[1:] - right[1:]).max() < 12, name  # mirror images
    centre = {name: np.abs(points[mask] * [1, 0, 0]).mean(0)[0] for name, mask in regions.items()}
    depth = {name: points[mask].mean(0) for name, mask in regions.items()}
    assert centre["V1"] < centre["V2"] < centre["V3"] < centre["EBA"]  # from the midline outwards
    assert centre["RSC"] < centre["OPA"] and centre["PPA"] < centre["FFA"]
    assert depth["V1"][1] < depth["PPA"][1] and depth["IPS"][2] > depth["OPA"][2] > depth["FFA"][2]


def test_v1_v2_v3_are_neighbours_and_do_not_overlap(mesh, regions):
    def touching(a, b):
        inside = mesh_faces
        return bool((regions[a][inside].any(1) & regions[b][inside].any(1)).any())

    mesh_faces = np.concatenate([mesh.left.flat_faces, mesh.right.flat_faces + mesh.left.n_vertices])
    assert touching("V1", "V2") and touching("V2", "V3") and not touching("V1", "V3")
    assert (regions["V1"] & regions["V2"]).sum() < 0.02 * regions["V1"].sum()


def test_lookup_and_painting_of_three_hundred_thousand_vertices(mesh, regions, tmp_path):
    start = time.perf_counter()
    lookup = flatmap_lookup(mesh)
    built = time.perf_counter() - start
    values = np.where(mesh.on_flat, mesh.curvature, np.nan).astype(np.float32)
    start = time.perf_counter()
    rgba = lookup.paint(values, ColourScale(-0.3, 0.3))
    painted = time.perf_counter() - start
    start = time.perf_counter()
    target_map = TargetMap(values, mesh.space, "curvature", "1/mm")
    file = save_figure(paint_flatmap(target_map, mesh, regions, title="S1"), tmp_path / "S1.png")
    drawn = time.perf_counter() - start
    assert rgba.shape == (*lookup.shape, 4) and file.stat().st_size > 100_000
    assert built < 10 and painted < 1 and drawn < 8, (built, painted, drawn)  # alone: about 2, 0.1 and 2 s
