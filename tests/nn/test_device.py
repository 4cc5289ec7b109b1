"""Devices, repeatable settings, and the cure for a torchvision that was built for another torch."""

from __future__ import annotations

import pytest
import torch

from brainenc.core.types import DataError
from brainenc.nn.device import choose_device, repeatable_inference
from brainenc.nn.torchvision_shim import ensure_torchvision


def test_devices():
    assert choose_device("cpu").type == "cpu"
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(DataError, match="device 'gpu' is unknown"):
        choose_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(DataError, match="sees no GPU"):
            choose_device("cuda")


def test_settings_come_back_even_after_an_error():
    matmul = torch.backends.cuda.matmul
    before = (matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic)
    matmul.allow_tf32 = True
    try:
        with pytest.raises(KeyError), repeatable_inference():
            assert not matmul.allow_tf32
            assert torch.backends.cudnn.deterministic
            assert not torch.is_grad_enabled()
            raise KeyError
        assert matmul.allow_tf32
        assert torch.is_grad_enabled()
    finally:
        matmul.allow_tf32 = before[0]
    assert (matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic) == before


def test_torchvision_imports_and_the_answer_is_stable():
    first = ensure_torchvision()
    from torchvision import transforms

    assert transforms.CenterCrop(2)(torch.zeros(3, 4, 4)).shape == (3, 2, 2)
    assert ensure_torchvision() == first
