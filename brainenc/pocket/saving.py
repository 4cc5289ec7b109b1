"""Networks of transformers and diffusers written in half precision, so that the package stays small."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any


def save_half(network: Any, folder: Path) -> None:
    """Write ``network`` by its own ``save_pretrained`` in float16, readable by all; the network itself is untouched.

    transformers and diffusers turn it back into float32 where ``dtype=torch.float32`` is asked for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(network).half().save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors files come out readable by their owner only


def half_arrays(network: Any) -> dict[str, Any]:
    """The state of a torch module as numpy arrays, floating ones in float16."""
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    return {name: (value.half() if value.is_floating_point() else value).numpy() for name, value in state.items()}
