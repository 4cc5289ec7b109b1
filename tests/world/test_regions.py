"""Geometry of the planted cortex and its regions: oracles on flat sheets, and the designed sizes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components, dijkstra

from brainenc.core.types import DataError
from brainenc.world import regions
from brainenc.world.mesh import (
    HEMISPHERES,
    MNI305_TO_MNI152,
    N_VERTICES,
    Hemisphere,
    load_fsaverage5,
    mni152_to_mni305,
    neighbour_mean,
    noise_operator,
    vertex_area,
)

# Vertices per region, left and right, as the atlas was designed on fsaverage5 (a slightly larger cortex mask).
DESIGNED = {
    "V1": (177, 189), "V2": (136, 150), "V3": (156, 174), "hV4": (46, 50), "OFA": (28, 28), "FFA-1": (15, 30),
    "FFA-2": (33, 28), "PPA": (45, 43), "OPA": (48, 53), "RSC": (55, 49), "EBA": (108, 56), "FBA": (21, 26),
    "VWFA": (18, 34), "LO": (50, 40), "hMT+": (31, 36), "FOOD": (22, 18), "STSface": (42, 62), "A1": (29, 37),
    "IFG": (58, 0), "STSlang": (47, 40), "ATLlang": (41, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def template() -> regions.Parcellation:
    return regions.parcellate()


def sheet(n: int = 12, tilt: float = 0.0) -> Hemisphere:
    """A flat square grid of unit spacing, cut into triangles along one diagonal; ``tilt`` bends it at the middle."""
    x, y = np.meshgrid(np.arange(n, dtype=float), np.arange(n, dtype=float), indexing="ij")
    bend = np.maximum(x - n // 2, 0)
    points = np.stack([x - bend * (1 - np.cos(tilt)), y, bend * np.sin(tilt)], axis=-1).reshape(-1, 3)
    corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    faces = np.vstack(
        [np.stack([corner, corner + 1, corner + n], 1), np.stack([corner + 1, corner + n + 1, corner + n], 1)]
    )
    return Hemisphere(faces, points, points, np.ones(n * n, bool))


def grid_error(graph, n: int = 12) -> float:
    """Largest relative excess of path length over straight lines from one corner of the sheet."""
    found = dijkstra(graph, indices=0).reshape(n, n)
    x, y = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    straight = np.hypot(x, y)
    return float((found[straight > 0] / straight[straight > 0]).max() - 1)


def test_geodesic_on_a_sheet_needs_the_unfolded_diagonals() -> None:
    flat = sheet()
    assert grid_error(flat.graph) < 0.09
    assert (flat.graph != flat.graph.T).nnz == 0
    edges_only = flat.graph.copy()
    n = 12
    rows = np.repeat(np.arange(n * n), np.diff(edges_only.indptr))
    step = np.abs(rows - edges_only.indices)
    diagonal = (step == n + 1) | (step == 2 * n - 1) | (step == n + 2) | (step == 2 * n + 1)
    edges_only.data[diagonal] = np.inf
    assert grid_error(edges_only) > 0.3  # the broken twin: paths along edges alone


def test_geodesic_does_not_change_when_the_sheet_is_folded() -> None:
    flat, folded = sheet(), sheet(tilt=2.5)
    assert np.allclose(flat.distance(0, np.inf), folded.distance(0, np.inf))
    straight = np.linalg.norm(folded.middle - folded.middle[0], axis=1)
    assert straight[-1] < 0.9 * folded.distance(0, np.inf)[-1]  # the broken twin: through the air


def test_vertex_areas_sum_to_the_surface() -> None:
    flat = sheet()
    assert vertex_area(flat).sum() == pytest.approx(11 * 11)
    for side in HEMISPHERES:
        mesh = load_fsaverage5()[side]
        corner = mesh.middle[mesh.faces]
        triangles = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1) / 2
        assert vertex_area(mesh).sum() == pytest.approx(triangles.sum())


def test_mni_conversion_is_the_inverse_of_freesurfers_matrix() -> None:
    positions = np.random.default_rng(0).uniform(-70, 70, (20, 3))
    back = mni152_to_mni305(positions) @ MNI305_TO_MNI152[:3, :3].T + MNI305_TO_MNI152[:3, 3]
    assert np.allclose(back, positions)
    assert np.abs(mni152_to_mni305(positions) - positions).max() < 5


def test_noise_operator_has_unit_variance_and_is_smooth(template: regions.Parcellation) -> None:
    vertices = np.flatnonzero(template.region == "V1")
    K, support = noise_operator(vertices, 3)
    assert np.allclose(K.power(2).sum(axis=1), 1)
    assert np.isin(vertices, support).all()
    covariance = (K @ K.T).toarray()
    neighbours = (neighbour_mean()[vertices][:, vertices].toarray() > 0) & ~np.eye(len(vertices), dtype=bool)
    assert covariance[neighbours].min() > 0.5
    raw = neighbour_mean()[vertices].power(2).sum(axis=1)  # the broken twin: smoothing without normalisation
    assert raw.max() < 0.3


def test_sizes_of_the_template(template: regions.Parcellation) -> None:
    for name, designed in DESIGNED.items():
        for side, wanted in zip(HEMISPHERES, designed, strict=True):
            found = np.count_nonzero((template.region == name) & (template.hemisphere == side))
            assert abs(found - wanted) <= max(2, 0.04 * wanted), (name, side, found, wanted)


def test_regions_lie_on_the_cortex_and_artificial_ones_are_there(template: regions.Parcellation) -> None:
    assert template.cortex[template.region != ""].all()
    for name in regions.ARTIFICIAL:
        assert np.count_nonzero(template.region == name) >= 60
    x = np.concatenate([load_fsaverage5()[side].middle[:, 0] for side in HEMISPHERES])
    assert (x[(template.region != "") & (template.hemisphere == "left")] < 3).all()
    assert (x[(template.region != "") & (template.hemisphere == "right")] > -3).all()


def test_every_region_is_one_piece_but_v2_and_v3_are_two(template: regions.Parcellation) -> None:
    for side in HEMISPHERES:
        region = template.region[template.hemisphere == side]
        start = 0 if side == "left" else N_VERTICES
        graph = neighbour_mean()[start : start + N_VERTICES][:, start : start + N_VERTICES]
        for name in set(region) - {"", *regions.ARTIFICIAL}:
            inside = np.flatnonzero(region == name)
            labels = connected_components(graph[inside][:, inside])[1]
            large = np.count_nonzero(np.bincount(labels) > 3)
            assert large == (2 if name in ("V2", "V3") else 1), (name, side)


def test_centres_are_near_the_cortex() -> None:
    for row in regions.load_atlas().labels.itertuples():
        _, gap = load_fsaverage5()[row.hemisphere].nearest(np.array([row.x, row.y, row.z], float))
        limit = 6 if row.certainty != "artificial" else 12
        assert gap < limit, (row.region, row.hemisphere, gap)


def test_people_differ_as_much_as_studies_do(template: regions.Parcellation) -> None:
    discs = [name for name in DESIGNED if name not in regions.EARLY]
    dice = []
    for seed in range(6):
        person = regions.parcellate(np.random.default_rng(seed))
        again = regions.parcellate(np.random.default_rng(seed))
        assert (person.region == again.region).all()
        for name in (*discs, *regions.ARTIFICIAL):
            assert np.count_nonzero(person.region == name) >= regions.FEWEST
        for name in discs:
            own, common = person.region == name, template.region == name
            dice.append(2 * np.count_nonzero(own & common) / (own.sum() + common.sum()))
    assert 0.4 < np.mean(dice) < 0.75


def test_the_table_says_where_each_position_comes_from() -> None:
    labels = regions.load_atlas().labels
    assert not labels.duplicated(["region", "hemisphere"]).any()
    assert set(labels["certainty"]) == {"H", "M", "L", "artificial"}
    assert (labels["certainty"] == "artificial").equals(labels["region"].isin(regions.ARTIFICIAL))
    for row in labels.itertuples():
        assert row.sources
        if row.certainty in "HM":
            assert "doi:10." in row.sources, (row.region, row.hemisphere)
        else:
            assert "here" in row.sources


def test_an_atlas_with_other_columns_is_refused(tmp_path, monkeypatch) -> None:
    (tmp_path / "labels.tsv").write_text("region\tside\nOFA\tleft\n")
    (tmp_path / "card.yaml").write_text("early: {}\n")
    monkeypatch.setattr(regions, "find_shared", lambda _: tmp_path)
    with pytest.raises(DataError, match="columns .* wanted"):
        regions.load_atlas.__wrapped__()
