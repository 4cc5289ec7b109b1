"""Ensemble over layers and runs: each target trusts the layers that predicted it well on held-out training rows.

    p_v = sum_l w[l, v] mean_runs p[l, run, v],    w[l, v] = softmax_l(sharpness * r[l, v])

r: validation correlation, mean over runs. Weights sum to 1 and runs are averaged, not summed, so the amplitude of the
predictions is that of one layer. Adeli, Sun & Kriegeskorte 2025, arXiv:2505.17329 (sharpness 40).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from brainenc.core.types import DataError
from brainenc.encoders.neural import NeuralEncoder


class LayerEnsemble:
    """One encoder for each layer and run, combined per target.

    Parameters
    ----------
    member : ``{"class": name, **arguments}`` of an encoder that keeps ``validation_correlation_``.
    n_runs : fits of each layer, with seeds ``seed, seed + 1, ...`` of the member: other weights, other inner validation
        rows.
    sharpness : how strongly the best layer is preferred; 0 for equal weights.

    Attributes
    ----------
    members_ : list over layers of lists over runs of fitted encoders.
    weights_ : (n_layers, n_targets) float32, summing to 1 over layers.
    """

    members_: list[list[NeuralEncoder]]
    weights_: np.ndarray

    def __init__(self, member: Mapping[str, Any], n_runs: int = 1, sharpness: float = 40.0) -> None:
        from brainenc.encoders import resolve

        if "class" not in member:
            raise DataError(
                f"member is {dict(member)!r}, wanted the class of an encoder and its arguments: add 'class'."
            )
        kind = resolve(member["class"])
        if not issubclass(kind, NeuralEncoder):
            raise DataError(
                f"member class {member['class']!r} keeps no validation correlation: choose a trained encoder."
            )
        if not isinstance(n_runs, int) or n_runs < 1 or not sharpness >= 0:
            raise DataError(
                f"n_runs {n_runs!r} and sharpness {sharpness!r} came, wanted 1 or more and 0 or more: fix them."
            )
        self._kind = kind
        self.member, self.n_runs, self.sharpness = dict(member), n_runs, float(sharpness)
        self._of_run(0)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, ready for JSON."""
        return {"member": dict(self.member), "n_runs": self.n_runs, "sharpness": self.sharpness}

    def fit(self, X: Sequence[Any], Y: Any, groups: Any = None, *, folder: Path | None = None, **more: Any) -> Self:
        """Fit every member.

        Parameters
        ----------
        X : list of the layers' maps, each as the member takes it.
        Y, groups : as the member takes them.
        folder : each member trains in ``folder/layer-<l>-run-<r>``; None: temporary ones.
        **more : further arguments of the member's fit, such as ``regions``.

        Raises
        ------
        DataError
            If X is no list of layers, or a member refuses what came.
        """
        layers = _layers(X)
        self.members_ = [
            [
                self._of_run(run).fit(  # type: ignore[attr-defined]
                    x, Y, groups, folder=None if folder is None else folder / f"layer-{l}-run-{run}", **more
                )
                for run in range(self.n_runs)
            ]
            for l, x in enumerate(layers)
        ]
        r = np.stack([_mean_of_defined([m.validation_correlation_ for m in runs]) for runs in self.members_])
        self.weights_ = layer_weights(r, self.sharpness)
        return self

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """Return predicted responses (n_samples, n_targets) float32; NaN for targets that no member could fit.

        Raises
        ------
        DataError
            If the ensemble is not fitted or the layers are not those it was fitted on.
        """
        self._check_fitted()
        layers = _layers(X)
        if len(layers) != len(self.members_):
            raise DataError(
                f"X holds {len(layers)} layers but the ensemble was fitted on {len(self.members_)}: pass those."
            )
        total: np.ndarray | float = 0.0
        for x, runs, weight in zip(layers, self.members_, self.weights_, strict=True):
            mean = _mean_of_defined([member.predict(x) for member in runs])
            total = total + weight * np.where(weight > 0, mean, 0.0)
        unfit = np.all([np.isnan(m.scaling_.target_mean) for runs in self.members_ for m in runs], axis=0)
        return np.where(unfit, np.nan, total).astype(np.float32)

    def score(self, X: Sequence[Any], Y: Any) -> np.ndarray:
        """Return r2 of the prediction per target, (n_targets,), not clipped; NaN for targets without a prediction."""
        from brainenc.stats.metrics import r2

        return r2(Y, self.predict(X))

    def state(self) -> dict[str, np.ndarray]:
        """Return all fitted arrays: ``weights`` and ``layer-<l>-run-<r>/<name>`` of each member."""
        self._check_fitted()
        arrays = {"weights": self.weights_}
        for l, runs in enumerate(self.members_):
            for run, member in enumerate(runs):
                arrays |= {f"layer-{l}-run-{run}/{name}": array for name, array in member.state().items()}
        return arrays

    @classmethod
    def from_state(cls, config: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Self:
        """Rebuild a fitted ensemble from `config` and `state`.

        Raises
        ------
        DataError
            If an array is missing.
        """
        ensemble = cls(**config)
        if "weights" not in state:
            raise DataError("the state of LayerEnsemble lacks weights: fit and save the model again.")
        ensemble.weights_ = np.array(state["weights"])
        ensemble.members_ = [
            [ensemble._restored(run, f"layer-{l}-run-{run}/", state) for run in range(ensemble.n_runs)]
            for l in range(len(ensemble.weights_))
        ]
        return ensemble

    def _of_run(self, run: int) -> NeuralEncoder:
        """Return the unfitted member of a run."""
        from brainenc.encoders import build

        arguments = {name: value for name, value in self.member.items() if name != "class"}
        arguments["seed"] = arguments.get("seed", 0) + run
        encoder: NeuralEncoder = build(self.member["class"], **arguments)
        return encoder

    def _restored(self, run: int, prefix: str, state: Mapping[str, np.ndarray]) -> NeuralEncoder:
        own = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
        return self._kind.from_state(self._of_run(run).config(), own)

    def _check_fitted(self) -> None:
        if not hasattr(self, "weights_"):
            raise DataError("LayerEnsemble is not fitted: call fit(X, Y) or from_state(config, state) first.")


def layer_weights(r: np.ndarray, sharpness: float = 40.0) -> np.ndarray:
    """Return ``softmax_l(sharpness r[l, v])``, (n_layers, n_targets) float32, summing to 1 over layers.

    Parameters
    ----------
    r : (n_layers, n_targets) validation correlations. NaN: no say; equal weights where all are NaN.
    """
    known = np.isfinite(r)
    raw = np.where(known, sharpness * np.nan_to_num(r.astype(np.float64)), -np.inf)
    raw[:, ~known.any(axis=0)] = 0.0
    weights = np.exp(raw - raw.max(axis=0))
    shares: np.ndarray = (weights / weights.sum(axis=0)).astype(np.float32)
    return shares


def _layers(X: Any) -> list[Any]:
    if not isinstance(X, (list, tuple)) or not X:
        raise DataError(f"X is {type(X).__name__}, wanted a list of the layers' maps: pass [X1, X2, ...].")
    return list(X)


def _mean_of_defined(arrays: list[np.ndarray]) -> np.ndarray:
    """Return the mean of equal arrays, entries that are NaN left out; NaN where all are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(arrays, axis=0, dtype=np.float64))
