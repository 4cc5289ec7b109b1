"""paint_maps: one subject's cortex: ceiling, scores, score beside reliability, and what each band explains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from brainenc.core import storage
from brainenc.core.types import TargetMap
from brainenc.surfaces import figure, inflated, mesh, volume


@dataclass(frozen=True)
class Picture:
    """What to paint: a map, how, and the words beside it."""

    name: str
    target_map: TargetMap
    title: str
    caption: str
    vmin: float | None = 0.0
    vmax: float | None = None
    reliability: TargetMap | None = None
    view: str = "flat"
    cmap: str | None = None
    model: str = ""


def paint_maps(
    subject: str,
    regions: Path,
    ceiling: Path,
    scores: list[Path],
    partitions: list[Path],
    fields: list[Path],
    parameters: dict[str, Any],
    output: Path,
) -> None:
    """Paint every map of a subject and list the pictures with their captions.

    Parameters
    ----------
    subject : str
    regions, ceiling : Path
    scores, partitions, fields : list of Path
        Of the models, of the joint models, and of those with receptive fields, in the order of ``parameters``.
    parameters : dict
        ``mesh``: ``auto``, ``fsaverage5`` or files of a mesh; ``formats``; ``models``, ``joint_models``,
        ``field_models``: labels; ``floor``; ``notes``: what to add to the captions of a model, by label.
    output : Path
        Folder of pictures and their list ``figures.json``.
    """
    output.mkdir(parents=True, exist_ok=True)
    masks = storage.load_masks(regions)
    best = storage.load_maps(ceiling)
    scored = dict(zip(parameters["models"], map(storage.load_maps, scores), strict=True))
    parts = dict(zip(parameters["joint_models"], map(storage.load_maps, partitions), strict=True))
    looked = dict(zip(parameters["field_models"], map(storage.load_maps, fields), strict=True))
    surface = _mesh(parameters["mesh"], next(iter(best.values())))
    pictures = [*_pictures(best, scored, parts, parameters), *_field_pictures(looked)]
    listed = []
    for picture in tqdm(pictures, desc=f"maps sub-{subject}", mininterval=2):
        if not np.isfinite(picture.target_map.values).any():
            continue
        drawn = _draw(picture, surface, masks, f"sub-{subject}: {picture.title}")
        if drawn is None:
            continue
        files = [f"{picture.name}.{suffix}" for suffix in parameters["formats"]]
        for file in files:
            figure.save_figure(drawn, output / file)
        caption = " ".join(filter(None, (picture.caption, parameters["notes"].get(picture.model))))
        listed.append({"name": picture.name, "files": files, "title": picture.title, "caption": caption})
    storage.write_json(output / "figures.json", listed)


def _pictures(
    best: dict[str, TargetMap],
    scored: dict[str, dict[str, TargetMap]],
    parts: dict[str, dict[str, TargetMap]],
    parameters: dict[str, Any],
) -> Iterator[Picture]:
    limit = best["ceiling_correlation"]
    has_ceiling = bool(np.isfinite(limit.values).any())
    if has_ceiling:
        yield Picture("ceiling", limit, "noise ceiling", "Highest correlation that noise allows.", vmax=1)
    finite = [np.nanpercentile(maps["correlation"].values, 99.5) for maps in scored.values()]
    top = max(0.1, float(np.ceil(np.nanmax(finite) * 10) / 10))  # where every score is negative there is a scale too
    for label, maps in scored.items():
        name = label.replace("/", "_")
        caption = f"Correlation of predicted and measured held-out responses, model {label}."
        yield Picture(f"{name}_correlation", maps["correlation"], f"score of {label}", caption, vmax=top, model=label)
    label, maps = max(scored.items(), key=lambda item: np.nanmean(item[1]["correlation"].values))
    name = label.replace("/", "_")
    if has_ceiling:
        caption = (
            f"Colour: correlation of {label}; opacity: noise ceiling. Pale cortex could not have been predicted by any "
            "model; saturated dark cortex could, and was not."
        )
        title = f"{label}, score and ceiling"
        yield Picture(f"{name}_reliability", maps["correlation"], title, caption, 0, top, limit, model=label)
        caption = f"Correlation of {label} as a share of the noise ceiling, where that ceiling is above the floor."
        normalised = maps["normalised_correlation"]
        yield Picture(f"{name}_normalised", normalised, f"{label}, normalised score", caption, vmax=1, model=label)
    caption = f"The score of {label} on the inflated surface."
    title = f"{label}, inflated views"
    yield Picture(f"{name}_inflated", maps["correlation"], title, caption, vmax=top, view="inflated", model=label)
    for label, shares in parts.items():
        unique = {k.removeprefix("unique_"): v for k, v in shares.items() if k.startswith("unique_")}
        high = max(float(np.nanpercentile(m.values, 99.5)) for m in unique.values())
        for band, target_map in unique.items():
            caption = f"r2 that {label} loses when band {band} is left out and the rest is fitted again."
            name = f"{label.replace('/', '_')}_unique-{band}"
            title = f"unique variance of {band}"
            yield Picture(name, target_map, title, caption, vmax=max(high, 0.02), model=label)


def _field_pictures(looked: dict[str, dict[str, TargetMap]]) -> Iterator[Picture]:
    for label, maps in looked.items():
        name, end = label.replace("/", "_"), f"read from {label}, where it predicts significantly."
        caption = f"How far from the middle of the picture a target looks, {end}"
        title = f"eccentricity, {label}"
        yield Picture(f"{name}_eccentricity", maps["eccentricity"], title, caption, model=label)
        caption = f"In which direction from the middle a target looks, {end} The colours run in a circle."
        angle, title = maps["polar_angle"], f"polar angle, {label}"
        yield Picture(f"{name}_angle", angle, title, caption, -180, 180, model=label, cmap="twilight")


def _mesh(wanted: Any, example: TargetMap) -> Any:
    """The mesh to paint on; None where targets have no place on cortex, or none that is known."""
    space = example.space
    if space.kind in ("sensor", "parcel") or wanted is None:
        return None
    if wanted == "auto":
        return mesh.load_mesh("fsaverage5") if getattr(space, "mesh", None) == "fsaverage5" else None
    return mesh.load_mesh(wanted) if isinstance(wanted, str) else mesh.read_mesh(**wanted)


def _draw(picture: Picture, surface: Any, masks: dict[str, np.ndarray], title: str) -> Any:
    target_map, reliability = picture.target_map, picture.reliability
    limits = {"vmin": picture.vmin, "vmax": picture.vmax, "cmap": picture.cmap, "title": title}
    if target_map.space.kind == "voxel":
        if surface is None:
            flat = picture.view == "flat" and reliability is None
            return volume.paint_slices(target_map, regions=masks, **limits) if flat else None
        masks = {name: _project_mask(mask, target_map, surface) for name, mask in masks.items()}
        target_map = volume.project_to_surface(target_map, surface)
        reliability = None if reliability is None else volume.project_to_surface(reliability, surface)
    if surface is None:
        return None
    if picture.view == "inflated":
        return inflated.paint_inflated(target_map, surface, masks, **limits)
    return figure.paint_flatmap(target_map, surface, masks, reliability=reliability, **limits)


def _project_mask(mask: np.ndarray, target_map: TargetMap, surface: Any) -> np.ndarray:
    """A region of voxels as a region of vertices, (n_vertices,)."""
    inside = TargetMap(mask.astype(float), target_map.space, "region")
    projected = volume.project_to_surface(inside, surface, interpolation="nearest")
    return projected.space.scatter(projected.values) > 0.5
