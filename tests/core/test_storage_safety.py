"""Files are whole or absent, equal for equal work, carry their provenance, and never run code when read."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from brainenc.core import storage
from brainenc.core.provenance import record
from brainenc.core.types import DataError, Features, Responses, StimulusSet, TargetMap
from tests.core.strategies import one_of_each

SPACE = one_of_each()["sensor"]
IDS = ["a", "b", "c"]
MADE = {"step": "toy", "parameters": {"alphas": np.logspace(0, 2, 3), "bands": {"y", "x"}}, "seed": 7}


def features() -> Features:
    return Features(np.arange(12, dtype=np.float32).reshape(3, 4), IDS, "toy")


def responses() -> Responses:
    table = pd.DataFrame({"run": [1, 1, 2], "session": ["001", None, "002"]})
    return Responses(np.arange(12, dtype=np.float32).reshape(3, 4), IDS, SPACE, "z", table, 2.0)


def maps() -> dict[str, TargetMap]:
    return {name: TargetMap(np.arange(4.0), SPACE, "r2") for name in ("z", "a", "m")}


def masks() -> dict[str, np.ndarray]:
    return {name: np.array([True, False, True, False]) for name in ("z", "a/b", "m")}


def stimuli() -> StimulusSet:
    return StimulusSet(pd.DataFrame({"text": ["x", None, "z"]}, index=pd.Index(IDS, name="stimulus_id")))


def arrays() -> dict[str, np.ndarray]:
    return {name: np.arange(6.0).reshape(2, 3) for name in ("weights", "alphas", "best", "mean")}


NOTES = {f"key {i}": str(i) for i in range(6)}
# file name: (writer, loader)
FILES: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any]]] = {
    "features.h5": (lambda path: storage.save_features(path, features(), MADE), storage.load_features),
    "responses.h5": (lambda path: storage.save_responses(path, responses(), MADE), storage.load_responses),
    "maps.h5": (lambda path: storage.save_maps(path, maps(), MADE), storage.load_maps),
    "masks.h5": (lambda path: storage.save_masks(path, masks(), SPACE, MADE), storage.load_masks),
    "arrays.safetensors": (lambda path: storage.save_arrays(path, arrays(), NOTES), storage.load_arrays),
    "stimuli.tsv": (lambda path: storage.save_stimuli(path, stimuli()), storage.load_stimuli),
    "card.json": (lambda path: storage.write_json(path, MADE), storage.read_json),
}
HDF5 = [name for name in FILES if name.endswith(".h5")]
each_file = pytest.mark.parametrize("name", FILES)


# ------------------------------------------------------------------------------------------------------- atomicity


def keeps_the_folder_clean(write: Callable[[Path], None], path: Path) -> bool:
    """True if ``write``, which fails half-way, leaves the previous file as it was and no other."""
    path.write_bytes(b"previous")
    with pytest.raises(ZeroDivisionError):
        write(path)
    return [p.name for p in path.parent.iterdir()] == [path.name] and path.read_bytes() == b"previous"


def fails_in_atomic_path(path: Path) -> None:
    with storage.atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError


def fails_in_features_writer(path: Path) -> None:
    with storage.features_writer(path, np.array(IDS, object), "toy") as write:
        write(np.ones((1, 4), np.float32))
        raise ZeroDivisionError


def fails_in_responses_writer(path: Path) -> None:
    with storage.responses_writer(path, responses()) as values:
        values[:, :2] = 1
        raise ZeroDivisionError


def fails_beside_the_final_name(path: Path) -> None:
    path.with_suffix(".tmp").write_bytes(b"half")
    raise ZeroDivisionError


def fails_in_the_final_name(path: Path) -> None:
    path.write_bytes(b"half")
    raise ZeroDivisionError


@pytest.mark.parametrize("write", [fails_in_atomic_path, fails_in_features_writer, fails_in_responses_writer])
def test_a_failed_write_leaves_nothing_and_keeps_the_previous_file(tmp_path, write):
    assert keeps_the_folder_clean(write, tmp_path / "f.h5")


@pytest.mark.parametrize("write", [fails_beside_the_final_name, fails_in_the_final_name])
def test_the_check_of_atomicity_sees_a_careless_writer(tmp_path, write):
    assert not keeps_the_folder_clean(write, tmp_path / "f.h5")


@each_file
def test_writing_again_replaces_the_file(tmp_path, name):
    write, load = FILES[name]
    (tmp_path / name).write_bytes(b"previous")
    write(tmp_path / name)
    load(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@each_file
def test_folders_are_made_on_the_way(tmp_path, name):
    write, load = FILES[name]
    write(tmp_path / "sub-01" / "deep" / name)
    load(tmp_path / "sub-01" / "deep" / name)


@each_file
def test_others_may_read_as_the_umask_says(tmp_path, name):
    before = os.umask(0o027)
    try:
        FILES[name][0](tmp_path / name)
    finally:
        os.umask(before)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o640


def test_the_temporary_name_keeps_the_suffix_by_which_writers_choose_a_format(tmp_path):
    with storage.atomic_path(tmp_path / "map.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz") and temporary.parent == tmp_path
        assert temporary.name.startswith(".")


STREAM = """
import sys, time
import numpy as np
from brainenc.core import storage
ids = np.array([f"s{i}" for i in range(100)], object)
with storage.features_writer(sys.argv[1], ids, "toy") as write:
    for _ in range(50):
        write(np.ones((1, 1000), np.float32))
    print("half", flush=True)
    time.sleep(60)
"""
CARELESS = """
import sys, time
import h5py
file = h5py.File(sys.argv[1], "w")
print("half", flush=True)
time.sleep(60)
"""


def killed_half_way(source: str, path: Path) -> None:
    """Run ``source`` on ``path`` until it says "half", then kill it as no program can catch."""
    process = subprocess.Popen([sys.executable, "-c", source, str(path)], stdout=subprocess.PIPE, text=True)
    watchdog = threading.Timer(50, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None and process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def test_a_killed_writer_leaves_no_final_name(tmp_path):
    killed_half_way(STREAM, tmp_path / "f.h5")
    assert not (tmp_path / "f.h5").exists()
    assert all(path.name.startswith(".partial-") for path in tmp_path.iterdir())


def test_a_killed_writer_keeps_the_previous_file(tmp_path):
    storage.save_features(tmp_path / "f.h5", features())
    before = (tmp_path / "f.h5").read_bytes()
    killed_half_way(STREAM, tmp_path / "f.h5")
    assert (tmp_path / "f.h5").read_bytes() == before


def test_the_killing_test_sees_a_careless_writer(tmp_path):
    killed_half_way(CARELESS, tmp_path / "f.h5")
    assert (tmp_path / "f.h5").exists()


# ---------------------------------------------------------------------------------------------------- equal work

WRITE_ALL = """
import sys
from pathlib import Path
from tests.core.test_storage_safety import FILES
for name, (write, _) in FILES.items():
    write(Path(sys.argv[1]) / name)
"""


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """All files written by two processes with different hash seeds."""
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    root = Path(__file__).resolve().parents[2]
    for seed, folder in enumerate(folders, start=1):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(root)}
        subprocess.run([sys.executable, "-c", WRITE_ALL, str(folder)], check=True, env=environment, cwd=root)
    return folders


@each_file
def test_equal_work_gives_equal_bytes(two_runs, name):
    assert (two_runs[0] / name).read_bytes() == (two_runs[1] / name).read_bytes()


def test_the_comparison_sees_a_changed_number(tmp_path):
    written = []
    for last in (11, 12):
        values = np.array([[*range(11), last]], np.float32)
        storage.save_features(tmp_path / "f.h5", Features(values, ["a"], "toy"))
        written.append((tmp_path / "f.h5").read_bytes())
    assert written[0] != written[1]


# ----------------------------------------------------------------------------------------------------- provenance


@pytest.mark.parametrize("name", HDF5)
def test_provenance_is_read_back(tmp_path, name):
    FILES[name][0](tmp_path / name)
    assert storage.read_provenance(tmp_path / name) == {
        "step": "toy",
        "parameters": {"alphas": [1.0, 10.0, 100.0], "bands": ["x", "y"]},
        "seed": 7,
    }


def test_a_whole_record_of_a_large_study_fits(tmp_path):
    (tmp_path / "in.tsv").write_text("stimulus_id\n")
    made = record("toy", {"text": "x" * 200_000}, {"stimuli": tmp_path / "in.tsv"}, seed=1)
    storage.save_maps(tmp_path / "m.h5", maps(), made)
    assert storage.read_provenance(tmp_path / "m.h5") == made


def test_no_provenance_is_an_empty_record(tmp_path):
    storage.save_features(tmp_path / "f.h5", features())
    assert storage.read_provenance(tmp_path / "f.h5") == {}


# --------------------------------------------------------------------------------------------------------- refusal


@pytest.mark.parametrize("name", HDF5)
@pytest.mark.parametrize("other", HDF5)
def test_each_loader_reads_its_own_kind_only(tmp_path, name, other):
    FILES[name][0](tmp_path / name)
    if name == other:
        FILES[name][1](tmp_path / name)
    else:
        kinds = f"holds '{name[:-3]}' in layout 'brainenc-1', wanted '{other[:-3]}'"
        with pytest.raises(DataError, match=kinds):
            FILES[other][1](tmp_path / name)


@pytest.mark.parametrize("name", [*HDF5, "arrays.safetensors", "opened responses.h5", "opened arrays.safetensors"])
def test_a_file_cut_short_anywhere_is_refused(tmp_path, name):
    write, load = FILES[name.removeprefix("opened ")]
    load = {"opened responses.h5": storage.open_responses, "opened arrays.safetensors": storage.open_arrays}.get(
        name, load
    )
    write(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for length in {0, 1, 7, 8, 9, 100, *range(0, len(whole), max(1, len(whole) // 40)), len(whole) - 1}:
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(DataError, match="run its step again") as refusal:
            load(tmp_path / name)
        assert str(tmp_path / name) in str(refusal.value)


class Spy:
    """Makes a folder when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.trace),)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Spy(path.with_name("trace"))))


def pickled_in_npy(path: Path) -> None:
    with open(path, "wb") as stream:
        np.save(stream, np.array([Spy(path.with_name("trace"))], object), allow_pickle=True)


def test_the_spy_is_seen_when_something_unpickles(tmp_path):
    pickled(tmp_path / "x")
    pickle.loads((tmp_path / "x").read_bytes())
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("make", [pickled, pickled_in_npy])
@pytest.mark.parametrize("name", [*HDF5, "arrays.safetensors", "stimuli.tsv", "card.json"])
def test_pickled_data_is_refused_and_never_run(tmp_path, make, name):
    make(tmp_path / name)
    with pytest.raises(DataError):
        FILES[name][1](tmp_path / name)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("name", [*HDF5, "provenance"])
def test_an_hdf5_file_of_another_program_is_refused(tmp_path, name):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["values"] = np.ones(3)
    load = storage.read_provenance if name == "provenance" else FILES[name][1]
    with pytest.raises(DataError, match="pass a file written by brainenc"):
        load(tmp_path / "x.h5")


@pytest.mark.parametrize("name", HDF5)
def test_a_file_that_lost_a_part_is_refused(tmp_path, name):
    write, load = FILES[name]
    write(tmp_path / name)
    with h5py.File(tmp_path / name) as file:
        parts = list(file)
    for part in parts:
        write(tmp_path / name)
        with h5py.File(tmp_path / name, "a") as file:
            del file[part]
        if (name, part) in {("responses.h5", "samples"), ("masks.h5", "space")}:
            load(tmp_path / name)  # samples are optional, and masks are read without their space
        else:
            with pytest.raises(DataError, match="is damaged"):
                load(tmp_path / name)
