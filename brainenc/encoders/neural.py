"""What encoders trained by gradient share: preparation, an inner validation set, training, and their fitted state.

Tokens or pictures are standardised per channel, responses per target, both on the inner training rows alone. One inner
fold, whole groups, is set aside; training keeps the weights with the best mean correlation there and stops when it has
not risen for ``patience`` epochs. A missing response is NaN: it has no part in scale, loss or score.

The loop is `brainenc.nn.training`: a training that was killed goes on from its folder; on the processor it ends
bit-equal.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from brainenc.core.types import DataError
from brainenc.encoders.fitting import Work, inner_split
from brainenc.encoders.scaling import Scaling, checked_maps, checked_responses

if TYPE_CHECKING:
    from torch import Tensor, nn

PARAMETERS = (
    "epochs", "patience", "batch_size", "learning_rate", "weight_decay", "clip", "n_folds", "bf16", "seed", "device",
)  # fmt: skip


class NeuralEncoder(ABC):
    """Base of the encoders trained by gradient.

    Parameters
    ----------
    epochs : passes over the inner training rows, at most.
    patience : epochs without a better validation correlation before training stops; None: never.
    batch_size : samples of an update.
    learning_rate, weight_decay : of AdamW; the learning rate is constant.
    clip : largest norm of the gradient; None for no limit.
    n_folds : the rows are dealt into this many inner folds, groups whole, and one of them validates.
    bf16 : compute under bfloat16 autocast.
    seed : of weights, batches and dropout, and which fold validates (``seed`` modulo the number of folds).
    device : "auto", "cpu" or "cuda".

    Attributes
    ----------
    network_ : the torch module, in evaluation mode.
    scaling_ : means and standard deviations.
    validation_correlation_ : (n_targets,) on the inner validation rows; NaN where undefined.
    log_ : what training did (`brainenc.nn.recipe.TrainingLog`); not part of the state.
    """

    network_: nn.Module
    scaling_: Scaling
    shapes_: np.ndarray
    validation_correlation_: np.ndarray

    def __init__(
        self,
        epochs: int = 15,
        patience: int | None = 5,
        batch_size: int = 16,
        learning_rate: float = 5e-4,
        weight_decay: float = 1e-4,
        clip: float | None = 0.1,
        n_folds: int = 10,
        bf16: bool = False,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        for name, value, least in (
            ("epochs", epochs, 1), ("batch_size", batch_size, 1), ("n_folds", n_folds, 2), ("seed", seed, 0),
            ("patience", 1 if patience is None else patience, 1),
        ):  # fmt: skip
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise DataError(f"{name} is {value!r}, wanted a whole number of at least {least}: change it.")
        for name, number in (("learning_rate", learning_rate), ("clip", 1.0 if clip is None else clip)):
            if not number > 0:
                raise DataError(f"{name} is {number!r}, wanted a positive number: change it.")
        if not weight_decay >= 0:
            raise DataError(f"weight_decay is {weight_decay!r}, wanted a number of at least 0: change it.")
        self.epochs, self.patience, self.batch_size, self.n_folds = epochs, patience, batch_size, n_folds
        self.learning_rate, self.weight_decay, self.clip = learning_rate, weight_decay, clip
        self.bf16, self.seed, self.device = bool(bf16), seed, device

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, ready for JSON."""
        return {name: getattr(self, name) for name in PARAMETERS}

    @abstractmethod
    def _network(self, shapes: np.ndarray, n_targets: int) -> nn.Module:
        """Return an untrained network for maps of shapes (n_maps, 3): rows, columns, channels."""

    @abstractmethod
    def _loss(self, Y_hat: Tensor, Y: Tensor) -> Tensor:
        """Return the loss of a batch of standardised responses, NaN where missing."""

    def _maps(self, X: Any) -> list[np.ndarray]:
        """Return the checked maps that are the network's inputs."""
        return checked_maps([X])

    def _own_state(self) -> dict[str, np.ndarray]:
        """Return further arrays that decide how the network is built."""
        return {}

    def _take_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `_own_state` gave."""
        return

    def _fit(self, X: Any, Y: Any, groups: Any, folder: Path | None) -> Self:
        """Split, scale, train; subclasses call it from ``fit`` when what they need is set."""
        from brainenc.nn.training import train

        maps = self._maps(X)
        Y = checked_responses(Y, len(maps[0]))
        rows = inner_split(Y, groups, self.n_folds, self.seed)
        self.scaling_ = Scaling.learn(maps, Y, rows.train)
        self.shapes_ = np.array([x.shape[1:] for x in maps], dtype=np.int64)
        self.network_ = self._built()
        work = Work(self, maps, self.scaling_.scaled(Y), rows)
        facts = {name: value for name, value in self.config().items() if name != "device"} | {"data": work.digest()}
        with _folder(folder) as place:
            modules = {"network": self.network_}
            self.log_ = train(
                modules, work.loss, work.recipe(), place, self.seed, work.validate, folder is not None, facts
            )
        self.validation_correlation_ = work.correlation().astype(np.float32)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return predicted responses (n_samples, n_targets) float32; NaN for targets that could not be fitted.

        Raises
        ------
        DataError
            If the encoder is not fitted, or on maps of another shape.
        """
        maps = self._seen_maps(X)
        return self.scaling_.unscaled(self._through(maps, np.arange(len(maps[0])), self.network_))

    def score(self, X: Any, Y: Any) -> np.ndarray:
        """Return r2 of the prediction per target, (n_targets,), not clipped; NaN for targets without a prediction."""
        from brainenc.stats.metrics import r2

        return r2(Y, self.predict(X))

    def state(self) -> dict[str, np.ndarray]:
        """Return all fitted arrays, ready for safetensors."""
        self._check_fitted()
        weights = {f"network/{n}": t.detach().cpu().numpy().copy() for n, t in self.network_.state_dict().items()}
        own = {"shapes": self.shapes_, "validation_correlation": self.validation_correlation_}
        return weights | self.scaling_.state() | own | self._own_state()

    @classmethod
    def from_state(cls, config: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Self:
        """Rebuild a fitted encoder from `config` and `state`; on the same machine it predicts bit for bit the same.

        Raises
        ------
        DataError
            If an array is missing or does not fit the configuration.
        """
        import torch

        from brainenc.nn.checkpoints import fill

        encoder = cls(**config)
        needed = {"shapes", "validation_correlation", "target_mean"}
        if missing := sorted(needed - set(state)):
            raise DataError(f"the state of {cls.__name__} lacks {', '.join(missing)}: fit and save the model again.")
        encoder._take_state(state)
        encoder.shapes_ = np.array(state["shapes"])
        encoder.validation_correlation_ = np.array(state["validation_correlation"])
        encoder.scaling_ = Scaling.from_state(state, len(encoder.shapes_))
        encoder.network_ = encoder._built().eval()
        weights = {name: torch.from_numpy(np.array(state[name])) for name in state if name.startswith("network/")}
        fill({"network": encoder.network_}, weights, f"the state of {cls.__name__}")
        return encoder

    def _built(self) -> nn.Module:
        """Return the untrained network on its device; the same for the same seed."""
        import torch

        from brainenc.nn.device import choose_device

        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return self._network(self.shapes_, len(self.scaling_.target_mean)).to(choose_device(self.device))

    def _seen_maps(self, X: Any) -> list[np.ndarray]:
        """Return maps of the shapes that were fitted."""
        self._check_fitted()
        maps = self._maps(X)
        shapes = [list(x.shape[1:]) for x in maps]
        if shapes != self.shapes_.tolist():
            raise DataError(
                f"X has samples of {shapes} but the encoder was fitted on {self.shapes_.tolist()}: pass those."
            )
        return maps

    def _batches(self, maps: list[np.ndarray], rows: np.ndarray, most: int = 32) -> Iterator[list[Tensor]]:
        """Yield the scaled maps of some rows on the network's device, a batch at a time."""
        for start in range(0, len(rows), max(self.batch_size, most)):
            yield self._tensors(maps, rows[start : start + max(self.batch_size, most)])

    def _tensors(self, maps: list[np.ndarray], rows: np.ndarray) -> list[Tensor]:
        import torch

        device = next(self.network_.parameters()).device
        return [torch.from_numpy(x).to(device) for x in self.scaling_.inputs(maps, rows)]

    def _through(self, maps: list[np.ndarray], rows: np.ndarray, module: Callable[..., Tensor]) -> np.ndarray:
        """Return what the network, or a method of it, makes of some rows, without gradient."""
        import torch

        with torch.no_grad():
            return np.concatenate([module(*inputs).float().cpu().numpy() for inputs in self._batches(maps, rows)])

    def _check_fitted(self) -> None:
        if not hasattr(self, "validation_correlation_"):
            raise DataError(f"{type(self).__name__} is not fitted: call fit(X, Y) or from_state(config, state) first.")


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="brainenc-") as place:
        yield Path(place)
