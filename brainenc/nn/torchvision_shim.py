"""Make torchvision importable beside a torch that its wheel was not built for.

The torchvision wheels on the package index are built for CUDA. Beside a CPU-only torch their compiled part does not
load, and ``import torchvision`` ends with "operator torchvision::nms does not exist", which takes open_clip, timm and
parts of transformers with it. Declaring the two missing operator schemas is enough: everything written in Python then
works; only the compiled operators (``torchvision.ops.nms``, ``deform_conv2d``, the decoders of ``torchvision.io``) stay
away. Nothing happens where torchvision is healthy or absent.
"""

from __future__ import annotations

import sys
from typing import Any

_LIBRARIES: list[Any] = []  # torch forgets the schemas when the library object dies
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def ensure_torchvision() -> bool:
    """Import torchvision, declaring its missing operators if need be; call before open_clip, timm or transformers.

    Returns
    -------
    bool
        True if the operators had to be declared.
    """
    try:
        import torchvision

        return bool(_LIBRARIES)
    except ModuleNotFoundError:
        return False
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    import torch

    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}{_SCHEMA}")
    _LIBRARIES.append(library)
    import torchvision  # noqa: F401

    return True
