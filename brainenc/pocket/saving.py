"""Networks of transformers and diffusers written in half precision, so that the package stays small."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from brainenc.core.storage import read_json, write_json


def save_half(network: Any, folder: Path) -> None:
    """Write ``network`` by its own ``save_pretrained`` in float16, readable by all; the network itself is untouched.

    Its ``config.json`` names float32, so that transformers turns it back unasked; diffusers always does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(network).half().save_pretrained(folder)
    config = read_json(folder / "config.json")
    if "dtype" in config:
        write_json(folder / "config.json", {**config, "dtype": "float32"})
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors files come out readable by their owner only


def half_arrays(network: Any) -> dict[str, Any]:
    """The state of a torch module as numpy arrays, floating ones in float16."""
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    return {name: (value.half() if value.is_floating_point() else value).numpy() for name, value in state.items()}
