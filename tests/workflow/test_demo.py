"""The demo study end to end: run, look at its report in a browser, and hold its outputs against the planted truth.

The demo's own folder is used, so that after ``make demo`` nothing is computed twice.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainenc.core import storage

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "demo"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo() -> Path:
    """The folder of the finished demo."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "pipelines.cli", "run", "config/config.yaml", "--cores", "2"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert str(RESULTS / "report.html") in done.stdout
    return RESULTS


def test_a_second_run_does_nothing_and_says_so(demo: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*.h5")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "pipelines.cli", "run", "config/config.yaml", "--cores", "2"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0
    assert "Nothing to do" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*.h5")} == before


@pytest.mark.parametrize("subject", ["01", "02", "03", "04"])
def test_planted_truth_is_recovered(demo: Path, subject: str) -> None:
    table = storage.read_table(demo / f"sub-{subject}" / "recovery.tsv")
    assert len(table) > 50
    off = table[~table["passed"].astype(bool)]
    assert off.empty, off.to_string()


def test_noise_and_dead_targets_are_masked_counted_and_reported(demo: Path) -> None:
    for subject in ("01", "02", "03", "04"):
        quality = storage.read_json(demo / f"sub-{subject}" / "quality.json")
        assert quality["n_constant_targets"] > 0 and quality["n_nan_targets"] > 0 and quality["n_nan_samples"] == 1
        scores = storage.load_maps(demo / f"sub-{subject}" / "encoder-banded_features-energy+scene" / "scores.h5")
        for name in ("r2", "correlation", "p_value", "q_value"):
            assert np.isnan(scores[name].values).sum() >= quality["n_unusable_targets"]


def test_the_planted_truth_is_in_no_file_that_a_fit_reads(demo: Path) -> None:
    """Of all steps only check_recovery asks for the truth, and its output reaches the report alone."""
    asking = [path.name for path in (ROOT / "pipelines").glob("*.py") if ".truth(" in path.read_text()]
    assert asking == ["check_recovery.py"]
    rules = "\n".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    readers = [line for line in rules.splitlines() if "recovery.tsv" in line]
    assert len(readers) == 2, "written by one rule, read by the report's function"
    # The stimulus table holds annotations of the pictures, which anyone could have made, and nothing of the cortex.
    table = storage.load_stimuli(demo / "stimuli.tsv").table
    known = ("path", "text", "split", "shared", "subjects", "content")
    assert all(c in known or c.startswith(("size_", "attribute_")) for c in table.columns)


def test_a_network_explains_less_than_the_planted_features(demo: Path) -> None:
    table = pd.concat(storage.read_table(p) for p in sorted(demo.glob("sub-*/comparisons.tsv")))
    planted = table["model_a"] == "banded/energy+scene"
    whole = table[planted & (table["model_b"] == "ridge/clip") & (table["region"] == "all targets")]
    assert len(whole) == 4 and (whole["lower"] > 0).all()


def test_what_pocket_networks_made_says_so(demo: Path) -> None:
    assert "Pocket networks</b> (pocket-clip, pocket-text)" in (demo / "report.html").read_text(encoding="utf-8")
    listed = storage.read_json(demo / "sub-01" / "figures" / "figures.json")
    (score,) = (entry for entry in listed if entry["name"] == "ridge_clip_correlation")
    assert score["caption"].endswith("Features of pocket-clip, a pocket network: small, trained on drawn scenes.")
    (planted,) = (entry for entry in listed if entry["name"] == "banded_energy+scene_correlation")
    assert "pocket" not in planted["caption"]


def test_report_in_a_browser(demo: Path, tmp_path: Path) -> None:
    """It opens from a file without network, fills its page, and breaks nothing."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium (.ci/run does)")
    report, picture = demo / "report.html", tmp_path / "report.png"
    assert report.stat().st_size < 20e6
    command = [
        chromium,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
    ]
    command += ["--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += ["--window-size=1280,2400", f"--user-data-dir={tmp_path}"]
    done = subprocess.run(
        [*command, f"--screenshot={picture}", report.as_uri()], capture_output=True, text=True, timeout=180
    )
    assert picture.exists(), done.stderr[-2000:]
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line or "ERR_NAME_NOT_RESOLVED" in line]
    assert not [line for line in complaints if "report.html" in line], complaints
    from PIL import Image

    pixels = np.asarray(Image.open(picture).convert("RGB"), float)
    assert pixels.shape == (2400, 1280, 3)
    # Text, charts and colour on every third of the page; nothing of it is one flat sheet.
    for part in np.array_split(pixels[:, 60:-60], 3):
        assert part.std() > 8
    text = report.read_text(encoding="utf-8")
    for section in ("data", "stimuli", "split", "ceiling", "fit", "maps", "regions", "comparison", "partition"):
        assert f'<h2 id="{section}"' in text
    for section in ("recovery", "resources", "methods", "provenance", "failures"):
        assert f'<h2 id="{section}"' in text
    assert "not a brain" in text, "planted data are called what they are"
