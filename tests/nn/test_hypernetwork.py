"""The hypernetwork: sizes as published, attention as written down, order without meaning, files as published."""

from __future__ import annotations

import math
import pathlib

import numpy as np
import pytest
import torch
from torch.nn import functional

from brainenc.core.types import DataError
from brainenc.nn.hypernetwork import PRESETS, AttentionBlock, HyperNetwork, HyperShape, ResidualBlock, respond
from brainenc.nn.hypernetwork_files import load_network, save_network

SMALL = HyperShape(embedding=6, width=20, n_layers=3, n_heads=2, hidden=24)


def network(shape: HyperShape = SMALL, seed: int = 0) -> HyperNetwork:
    """With biases and norms off their starting values, as after training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = HyperNetwork(shape)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return net.eval()


def context(n_targets: int = 5, n_context: int = 9, embedding: int = 6, seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    X = functional.normalize(torch.randn(n_targets, n_context, embedding, generator=generator), dim=-1)
    return X, torch.randn(n_targets, n_context, generator=generator)


# --------------------------------------------------------------------------------------------------------------- sizes
@pytest.mark.parametrize(("preset", "millions"), [("clip", 97.07), ("dino", 156.0), ("siglip", 277.0)])
def test_presets_have_the_published_number_of_parameters(preset, millions):
    with torch.device("meta"):
        net = HyperNetwork(preset)
    n_parameters = sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad) / 1e6
    assert abs(n_parameters - millions) < (0.01 if preset == "clip" else 0.5)
    assert net.shape is PRESETS[preset]


@pytest.mark.parametrize("sizes", [{"width": 21}, {"n_layers": 0}, {"dropout": 1.0}, {"embedding": 2.5}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(DataError, match="HyperShape: "):
        HyperShape(**{"embedding": 6, "width": 20, **sizes})


def test_an_unknown_preset_is_refused():
    with pytest.raises(DataError, match="choose one of clip, dino, siglip"):
        HyperNetwork("resnet")


# ------------------------------------------------------------------------------------------------------------ theorems
def written_down(net: HyperNetwork, X: torch.Tensor, y: torch.Tensor, scaled_bias: bool = False) -> torch.Tensor:
    """Weights of one target, every step as in the paper: torch's own attention on a scaled query input, no shortcut."""

    def residual(block: ResidualBlock, z: torch.Tensor) -> torch.Tensor:
        hidden = block.rise(functional.leaky_relu(block.norm(z), 0.1))
        return block.fall(functional.leaky_relu(block.norm_hidden(hidden), 0.1)) + block.bypass(z)

    def attention(block: AttentionBlock, hidden: torch.Tensor) -> torch.Tensor:
        width, scale = hidden.shape[-1], math.log(len(hidden))
        weight, bias = block.project_in.weight, block.project_in.bias
        query, key, value = (
            functional.linear(part, weight[k * width : (k + 1) * width], bias[k * width : (k + 1) * width])
            for k, part in enumerate((hidden if scaled_bias else scale * hidden, hidden, hidden))
        )
        query = scale * query if scaled_bias else query
        heads = []
        for columns in torch.arange(width).chunk(block.n_heads):
            logits = query[:, columns] @ key[:, columns].T / math.sqrt(len(columns))
            heads.append(logits.softmax(dim=1) @ value[:, columns])
        return block.project_out(torch.cat(heads, dim=1))

    tokens = torch.cat([net.token_embedding, residual(net.early, torch.cat([X, y[:, None]], dim=1))])
    for block in net.blocks:
        tokens = tokens + attention(block, block.norm(tokens))
        gate, up = block.gate_in(block.norm_gate(tokens)).chunk(2, dim=1)
        tokens = tokens + block.gate_out(gate * gate.sigmoid() * up)
    return residual(net.head, tokens[:1])[0]


def test_the_fused_network_is_the_written_one():
    net, (X, Y) = network(), context()
    with torch.no_grad():
        fused = net(X, Y)
        for target in range(len(Y)):
            expected = written_down(net, X[target], Y[target])
            torch.testing.assert_close(fused[target], expected, rtol=1e-5, atol=1e-5)
            other = written_down(net, X[target], Y[target], scaled_bias=True)
            assert (fused[target] - other).abs().max() > 1e-3, "a scaled bias would be seen"


def test_fused_attention_is_explicit_attention():
    block, generator = network().blocks[0], torch.Generator().manual_seed(2)
    x, log_length = torch.randn(3, 13, 20, generator=generator), torch.tensor(math.log(13))
    with torch.no_grad():
        attention = block.attention(x, log_length)
        torch.testing.assert_close(attention.sum(dim=-1), torch.ones(3, 2, 13))
        _, _, value = block._heads(x, log_length, None)
        tokens = x + block.project_out((attention @ value).transpose(1, 2).flatten(2))
        gate, up = block.gate_in(block.norm_gate(tokens)).chunk(2, dim=-1)
        explicit = tokens + block.gate_out(functional.silu(gate) * up)
        torch.testing.assert_close(block(x, log_length), explicit, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(block(x, log_length, n_rows=1), explicit[:, :1], rtol=1e-5, atol=1e-5)


def test_the_length_counts_the_learned_tokens():
    """The broken twin: ln of the context alone gives other weights."""
    net, (X, Y) = network(), context()
    tokens, log_length, _ = net._tokens(X, Y, None)
    assert tokens.shape[1] == 9 + 4 and float(log_length) == pytest.approx(math.log(13))
    with torch.no_grad():
        right = net.blocks[0](tokens, log_length)
        wrong = net.blocks[0](tokens, torch.tensor(math.log(9)))
    assert (right - wrong).abs().max() > 1e-3


def test_the_order_of_the_context_changes_nothing():
    net, (X, Y) = network(), context(n_context=40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(net(X[:, order], Y[:, order]), net(X, Y), rtol=1e-4, atol=1e-5)
        attention, permuted = net.attention(X, Y), net.attention(X[:, order], Y[:, order])
        torch.testing.assert_close(permuted, attention[:, :, order], rtol=1e-4, atol=1e-6)
        assert (net(X[:, order], Y) - net(X, Y)).abs().max() > 1e-2, "pairs torn apart are another context"


def test_a_batch_is_its_targets_one_at_a_time():
    net, (X, Y) = network(), context()
    with torch.no_grad():
        together = net(X, Y)
        alone = torch.cat([net(X[t : t + 1], Y[t : t + 1]) for t in range(len(Y))])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
        shared = net(X[0], Y)
        torch.testing.assert_close(shared, net(X[:1].expand(5, -1, -1), Y), rtol=1e-4, atol=1e-5)


def test_missing_pairs_are_as_if_never_given():
    net, (X, Y) = network(), context()
    present = torch.rand(5, 9, generator=torch.Generator().manual_seed(4)) < 0.6
    present[0] = True
    with torch.no_grad():
        masked = net(X, Y.masked_fill(~present, math.nan), present)
        attention = net.attention(X, Y, present)
        for t, kept in enumerate(present):
            torch.testing.assert_close(masked[t], net(X[t : t + 1, kept], Y[t : t + 1, kept])[0], rtol=1e-4, atol=1e-5)
    assert not attention[:, ~present].any() and bool((attention[:, present] > 0).all())


def test_every_parameter_gets_a_gradient():
    net, (X, Y) = network(), context()
    net.train()
    respond(net(X, Y), X).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        rows = parameter.grad.reshape(len(parameter), -1).abs().sum(dim=1)
        if not name.endswith("project_in.bias"):  # softmax does not feel what is added to all keys
            assert bool((rows > 0).all()), name


def test_responses_are_weights_times_stimuli():
    weights, (X, _) = torch.arange(35.0).reshape(5, 7), context()
    expected = torch.stack([X[t] @ weights[t, :6] + weights[t, 6] for t in range(5)])
    torch.testing.assert_close(respond(weights, X), expected)
    torch.testing.assert_close(respond(weights, X[0]), weights[:, :6] @ X[0].T + weights[:, 6:])


@pytest.mark.parametrize("shapes", [((9, 5), (5, 9)), ((4, 9, 6), (5, 9)), ((9, 6), (9,)), ((8, 6), (5, 9))])
def test_contexts_that_do_not_fit_are_refused(shapes):
    with pytest.raises(DataError, match="HyperNetwork got context of shapes"):
        network()(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


# --------------------------------------------------------------------------------------------------------------- files
def published(net: HyperNetwork) -> dict[str, torch.Tensor]:
    """The tensors under the names of the published code, written out anew."""
    named = {"cls_token": net.token_embedding[None]}
    for name, block in (("early_layers", net.early), ("weight_pred", net.head)):
        parts = {"block.0": block.norm, "block.3": block.rise, "block.4": block.norm_hidden, "block.7": block.fall}
        for part, module in {**parts, "bypass": block.bypass}.items():
            named |= {f"{name}.0.{part}.weight": module.weight, f"{name}.0.{part}.bias": module.bias}
    for i, block in enumerate(net.blocks):
        layer = f"transformer.{i}."
        named |= {
            f"{layer}attn.in_proj_weight": block.project_in.weight,
            f"{layer}attn.in_proj_bias": block.project_in.bias,
        }
        parts = {
            "attn.out_proj": block.project_out,
            "layer_norm_1": block.norm,
            "layer_norm_2": block.norm_gate,
            "ffn.linear1": block.gate_in,
            "ffn.linear2": block.gate_out,
        }
        for part, module in parts.items():
            named |= {f"{layer}{part}.weight": module.weight, f"{layer}{part}.bias": module.bias}
    return {name: tensor.detach().clone() for name, tensor in named.items()}


def write(form: str, net: HyperNetwork, folder: pathlib.Path) -> pathlib.Path:
    path = folder / f"network.{form}"
    if form == "safetensors":
        save_network(path, net)
    elif form == "pth":
        torch.save(published(net), path)
    else:
        extras = {"epoch": 3, "hyper_parameters": {"lr": 1e-3, "result_dir": pathlib.PosixPath("/somewhere")}}
        torch.save({"state_dict": published(net), **extras}, path)
    return path


@pytest.mark.parametrize("form", ["safetensors", "pth", "ckpt"])
def test_all_file_formats_give_the_network_back(tmp_path, form):
    net, (X, Y) = network(), context()
    loaded = load_network(write(form, net, tmp_path), n_heads=2)
    assert loaded.shape == net.shape and not loaded.training
    with torch.no_grad():
        np.testing.assert_array_equal(loaded(X, Y), net(X, Y))
    assert all(parameter.requires_grad for parameter in loaded.parameters())


class Code:
    """Its pickle runs a function."""

    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path("harm"),))


@pytest.mark.parametrize("form", ["pth", "ckpt"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, form, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": published(network()), "extra": Code()}, tmp_path / f"bad.{form}")
    with pytest.raises(DataError, match="cannot be read as tensors alone"):
        load_network(tmp_path / f"bad.{form}")
    assert not (tmp_path / "harm").exists()


def test_files_of_something_else_are_refused(tmp_path):
    path = tmp_path / "odd.pth"
    for content, words in (
        (torch.zeros(3), "wanted named tensors"),
        ({"resnet.conv.weight": torch.zeros(3)}, "a name of no published network"),
        ({"cls_token": torch.zeros(1, 4, 20)}, "wanted all tensors"),
        ({**published(network()), "transformer.1.layer_norm_1.bias": torch.zeros(7)}, r"shape \(7,\), wanted \(20,\)"),
    ):
        torch.save(content, path)
        with pytest.raises(DataError, match=words):
            load_network(path, n_heads=2)
    path.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(DataError, match="cannot be read as tensors alone"):
        load_network(path)
    with pytest.raises(DataError, match="does not exist"):
        load_network(tmp_path / "absent.pth")
