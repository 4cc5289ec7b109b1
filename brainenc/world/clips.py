"""Films of scenes: things that move, grow and turn before a backdrop that may pan, with exactly known optical flow.

At time t (seconds) a point p of a thing that stood at p_0 when the film began is at::

    p(t) = c(t) + s(t) R(a(t)) (p_0 - c_0)
    c(t) = c_0 + m sin(2 pi t / P_1),   log s(t) = g sin(2 pi t / P_2),   a(t) = w sin(2 pi t / P_3)

(m a vector in units of the image side, R a rotation), and the backdrop is seen through a window that slides by
``pan sin(2 pi t / P)``. So the displacement of every pixel from one frame to the next is known in closed form: the flow
of the thing that it shows. Light does not flicker and there are no cast shadows and no grain: brightness moves with
the things. Brightness constancy and flow: Horn & Schunck 1981, doi:10.1016/0004-3702(81)90024-2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from brainenc.core.types import DataError
from brainenc.world.scene_light import light_up
from brainenc.world.scene_masks import label_sketches
from brainenc.world.scene_pen import Point, Sketch, paint
from brainenc.world.scene_plan import ScenePlan, plan_scene
from brainenc.world.scenes import SIZES, paint_ground

MOTION = 110  # random stream of a clip
MAX_FRAMES = 10_000
WINDOW = 0.8  # share of the backdrop's side that a panning window shows
OVERSAMPLING = 3
SHARE_STILL, SHARE_PANNING = 0.1, 0.5


@dataclass(frozen=True)
class Motion:
    """How a thing moves; all zero is rest.

    Parameters
    ----------
    move : (float, float)
        Largest displacement, units of the image side, y downwards.
    grow : float
        Largest natural logarithm of the scale.
    turn : float
        Largest rotation, radians, clockwise.
    periods : (float, float, float)
        Seconds per cycle of moving, growing and turning.
    """

    move: Point = (0.0, 0.0)
    grow: float = 0.0
    turn: float = 0.0
    periods: tuple[float, float, float] = (4.0, 4.0, 4.0)

    @property
    def words(self) -> str:
        """What it does: some of ``moving``, ``growing``, ``turning`` in one string, or ``still``."""
        parts = (("moving", any(self.move)), ("growing", self.grow), ("turning", self.turn))
        return " ".join(word for word, present in parts if present) or "still"

    def at(self, time: float) -> tuple[Point, float, float]:
        """Displacement, scale and rotation at a time in seconds."""
        move, grow, turn = (math.sin(2 * math.pi * time / period) for period in self.periods)
        return (self.move[0] * move, self.move[1] * move), math.exp(self.grow * grow), self.turn * turn


@dataclass(frozen=True)
class ClipPlan:
    """A film without pixels.

    Parameters
    ----------
    scene : ScenePlan
        What is shown, as it stands at time 0.
    motions : tuple of Motion
        One per layer of the scene.
    n_frames : int
    fps : float
        Frames per second; frame k is at ``k / fps`` seconds.
    pan : (float, float)
        Largest displacement of the window over the backdrop, units of the image side; ``pan_period`` in seconds.
    """

    scene: ScenePlan
    motions: tuple[Motion, ...]
    n_frames: int
    fps: float
    pan: Point = (0.0, 0.0)
    pan_period: float = 4.0

    def centre(self, layer: int, frame: int) -> Point:
        """Centre of a thing in a frame, units of the image side."""
        (x, y), (dx, dy) = self.scene.layers[layer].centre, self.motions[layer].at(frame / self.fps)[0]
        return x + dx, y + dy

    def window(self, frame: int) -> Point:
        """Displacement of the window over the backdrop in a frame, units of the image side."""
        phase = math.sin(2 * math.pi * frame / self.fps / self.pan_period)
        return self.pan[0] * phase, self.pan[1] * phase


def plan_clip(
    seed: int,
    seconds: float = 2.0,
    fps: float = 8.0,
    categories: Sequence[str] | None = None,
    n_things: int | None = None,
) -> ClipPlan:
    """Choose what a film shows and how it moves.

    Parameters
    ----------
    seed : int
        Not negative. One seed gives one film; more seconds or frames continue or refine it.
    seconds, fps : float
        Length and frame rate; together at least two frames.
    categories, n_things
        What to show: see :func:`brainenc.world.scene_plan.plan_scene`.

    Raises
    ------
    DataError
        If there would be fewer than two or more than 10,000 frames, or the scene is refused.
    """
    n_frames = round(seconds * fps) if seconds > 0 and fps > 0 else 0
    if not 2 <= n_frames <= MAX_FRAMES:
        came = f"{seconds:g} s at {fps:g} frames per second came, 2..{MAX_FRAMES} frames were wanted"
        raise DataError(f"{came}: change the length or the rate.")
    scene = plan_scene(seed, categories, n_things)
    rng = np.random.default_rng([seed, MOTION])
    if scene.light is not None:
        scene = replace(scene, light=replace(scene.light, shadow=0.0, grain=0.0))
    middle = [(min(0.7, max(0.3, x)), min(0.7, max(0.3, y))) for x, y in (layer.centre for layer in scene.layers)]
    layers = tuple(replace(layer, centre=centre) for layer, centre in zip(scene.layers, middle, strict=True))
    is_panning = rng.random() < SHARE_PANNING
    pan = _vector(rng, 0.03, 0.5 * (1 / WINDOW - 1)) if is_panning else (0.0, 0.0)
    pan_period = rng.uniform(2, 6)
    motions = tuple(_draw_motion(rng) for _ in layers)
    return ClipPlan(replace(scene, layers=layers), motions, n_frames, fps, pan, pan_period)


def paint_clip(plan: ClipPlan, size: int = 64) -> np.ndarray:
    """Paint all frames.

    Parameters
    ----------
    plan : ClipPlan
    size : int
        Side of a frame in pixels, 16..2048.

    Returns
    -------
    ndarray (n_frames, size, size, 3) of uint8

    Raises
    ------
    DataError
        For another size.
    """
    _check_size(size)
    side = size * OVERSAMPLING
    ground = paint_ground(plan.scene, round(side / WINDOW))
    frames = np.empty((plan.n_frames, size, size, 3), np.uint8)
    for frame in range(plan.n_frames):
        canvas = _look(ground, side, plan.window(frame))
        for sketch in _moved_sketches(plan, frame):
            paint(canvas, sketch)
        image = np.array(canvas.reduce(OVERSAMPLING))
        frames[frame] = image if plan.scene.light is None else light_up(image, plan.scene.light)
    return frames


def paint_clip_masks(plan: ClipPlan, size: int = 64) -> np.ndarray:
    """Label maps (n_frames, size, size) uint8: 0 backdrop or place, i + 1 where layer i is seen."""
    _check_size(size)
    return np.stack([label_sketches(_moved_sketches(plan, frame), size) for frame in range(plan.n_frames)])


def optical_flow(plan: ClipPlan, size: int = 64) -> np.ndarray:
    """Displacement of what each pixel shows until the next frame.

    Parameters
    ----------
    plan : ClipPlan
    size : int
        Side of a frame in pixels, 16..2048.

    Returns
    -------
    ndarray (n_frames - 1, size, size, 2) of float32
        Pixels, x to the right and y downwards: what pixel (row, column) of frame k shows is at
        (row + flow[k, row, column, 1], column + flow[k, row, column, 0]) in frame k + 1, unless hidden there.

    Raises
    ------
    DataError
        For another size.
    """
    labels = paint_clip_masks(plan, size)
    line = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(line, line)
    flow = np.empty((plan.n_frames - 1, size, size, 2), np.float32)
    for frame in range(plan.n_frames - 1):
        (x0, y0), (x1, y1) = plan.window(frame), plan.window(frame + 1)
        flow[frame] = (x0 - x1, y0 - y1)  # the window moves right, the backdrop left
        for index in range(len(plan.motions)):
            seen = labels[frame] == index + 1
            moved_x, moved_y = _carry(plan, index, frame, x[seen], y[seen])
            flow[frame][seen] = np.stack([moved_x - x[seen], moved_y - y[seen]], axis=1)
    return flow * np.float32(size)


def _carry(plan: ClipPlan, index: int, frame: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where points (unit square) of a thing in a frame are in the next frame."""
    motion = plan.motions[index]
    _, scale_now, angle_now = motion.at(frame / plan.fps)
    _, scale_next, angle_next = motion.at((frame + 1) / plan.fps)
    (x0, y0), (x1, y1) = plan.centre(index, frame), plan.centre(index, frame + 1)
    ratio, angle = scale_next / scale_now, angle_next - angle_now
    cos, sin = ratio * math.cos(angle), ratio * math.sin(angle)
    return x1 + cos * (x - x0) - sin * (y - y0), y1 + sin * (x - x0) + cos * (y - y0)


def _moved_sketches(plan: ClipPlan, frame: int) -> list[Sketch]:
    """The things of a frame, back to front, points in the unit square."""
    sketches = []
    for index, (layer, motion) in enumerate(zip(plan.scene.layers, plan.motions, strict=True)):
        _, scale, angle = motion.at(frame / plan.fps)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        sketch = layer.placed()
        points = (sketch.points - layer.centre) @ np.array([[cos, sin], [-sin, cos]]) + plan.centre(index, frame)
        sketches.append(replace(sketch, points=points))
    return sketches


def _look(ground: Image.Image, side: int, window: Point) -> Image.Image:
    """The part of the backdrop that the window shows, ``side`` x ``side``."""
    margin = (ground.width - side) / 2
    shift = (1.0, 0.0, margin + window[0] * side, 0.0, 1.0, margin + window[1] * side)
    return ground.transform((side, side), Image.Transform.AFFINE, shift, Image.Resampling.BILINEAR)


def _vector(rng: np.random.Generator, shortest: float, longest: float) -> Point:
    angle, length = 2 * math.pi * rng.random(), rng.uniform(shortest, longest)
    return length * math.cos(angle), length * math.sin(angle)


def _draw_motion(rng: np.random.Generator) -> Motion:
    """At rest now and then, otherwise moving, growing, turning, or several of them."""
    periods = (rng.uniform(2, 6), rng.uniform(2, 6), rng.uniform(2, 6))
    move, signs = _vector(rng, 0.06, 0.22), np.where(rng.random(2) < 0.5, -1.0, 1.0)
    grow, turn = float(signs[0]) * rng.uniform(0.1, 0.3), float(signs[1]) * rng.uniform(0.15, 0.6)
    does = rng.random(3) < (0.7, 0.35, 0.35)
    does[int(rng.integers(3))] = True
    if rng.random() < SHARE_STILL:
        does[:] = False
    return Motion(move if does[0] else (0.0, 0.0), grow if does[1] else 0.0, turn if does[2] else 0.0, periods)


def _check_size(size: int) -> None:
    if not SIZES[0] <= size <= SIZES[1]:
        raise DataError(f"Frame size {size} came, {SIZES[0]}..{SIZES[1]} pixels were wanted: choose one of those.")
