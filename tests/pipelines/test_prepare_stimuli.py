"""prepare_stimuli: every stimulus once, with a hash of what it shows; own pictures move with the table."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
from PIL import Image

from brainenc.core import storage
from brainenc.core.types import StimulusSet
from pipelines import prepare_stimuli as page
from pipelines.prepare_stimuli import prepare_stimuli


@pytest.fixture
def pictures(tmp_path):
    """Three names, two pictures: ``a`` and ``copy`` are the same file twice."""
    root = tmp_path / "data"
    root.mkdir()
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (8, 8), colour).save(root / f"{name}.png")
    shutil.copy(root / "a.png", root / "copy.png")
    names = ["a", "b", "copy"]
    table = pd.DataFrame({"stimulus_id": names, "path": [f"{name}.png" for name in names]})
    table.to_csv(root / "stimuli.tsv", sep="\t", index=False)
    return root


def test_equal_files_have_equal_content_whatever_their_names(pictures, tmp_path):
    prepare_stimuli({"class": "folder", "root": str(pictures)}, tmp_path / "out" / "stimuli.tsv")
    table = storage.load_stimuli(tmp_path / "out" / "stimuli.tsv").table
    assert table.loc["a", "content"] == table.loc["copy", "content"] != table.loc["b", "content"]
    assert [storage.Path(path).is_file() for path in table["path"]] == [True] * 3


def test_words_and_ids_stand_in_where_there_is_no_file(toy):
    table = storage.load_stimuli(toy.folder / "stimuli.tsv").table
    assert table.index.tolist() == [f"s{i:03d}" for i in range(60)]
    assert table["content"].is_unique
    assert page._content("id", pd.Series({"text": "the same words"})) == page._content(
        "other", pd.Series({"text": "the same words"})
    )
    assert page._content("id", pd.Series(dtype=object)) != page._content("other", pd.Series(dtype=object))


def test_own_pictures_are_found_after_the_folder_has_moved(pictures, tmp_path, monkeypatch):
    class Draws:
        def stimuli(self, folder):
            folder.mkdir(parents=True)
            shutil.copy(pictures / "a.png", folder / "a.png")
            index = pd.Index(["a"], name="stimulus_id")
            return StimulusSet(pd.DataFrame({"path": [str(folder / "a.png")]}, index=index))

    monkeypatch.setattr(page.datasets, "build", lambda kind, **arguments: Draws())
    prepare_stimuli({"class": "draws"}, tmp_path / "before" / "stimuli.tsv")
    (tmp_path / "before").rename(tmp_path / "after")
    path = storage.load_stimuli(tmp_path / "after" / "stimuli.tsv").table.loc["a", "path"]
    assert path == str(tmp_path / "after" / "stimuli" / "a.png")
    assert storage.Path(path).is_file()
