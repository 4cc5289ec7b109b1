"""Every refusal of types and spaces: one sentence with what came and what was wanted; no refusal is left untried."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brainenc.core import align, spaces, types
from brainenc.core.spaces import ParcelSpace, SensorSpace, VertexSpace, VoxelSpace, space_from_dict
from brainenc.core.types import DataError, Features, Responses, StimulusSet, TargetMap

PARCELS = ParcelSpace(("V1", "V2"))
VOLUME, TIMES, NAMES = np.ones((2, 1, 1), bool), np.array([0.0, 0.1]), ("Oz", "Pz")


def stimuli(ids: list[Any], name: str | None = "stimulus_id") -> pd.DataFrame:
    return pd.DataFrame({"split": "train"}, index=pd.Index(ids, name=name, dtype=object))


def ones(*shape: int, **kw: Any) -> np.ndarray:
    return np.ones(shape, **kw)


def responses(values: Any = None, ids: Any = ("a", "a", "b"), **kw: Any) -> Responses:
    return Responses(ones(3, 2) if values is None else values, ids, PARCELS, "z", **kw)


def with_nan() -> np.ndarray:
    values = ones(2, 3, 2)
    values[1, 2, 0] = np.nan
    return values


# name: (what is tried, what came, what was wanted or the cure)
CASES: dict[str, tuple[Callable[[], Any], str, str]] = {
    "ids in two dimensions": (lambda: Features(ones(2, 2), [["a", "b"]], "f"), "(1, 2)", "wanted (n_samples,)"),
    "id is a number": (
        lambda: Features(ones(2, 2), ["a", 7], "f"),
        "stimulus_ids[1] is 7",
        "wanted a non-empty string",
    ),
    "id is empty": (lambda: Features(ones(2, 2), ["", "b"], "f"), "stimulus_ids[0] is ''", "non-empty string"),
    "id is missing": (lambda: responses(ids=["a", "b", np.nan]), "stimulus_ids[2] is nan", "non-empty string"),
    "id is n/a": (lambda: responses(ids=["a", "b", "n/a"]), "'n/a'", "non-empty string"),
    "id holds NUL": (lambda: responses(ids=["a", "b", "c\0d"]), r"'c\x00d'", "non-empty string"),
    "table is a list": (lambda: StimulusSet(["a"]), "got list", "wanted a DataFrame"),
    "table is empty": (lambda: StimulusSet(stimuli([])), "is empty", "wanted at least one row"),
    "index has no name": (lambda: StimulusSet(stimuli(["a"], None)), "None", "wanted 'stimulus_id'"),
    "index of numbers": (lambda: StimulusSet(stimuli([1, 2])), "StimulusSet: stimulus_ids[0] is 1", "string"),
    "stimulus twice": (lambda: StimulusSet(stimuli(["a", "b", "a"])), "'a' occurs more than once", "wanted one row"),
    "unknown stimulus": (lambda: StimulusSet(stimuli(["a"])).select(["a", "x"]), "'x' is not in", "add its row"),
    "features flat": (lambda: Features(ones(3), list("abc"), "f"), "shape (3,)", "wanted (n_samples, ..., n_channels)"),
    "features empty": (lambda: Features(ones(0, 3), [], "f"), "shape (0, 3)", "at least one row"),
    "features without channels": (lambda: Features(ones(1, 0), ["a"], "f"), "shape (1, 0)", "one channel"),
    "features and ids": (lambda: Features(ones(3, 2), ["a", "b"], "f"), "3 rows of values but 2", "one id per row"),
    "features of integers": (lambda: Features(ones(1, 2, dtype=int), ["a"], "f"), "int64", "wanted a floating type"),
    "features twice": (lambda: Features(ones(2, 2), ["a", "a"], "f"), "'a' has several rows", "wanted one"),
    "features with NaN": (lambda: Features(with_nan(), ["a", "b"], "f"), "row 1 (stimulus 'b')", "wanted finite"),
    "responses flat": (lambda: responses(ones(3)), "shape (3,)", "wanted (n_samples, n_targets)"),
    "responses empty": (lambda: responses(ones(3, 0)), "shape (3, 0)", "neither of them 0"),
    "responses of integers": (lambda: responses(ones(3, 2, dtype="int16")), "int16", "wanted a floating type"),
    "responses and ids": (lambda: responses(ones(4, 2)), "4 rows of values but 3", "id that each row shows"),
    "responses and space": (lambda: responses(ones(3, 5)), "5 columns", "parcel space has 2 targets"),
    "responses and samples": (
        lambda: responses(samples=pd.DataFrame({"run": [1, 2]})),
        "2 rows in the samples table",
        "one row of the table per row",
    ),
    "tr of zero": (lambda: responses(tr=0.0), "tr is 0.0", "wanted a positive number of seconds"),
    "tr is NaN": (lambda: responses(tr=np.nan), "tr is nan", "wanted a positive number of seconds"),
    "no samples table": (lambda: responses().column("run"), "no column 'run' (it has [])", "add it"),
    "no such column": (
        lambda: responses(samples=pd.DataFrame({"session": [1, 1, 2]})).column("run"),
        "no column 'run' (it has ['session'])",
        "add it",
    ),
    "map of another length": (lambda: TargetMap(ones(3), PARCELS, "r2"), "shape (3,)", "wanted (2,), one per target"),
    "map of integers": (lambda: TargetMap(ones(2, dtype=int), PARCELS, "r2"), "int64", "wanted a floating type"),
    "scatter too many": (lambda: PARCELS.scatter(ones(3)), "shape (3,)", "wanted (2,)"),
    "gather another frame": (lambda: PARCELS.gather(ones(3)), "shape (3,)", "wanted (2,)"),
    "mask of numbers": (lambda: PARCELS.select(np.array([1, 0])), "int64", "wanted a boolean mask"),
    "mask too long": (lambda: PARCELS.select(ones(3, dtype=bool)), "shape (3,)", "boolean mask of shape (2,)"),
    "mask selects nothing": (lambda: PARCELS.select(~ones(2, dtype=bool)), "selects no target", "wanted at least one"),
    "volume of numbers": (lambda: VoxelSpace(ones(2, 1, 1), np.eye(4)), "float64", "wanted a boolean (x, y, z) volume"),
    "volume is flat": (lambda: VoxelSpace(VOLUME[0], np.eye(4)), "shape (1, 1)", "(x, y, z) volume"),
    "volume without voxels": (lambda: VoxelSpace(~VOLUME, np.eye(4)), "bool of shape (2, 1, 1)", "at least one voxel"),
    "affine too small": (lambda: VoxelSpace(VOLUME, np.eye(3)), "shape (3, 3)", "invertible (4, 4)"),
    "affine flattens": (lambda: VoxelSpace(VOLUME, np.zeros((4, 4))), "affine", "wanted an invertible"),
    "affine with NaN": (lambda: VoxelSpace(VOLUME, np.full((4, 4), np.nan)), "affine", "wanted an invertible"),
    "vertices are no numbers": (lambda: VertexSpace("m", 3, 3, ones(2)), "float64", "wanted integers (n_targets,)"),
    "no vertices": (lambda: VertexSpace("m", 3, 3, np.array([], int)), "shape (0,)", "wanted integers"),
    "vertex too high": (lambda: VertexSpace("m", 3, 3, np.array([6])), "vertex 6", "6 vertices (3 left, 3 right)"),
    "vertex below zero": (lambda: VertexSpace("m", 3, 3, np.array([-1, 5])), "vertex -1", "name the mesh"),
    "vertex twice": (lambda: VertexSpace("m", 3, 3, np.array([2, 0, 2])), "vertex 2", "wanted each at most once"),
    "sensor twice": (lambda: SensorSpace(("Oz", "Oz"), TIMES), "'Oz' more than once", "all different"),
    "no sensors": (lambda: SensorSpace((), TIMES), "()", "at least one"),
    "times fall": (lambda: SensorSpace(NAMES, TIMES[::-1]), "do not increase", "wanted (n_times,) finite, increasing"),
    "times in two dimensions": (lambda: SensorSpace(NAMES, ones(1, 2)), "shape (1, 2)", "wanted (n_times,)"),
    "a time is NaN": (lambda: SensorSpace(NAMES, np.array([np.nan])), "times", "finite"),
    "kept too high": (lambda: SensorSpace(NAMES, TIMES, np.array([4])), "kept is int64", "integers in 0 ... 3"),
    "kept twice": (lambda: SensorSpace(NAMES, TIMES, np.array([1, 1])), "shape (2,)", "distinct integers"),
    "kept is a mask": (lambda: SensorSpace(NAMES, TIMES, ones(4, dtype=bool)), "kept is bool", "distinct integers"),
    "parcel twice": (lambda: ParcelSpace(("V1", "V2", "V1")), "'V1' more than once", "all different"),
    "no parcels": (lambda: ParcelSpace(()), "()", "at least one"),
    "parcels in one string": (lambda: ParcelSpace("V1"), "'V1'", "wanted a tuple"),
    "unknown kind": (
        lambda: space_from_dict("cloud", {}),
        "'cloud' is unknown",
        "['parcel', 'sensor', 'vertex', 'voxel']",
    ),
    "stimulus without features": (
        lambda: align.align(Features(ones(1, 2), ["a"], "f"), np.array(["x"], object)),
        "no row for stimulus 'x'",
        "extract them",
    ),
    "no grid of tokens": (
        lambda: align.token_grid(Features(ones(1, 6, 2), ["a"], "f"), np.array(["a"], object)),
        "(1, 6, 2)",
        "pooling 'tokens'",
    ),
    "rows and ids": (lambda: align.average_repetitions(ones(3, 2), ["a"]), "(3, 2) for 1", "one id per row"),
}


def faults(message: str) -> list[str]:
    """What keeps ``message`` from being one clear sentence; empty if nothing does."""
    found = []
    if not message.endswith(".") or message.endswith(".."):
        found.append("does not end with one full stop")
    if "\n" in message or "  " in message:
        found.append("is laid out in lines or columns")
    if re.search(r"[.!?;]\s+[A-Z]", message):
        found.append("is more than one sentence")
    if len(message) > 300:
        found.append("is longer than a sentence should be")
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_says_what_came_and_what_was_wanted(case):
    attempt, came, wanted = CASES[case]
    with pytest.raises(DataError) as refusal:
        attempt()
    message = str(refusal.value)
    assert came in message and wanted in message, message
    assert not faults(message), message


@pytest.mark.parametrize(
    "message", ["bad shape", "Wrong shape. Transpose it.", "wrong shape:\n  (3, 2).", "wrong...", "a " * 200 + "."]
)
def test_the_check_of_sentences_sees_a_bad_one(message):
    assert faults(message)


def refusals(module: Any) -> set[int]:
    """First line of every ``raise DataError(...)`` of a module."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    raised = [node for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    return {node.lineno for node in raised if getattr(node.exc.func, "id", "") == "DataError"}


def raised_at(attempt: Callable[[], Any]) -> tuple[str, int]:
    """File and line of the statement that refused."""
    with pytest.raises(DataError) as refusal:
        attempt()
    last = refusal.traceback[-1]
    return str(last.path), last.lineno + 1


@pytest.mark.parametrize("module", [types, spaces, align], ids=lambda module: module.__name__)
def test_every_refusal_is_tried(module):
    tried = {raised_at(attempt) for attempt, _, _ in CASES.values()}
    untried = {line for line in refusals(module) if (str(Path(module.__file__)), line) not in tried}
    assert refusals(module) and not untried, f"{module.__name__}: no case raises at lines {sorted(untried)}"


def test_a_valid_object_is_not_refused():
    table = stimuli(["b", "a"])
    assert list(StimulusSet(table).select(["a"]).ids) == ["a"] and len(StimulusSet(table)) == 2
    assert Features(ones(2, 3, 4), ["a", "b"], "f").matrix.shape == (2, 12)
    measured = responses(np.full((3, 2), np.nan), samples=pd.DataFrame({"run": [1, 1, 2]}), tr=1.5)
    assert (measured.n_samples, measured.n_targets, list(measured.column("run"))) == (3, 2, [1, 1, 2])
    assert np.isnan(TargetMap(np.full(2, np.nan), PARCELS, "r2").values).all()


def test_nouns_are_frozen():
    for noun in (StimulusSet(stimuli(["a"])), Features(ones(1, 1), ["a"], "f"), responses(), PARCELS):
        field = next(iter(noun.__dataclass_fields__))
        with pytest.raises(AttributeError):
            setattr(noun, field, None)


def test_ids_given_as_a_list_become_one_array():
    assert isinstance(Features(ones(1, 1), ["a"], "f").stimulus_ids, np.ndarray)


def test_a_data_error_is_a_value_error():
    assert issubclass(DataError, ValueError)
