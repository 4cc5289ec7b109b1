"""Transformer brain encoder: each region, hemisphere or target asks the tokens of a picture with a query of its own.

    response of target v = < w_v, what the queries of v find > + b_v        (equations: `brainenc.nn.attention`)

Where ridge ties a weight to every cell of the grid, attention finds its content wherever it is in the picture; where it
looks can be read (`maps`). Adeli, Sun & Kriegeskorte 2025, arXiv:2505.17329.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from brainenc.core.types import DataError
from brainenc.encoders.neural import NeuralEncoder

if TYPE_CHECKING:
    from torch import Tensor, nn

QUERIES = ("regions", "hemispheres", "targets")
OTHERS = "other"
"""Name of the query for targets in no region."""


class AttentionEncoder(NeuralEncoder):
    """Cross-attention from learned queries to tokens, then a vector of weights per target.

    Parameters
    ----------
    queries : "regions" (one for each region and hemisphere), "hemispheres", or "targets".
    width : channels inside, a multiple of ``n_heads`` and of 4; None: those of the tokens.
    n_heads, n_hidden, n_layers, dropout : of the decoder (`brainenc.nn.attention.AttentionShape`).
    targets_per_block : targets at a time with a query each; memory beside the parameters grows with it.
    **training : parameters of `NeuralEncoder`.

    Attributes
    ----------
    membership_ : (n_queries, n_targets) bool, which targets a query serves; (0, n_targets) with one query per target.
    query_names_ : names of the queries, such as ``"left V1"``; empty with one query per target.

    Notes
    -----
    Regions may overlap: a target gets the mean of the predictions of its regions. A region without targets gets no
    query; targets in no region share one, named ``"other"``.
    """

    membership_: np.ndarray
    query_names_: tuple[str, ...]

    def __init__(
        self,
        queries: str = "regions",
        width: int | None = None,
        n_heads: int = 16,
        n_hidden: int = 1024,
        n_layers: int = 1,
        dropout: float = 0.1,
        targets_per_block: int = 2048,
        **training: Any,
    ) -> None:
        super().__init__(**training)
        if queries not in QUERIES:
            raise DataError(f"queries is {queries!r}, wanted one of {', '.join(QUERIES)}: fix the name.")
        sizes = {"n_heads": n_heads, "n_hidden": n_hidden, "n_layers": n_layers, "targets_per_block": targets_per_block}
        for name, value in (sizes | ({} if width is None else {"width": width})).items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise DataError(f"{name} is {value!r}, wanted a whole number of at least 1: change it.")
        if not 0 <= dropout < 1:
            raise DataError(f"dropout is {dropout!r}, wanted a share from 0 to below 1: change it.")
        self.queries, self.width, self.n_heads, self.n_hidden = queries, width, n_heads, n_hidden
        self.n_layers, self.dropout, self.targets_per_block = n_layers, dropout, targets_per_block

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, ready for JSON."""
        own = ("queries", "width", "n_heads", "n_hidden", "n_layers", "dropout", "targets_per_block")
        return super().config() | {name: getattr(self, name) for name in own}

    def fit(
        self,
        X: Any,
        Y: Any,
        groups: Any = None,
        *,
        regions: Mapping[str, np.ndarray] | None = None,
        hemispheres: Any = None,
        folder: Path | None = None,
    ) -> Self:
        """Learn queries, attention and weights.

        Parameters
        ----------
        X : (n_samples, rows, columns, n_channels) tokens.
        Y : (n_samples, n_targets) responses; NaN where missing.
        groups : (n_samples,) labels that the inner split keeps together; None for contiguous blocks.
        regions : name -> (n_targets,) bool, needed with a query per region.
        hemispheres : (n_targets,) labels such as "left" and "right": needed with a query per hemisphere; with one per
            region each region gets a query in each hemisphere.
        folder : of log and checkpoints; a training that was killed goes on from it. None: a temporary one.

        Raises
        ------
        DataError
            If shapes do not match, masks or labels are missing, or the folder holds another training.
        """
        shape = np.shape(Y)
        n_targets = shape[1] if len(shape) == 2 else 0
        self.query_names_, self.membership_ = query_members(self.queries, n_targets, regions, hemispheres)
        return self._fit(X, Y, groups, folder)

    def maps(self, X: Any, queries: slice | list[int] = slice(None)) -> np.ndarray:
        """Return where queries look in each sample, (n_samples, n_queries, rows, columns) float32.

        Attention weights of the last layer, mean over heads; each map sums to 1. See `centroids`.

        Parameters
        ----------
        X : as in `fit`.
        queries : these only, as counted in ``query_names_``, or among the targets where each has a query.
        """
        seen = self._seen_maps(X)
        network: Any = self.network_
        return self._through(seen, np.arange(len(seen[0])), lambda tokens: network.attention(tokens, queries))

    def _network(self, shapes: np.ndarray, n_targets: int) -> nn.Module:
        import torch

        from brainenc.nn.attention import AttentionReadout, AttentionShape

        rows, columns, n_channels = shapes[0].tolist()
        shape = AttentionShape(self.width, self.n_heads, self.n_hidden, self.n_layers, self.dropout)
        members = None if self.queries == "targets" else torch.from_numpy(self.membership_)
        return AttentionReadout((rows, columns), n_channels, n_targets, members, shape, self.targets_per_block)

    def _loss(self, Y_hat: Tensor, Y: Tensor) -> Tensor:
        from brainenc.nn.readout_losses import masked_mse

        return masked_mse(Y_hat, Y)

    def _own_state(self) -> dict[str, np.ndarray]:
        names = np.frombuffer("\n".join(self.query_names_).encode(), dtype=np.uint8)
        return {"membership": self.membership_, "query_names": names}

    def _take_state(self, state: Mapping[str, np.ndarray]) -> None:
        if missing := sorted({"membership", "query_names"} - set(state)):
            raise DataError(f"the state of AttentionEncoder lacks {', '.join(missing)}: fit and save the model again.")
        names = np.asarray(state["query_names"]).tobytes().decode()
        self.query_names_ = tuple(names.split("\n")) if names else ()
        self.membership_ = np.array(state["membership"])


def query_members(
    queries: str, n_targets: int, regions: Mapping[str, np.ndarray] | None = None, hemispheres: Any = None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of the queries and which targets each serves, (n_queries, n_targets) bool.

    Every target has a query and every query a target. For "targets", whose queries are the targets, both are empty.

    Raises
    ------
    DataError
        If the masks or labels that the queries need are missing or have another shape.
    """
    if queries == "targets":
        return (), np.zeros((0, n_targets), dtype=bool)
    sides = _sides(hemispheres, n_targets)
    if queries == "hemispheres":
        if hemispheres is None:
            raise DataError("a query per hemisphere needs the side of every target: pass hemispheres to fit.")
        return tuple(sides), np.stack(list(sides.values()))
    if not regions:
        raise DataError("a query per region came without regions: pass regions to fit, name -> mask of the targets.")
    masks = {name: _mask(name, mask, n_targets) for name, mask in regions.items()}
    masks[OTHERS] = masks.get(OTHERS, False) | ~np.any(list(masks.values()), axis=0)
    found = {
        f"{side} {name}".strip(): mask & inside
        for side, inside in sides.items()
        for name, mask in masks.items()
        if (mask & inside).any()
    }
    return tuple(found), np.stack(list(found.values()))


def centroids(maps: np.ndarray) -> np.ndarray:
    """Return the centre of mass of attention maps, (..., 2): x from the left, y from the top, as shares of the picture.

    Parameters
    ----------
    maps : (..., rows, columns), not negative; cell j of n covers j / n to (j + 1) / n.
    """
    total = maps.sum(axis=(-2, -1))
    x = (maps.sum(axis=-2) * ((np.arange(maps.shape[-1]) + 0.5) / maps.shape[-1])).sum(axis=-1)
    y = (maps.sum(axis=-1) * ((np.arange(maps.shape[-2]) + 0.5) / maps.shape[-2])).sum(axis=-1)
    centre: np.ndarray = np.stack([x, y], axis=-1) / total[..., None]
    return centre


def _sides(hemispheres: Any, n_targets: int) -> dict[str, np.ndarray]:
    """Return the mask of each hemisphere; one without a name where sides are not told."""
    if hemispheres is None:
        return {"": np.ones(n_targets, dtype=bool)}
    labels = np.asarray(hemispheres)
    if labels.shape != (n_targets,):
        raise DataError(f"hemispheres has shape {labels.shape}, wanted ({n_targets},): give one label per target.")
    return {str(side): labels == side for side in np.unique(labels)}


def _mask(name: str, mask: Any, n_targets: int) -> np.ndarray:
    found = np.asarray(mask)
    if found.shape != (n_targets,) or found.dtype != bool:
        raise DataError(
            f"region {name!r} is {found.dtype} of shape {found.shape}, wanted booleans ({n_targets},): pass a mask."
        )
    return found
