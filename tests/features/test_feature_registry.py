"""The registry builds every class it lists and refuses what it does not know; nothing heavy is imported with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from brainenc.core.types import DataError
from brainenc.features import REDUCTIONS, REGISTRY, _resolve, build, build_reduction


@pytest.mark.parametrize("class_name", REGISTRY)
def test_every_entry_resolves_and_carries_its_name(class_name):
    constructor = _resolve(REGISTRY, "feature", class_name)
    assert constructor.class_name == class_name
    for method in ("extract", "fingerprint", "check", "row_shape"):
        assert callable(getattr(constructor, method))


@pytest.mark.parametrize("class_name", REDUCTIONS)
def test_every_reduction_resolves(class_name):
    for method in ("fit", "transform", "state", "config", "from_state"):
        assert callable(getattr(_resolve(REDUCTIONS, "reduction", class_name), method))


def test_the_unknown_is_refused_with_what_is_known():
    with pytest.raises(DataError, match="feature class 'vgg' is unknown: use one of array, gabor"):
        build("vgg", "x")
    with pytest.raises(DataError, match=r"'x' \(class 'gabor'\) has no argument 'sise': use some of n_orientations"):
        build("gabor", "x", sise=3)
    with pytest.raises(DataError, match=r"'x' \(class 'timm'\) needs the argument 'model'"):
        build("timm", "x")
    with pytest.raises(DataError, match="reduction class 'ica' is unknown: use one of pca, random_projection"):
        build_reduction("ica")
    with pytest.raises(DataError, match="needs the argument 'n_components'"):
        build_reduction("pca")


def test_building_imports_nothing_heavy(clip_folder):
    code = (
        "import sys; from brainenc.features import build; "
        "build('timm', 'a', model='test_vit', random_weights=0); build('gabor', 'b'); "
        f"build('open_clip', 'c', model='local-dir:{clip_folder}'); build('table', 'd', columns=['x']); "
        "heavy = {'torch', 'timm', 'open_clip', 'transformers', 'torchvision', 'sklearn'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
