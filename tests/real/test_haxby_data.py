"""One slice of Haxby et al. 2001 (doi:10.1126/science.1063736) through `bids_bold`: raw BOLD to betas.

The events follow the labels of the release, which are already late by the haemodynamic delay: a category-blind fit of
"any block" is best 5 s (Glover) to 7.5 s (SPM) before the listed onsets. So ``onset_shift: -5.0``.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainenc.core.types import DataError
from brainenc.datasets import build

ROOT = Path(__file__).resolve().parents[3] / "shared" / "data" / "fmri" / "haxby2001_bids"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not ROOT.exists(), reason="haxby2001_bids is not here")]
CATEGORIES = ["bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe"]


def haxby(**arguments: object):
    given = {"root": ROOT, "task": "objectviewing", "mask": "mask_530vox.nii.gz", "estimate": "condition_per_run"}
    return build("bids_bold", **given | {"onset_shift": -5.0} | arguments)


def identification(responses, seed: int | None = None) -> float:
    """Share of patterns whose category has the most correlated mean pattern of the other runs; chance 1/8."""
    values, runs = np.asarray(responses.values), responses.column("run")
    labels = responses.stimulus_ids
    if seed is not None:
        rng = np.random.default_rng(seed)
        labels = np.concatenate([rng.permutation(labels[runs == run]) for run in dict.fromkeys(runs)])
    values = values / values.std(axis=0)
    right = []
    for run in dict.fromkeys(runs):
        held, rest = runs == run, runs != run
        means = np.stack([values[rest & (labels == name)].mean(axis=0) for name in CATEGORIES])
        patterns = values[held] - values[held].mean(axis=0)
        alike = np.corrcoef(patterns, means - means.mean(axis=0))[: held.sum(), held.sum() :]
        right += list(np.array(CATEGORIES)[alike.argmax(axis=1)] == labels[held])
    return float(np.mean(right))


def test_it_loads_in_order() -> None:
    dataset = haxby()
    assert dataset.subjects == ("1",)
    dataset.check()
    responses = dataset.responses("1")
    assert responses.values.shape == (96, 530)
    assert list(responses.stimulus_ids) == CATEGORIES * 12
    assert list(dict.fromkeys(responses.column("run"))) == [f"{run:02d}" for run in range(1, 13)]
    assert list(dataset.stimuli().ids) == CATEGORIES
    assert np.isfinite(responses.values).all()
    mask = nib.load(ROOT / "mask_530vox.nii.gz").get_fdata() == 1
    np.testing.assert_array_equal(np.isfinite(responses.space.scatter(responses.values[0])), mask)


def test_one_trial_per_block() -> None:
    responses = haxby(estimate="trial").responses("1")
    assert responses.n_samples == 96
    first = responses.samples[responses.samples["run"] == "01"]
    assert list(first["trial_type"]) == ["scissors", "face", "cat", "shoe", "house", "scrambledpix", "bottle", "chair"]
    assert list(first["onset"] + 5.0) == [15.0, 52.5, 87.5, 122.5, 157.5, 195.0, 230.0, 265.0]


def test_betas_tell_categories_and_broken_ones_do_not() -> None:
    """A correlation classifier on betas: about 60 %; chance for shuffled labels; much worse with the listed onsets."""
    responses = haxby().responses("1")
    score = identification(responses)
    assert score > 0.5
    assert identification(responses, seed=0) < 0.3
    assert identification(haxby(onset_shift=0.0).responses("1")) < score - 0.2


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(DataError, match="set `mask`"):
        haxby(mask=None).check()
    with pytest.raises(DataError, match=r"TR of 2\.5 s but `tr` 2 s"):
        haxby(tr=2.0).check()
    with pytest.raises(DataError, match="'localiser'.*objectviewing"):
        haxby(task="localiser").check()
