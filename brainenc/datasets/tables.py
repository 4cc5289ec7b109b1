"""Tables and paths of a data folder: read as text first, so that an id such as ``007`` or ``NA`` stays what it is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from brainenc.core.types import DataError

TEXT_COLUMNS = ("stimulus_id", "path", "text", "split", "region", "name", "trial_type", "stim_file")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
OTHER_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".wav", ".flac", ".mp3", ".ogg")
MISSING = ("", "n/a", "N/A", "nan", "NaN")
_N_DECODED = 200


def need_file(path: Path, what: str) -> Path:
    """Return ``path`` if it is a non-empty file, else raise `DataError` saying ``what`` was wanted there."""
    if not path.is_file():
        raise DataError(f"{path}: no such file, wanted {what}: put it there or correct the path in the study.")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty, wanted {what}: copy it again.")
    return path


def fill_pattern(root: Path, pattern: str, **names: str) -> Path:
    """Return ``root / pattern`` with ``{name}`` replaced; an absolute pattern stands alone."""
    try:
        return root / pattern.format(**names)
    except (KeyError, IndexError, ValueError):
        allowed = ", ".join("{" + name + "}" for name in names)
        raise DataError(
            f"path pattern {pattern!r}: a placeholder is unknown, wanted only {allowed}: rename it."
        ) from None


def find_subjects(root: Path, pattern: str, **choices: tuple[str, ...]) -> tuple[str, ...]:
    """Return the sorted values of ``{subject}`` for which a file fits ``pattern``; ``choices`` are for other names."""
    if "{subject}" not in pattern:
        return ()
    base = Path(Path(pattern).anchor) if Path(pattern).is_absolute() else root
    relative = str(Path(pattern).relative_to(Path(pattern).anchor)) if Path(pattern).is_absolute() else pattern
    expression, shell = "", ""
    for part in re.split(r"(\{\w+\})", relative):
        name = part[1:-1] if part.startswith("{") else None
        if name is None:
            expression, shell = expression + re.escape(part), shell + re.sub(r"([*?\[])", r"[\1]", part)
            continue
        allowed = "|".join(map(re.escape, choices[name])) if name in choices else "[A-Za-z0-9]+"
        expression += f"(?P={name})" if f"(?P<{name}>" in expression else f"(?P<{name}>{allowed})"
        shell += "*"
    matches = (re.fullmatch(expression, str(path.relative_to(base))) for path in base.glob(shell))
    return tuple(sorted({match["subject"] for match in matches if match}))


def checked_subjects(owner: str, subjects: list[str] | tuple[str, ...] | str | None) -> tuple[str, ...] | None:
    """Return configured subjects as a tuple of strings, or None; a bare number is refused (YAML reads 01 as 1)."""
    if subjects is None:
        return None
    names = (subjects,) if isinstance(subjects, str) else tuple(subjects)
    for name in names:
        if not isinstance(name, str) or not name:
            raise DataError(f"{owner}: subject {name!r} is a {type(name).__name__}, wanted text: quote it, as in '01'.")
    if not names or len(set(names)) != len(names):
        raise DataError(f"{owner}: subjects are {list(names)}, wanted at least one, each once: correct the list.")
    return names


def read_table(path: Path, wanted: tuple[str, ...], what: str, text: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a TSV or CSV with a header.

    Numeric columns become numbers (empty and ``n/a`` become NaN); ids, paths, words, names and the columns ``text``
    stay text.

    Raises
    ------
    DataError
        No file, another format, no row, a repeated or missing column.
    """
    need_file(path, what)
    separator = {".tsv": "\t", ".csv": ","}.get(path.suffix.lower())
    if separator is None:
        raise DataError(f"{path}: the suffix is {path.suffix!r}, wanted .tsv or .csv: save the table as one of them.")
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig", header=None)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path}: not a readable table ({reason}): save it as UTF-8 text with tabs or commas."
        ) from None
    header = [name.strip() for name in table.iloc[0].fillna("")]
    table = table.iloc[1:].fillna("").reset_index(drop=True)
    if len(set(header)) != len(header):
        repeated = next(name for name in header if header.count(name) > 1)
        raise DataError(f"{path}: column {repeated!r} occurs twice, wanted each once: rename or drop one.")
    table.columns = pd.Index(header)
    for column in wanted:
        if column not in header:
            raise DataError(f"{path}: no column {column!r} (it has {', '.join(header)}): add it or rename one.")
    if len(table) == 0:
        raise DataError(f"{path}: the table has a header but no row, wanted {what}: add the rows.")
    for column in set(header) - {*TEXT_COLUMNS, *text}:
        table[column] = _as_numbers(table[column])
    return table


def _as_numbers(column: pd.Series) -> pd.Series:
    missing = column.isin(MISSING)
    numbers = pd.to_numeric(column.mask(missing), errors="coerce")
    return column if (numbers.isna() & ~missing).any() or missing.all() else numbers


def read_stimuli(path: Path, root: Path) -> pd.DataFrame:
    """Read the stimulus table, index ``stimulus_id``, with column ``path`` made absolute below ``root``."""
    table = read_table(path, ("stimulus_id",), "a table with one row per stimulus")
    ids = table["stimulus_id"]
    if ids.isin(MISSING).any():
        row = int(np.flatnonzero(ids.isin(MISSING))[0])
        raise DataError(f"{path}: stimulus_id is {ids[row]!r} in row {row + 2}, wanted a name: fill it in.")
    if ids.duplicated().any():
        twice = ids[ids.duplicated()].iloc[0]
        raise DataError(
            f"{path}: stimulus_id {twice!r} occurs more than once, wanted one row per stimulus: "
            "keep repetitions in the samples table."
        )
    if "path" in table:
        table["path"] = [str((root / value).resolve()) if value else "" for value in table["path"]]
    return table.set_index("stimulus_id")


def check_stimulus_files(table: pd.DataFrame, source: Path) -> None:
    """Raise `DataError` unless every path of the stimulus ``table`` is there and is what its suffix says.

    Every image is opened; 200 evenly spaced ones are decoded to the last pixel.
    """
    if "path" not in table:
        return
    decoded = set(np.linspace(0, len(table) - 1, _N_DECODED).astype(int))
    for row, (stimulus_id, value) in enumerate(table["path"].items()):
        if not value:
            raise DataError(f"{source}: stimulus {stimulus_id!r} has an empty path, wanted a file: fill it in.")
        path = Path(value)
        if not path.is_file():
            raise DataError(f"{source}: stimulus {stimulus_id!r} points at {path}, which is missing: put it there.")
        if path.suffix.lower() in IMAGE_SUFFIXES:
            _check_image(path, row in decoded)
        elif path.suffix.lower() not in OTHER_SUFFIXES:
            kinds = " ".join(IMAGE_SUFFIXES + OTHER_SUFFIXES)
            raise DataError(f"{path}: not an image, film or sound, wanted one of {kinds}: put words in column 'text'.")


def _check_image(path: Path, decode: bool) -> None:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if decode:
                image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not a readable image ({reason}): replace the file.") from None


def read_samples(path: Path, known_ids: pd.Index, stimuli_path: Path) -> pd.DataFrame:
    """Read the samples table: column ``stimulus_id`` and optional run, session, repetition, onset (s).

    Raises
    ------
    DataError
        An id that the stimulus table lacks, an onset that is not a number, a sample listed twice.
    """
    table = read_table(path, ("stimulus_id",), "a table with one row per row of the responses")
    unknown = table["stimulus_id"][~table["stimulus_id"].isin(known_ids)]
    if len(unknown):
        raise DataError(
            f"{path}: stimulus_id {unknown.iloc[0]!r} in row {unknown.index[0] + 2} is not in {stimuli_path.name} "
            f"({len(unknown)} such rows): add the stimulus there or correct the id."
        )
    for column in {"onset", "duration"} & set(table.columns):
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise DataError(f"{path}: column {column!r} holds text, wanted seconds: correct it or drop the column.")
    if {"repetition", "onset"} & set(table.columns):
        keys = [c for c in ("stimulus_id", "session", "run", "repetition", "onset") if c in table]
        twice = table.duplicated(keys)
        if twice.any():
            row = int(np.flatnonzero(twice)[0])
            raise DataError(
                f"{path}: row {row + 2} repeats an earlier one in {', '.join(keys)}, wanted each sample once: "
                "number the repetitions or delete the row."
            )
    return table
