"""A small cache of scenes that all tests of the room share."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainenc.pocket.scenes_cache import ScenesCache, open_scenes
from brainenc.pocket.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def scenes(cache_folder) -> ScenesCache:
    return open_scenes(cache_folder, "train", 192, processes=1)


@pytest.fixture(scope="session")
def tokenizer(scenes):
    return train_tokenizer(caption for scene in scenes.captions for caption in scene)
