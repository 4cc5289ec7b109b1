"""In-context encoder: a few (stimulus, response) pairs of a target in, the weights of its linear readout out.

    [w, b] = network({(x_i, y_i)}),    y_hat(x) = w . x + b

``fit`` is a forward pass of a trained network (`brainenc.nn.hypernetwork`): no gradient is taken for the new subject.
Embeddings have unit norm, and responses the unit of the network's training: z-scored per target.

Source: BraInCoRL, Yu et al. 2025, arXiv:2505.15813.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from brainenc.core.types import DataError

if TYPE_CHECKING:
    import torch

    from brainenc.nn.hypernetwork import HyperNetwork

STATE = ("coef", "intercept", "context_rows", "n_context")
PRECISIONS = ("float32", "bfloat16")
FEW = 10  # responses, below which their standard deviation says nothing


class ResponseScaleWarning(UserWarning):
    """Responses are far from the unit that the network was trained on."""


class InContext:
    """A trained hypernetwork as an encoder.

    Parameters
    ----------
    checkpoint : file of the network (`brainenc.nn.hypernetwork_files.load_network`), read at the first `fit`; None
        where `from_network` gives it.
    n_heads : heads of a published checkpoint, which does not tell.
    n_context : stimuli taken from the rows given to `fit`, drawn with ``seed``; None for all of them.
    seed : of that draw.
    n_targets_batch : targets at a time; memory grows with it times the number of context stimuli.
    precision : "float32", or "bfloat16" for autocast.
    device : "auto" (CUDA where there is one), "cpu", "cuda".

    Attributes
    ----------
    coef_ : (n_features, n_targets) float32; NaN for targets without any finite response.
    intercept_ : (n_targets,) float32.
    context_rows_ : (n_rows,) int64, the rows given to `fit` that were context.
    n_context_ : (n_targets,) int64, finite responses of each target among them.

    Raises
    ------
    DataError
        If an argument has an impossible value.
    """

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        n_heads: int = 10,
        n_context: int | None = None,
        seed: int = 0,
        n_targets_batch: int = 128,
        precision: str = "float32",
        device: str = "auto",
    ) -> None:
        counts = {"n_heads": n_heads, "n_context": 1 if n_context is None else n_context, "seed": seed + 1}
        for name, value in {**counts, "n_targets_batch": n_targets_batch}.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise DataError(f"{name} is {value!r}, wanted a whole number of at least 1 (seed: 0): change it.")
        if precision not in PRECISIONS:
            raise DataError(f"precision is {precision!r}, wanted one of {', '.join(PRECISIONS)}: fix the name.")
        self.checkpoint = None if checkpoint is None else str(checkpoint)
        self.n_heads, self.n_context, self.seed = n_heads, n_context, seed
        self.n_targets_batch, self.precision, self.device = n_targets_batch, precision, device
        self._network: HyperNetwork | None = None

    @classmethod
    def from_checkpoint(cls, path: str | Path, **arguments: Any) -> Self:
        """Return an encoder with the network of a file: ours (.safetensors) or published (.ckpt, .pth).

        Raises
        ------
        DataError
            If the file is not one, see `brainenc.nn.hypernetwork_files.load_network`.
        """
        encoder = cls(checkpoint=path, **arguments)
        encoder.network()
        return encoder

    @classmethod
    def from_network(cls, network: HyperNetwork, **arguments: Any) -> Self:
        """Return an encoder with a network in memory, which is used as it is."""
        encoder = cls(**arguments)
        encoder._network = network
        return encoder

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, ready for JSON."""
        names = ("checkpoint", "n_heads", "n_context", "seed", "n_targets_batch", "precision", "device")
        return {name: getattr(self, name) for name in names}

    def network(self) -> HyperNetwork:
        """Return the network, on the device, in evaluation mode.

        Raises
        ------
        DataError
            If there is neither a network nor a checkpoint.
        """
        from brainenc.nn.device import choose_device

        if self._network is None:
            if self.checkpoint is None:
                raise DataError("InContext has no network: give checkpoint, or use from_network(network).")
            from brainenc.nn.hypernetwork_files import load_network

            self._network = load_network(self.checkpoint, self.n_heads)
        return self._network.to(choose_device(self.device)).eval()

    def fit(self, X: Any, Y: Any, groups: Any = None) -> Self:
        """Read the context and write the weights of every target; nothing is trained.

        Parameters
        ----------
        X : (n_samples, n_features) unit-norm embeddings of the context stimuli, any number of them, in any order.
        Y : (n_samples, n_targets) responses, z-scored per target, or anything with ``shape`` and ``Y[:, a:b]``, read in
            blocks. A missing response (NaN) is left out for its target alone.
        groups : ignored; nothing is validated here.

        Raises
        ------
        DataError
            If embeddings are not of unit norm or not the network's, or rows do not match.

        Warns
        -----
        ResponseScaleWarning
            If the typical standard deviation of a target is below 0.2 or above 5.
        """
        X, rows = self._context(X, Y)
        n_targets = int(Y.shape[1])
        weights = np.full((n_targets, X.shape[1] + 1), np.nan, dtype=np.float32)
        counts, spreads = np.zeros(n_targets, dtype=np.int64), np.full(n_targets, np.nan)
        for columns, y in self.blocks(Y, rows):
            counts[columns] = np.isfinite(y).sum(axis=0)
            many, some = counts[columns] >= FEW, counts[columns] > 0
            if many.any():
                spreads[columns][many] = np.nanstd(y[:, many], axis=0)
            if some.any():
                weights[columns][some] = self._weights(X, y[:, some])
        _warn_of_scale(spreads)
        self.coef_, self.intercept_ = np.ascontiguousarray(weights[:, :-1].T), weights[:, -1].copy()
        self.context_rows_, self.n_context_ = rows, counts
        return self

    def predict(self, X: Any, *, targets: slice | None = None) -> np.ndarray:
        """Return predicted responses (n_samples, n_targets) float32; NaN for targets without a context.

        Parameters
        ----------
        X : (n_samples, n_features) unit-norm embeddings.
        targets : predict these only.

        Raises
        ------
        DataError
            If the encoder is not fitted, or X holds other embeddings.
        """
        from brainenc.nn.voxel_tasks import check_unit_norm

        if not hasattr(self, "coef_"):
            raise DataError("InContext is not fitted: call fit(X, Y) or from_state(config, state) first.")
        X = check_unit_norm(X, "InContext.predict")
        if X.shape[1] != len(self.coef_):
            raise DataError(
                f"X has {X.shape[1]} features, wanted {len(self.coef_)}: pass the embeddings of the context."
            )
        chosen = slice(None) if targets is None else targets
        Y_hat: np.ndarray = X @ self.coef_[:, chosen] + self.intercept_[chosen]
        return Y_hat

    def score(self, X: Any, Y: Any) -> np.ndarray:
        """Return r2 of the prediction per target, (n_targets,), not clipped; NaN for targets without a prediction."""
        from brainenc.stats.metrics import r2

        return r2(Y, self.predict(X))

    def state(self) -> dict[str, np.ndarray]:
        """Return all fitted arrays, ready for safetensors: the weights, not the network that wrote them."""
        if not hasattr(self, "coef_"):
            raise DataError("InContext is not fitted: call fit(X, Y) first.")
        return {name: np.array(getattr(self, name + "_")) for name in STATE}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Self:
        """Rebuild a fitted encoder; it predicts bit for bit the same, and needs no network to.

        Raises
        ------
        DataError
            If an array is missing.
        """
        missing = sorted(set(STATE) - set(state))
        if missing:
            raise DataError(f"the state of InContext lacks {', '.join(missing)}: fit and save the model again.")
        encoder = cls(**config)
        for name in STATE:
            setattr(encoder, name + "_", np.array(state[name]))
        return encoder

    def blocks(self, Y: Any, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield blocks of targets and their responses (n_rows, n_columns) float32."""
        for start in range(0, int(Y.shape[1]), self.n_targets_batch):
            columns = slice(start, min(start + self.n_targets_batch, int(Y.shape[1])))
            y = np.asarray(Y[:, columns])[rows].astype(np.float32)
            yield columns, np.where(np.isfinite(y), y, np.float32(np.nan))

    def _context(self, X: Any, Y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return checked embeddings of the context and their rows."""
        from brainenc.nn.voxel_tasks import check_unit_norm

        X = check_unit_norm(X, "InContext.fit")
        if len(Y.shape) != 2 or Y.shape[0] != len(X):
            raise DataError(f"Y has shape {tuple(Y.shape)}, wanted ({len(X)}, n_targets): align its rows with X.")
        size = self.network().shape.embedding
        if X.shape[1] != size:
            raise DataError(
                f"X has {X.shape[1]} features but the network reads {size}: extract the features it was trained on."
            )
        if self.n_context is None:
            return X, np.arange(len(X))
        if self.n_context > len(X):
            raise DataError(f"n_context is {self.n_context} but X has {len(X)} rows: ask for fewer, or None for all.")
        rows = np.sort(np.random.default_rng(self.seed).permutation(len(X))[: self.n_context])
        return X[rows], rows

    def _weights(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Weights (n_targets, n_features + 1) of a block of targets."""
        from brainenc.nn.device import repeatable_inference

        network = self.network()
        with repeatable_inference(), self._autocast():
            weights: np.ndarray = network(*to_tensors(X, y, network)).float().cpu().numpy()
        return weights

    def _autocast(self) -> Any:
        import torch

        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(next(self.network().parameters()).device.type, torch.bfloat16)


def to_tensors(X: np.ndarray, y: np.ndarray, network: HyperNetwork) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Return X, Y (n_targets, n_context) and which pairs are present (None if all are), where the network is."""
    import torch

    place = next(network.parameters()).device
    Y = torch.from_numpy(np.ascontiguousarray(y.T)).to(place)
    present = torch.isfinite(Y)
    return torch.from_numpy(X).to(place), Y, None if bool(present.all()) else present


def unit_rows(X: Any) -> np.ndarray:
    """Return embeddings (n_samples, n_features) divided by their norms, float32.

    Raises
    ------
    DataError
        If a row is zero or not finite.
    """
    X = np.asarray(X, dtype=np.float64)
    norms = np.linalg.norm(X, axis=-1, keepdims=True)
    bad = ~(np.isfinite(norms) & (norms > 0))
    if bad.any():
        raise DataError(f"{bad.sum()} of {len(X)} embeddings are zero or not finite, wanted a direction: drop them.")
    rows: np.ndarray = (X / norms).astype(np.float32)
    return rows


def _warn_of_scale(spreads: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        typical = float(np.nanmedian(spreads)) if np.isfinite(spreads).any() else 1.0
    if not 0.2 <= typical <= 5.0:
        warnings.warn(
            f"The typical standard deviation of a response is {typical:.3g}, wanted about 1 as in the network's "
            "training: z-score the responses per target.",
            ResponseScaleWarning,
            stacklevel=3,
        )
