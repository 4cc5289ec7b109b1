"""Closed-form retinotopy of V1, V2, V3 and hV4: one log-polar map with a wedge per area.

A vertex with unit-sphere position s is projected (azimuthal equidistant, degrees) around a centre c near the occipital
pole, moved to the foveal confluence, turned and sheared::

    (u, v) = rotation(rho) (xy - f),   u <- u - shear v
    w = u / ku + log a + i v / (q ku),   z = exp(w) - a,   eccentricity = |z| (deg),   theta = arg z

+u runs anterior and +v dorsal in both hemispheres. With T1 = t1, T2 = t1 + t2, T3 = T2 + t3 the wedges are::

    V1   |theta| <= T1                    angle = 90 + 90 theta / t1
    V2   T1 < |theta| <= T2               angle = 90 + sgn(theta) (90 - 90 (|theta| - T1) / t2)
    V3   T2 < |theta| <= T3               angle = 90 + sgn(theta) 90 (|theta| - T2) / t3
    hV4  T3 < -theta <= T3 + t4           angle = 180 (|theta| - T3) / t4

Angle 0 is the upper vertical meridian, 90 the horizontal one, 180 the lower one, always of the opposite half of the
visual field. Neighbouring areas are mirror images of each other: the angle turns back at each border.

Sources: Schwartz 1977 for the monopole map; Balasubramanian, Polimeni & Schwartz 2002 for one wedge per area.
Parameters are read from the card of the atlas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Wedges:
    """Parameters of one hemisphere's map; see the equations above.

    ``centre`` (3,) need not be of unit length; ``fx, fy, ku`` are degrees on the sphere; ``rho, t1..t4`` radians;
    ``a`` degrees of visual angle; ``q, shear`` pure numbers.
    """

    hemisphere: str
    centre: tuple[float, float, float]
    fx: float
    fy: float
    rho: float
    ku: float
    a: float
    q: float
    t1: float
    t2: float
    t3: float
    t4: float
    shear: float

    @classmethod
    def from_card(cls, early: Mapping, hemisphere: str) -> Wedges:
        """Build from section ``early`` of the atlas card."""
        placed = {key: value for key, value in early[hemisphere].items() if key != "hV4"}
        placed["centre"] = tuple(placed["centre"])
        return cls(hemisphere=hemisphere, **placed, **early["shape"])

    def jittered(self, rng: np.random.Generator) -> Wedges:
        """A person's own map: rotation rho + U(-.05, .05) rad, scale ku times exp(.05 N)."""
        return replace(self, rho=self.rho + rng.uniform(-0.05, 0.05), ku=self.ku * np.exp(0.05 * rng.standard_normal()))


def project(sphere: np.ndarray, centre: np.ndarray, hemisphere: str) -> np.ndarray:
    """Azimuthal equidistant projection in degrees around ``centre``, shape (n, 2): +x anterior, +y dorsal."""
    c = np.asarray(centre, float) / np.linalg.norm(centre)
    up = np.array([0.0, 0.0, 1.0]) - c[2] * c
    up /= np.linalg.norm(up)
    side = np.cross(up, c)
    x, y, depth = sphere @ side, sphere @ up, sphere @ c
    radius = np.hypot(x, y)
    scale = np.degrees(np.where(radius > 1e-9, np.arctan2(radius, depth) / np.maximum(radius, 1e-9), 1.0))
    return np.stack([(x if hemisphere == "left" else -x) * scale, y * scale], axis=1)


def polar(wedges: Wedges, sphere: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eccentricity (deg), theta (rad) and validity ``|v / (q ku)| < pi`` of each vertex, three arrays (n,)."""
    offset = project(sphere, np.array(wedges.centre), wedges.hemisphere) - [wedges.fx, wedges.fy]
    cos, sin = np.cos(wedges.rho), np.sin(wedges.rho)
    u, v = offset[:, 0] * cos + offset[:, 1] * sin, -offset[:, 0] * sin + offset[:, 1] * cos
    u = u - wedges.shear * v
    turn = v / (wedges.q * wedges.ku)
    z = np.exp(u / wedges.ku + np.log(wedges.a) + 1j * turn) - wedges.a
    return np.abs(z), np.angle(z), np.abs(turn) < np.pi


def retinotopic_map(wedges: Wedges, sphere: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Area, polar angle and eccentricity of each vertex.

    Parameters
    ----------
    wedges : Wedges
    sphere : float array, shape (n, 3)
        Unit vectors of the registration sphere.

    Returns
    -------
    area : str array, shape (n,)
        ``"V1"``, ``"V2"``, ``"V3"``, ``"hV4"`` or ``""``.
    angle : float array, shape (n,)
        Degrees from the upper vertical meridian; NaN outside the areas.
    eccentricity : float array, shape (n,)
        Degrees of visual angle; NaN outside the areas.
    """
    eccentricity, theta, valid = polar(wedges, sphere)
    sign, turned = np.sign(theta), np.abs(theta)
    first, second = wedges.t1, wedges.t1 + wedges.t2
    third, fourth = second + wedges.t3, second + wedges.t3 + wedges.t4
    conditions = [
        valid & (turned <= first),
        valid & (turned <= second),
        valid & (turned <= third),
        valid & (theta < 0) & (turned <= fourth),
    ]
    angles = [
        90 + 90 * theta / wedges.t1,
        90 + sign * (90 - 90 * (turned - first) / wedges.t2),
        90 + sign * 90 * (turned - second) / wedges.t3,
        180 * (turned - third) / wedges.t4,
    ]
    area = np.select(conditions, ["V1", "V2", "V3", "hV4"], default="")
    angle = np.select(conditions, angles, default=np.nan)
    return area, angle, np.where(area != "", eccentricity, np.nan)


def visual_field(angle: np.ndarray, eccentricity: np.ndarray, hemisphere: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position in the visual field in degrees: x to the right, y **up** (the rows of a picture run down).

    ``x = +-eccentricity sin(angle)``, positive for the left hemisphere; ``y = eccentricity cos(angle)``.
    """
    radians = np.radians(angle)
    side = np.where(np.asarray(hemisphere) == "left", 1.0, -1.0)
    return side * eccentricity * np.sin(radians), eccentricity * np.cos(radians)
