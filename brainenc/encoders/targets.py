"""Responses as a stream: blocks of columns, read once, standardised, on the place that computes.

The next block is read (from a file) or carried to the GPU (from pinned memory, on a stream of its own) while the one
before it is computed with, so at most two blocks are in memory. Responses are standardised per target with the mean and
standard deviation of the training rows, which changes neither the best alpha nor the score: volts and percent signal
change are equally safe in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainenc.core.types import DataError
from brainenc.encoders.compute import Compute, host

BLOCK_VALUES = 2**25
"""Most responses in a block (128 MB as float32); with many samples blocks get narrower than asked for."""

LEAST_COLUMNS = 64
"""Columns below which a block is not narrowed."""


class Targets:
    """Responses of the training rows, block by block.

    Parameters
    ----------
    Y : (n_samples, n_targets) array, HDF5 dataset, or anything with ``shape``, ``dtype`` and ``Y[:, a:b]``.
    n_samples : rows that the features have.

    Attributes
    ----------
    rows : (n_samples,) bool, rows used: all but those that hold no finite value at all.
    mean, scale : (n_targets,) float64; NaN and 1 for targets that are not finite or do not vary. Known of the blocks
        that have been visited.
    """

    def __init__(self, Y: Any, n_samples: int) -> None:
        if not hasattr(Y, "dtype"):
            Y = np.asarray(Y)
        if len(Y.shape) != 2 or 0 in Y.shape:
            raise DataError(f"Y has shape {tuple(Y.shape)}, wanted (n_samples, n_targets), neither 0: reshape it.")
        if Y.dtype.kind not in "fiub":
            raise DataError(f"Y has dtype {Y.dtype}, wanted numbers: convert it to float32.")
        if Y.shape[0] != n_samples:
            raise DataError(f"Y has {Y.shape[0]} rows but X has {n_samples}: align them by stimulus id first.")
        self._Y, self.n_targets = Y, Y.shape[1]
        self.rows = self._rows_with_values(n_samples)
        if self.rows.sum() < 2:
            raise DataError(f"Y has {self.rows.sum()} rows with finite values, wanted many: check the responses.")
        self.order = np.flatnonzero(self.rows)
        self.mean, self.scale = np.full(self.n_targets, np.nan), np.ones(self.n_targets)

    def width(self, asked: int) -> int:
        """Return the columns of a block: as many as asked for, fewer where the samples are very many."""
        return min(asked, max(LEAST_COLUMNS, BLOCK_VALUES // len(self.order)), self.n_targets)

    def blocks(
        self, width: int, compute: Compute, wanted: np.ndarray | None = None, turn: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[slice, Any]]:
        """Yield (columns, standardised responses (n_rows, n_columns) float32 on the place), rows as in `order`.

        A block is valid until the next is asked for. Targets that cannot be fitted are 0.

        Parameters
        ----------
        width : columns of a block.
        compute : where to.
        wanted : (n_targets,) bool; blocks without any wanted target are skipped.
        turn : (k, n): every n-th block from the k-th, for n places side by side.
        """
        parts = [slice(a, min(a + width, self.n_targets)) for a in range(0, self.n_targets, width)][turn[0] :: turn[1]]
        parts = [part for part in parts if wanted is None or wanted[part].any()]
        carrier = Carrier(compute, self._Y, self.order)
        if not parts:
            return
        if isinstance(self._Y, np.ndarray) and not compute.is_cuda:
            for part in parts:
                yield part, self._standardised(part, carrier, carrier.fetch(part))
            return
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(carrier.fetch, parts[0])
            for part, following in zip(parts, [*parts[1:], None], strict=True):
                fetched = ahead.result()
                if following is not None:
                    ahead = reader.submit(carrier.fetch, following)
                yield part, self._standardised(part, carrier, fetched)

    def _standardised(self, columns: slice, carrier: Carrier, fetched: Fetched) -> Any:
        """Centre and scale a block in place, and remember how."""
        y, compute = carrier.arrived(fetched), carrier.compute
        means = compute.put(np.full((1, len(y)), 1.0 / len(y)))
        with np.errstate(invalid="ignore"):
            mean = means @ y
            y -= mean
            rest = means @ y  # what rounding left of the mean
            y -= rest
        square = compute.xp.multiply(y, y, out=carrier.scratch(y))
        spread = host(square.sum(0))
        centre = fetched.shift + (host(mean) + host(rest))[0]
        eps = np.finfo(self._Y.dtype).eps if self._Y.dtype.kind == "f" else 0.0
        with np.errstate(invalid="ignore"):
            valid = np.isfinite(spread) & (spread > (4.0 * eps * centre) ** 2)
        scale = np.where(valid, np.sqrt(np.where(valid, spread, 1.0) / len(y)), 1.0)
        y *= compute.put(1.0 / scale)
        if not valid.all():
            y[:, compute.put(~valid, "bool")] = 0.0
        self.mean[columns] = np.where(valid, centre, np.nan)
        self.scale[columns] = scale
        return y

    def _rows_with_values(self, n_samples: int) -> np.ndarray:
        """A row without any finite value, such as a lost trial, is left out; usually a glance at one block decides."""
        empty = np.ones(n_samples, dtype=bool)
        if self._Y.dtype.kind != "f":
            return empty
        for start in range(0, self.n_targets, 512):
            part = np.asarray(self._Y[:, start : start + 512])[empty]
            empty[empty] = ~np.isfinite(part).any(axis=1)
            if not empty.any():
                break
        return ~empty


@dataclass(frozen=True)
class Fetched:
    """A block on its way: float32 values, what was subtracted from them (n_columns,), and a signal of arrival."""

    values: Any
    shift: np.ndarray
    event: Any = None


class Carrier:
    """Brings blocks of columns to one place, into memory that is used again and again.

    Two buffers take turns, so that one may be filled while the other is computed with.
    """

    def __init__(self, compute: Compute, Y: Any, order: np.ndarray) -> None:
        self.compute, self._Y, self._order = compute, Y, order
        self._is_whole = len(order) == Y.shape[0] and bool(np.all(np.diff(order) == 1))
        self._kept: dict[str, Any] = {}
        self._turn, self._stream = 0, None

    def fetch(self, columns: slice) -> Fetched:
        """Read columns, in the order of the rows, as float32; runs beside the computing of another block."""
        self._turn = 1 - self._turn
        raw = np.asarray(self._Y[:, columns])
        shift = np.zeros(raw.shape[1])
        if raw.dtype != np.float32:
            # In float64 while the mean may be large beside the spread.
            first = raw[self._order[0]].astype(np.float64)
            shift = np.where(np.isfinite(first), first, 0.0)
            raw = (raw - shift).astype(np.float32)
        if self.compute.device == "numpy":
            return Fetched(np.array(raw if self._is_whole else raw[self._order], np.float32, order="C"), shift)
        return self._by_torch(raw, shift)

    def _by_torch(self, raw: np.ndarray, shift: np.ndarray) -> Fetched:
        import torch

        source = torch.from_numpy(raw)
        ordered = self._buffer("host", (len(self._order), raw.shape[1]), torch.float32, "cpu", self.compute.is_cuda)
        if self._is_whole:
            ordered.copy_(source)
        else:
            torch.index_select(source, 0, torch.from_numpy(self._order), out=ordered)
        if not self.compute.is_cuda:
            return Fetched(ordered, shift)
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.compute.device)
        with torch.cuda.stream(self._stream):
            values = ordered.to(self.compute.device, non_blocking=True)
            event = torch.cuda.Event()
            event.record(self._stream)
        event.synchronize()  # in the reader's thread: then the pinned memory may be filled again
        return Fetched(values, shift, event)

    def arrived(self, fetched: Fetched) -> Any:
        """Return the values, on the place, safe to compute with."""
        if fetched.event is not None:
            import torch

            current = torch.cuda.current_stream(self.compute.device)
            current.wait_event(fetched.event)
            fetched.values.record_stream(current)
        return fetched.values

    def scratch(self, y: Any) -> Any:
        """Return memory of the shape of ``y``."""
        if "scratch" not in self._kept or self._kept["scratch"].shape != y.shape:
            self._kept["scratch"] = self.compute.empty(*y.shape)
        return self._kept["scratch"]

    def _buffer(self, name: str, shape: tuple[int, int], dtype: Any, device: str, pinned: bool) -> Any:
        import torch

        name += str(self._turn)
        if name not in self._kept or tuple(self._kept[name].shape) != shape:
            self._kept[name] = torch.empty(shape, dtype=dtype, device=device, pin_memory=pinned)
        return self._kept[name]
