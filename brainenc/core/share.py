"""Where the project's own data files are: beside the package in a clone, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from brainenc.core.types import DataError


def find_shared(name: str) -> Path:
    """Path of ``atlases/...``, ``workflow/...`` or ``config/...`` as shipped with the project.

    Raises
    ------
    DataError
        If neither the clone nor the wheel has it.
    """
    package = Path(__file__).resolve().parents[1]
    for root in (package.parent, package / "_share"):
        if (root / name).exists():
            return root / name
    raise DataError(f"{name!r} is not shipped with this installation: reinstall brainenc from a clone or a wheel.")
