"""A study whose subjects a network planted: names become folders, the record tells the weights, twins are refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from brainenc import pocket
from brainenc.core import storage
from brainenc.core.provenance import file_hash
from brainenc.core.types import DataError
from brainenc.pocket.image_net import NetShape, build, save_network
from pipelines import networks
from pipelines.check_recovery import check_recovery
from pipelines.check_study import inspect_study
from pipelines.fingerprints import data_fingerprint, entry_fingerprint
from pipelines.prepare_responses import prepare_responses
from pipelines.study import Study, resolve_study
from tests.pipelines.conftest import run_steps

SHAPE = NetShape(layers=(1, 1, 1, 1), channels=(8, 16, 24, 32), stem_width=8)
ENTRY = {"class": "planted", "size": "tiny", "seed": 0, "subjects": ["01"], "n_shared": 20, "network": "pocket-net"}


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Untrained networks under the names of pocket networks."""
    for seed, name in enumerate(("pocket-net", "pocket-net-ssl")):
        torch.manual_seed(seed)
        save_network(build(0, SHAPE), tmp_path / name, SHAPE)
        (tmp_path / name / "card.json").write_text('{"licence": "BSD-3-Clause"}')

    def folder(name: str) -> Path:
        path = tmp_path / pocket.check_name(name)
        if not path.exists():
            raise DataError(f"Pocket network {name!r} has no files.")
        return path

    monkeypatch.setattr(pocket, "folder", folder)
    return tmp_path


def study(dataset: dict[str, Any] | None = None, **features: Any) -> Study:
    return resolve_study(
        {
            "study": "planting",
            "dataset": {**ENTRY, **(dataset or {})},
            "subjects": ["01"],
            "split": {"class": "column"},
            "features": features or {"energy": {"class": "gabor"}},
            "encoders": {"ridge": {"class": "ridge"}},
            "surface": {"mesh": None},
        }
    )


def test_names_become_folders(shipped: Path) -> None:
    assert networks.dataset_arguments(ENTRY)[1]["network"] == str(shipped / "pocket-net")
    assert networks.dataset_arguments({**ENTRY, "network": "local-dir:/a/b"})[1]["network"] == "/a/b"
    assert networks.dataset_arguments({**ENTRY, "network": None})[1]["network"] is None
    assert networks.dataset_arguments({"class": "folder", "root": "r"}) == ("folder", {"root": "r"})


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("pocket-clip-b", "'pocket-clip-b' has no files"),
        ("pocket-nut", "'pocket-nut' is unknown: use one of pocket-clip"),
        ("pocket-text", "embeds no pictures: use one of pocket-clip, pocket-clip-b, pocket-net"),
        ("local-dir:/nowhere", "network '/nowhere' is no folder"),
    ],
)
def test_a_network_that_cannot_plant_is_one_clear_sentence(shipped: Path, network: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        inspect_study(study({"network": network}))


def test_features_of_the_planting_network_are_refused(shipped: Path) -> None:
    inspect_study(study(own={"class": "timm", "model": "pocket-net-ssl"}))  # another network: welcome
    copy = shipped / "copy"
    shutil.copytree(shipped / "pocket-net", copy)
    weights = str(copy / "model.safetensors")
    for entry in (
        {"model": "pocket-net"},
        {"model": "pocket-net", "layer": "layer2"},
        {"model": f"local-dir:{shipped / 'pocket-net'}"},
        {"model": f"local-dir:{copy}"},
        {"model": "resnet10t", "checkpoint": weights, "model_kwargs": {**SHAPE.arguments, "num_classes": 0}},
    ):
        with pytest.raises(DataError, match=r"features\.own: it holds the weights .* trivially exact"):
            inspect_study(study(own={"class": "timm", **entry}))


def test_what_only_looks_like_the_planting_network_is_allowed(shipped: Path) -> None:
    """The broken twins of the guard: the same network untrained, and subjects that equations planted."""
    untrained = {"class": "timm", "model": "resnet10t", "random_weights": 0, "model_kwargs": SHAPE.arguments}
    inspect_study(study(own=untrained))
    inspect_study(study({"network": None}, own={"class": "timm", "model": "pocket-net"}))


def test_models_lists_the_planting_network(shipped: Path) -> None:
    (need,) = networks.needs(study())
    assert (need.used_by, need.model, need.library, need.cure) == ("dataset", "pocket-net", "timm", "")
    (missing,) = networks.needs(study({"network": "pocket-clip-b"}))
    assert missing.cure == "brainenc train-pocket pocket-clip-b"
    (local,) = networks.needs(study({"network": f"local-dir:{shipped / 'pocket-net'}"}))
    assert local.n_bytes and not local.cure
    (nowhere,) = networks.needs(study({"network": "local-dir:/nowhere"}))
    assert nowhere.cure == "put it at /nowhere"


def test_changed_weights_recompute_responses_and_no_stimulus(shipped: Path) -> None:
    weights = shipped / "pocket-net" / "model.safetensors"
    entry = {**ENTRY, "network": f"local-dir:{weights.parent}"}
    before = [data_fingerprint(e, s) for e in (ENTRY, entry) for s in (None, "01")]
    assert before[0] == before[2] == "" and before[1] == before[3] != ""
    features = entry_fingerprint({"class": "timm", "model": "pocket-net"})
    found = weights.stat()
    os.utime(weights, ns=(found.st_atime_ns, found.st_mtime_ns + 10**9))
    after = [data_fingerprint(e, s) for e in (ENTRY, entry) for s in (None, "01")]
    assert [a != b for a, b in zip(after, before, strict=True)] == [False, True, False, True]
    assert entry_fingerprint({"class": "timm", "model": "pocket-net"}) != features
    assert data_fingerprint({**ENTRY, "network": None}, "01") == ""
    assert data_fingerprint({**ENTRY, "network": "pocket-clip-b"}, "01")  # not here: said when it is needed


def test_the_record_of_the_responses_names_network_and_weights(shipped: Path, tmp_path: Path) -> None:
    from brainenc.datasets import planted_network

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted_network, "N_REFERENCE", 60)
        planted_network.reference_pictures.cache_clear()
        prepare_responses(ENTRY, "01", tmp_path / "responses.h5", tmp_path / "regions.h5")
        planted_network.reference_pictures.cache_clear()
    made = storage.read_provenance(tmp_path / "responses.h5")
    assert made["parameters"]["network"] == "pocket-net"
    weights = made["inputs"]["network/model.safetensors"]
    assert weights["sha256"] == file_hash(shipped / "pocket-net" / "model.safetensors")


@pytest.mark.slow
def test_recovery_asks_of_a_network_subject_what_it_can_promise(shipped: Path, tmp_path: Path) -> None:
    """All steps up to the recovery table: no shares of bands, and nothing above the ceiling or out of noise."""
    config = {
        **study(energy={"class": "gabor"}, net={"class": "timm", "model": "pocket-net-ssl"}).config,
        "results": str(tmp_path),
        "responses": {"within": "session", "detrend": 1, "zscore": True},
        "ceiling": {"rows": "all"},
        "encoders": {"banded": {"class": "banded", "n_gammas": 3, "n_alphas": 5}},
        "statistics": {"n_permutations": 100, "n_bootstrap": 20},
    }
    config["dataset"] = {**config["dataset"], "n_shared": 240}
    whole = resolve_study(config)
    run_steps(whole)
    subject = whole.folder / "sub-01"
    parameters = {
        "dataset": whole.config["dataset"],
        "models": [model.label for model in whole.models],
        "features": whole.config["features"],
        "fdr": 0.05,
        "average": True,
    }
    files = {name: subject / f"{name}.h5" for name in ("responses", "ceiling")}
    check_recovery(
        "01",
        stimuli=whole.folder / "stimuli.tsv",
        split=subject / "split.tsv",
        **files,
        models=[subject / model.name for model in whole.models],
        parameters=parameters,
        output=tmp_path / "recovery.tsv",
    )
    table = storage.read_table(tmp_path / "recovery.tsv")
    families = table["check"].str.split(":").str[0]
    assert {"noise ceiling", "ridge", "leak guard", "significance", "receptive field"} <= set(families)
    assert "partition" not in set(families) and not table["check"].str.contains("power").any()
    asked = families.isin(["noise ceiling", "ridge", "leak guard", "significance", "receptive field"])
    assert table.loc[asked, "passed"].astype(bool).all(), table.loc[asked].to_string()
