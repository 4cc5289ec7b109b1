"""Reading a named layer of a network and making rows of it: a forward hook, then one law for the axes.

A layer's output is (batch, channels), tokens (batch, n_prefix + n_tokens, channels), or a spatial map in the layout
NCHW or NHWC, which becomes tokens in row-major order. Prefix tokens (class token, registers) come first on the token
axis.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from brainenc.core.types import DataError

if TYPE_CHECKING:
    import torch

POOLINGS = ("mean", "cls", "tokens")
LAYOUTS = ("NCHW", "NHWC")


def find_layer(network: torch.nn.Module, layer: str, owner: str) -> torch.nn.Module:
    """Return the submodule with the dotted name ``layer``; `DataError` names the nearest ones."""
    modules = dict(network.named_modules())
    if layer in modules and layer:
        return modules[layer]
    names = [name for name in modules if name]
    near = difflib.get_close_matches(layer, names, n=5, cutoff=0.3) or names[:5]
    raise DataError(f"{owner}: the network has no layer {layer!r}: use one of its modules, such as {', '.join(near)}.")


class LayerReader:
    """Run a network and return the output of one of its submodules instead of its own."""

    def __init__(self, network: torch.nn.Module, layer: str, owner: str) -> None:
        self.module = find_layer(network, layer, owner)
        self.layer, self.owner = layer, owner

    def __call__(self, run: Any, *inputs: torch.Tensor) -> torch.Tensor:
        """Output tensor of the layer during ``run(*inputs)``, with gradient."""
        import torch

        seen: list[Any] = []
        handle = self.module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        try:
            run(*inputs)
        finally:
            handle.remove()
        output = seen[0] if seen else None
        if isinstance(output, (tuple, list)) and output:
            output = output[0]
        if len(seen) != 1 or not isinstance(output, torch.Tensor):
            raise DataError(
                f"{self.owner}: layer {self.layer!r} ran {len(seen)} times and gave {type(output).__name__}, wanted "
                "one tensor from one run: choose the block around it."
            )
        return output


def as_tokens(output: torch.Tensor, layout: str | None, stated: str | None, owner: str) -> torch.Tensor:
    """Turn a map (batch, channels, side, side) or (batch, side, side, channels) into (batch, side * side, channels).

    Images are square here, so the two equal axes of a map are its spatial ones, whatever the network calls them; where
    all three are equal, what the network states decides, and else NCHW.

    Parameters
    ----------
    output : tensor
    layout : {"NCHW", "NHWC"}, optional
        What the user says; wins.
    stated : {"NCHW", "NHWC"}, optional
        What the network says.
    owner : str
        For messages.
    """
    first, second, third = output.shape[1:]
    if layout is None and first != third:
        layout = "NCHW" if second == third else "NHWC" if first == second else None
        if layout is None:
            raise DataError(
                f"{owner}: this layer's output has shape {tuple(output.shape)}, which is no square map of channels: "
                "set 'layout' to 'NCHW' or 'NHWC', or choose the block around it."
            )
    layout = layout or stated or "NCHW"
    return (output.permute(0, 2, 3, 1) if layout == "NCHW" else output).flatten(1, 2)


def pool_tokens(
    tokens: torch.Tensor, pooling: str, owner: str, n_prefix: int = 0, n_patches: int | None = None
) -> torch.Tensor:
    """Turn a layer's output into (batch, channels), or (batch, n_tokens, channels) for pooling ``tokens``.

    Parameters
    ----------
    tokens : tensor
        (batch, channels) or (batch, n_prefix + n_tokens, channels).
    pooling : {"mean", "cls", "tokens"}
        Mean over the spatial tokens, the first prefix token, or all spatial tokens in row-major order.
    owner : str
        For messages.
    n_prefix : int
        Prefix tokens of the network; they are never part of ``mean`` and ``tokens``.
    n_patches : int, optional
        Spatial tokens of the network, where it knows: the token axis must have these, with all prefix tokens or none
        of them (before they are added).
    """
    if tokens.ndim == 2 and pooling == "mean":
        return tokens
    if tokens.ndim != 3:
        raise DataError(
            f"{owner}: this layer's output has shape {tuple(tokens.shape)}, from which pooling {pooling!r} cannot be "
            "taken: use pooling 'mean', or a layer before the pooling."
        )
    if n_patches is not None and tokens.shape[1] == n_patches:
        n_prefix = 0
    if tokens.shape[1] <= n_prefix or n_patches not in (None, tokens.shape[1] - n_prefix):
        raise DataError(
            f"{owner}: this layer's output has shape {tuple(tokens.shape)}, wanted {n_prefix} prefix tokens and "
            f"{n_patches or 'some'} patches on axis 1: choose a block of the transformer."
        )
    if pooling == "cls":
        if n_prefix == 0:
            raise DataError(f"{owner}: this layer has no class token: use pooling 'mean' or 'tokens'.")
        return tokens[:, 0]
    spatial = tokens[:, n_prefix:]
    return spatial if pooling == "tokens" else spatial.mean(dim=1)


def count_tokens(network: torch.nn.Module) -> tuple[int, int | None]:
    """Prefix tokens of a timm network, and its spatial tokens where it has one fixed grid of patches."""
    n_prefix = int(getattr(network, "num_prefix_tokens", 0))
    n_patches = getattr(getattr(network, "patch_embed", None), "num_patches", None)
    fixed = n_prefix > 0 and not getattr(network, "dynamic_img_size", False)
    return n_prefix, n_patches if fixed else None


def check_choice(owner: str, key: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise `DataError` unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise DataError(f"{owner}: {key} is {value!r}, wanted one of {', '.join(map(repr, allowed))}: correct it.")
