"""Factorised encoders: a target is a place in the picture times a tuning to channels, on tokens or on a trained core.

    y_v = sum_c F[v, c] sum_p S_v[p] x[p, c] + b_v

with S a free map, a single place under a Gaussian, or a map that moves with the picture (equations and sources:
`brainenc.nn.readouts`, `brainenc.nn.readout_semantic`). With ``core_widths`` the tokens x come from convolutions that
are trained from the responses, possibly of several subjects side by side, NaN where one did not see a picture.

Saha, Chadha & Khosla 2024, arXiv:2410.14031.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from brainenc.core.types import DataError
from brainenc.encoders.neural import NeuralEncoder
from brainenc.encoders.scaling import checked_maps

if TYPE_CHECKING:
    from torch import Tensor, nn

READOUTS = ("spatial_feature", "gaussian", "semantic")


class FactorisedEncoder(NeuralEncoder):
    """A factorised readout of tokens, or of a convolutional core trained with it.

    Parameters
    ----------
    readout : "spatial_feature", "gaussian" (`receptive_fields`), or "semantic" (`moved_fields`).
    core_widths : channels of the stages of a core; X are then pictures. None: X are tokens.
    concordance : weight of the concordance loss beside the squared error.
    n_hidden : width of the localising heads of "semantic".
    start_size : sigma of "gaussian" at the beginning, as a share of half the picture's width.
    n_draws : places that "gaussian" draws for each target and sample in training.
    targets_per_block : targets at a time; memory beside the parameters grows with it.
    **training : parameters of `NeuralEncoder`; other defaults here: 100 epochs, patience 20, learning rate 1e-4, no
        decay, no clipping.
    """

    def __init__(
        self,
        readout: str = "spatial_feature",
        core_widths: Sequence[int] | None = None,
        concordance: float = 1.0,
        n_hidden: int = 32,
        start_size: float = 0.5,
        targets_per_block: int = 512,
        n_draws: int = 8,
        **training: Any,
    ) -> None:
        usual = {"epochs": 100, "patience": 20, "learning_rate": 1e-4, "weight_decay": 0.0, "clip": None}
        super().__init__(**(usual | training))
        if readout not in READOUTS:
            raise DataError(f"readout is {readout!r}, wanted one of {', '.join(READOUTS)}: fix the name.")
        widths = None if core_widths is None else list(core_widths)
        for name, value in (
            ("n_hidden", n_hidden),
            ("targets_per_block", targets_per_block),
            ("n_draws", n_draws),
            *_named(widths),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise DataError(f"{name} is {value!r}, wanted a whole number of at least 1: change it.")
        if not (start_size > 0 and concordance >= 0):
            raise DataError(
                f"start_size {start_size!r} and concordance {concordance!r} came, wanted above 0 and 0 or more: fix it."
            )
        self.readout, self.core_widths, self.concordance = readout, widths, concordance
        self.n_hidden, self.start_size, self.n_draws = n_hidden, start_size, n_draws
        self.targets_per_block = targets_per_block

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, ready for JSON."""
        own = ("readout", "core_widths", "concordance", "n_hidden", "start_size", "targets_per_block", "n_draws")
        return super().config() | {name: getattr(self, name) for name in own}

    def fit(self, X: Any, Y: Any, groups: Any = None, *, folder: Path | None = None) -> Self:
        """Learn the readout, and the core if there is one.

        Parameters
        ----------
        X : (n_samples, rows, columns, n_channels) tokens, or pictures with ``core_widths``. For "semantic" on tokens
            also a pair [tokens, map]: the second localises, with its own rows, columns and channels.
        Y : (n_samples, n_targets) responses, NaN where missing: several subjects are concatenated along the targets.
        groups : (n_samples,) labels that the inner split keeps together; None for contiguous blocks.
        folder : of log and checkpoints; a training that was killed goes on from it. None: a temporary one.

        Raises
        ------
        DataError
            If shapes do not match or the folder holds another training.
        """
        return self._fit(X, Y, groups, folder)

    def receptive_fields(self, degrees: float | None = None) -> ReceptiveFields:
        """Return place and size of each target's Gaussian.

        Parameters
        ----------
        degrees : width of the picture in degrees of visual angle; None: shares of the width.

        Raises
        ------
        DataError
            If the readout is not Gaussian or not fitted.
        """
        self._check_fitted()
        if self.readout != "gaussian":
            raise DataError(
                f"readout {self.readout!r} has no Gaussian receptive fields: fit one with readout 'gaussian'."
            )
        part: Any = self._readout_part()
        width = 1.0 if degrees is None else degrees
        centre = part.centres().detach().cpu().numpy().astype(np.float64) / 2
        height = width * int(self.shapes_[0][0]) / int(self.shapes_[0][1])
        size = part.sizes().detach().cpu().numpy().astype(np.float64) / 2
        unfit = np.where(np.isnan(self.scaling_.target_mean), np.nan, 0.0)
        return ReceptiveFields(centre[:, 0] * width + unfit, -centre[:, 1] * height + unfit, size * width + unfit)

    def weight_maps(self) -> np.ndarray:
        """Return where each target looks, (n_targets, rows, columns); of "semantic" as it is before it moves.

        Raises
        ------
        DataError
            If the encoder is not fitted.
        """
        self._check_fitted()
        part: Any = self._readout_part()
        maps: np.ndarray = part.maps().detach().cpu().numpy()
        return maps

    def moved_fields(self, X: Any, targets: slice = slice(None)) -> np.ndarray:
        """Return receptive fields of "semantic" as each picture moves them, (n_samples, n_targets, rows, columns).

        Raises
        ------
        DataError
            If the readout does not move its fields or is not fitted.
        """
        seen = self._seen_maps(X)
        if self.readout != "semantic":
            raise DataError(f"readout {self.readout!r} moves no receptive field: fit one with readout 'semantic'.")
        part: Any = self._readout_part()
        core: Any = getattr(self.network_, "core", None)

        def moved(*maps: Tensor) -> Tensor:
            fields: Tensor = part.fields(*(maps if core is None else (core(maps[0]),)), targets=targets)
            return fields

        return self._through(seen, np.arange(len(seen[0])), moved)

    def _maps(self, X: Any) -> list[np.ndarray]:
        pair = isinstance(X, (list, tuple)) and len(X) == 2 and self.readout == "semantic" and self.core_widths is None
        return checked_maps(X if pair else [X])

    def _readout_part(self) -> nn.Module:
        part: nn.Module = getattr(self.network_, "readout", self.network_)
        return part

    def _network(self, shapes: np.ndarray, n_targets: int) -> nn.Module:
        from brainenc.nn.readout_core import ConvolutionalCore, CoreReadout

        rows, columns, n_channels = shapes[0].tolist()
        if self.core_widths is None:
            return self._readout((rows, columns), n_channels, n_targets, shapes)
        core = ConvolutionalCore(n_channels, self.core_widths)
        return CoreReadout(core, self._readout(core.grid(rows, columns), core.n_channels, n_targets, shapes))

    def _readout(self, grid: tuple[int, int], n_channels: int, n_targets: int, shapes: np.ndarray) -> nn.Module:
        from brainenc.nn.readout_semantic import SemanticTransformerReadout
        from brainenc.nn.readouts import GaussianReadout, SpatialFeatureReadout

        if self.readout == "spatial_feature":
            return SpatialFeatureReadout(grid, n_channels, n_targets, self.targets_per_block)
        if self.readout == "gaussian":
            sizes = self.start_size, self.targets_per_block, self.n_draws
            return GaussianReadout(grid, n_channels, n_targets, *sizes)
        looks_at = tuple(shapes[1].tolist()) if len(shapes) == 2 else None
        return SemanticTransformerReadout(grid, n_channels, n_targets, looks_at, self.n_hidden, self.targets_per_block)

    def _loss(self, Y_hat: Tensor, Y: Tensor) -> Tensor:
        from brainenc.nn.readout_losses import masked_concordance, masked_mse

        return masked_mse(Y_hat, Y) + self.concordance * masked_concordance(Y_hat, Y)


@dataclass(frozen=True, eq=False)
class ReceptiveFields:
    """Where targets look and how widely; NaN for targets that could not be fitted.

    Parameters
    ----------
    x, y : (n_targets,) from the middle of the picture, x right, y **up**, in degrees or shares of the picture's width.
    size : (n_targets,) sigma, same unit.
    """

    x: np.ndarray
    y: np.ndarray
    size: np.ndarray

    @property
    def eccentricity(self) -> np.ndarray:
        """Distance from the middle, (n_targets,), same unit."""
        distance: np.ndarray = np.hypot(self.x, self.y)
        return distance

    @property
    def angle(self) -> np.ndarray:
        """Polar angle (n_targets,) in degrees, -180..180, counter-clockwise from the right horizontal meridian."""
        angle: np.ndarray = np.degrees(np.arctan2(self.y, self.x))
        return angle


def _named(widths: list[int] | None) -> list[tuple[str, int]]:
    return [] if widths is None else [(f"core_widths[{i}]", width) for i, width in enumerate(widths)]
