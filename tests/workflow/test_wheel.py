"""The wheel: small, whole, and at work in a place of its own where no socket opens."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from brainenc import pocket

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
WEIGHTS = ROOT / "brainenc" / "pocket" / "weights"
SHIPPED = [name for name in pocket.NETWORKS if (WEIGHTS / name / "card.json").is_file()]

# Put where Python finds it at the start of every process: whoever reaches for a network stops with an error.
NO_SOCKETS = """
import socket

def refused(*args, **kwargs):
    raise OSError("this process reached for a network")

socket.socket.connect = socket.socket.connect_ex = refused
socket.getaddrinfo = socket.create_connection = refused
"""
STUDY = """
study: wheel
dataset: {class: planted, size: tiny, subjects: ["01"]}
subjects: ["01"]
split: {class: column}
features:
  clip: {class: open_clip, model: pocket-clip}
  net: {class: timm, model: pocket-net, layer: pooled}
  captions: {class: sentence, model: pocket-text}
encoders: {ridge: {class: ridge, n_alphas: 4}}
statistics: {n_permutations: 50, n_bootstrap: 50}
surface: {mesh: null}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tree as it is."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(out.glob("brainenc-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which this package comes from the wheel alone, and sockets are blocked."""
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (site / "sitecustomize.py").write_text(NO_SOCKETS)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "HF_"))}
    return {**kept, "PYTHONPATH": str(site), "PATH": f"{site / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def python(code: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True)


def test_it_is_small_and_holds_every_network_and_no_test(wheel: Path) -> None:
    assert wheel.stat().st_size < 25e6
    files = {info.filename: info.file_size for info in zipfile.ZipFile(wheel).infolist()}
    assert not any(name.startswith("tests/") for name in files)
    for name in SHIPPED:
        assert f"brainenc/pocket/weights/{name}/card.json" in files
    weights = sum(size for name, size in files.items() if name.endswith(".safetensors"))
    assert weights <= 20e6


def test_sockets_are_blocked_indeed(installed: dict[str, str], tmp_path: Path) -> None:
    done = python("import urllib.request as u; u.urlopen('http://localhost:9')", installed, tmp_path)
    assert done.returncode != 0 and "reached for a network" in done.stderr


@pytest.mark.parametrize("name", SHIPPED)
def test_every_network_loads_from_it_by_its_own_library(name: str, installed: dict[str, str], tmp_path: Path) -> None:
    calls = {
        "open_clip": "import open_clip; open_clip.create_model_and_transforms(f'local-dir:{f}'); "
        "open_clip.get_tokenizer(f'local-dir:{f}')(['a red car'])",
        "timm": "import timm; timm.create_model(f'local-dir:{f}', pretrained=True)",
        "transformers": "import transformers as t; t.AutoModel.from_pretrained(f); t.AutoTokenizer.from_pretrained(f)",
        "diffusers": "import diffusers; diffusers.DiffusionPipeline.from_pretrained(f, local_files_only=True)",
        "pocket-captioner": "from brainenc.pocket.captioner import load_captioner; load_captioner(f)",
    }
    call = calls.get(name, calls[pocket.NETWORKS[name].library])
    shim = "from brainenc.nn.torchvision_shim import ensure_torchvision; ensure_torchvision(); "
    code = f"from brainenc.pocket import folder; f = folder({name!r}); {shim}{call}; print(f)"
    done = python(code, installed, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().startswith(installed["PYTHONPATH"])


@pytest.mark.skipif(
    not {"pocket-clip", "pocket-net", "pocket-text"} <= set(SHIPPED), reason="the networks of the study have no weights"
)
def test_a_study_runs_from_it(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    command = [f"{installed['PYTHONPATH']}/bin/brainenc", "run", "study.yaml", "--cores", "2"]
    done = subprocess.run(command, env=installed, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert (tmp_path / "results" / "wheel" / "report.html").is_file()
