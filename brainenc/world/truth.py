"""What was planted in one subject: the answers that tests compare with, and that no fit may see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class PlantedTruth:
    """What was planted in one subject: t targets in the order of the responses, n pictures. For tests only.

    Parameters
    ----------
    stimulus_ids : object array of str, shape (n,)
    signal : float32 array, shape (n, t)
        Noiseless signal, mean 0 and variance 1 over the pictures, or 0.
    ncsnr : float array, shape (t,)
        Signal sd over noise sd; NaN for dead and missing targets.
    region, preferred : object array of str, shape (t,)
        Region and the category it prefers; ``""`` where there is none. Planted on a network: the category that the
        region's mean signal follows most.
    prf_x, prf_y, prf_sigma : float array, shape (t,)
        Receptive fields in degrees, x right and y **up**; NaN outside the early areas.
    M : float array, shape (t, 6)
        Weights of `brainenc.world.cortex.PLANTED_CATEGORIES`, as they are shown or as the network sees them.
    U : float array, shape (t, 16)
        Weights of the attributes, or of the network's principal components.
    dead, missing : bool array, shape (t,)
        Targets that measured constant 0 and NaN.
    lost : int array
        Rows of the responses that are all NaN.
    network : str
        Name of the folder of the network that drives all but the early areas; ``""``: the equations do.
    """

    stimulus_ids: np.ndarray
    signal: np.ndarray
    ncsnr: np.ndarray
    region: np.ndarray
    preferred: np.ndarray
    prf_x: np.ndarray
    prf_y: np.ndarray
    prf_sigma: np.ndarray
    M: np.ndarray
    U: np.ndarray
    dead: np.ndarray
    missing: np.ndarray
    lost: np.ndarray
    network: str = ""
