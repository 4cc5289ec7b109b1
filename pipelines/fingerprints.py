"""What the user's own files look like now: a change of data must change what is computed from them.

The workflow asks while it reads a study, so a fingerprint is of names, sizes and times of change, never of contents;
contents are hashed by the steps that read them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from brainenc import pocket
from brainenc.core.types import DataError

OTHER_SUBJECT = re.compile(r"sub-([A-Za-z0-9]+)")


def data_fingerprint(dataset: Mapping[str, Any], subject: str | None = None) -> str:
    """Fingerprint of the files of a data set that lie below its ``root``, and of the network that plants its subjects.

    Parameters
    ----------
    dataset : mapping
        The study's ``dataset`` entry; one without ``root`` and ``network`` has no files.
    subject : str, optional
        Leave out files that are named after other subjects. None: leave out responses, which no stimulus depends on.
    """
    if dataset.get("network") is not None:
        return "" if subject is None else entry_fingerprint(dataset["network"])
    root = dataset.get("root")
    if not isinstance(root, str):
        return ""

    def wanted(name: str) -> bool:
        named = set(OTHER_SUBJECT.findall(name))
        if subject is not None:
            return not named or subject in named
        return not named or name.endswith(("_events.tsv", "_samples.tsv"))

    return _digest(path for path in _files(Path(root)) if wanted(path.relative_to(root).as_posix()))


def entry_fingerprint(entry: Any) -> str:
    """Fingerprint of the files and folders that an entry names: checkpoints, arrays, meshes, pocket networks."""
    return _digest(file for path in sorted(_named_paths(entry)) for file in _files(path))


def _named_paths(entry: Any) -> Iterator[Path]:
    if isinstance(entry, Mapping):
        for value in entry.values():
            yield from _named_paths(value)
    elif isinstance(entry, list):
        for value in entry:
            yield from _named_paths(value)
    elif isinstance(entry, str) and entry in pocket.NETWORKS:
        try:
            yield pocket.folder(entry)
        except DataError:  # said by the step that needs it
            return
    elif isinstance(entry, str):
        path = Path(entry.removeprefix("local-dir:"))
        if path.is_file() or (path.is_dir() and os.sep in entry):
            yield path


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, names, files in os.walk(path):
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(files) if not name.startswith("."))


def _digest(files: Iterator[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        found = path.stat()
        digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
