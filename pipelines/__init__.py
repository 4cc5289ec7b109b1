"""The steps: one printable page each, files in, files out, and the command ``brainenc``."""

from __future__ import annotations

from pathlib import Path


def page(step: str) -> str:
    """Path of the page of ``step``: rules list it as an input, so that an edit reruns the step."""
    return str(Path(__file__).with_name(f"{step}.py"))
