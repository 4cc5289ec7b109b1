"""open_clip: both towers against the library's own functions; texts whatever their neighbours."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from brainenc.core.types import DataError, StimulusSet
from brainenc.features import build


@pytest.fixture
def model(clip_folder) -> str:
    return f"local-dir:{clip_folder}"


@pytest.fixture
def oracle(model):
    import open_clip

    network, _, transform = open_clip.create_model_and_transforms(model)
    return network.eval(), transform, open_clip.get_tokenizer(model)


def rows(extractor, stimuli, batch_size=3):
    return np.concatenate(list(extractor.extract(stimuli, batch_size=batch_size)))


def test_image_embedding_and_preprocessing_are_the_librarys(model, oracle, pictures):
    from PIL import Image

    extractor = build("open_clip", "x", model=model)
    network, transform, _ = oracle
    inputs = torch.stack([transform(Image.open(path)) for path in pictures.table["path"]])
    ours = extractor.preprocess(extractor.load_images(pictures.table["path"].tolist()))
    assert ((ours - inputs).abs() * 0.3 * 255).max() < 1.6  # 8-bit rounding
    with torch.no_grad():
        torch.testing.assert_close(extractor.compute(inputs), network.encode_image(inputs))


def test_class_token_of_the_last_block_leads_to_the_embedding(model, oracle):
    extractor = build("open_clip", "x", model=model, layer="transformer.resblocks.1", pooling="cls")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    visual = oracle[0].visual
    with torch.no_grad():
        embedding = visual.ln_post(extractor.forward(images)) @ visual.proj
        torch.testing.assert_close(embedding, visual(extractor.preprocess(images)))


def test_text_embedding_is_the_librarys(model, oracle, pictures):
    network, _, tokenizer = oracle
    extractor = build("open_clip_text", "x", model=model)
    with torch.no_grad():
        expected = network.encode_text(tokenizer(pictures.table["text"].tolist()))
    np.testing.assert_allclose(rows(extractor, pictures), expected.numpy(), rtol=1e-4, atol=1e-6)
    assert extractor.shape == extractor.row_shape(pictures) == (16,)
    assert extractor.n_channels == 16


def test_end_token_of_the_last_block_leads_to_the_text_embedding(model, oracle, pictures):
    network = oracle[0]
    block = build("open_clip_text", "x", model=model, layer="transformer.resblocks.1")
    with torch.no_grad():
        embedding = network.ln_final(torch.from_numpy(rows(block, pictures))) @ network.text_projection
    np.testing.assert_allclose(embedding, rows(build("open_clip_text", "x", model=model), pictures), atol=1e-5)


@pytest.mark.parametrize(("layer", "pooling"), [("pooled", "end"), ("transformer.resblocks.0", "mean")])
def test_text_rows_do_not_depend_on_their_batch(model, pictures, layer, pooling):
    extractor = build("open_clip_text", "x", model=model, layer=layer, pooling=pooling)
    together = rows(extractor, pictures, 7)
    np.testing.assert_allclose(rows(extractor, pictures, 1), together, rtol=1e-4, atol=1e-6)
    backwards = rows(extractor, pictures.select(pictures.ids[::-1]), 4)
    np.testing.assert_allclose(backwards[::-1], together, rtol=1e-4, atol=1e-6)
    assert np.ptp(together, axis=0).max() > 1e-3


def test_mean_over_a_text_leaves_padding_out(model, oracle, pictures):
    extractor = build("open_clip_text", "x", model=model, layer="transformer.resblocks.1", pooling="mean")
    network, _, tokenizer = oracle
    tokens = tokenizer(pictures.table["text"].tolist()[:2])
    seen = []
    handle = network.transformer.resblocks[1].register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.no_grad():
        network.encode_text(tokens)
    handle.remove()
    lengths = (tokens != 0).sum(dim=1).tolist()
    slow = torch.stack([hidden[:n].mean(dim=0) for hidden, n in zip(seen[0], lengths, strict=True)])
    ours = rows(extractor, pictures.select(pictures.ids[:2]))
    np.testing.assert_allclose(ours, slow, rtol=1e-4, atol=1e-6)
    assert not np.allclose(ours, seen[0].mean(dim=1), atol=1e-3)  # the mean with padding


def test_long_texts_are_cut_with_a_warning(model, pictures):
    extractor = build("open_clip_text", "x", model=model)
    long = StimulusSet(pictures.table.assign(text=["dog " * 100, *pictures.table["text"][1:]]))
    with pytest.warns(UserWarning, match="1 texts are longer than 75 tokens"):
        extractor.extract(long)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extractor.extract(pictures)


def test_weights_random_or_from_a_file(model, clip_folder):
    own = build("open_clip", "x", model=model).fingerprint()
    random = build("open_clip", "x", model=model, random_weights=1).fingerprint()
    again = build("open_clip", "x", model=model, random_weights=1).fingerprint()
    file = build("open_clip", "x", model=model, checkpoint=f"{clip_folder}/open_clip_model.safetensors").fingerprint()
    assert own["weights_sha256"] == file["weights_sha256"] != random["weights_sha256"] == again["weights_sha256"]
    assert random["arguments"]["random_weights"] == 1


def test_a_folder_without_weights_is_not_silently_random(tmp_path, clip_folder):
    shutil.copy(f"{clip_folder}/open_clip_config.json", tmp_path)
    with pytest.raises(DataError, match="'space': open_clip cannot build"):
        _ = build("open_clip", "space", model=f"local-dir:{tmp_path}").network


@pytest.mark.parametrize("class_name", ["open_clip", "open_clip_text"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "ViT-B-32"}, "no source of weights"),
        ({"model": "ViT-B-33", "random_weights": 0}, "open_clip has no model 'ViT-B-33'"),
        ({"model": "ViT-B-32", "pretrained": "laion9"}, "no pretrained tag 'laion9'"),
        ({"model": "local-dir:/nowhere"}, "no open_clip_config.json"),
        ({"model": "ViT-B-32", "random_weights": 0, "pooling": "best"}, "pooling is 'best'"),
    ],
)
def test_wrong_arguments_are_refused(class_name, arguments, message):
    with pytest.raises(DataError, match=f"'space'.*{message}"):
        _ = build(class_name, "space", **arguments).network


def test_missing_text_is_refused_by_name(model, pictures):
    extractor = build("open_clip_text", "space", model=model)
    with pytest.raises(DataError, match="no column 'text'"):
        extractor.extract(StimulusSet(pictures.table.drop(columns="text")))
    holed = pictures.table.copy()
    holed.loc["s2", "text"] = np.nan
    with pytest.raises(DataError, match="stimulus 's2' has nan in column 'text'"):
        extractor.extract(StimulusSet(pd.DataFrame(holed)))
