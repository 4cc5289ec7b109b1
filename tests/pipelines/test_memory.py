"""The memory of a step does not grow with the number of targets: sixteen times as many, and it needs hardly more.

Each step runs in a process of its own, which reports the most memory it ever had (VmHWM of Linux). What the larger
study adds to the smaller one is compared with what its responses add; a step that reads them all fails by far.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainenc.core import storage
from brainenc.core.spaces import VertexSpace
from brainenc.core.types import Features, Responses, TargetMap
from brainenc.stats.splits import by_stimulus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc"),
]

ROOT = Path(__file__).resolve().parents[2]
N_SAMPLES, SIZES = 400, (4_000, 64_000)
ADDED = 4 * N_SAMPLES * (SIZES[1] - SIZES[0])  # bytes of float32 responses
ALLOWED = 0.4

# Buffers of a fixed size are made small beside this study: it is their growth that is in question.
STEP = """
import sys
from pathlib import Path
from dataclasses import replace
import numpy as np
from brainenc.core import storage, stored
from brainenc.stats import bootstrap, chunks, identification
from pipelines import clean_responses, estimate_ceiling, partition_variance, samples, score_encoder, summarise_regions
bootstrap.BLOCK_BYTES = identification.KEPT_BYTES = 2**20
chunks.target_chunks.__defaults__, stored.column_blocks.__defaults__ = (2**20, 8), (np.float32, 2**20)
folder, step, twin = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "twin"
responses, split, out = folder / "responses.h5", folder / "split.tsv", folder / ("twin-" * twin + step)
predictions, ceiling, scores = folder / "predictions.safetensors", folder / "ceiling.h5", folder / "scores.h5"
common = {"average": True, "seed": 0, "floor": 0.1, "fdr": 0.05, "block": 1, "n_permutations": 3, "n_bootstrap": 3}
whole = []
def all_responses(path):
    opened = read(path)
    whole.append(np.asarray(opened.values))
    return opened
if twin:
    read, storage.open_responses, storage.open_arrays = storage.open_responses, all_responses, storage.load_arrays
if step == "prepare_responses":
    opened = storage.open_responses(responses)
    storage.save_responses(out, opened)
elif step == "clean_responses":
    parameters = {"within": "session", "detrend": 1, "zscore": True}
    clean_responses.clean_responses(responses, split, parameters, out, folder / "quality.json")
elif step == "estimate_ceiling":
    estimate_ceiling.estimate_ceiling(responses, split, {"rows": "auto", "average": True}, out)
elif step == "score_encoder":
    score_encoder.score_encoder(responses, split, ceiling, predictions, common, out)
elif step == "partition_variance":
    parameters = {"bands": ["b", "a"], "average": True}
    partition_variance.partition_variance(responses, split, predictions, scores, [scores, scores], parameters, out)
elif step == "summarise_regions":
    parameters = {**common, "models": ["m", "n"], "comparisons": [["m", "n"]]}
    files = (responses, split, folder / "regions.h5", ceiling, [predictions] * 2, [scores] * 2)
    summarise_regions.summarise_regions(*files, parameters, out, folder / "comparisons.tsv")
elif step == "fit_encoder":
    from pipelines import fit_encoder
    encoder = {"class": "banded", "n_alphas": 3, "n_gammas": 4, "device": "cpu", "n_targets_batch": 512}
    parameters = {"encoder": encoder, "features": {"b": {}, "a": {}}, "average": True, "seed": 0}
    files = (folder / "card.json", folder / "predicted.safetensors")
    features = [folder / "b.h5", folder / "a.h5"]
    fit_encoder.fit_encoder(responses, split, features, parameters, out, *files)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
STEPS = (
    "prepare_responses",
    "clean_responses",
    "estimate_ceiling",
    "score_encoder",
    "partition_variance",
    "summarise_regions",
    "fit_encoder",
)


def write_study(folder: Path, n_targets: int) -> Path:
    """Responses of 200 stimuli shown twice, in float32 on disk, and all that the steps want beside them."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    space = VertexSpace("toy", n_targets, 0, np.arange(n_targets))
    names = np.array([f"s{i:03d}" for i in range(N_SAMPLES // 2)], object)
    ids, session = np.concatenate([names, names]), np.repeat([1, 2], N_SAMPLES // 2)
    features = {name: generator.normal(size=(len(names), 4)).astype(np.float32) for name in "ab"}
    for name, X in features.items():
        storage.save_features(folder / f"{name}.h5", Features(X, names, name))
    split = by_stimulus(ids, n_folds=2, seed=0)
    storage.write_table(folder / "split.tsv", split.to_table(ids), index=False)
    empty = np.broadcast_to(np.float32(0), (N_SAMPLES, n_targets))
    like = Responses(empty, ids, space, "z", pd.DataFrame({"session": session}))
    shapes = {name: ((len(names), n_targets), np.float32) for name in ("Y_hat", "band:a", "band:b")}
    with (
        storage.responses_writer(folder / "responses.h5", like) as values,
        storage.arrays_writer(folder / "predictions.safetensors", shapes) as predicted,
    ):
        for start in range(0, n_targets, 1000):
            at = slice(None), slice(start, start + 1000)
            parts = [X @ generator.normal(size=(4, 1000)).astype(np.float32) for X in features.values()]
            predicted["band:a"][at], predicted["band:b"][at], predicted["Y_hat"][at] = *parts, sum(parts)
            values[at] = np.concatenate([sum(parts), sum(parts)]) + generator.normal(size=(N_SAMPLES, 1000))
    half = TargetMap(np.full(n_targets, 0.5), space, "toy")
    ceilings, scores = ("ceiling_r2", "ceiling_correlation"), ("r2", "correlation", "q_value")
    storage.save_maps(folder / "ceiling.h5", dict.fromkeys(ceilings, half))
    storage.save_maps(folder / "scores.h5", dict.fromkeys(scores, half))
    storage.save_masks(folder / "regions.h5", {"A": np.arange(n_targets) % 3 == 0}, space)
    return folder


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("memory")
    return [write_study(folder / str(n_targets), n_targets) for n_targets in SIZES]


def peak_bytes(folder: Path, step: str, twin: bool) -> int:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", STEP, str(folder), step, "twin" if twin else "step"]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return 1024 * int(run.stdout.split()[-1])


def grows_too_much(studies: list[Path], step: str, twin: bool = False) -> bool:
    small, large = (peak_bytes(folder, step, twin) for folder in studies)
    print(
        f"{step}: {small / 2**20:.0f} -> {large / 2**20:.0f} MiB, {(large - small) / ADDED:.2f} of the responses added"
    )
    return large - small > ALLOWED * ADDED


@pytest.mark.parametrize("step", STEPS)
def test_memory_does_not_grow_with_the_number_of_targets(studies, step):
    assert not grows_too_much(studies, step)


@pytest.mark.parametrize("step", ["score_encoder", "clean_responses"])
def test_a_step_that_reads_all_responses_is_seen(studies, step):
    assert grows_too_much(studies, step, twin=True)
