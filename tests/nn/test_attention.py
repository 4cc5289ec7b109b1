"""Cross-attention readouts: fused is explicit, indifferent is a mean, each target has its row, blocks do not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from brainenc.core.types import DataError
from brainenc.nn.attention import AttentionReadout, AttentionShape, CrossAttention, TargetReadout
from brainenc.nn.positions import sine_positions

GRID, N_CHANNELS, N_TARGETS = (3, 4), 8, 7
SMALL = AttentionShape(width=8, n_heads=2, n_hidden=12, dropout=0.0)
OVERLAPPING = torch.tensor([[1, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1]], dtype=torch.bool)


def readout(membership=None, shape: AttentionShape = SMALL, n_channels: int = N_CHANNELS, **more) -> AttentionReadout:
    torch.manual_seed(0)
    return AttentionReadout(GRID, n_channels, N_TARGETS, membership, shape, **more)


def tokens(n: int = 5, n_channels: int = N_CHANNELS) -> torch.Tensor:
    return torch.randn(n, *GRID, n_channels, generator=torch.Generator().manual_seed(1))


def stirred(network: nn.Module, by: float = 0.1) -> nn.Module:
    """All parameters away from where they begin, so that no zero hides a gradient."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += by * torch.randn_like(parameter)
    return network


# ------------------------------------------------------------------------------------------------------- attention


def test_fused_attention_equals_the_explicit_one():
    torch.manual_seed(0)
    attention = CrossAttention(16, 4, dropout=0.1).eval()
    query, key, value = (torch.randn(3, n, 16) for n in (5, 9, 9))
    memory = attention.remember(key, value)
    weights = attention.weights(query, memory)
    expected = torch.zeros(3, 5, 16)
    for b in range(3):
        for head in range(4):
            part = slice(4 * head, 4 * head + 4)
            q, k = attention.query(query[b])[:, part], attention.key(key[b])[:, part]
            v = attention.value(value[b])[:, part]
            explicit = torch.softmax(q @ k.T / math.sqrt(4), dim=1)
            torch.testing.assert_close(weights[b, head], explicit, atol=1e-5, rtol=0)
            expected[b, :, part] = explicit @ v
    torch.testing.assert_close(attention(query, memory), attention.out(expected), atol=1e-5, rtol=0)
    torch.testing.assert_close(weights.sum(dim=3), torch.ones(3, 4, 5))


def test_zero_logits_are_mean_pooling():
    torch.manual_seed(0)
    attention = CrossAttention(8, 2, dropout=0.0).eval()
    query, key, value = (torch.randn(3, n, 8) for n in (2, 6, 6))

    def pooled() -> torch.Tensor:
        return attention.out(attention.value(value.mean(dim=1, keepdim=True))).expand(-1, 2, -1)

    assert not torch.allclose(attention(query, attention.remember(key, value)), pooled(), atol=1e-3)
    for part in (attention.query.weight, attention.query.bias, attention.key.weight):
        nn.init.zeros_(part)
    torch.testing.assert_close(attention(query, attention.remember(key, value)), pooled())


def test_values_carry_no_position():
    """Moving the tokens of a picture changes what an indifferent query finds not at all, and that of another one."""
    network = stirred(readout(OVERLAPPING), 0.5).eval()
    moved = tokens().flip(1)
    assert not torch.allclose(network(tokens()), network(moved), atol=1e-4)
    nn.init.zeros_(network.layers[0].attention.key.weight)
    torch.testing.assert_close(network(tokens()), network(moved), atol=1e-5, rtol=1e-5)


def test_positions_are_the_formula():
    found = sine_positions(3, 5, 12).numpy()
    expected = np.zeros((3, 5, 12))
    for y in range(3):
        for x in range(5):
            for i in range(6):
                wave = np.cos if i % 2 else np.sin
                period = 1e4 ** (2 * (i // 2) / 6)
                expected[y, x, i], expected[y, x, 6 + i] = wave((y + 1) / period), wave((x + 1) / period)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert len(np.unique(found.reshape(15, 12).round(6), axis=0)) == 15
    with pytest.raises(DataError, match="multiple of 4"):
        sine_positions(3, 3, 6)


# --------------------------------------------------------------------------------------------------------- readouts


def test_each_target_gets_the_diagonal_of_the_naive_product():
    torch.manual_seed(0)
    part = TargetReadout(6, 4)
    nn.init.normal_(part.bias)
    found = torch.randn(3, 6, 4)
    naive = found @ part.weight.T + part.bias  # (n_samples, targets that have a token, targets that are predicted)
    torch.testing.assert_close(part.each(found, slice(0, 6)), naive.diagonal(dim1=1, dim2=2))
    transposed = torch.einsum("bvd,wd->bv", found, part.weight) + part.bias  # the broken twin sums over all targets
    assert not torch.allclose(transposed, naive.diagonal(dim1=1, dim2=2), atol=1e-2)


def test_a_target_of_several_regions_gets_the_mean_of_their_predictions():
    network = stirred(readout(OVERLAPPING)).eval()
    found = network._found(network.query_embedding, network._memories(tokens()))
    every = found @ network.readout.weight.T + network.readout.bias  # (n_samples, n_queries, n_targets)
    for v in range(N_TARGETS):
        own = every[:, OVERLAPPING[:, v], v]
        torch.testing.assert_close(network(tokens())[:, v], own.mean(dim=1))
        if own.shape[1] > 1:
            assert not torch.allclose(network(tokens())[:, v], own.sum(dim=1), atol=1e-3)


def test_regions_of_one_target_each_are_queries_per_target():
    one, other = readout(torch.eye(N_TARGETS, dtype=torch.bool)).eval(), readout(None).eval()
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(one(tokens()), other(tokens()))


@pytest.mark.parametrize("targets_per_block", [1, 3, 7, 100])
def test_blocks_of_targets_change_neither_predictions_nor_gradients(targets_per_block):
    whole, parts = readout(None), readout(None, targets_per_block=targets_per_block)
    for network in (whole, parts):
        network(tokens()).square().sum().backward()
    torch.testing.assert_close(whole(tokens()), parts(tokens()))
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-5)


def test_many_tokens_narrow_the_blocks(monkeypatch):
    widths = []
    monkeypatch.setattr("brainenc.nn.attention.by_blocks", lambda part, n, width: widths.append(width))
    for scores in (1, 5 * 2 * 12 * 3, 2**26):
        monkeypatch.setattr("brainenc.nn.attention.SCORES", scores)
        readout(None, targets_per_block=6)(tokens(5))
    assert widths == [1, 3, 6]


def test_checkpoints_draw_the_same_dropout_twice():
    shape = AttentionShape(width=8, n_heads=2, n_hidden=12, dropout=0.3)
    network = stirred(readout(None, shape, targets_per_block=3))
    torch.manual_seed(8)
    predicted = network(tokens())
    predicted[:, 0].sum().backward()
    weight = network.readout.weight.grad[0]
    torch.manual_seed(8)
    with torch.no_grad():
        again = network(tokens())
        step = 1e-2
        network.readout.weight[0] += step * weight / weight.norm()
        torch.manual_seed(8)
        moved = network(tokens())
    torch.testing.assert_close(predicted, again)
    slope = float((moved - again)[:, 0].sum() / step)
    assert slope == pytest.approx(float(weight.norm()), rel=1e-2)  # the readout is linear in its weights


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("membership", [None, OVERLAPPING], ids=["targets", "regions"])
@pytest.mark.parametrize("n_channels", [8, 6])
def test_every_parameter_receives_gradient(membership, n_layers, n_channels):
    shape = AttentionShape(width=8, n_heads=2, n_hidden=12, n_layers=n_layers, dropout=0.0)
    network = stirred(readout(membership, shape, n_channels, targets_per_block=3))
    network(tokens(n_channels=n_channels)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().max()) > 1e-7, name


def test_the_three_parameters_left_out_would_receive_none():
    """The broken twin: a bias of the keys, and the scale of a norm of zero, have no gradient but rounding."""
    torch.manual_seed(0)
    attention, norm = CrossAttention(8, 2, dropout=0.0), nn.LayerNorm(8)
    nn.init.normal_(norm.bias)
    attention.key = nn.Linear(8, 8)
    query = norm(torch.zeros(3, 2, 8))
    memory = attention.remember(torch.randn(3, 6, 8), torch.randn(3, 6, 8))
    attention(query, memory).square().sum().backward()
    assert float(norm.weight.grad.abs().max()) == 0.0 and float(norm.bias.grad.abs().max()) > 1e-6
    assert float(attention.key.bias.grad.abs().max()) < 1e-6 < float(attention.key.weight.grad.abs().max())


def test_attention_maps_are_the_weights_and_sum_to_one():
    network = stirred(readout(OVERLAPPING), 0.5).eval()
    maps = network.attention(tokens())
    assert maps.shape == (5, 3, *GRID)
    torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.ones(5, 3))
    torch.testing.assert_close(network.attention(tokens(), slice(1, 2)), maps[:, 1:2])
    deep = stirred(readout(OVERLAPPING, AttentionShape(8, 2, 12, 3, 0.0)), 0.5).eval()
    assert deep.attention(tokens()).shape == (5, 3, *GRID)


def test_memory_of_a_step_does_not_hold_every_target_at_once():
    """The largest tensor that any function saves for the way back is of a block, not of all targets."""
    largest = {}
    for width in (2, N_TARGETS):
        network, sizes = readout(None, targets_per_block=width), []

        def packed(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel() if tensor.shape[:1] == (50,) else 0)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor):
            network(tokens(50)).sum()
        largest[width] = max(sizes, default=0)  # what a checkpoint computes again is not saved
    assert largest[N_TARGETS] >= 50 * N_TARGETS * SMALL.n_hidden
    assert largest[2] < 50 * N_TARGETS * SMALL.n_hidden


@pytest.mark.parametrize(
    ("shape", "membership", "words"),
    [
        (AttentionShape(width=10, n_heads=4), None, "multiple of the heads"),
        (SMALL, torch.zeros(1, N_TARGETS, dtype=torch.bool), "no query"),
        (SMALL, torch.cat([OVERLAPPING, OVERLAPPING[:1] & False]), "no target"),
    ],
)
def test_bad_shapes_are_refused(shape, membership, words):
    with pytest.raises(DataError, match=words):
        readout(membership, shape)
