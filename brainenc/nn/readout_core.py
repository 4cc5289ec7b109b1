"""A small convolutional core that is trained from responses: pictures in, a grid of tokens out.

Stages of a convolution without bias, norm, ReLU, and a mean over 2 x 2 pixels between two stages. Convolutions pad and
windows do not overlap, so the centre of a cell stays where it is in the picture.

After the cores of Saha, Chadha & Khosla 2024, arXiv:2410.14031. Theirs is equivariant to rotations, which needs a
library of group convolutions (escnn; Cesa, Lang & Weiler 2022) and is not done here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from brainenc.core.types import DataError


class ConvolutionalCore(nn.Module):
    """Pictures (n_samples, height, width, n_colours) -> tokens (n_samples, rows, columns, widths[-1]).

    Parameters
    ----------
    n_colours : channels of a picture.
    widths : channels of each stage; the sides are halved between stages.
    kernel : side of the first convolution, odd; the others have 3.

    Raises
    ------
    DataError
        If there is no stage or the kernel is even.
    """

    def __init__(self, n_colours: int, widths: Sequence[int], kernel: int = 5) -> None:
        super().__init__()
        if not widths or kernel % 2 == 0:
            raise DataError(
                f"Core with widths {list(widths)} and kernel {kernel}, wanted stages and an odd kernel: fix it."
            )
        stages: list[nn.Module] = []
        for i, (before, after) in enumerate(zip([n_colours, *widths[:-1]], widths, strict=True)):
            side = kernel if i == 0 else 3
            stages += [nn.AvgPool2d(2)] if i else []
            stages += [nn.Conv2d(before, after, side, padding=side // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.stages = nn.Sequential(*stages)
        self.n_halvings, self.n_channels = len(widths) - 1, widths[-1]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the tokens of a picture.

        Raises
        ------
        DataError
            If the picture is too small to be halved that often.
        """
        rows, columns = height >> self.n_halvings, width >> self.n_halvings
        if min(rows, columns) < 1:
            raise DataError(
                f"Core: pictures of {height} x {width} cannot be halved {self.n_halvings} times: use fewer widths."
            )
        return rows, columns

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the tokens."""
        tokens: Tensor = self.stages(pictures.permute(0, 3, 1, 2))
        return tokens.permute(0, 2, 3, 1)


class CoreReadout(nn.Module):
    """A core and a readout of its tokens, trained together; what the readout offers stays at ``readout``."""

    def __init__(self, core: ConvolutionalCore, readout: nn.Module) -> None:
        super().__init__()
        self.core, self.readout = core, readout

    def forward(self, pictures: Tensor) -> Tensor:
        """Return predicted responses (n_samples, n_targets)."""
        predicted: Tensor = self.readout(self.core(pictures))
        return torch.as_tensor(predicted)
