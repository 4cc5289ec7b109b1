"""Factorised readouts: the sums they say, fields where they were planted, moves that begin as none, gaps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from brainenc.core.types import DataError
from brainenc.nn.readout_blocks import by_blocks
from brainenc.nn.readout_core import ConvolutionalCore, CoreReadout
from brainenc.nn.readout_losses import masked_concordance, masked_mse
from brainenc.nn.readout_semantic import SemanticTransformerReadout, warped
from brainenc.nn.readouts import GaussianReadout, SpatialFeatureReadout

GRID, N_CHANNELS, N_TARGETS = (3, 4), 5, 7


def tokens(n: int = 6, grid: tuple[int, int] = GRID, n_channels: int = N_CHANNELS, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, *grid, n_channels, generator=torch.Generator().manual_seed(seed))


def stirred(network: nn.Module) -> nn.Module:
    """All parameters away from where they begin, so that no zero hides a gradient."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network


def made(name: str, **more) -> nn.Module:
    torch.manual_seed(0)
    if name == "core":
        return CoreReadout(ConvolutionalCore(N_CHANNELS, (4, 6)), SpatialFeatureReadout((1, 2), 6, N_TARGETS, **more))
    kinds = {"spatial": SpatialFeatureReadout, "gaussian": GaussianReadout, "semantic": SemanticTransformerReadout}
    return kinds[name](GRID, N_CHANNELS, N_TARGETS, **more)


NAMES = pytest.mark.parametrize("name", ["spatial", "gaussian", "semantic", "core"])


@NAMES
def test_every_parameter_receives_gradient(name):
    network = stirred(made(name))
    (network(tokens()) ** 2).sum().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().max()) > 1e-7, parameter_name


def test_an_untouched_semantic_readout_trains_all_from_its_second_step():
    """Its moves begin as the identity, so the layers below them get their first gradient once those have moved."""
    network = made("semantic")
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(2):
        optimiser.zero_grad()
        (network(tokens()) ** 2).sum().backward()
        optimiser.step()
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in network.parameters())


@NAMES
@pytest.mark.parametrize("targets_per_block", [1, 3, 100])
def test_blocks_of_targets_change_neither_predictions_nor_gradients(name, targets_per_block):
    networks = [stirred(made(name)).eval(), stirred(made(name, targets_per_block=targets_per_block)).eval()]
    one, other = ([network(tokens()), network] for network in networks)
    torch.testing.assert_close(one[0], other[0])
    for predicted, _ in (one, other):
        (predicted**2).sum().backward()
    for p, q in zip(one[1].parameters(), other[1].parameters(), strict=True):
        if p.grad is not None:  # the size of a Gaussian has a part in training only
            torch.testing.assert_close(p.grad, q.grad, atol=1e-5, rtol=1e-4)


def test_blocks_hold_something():
    with pytest.raises(DataError, match="wanted 1 or more"):
        by_blocks(lambda block: torch.zeros(1), 3, 0)


# ------------------------------------------------------------------------------------------------- spatial x feature


def test_a_spatial_readout_is_the_slow_loop():
    network = stirred(made("spatial"))
    x, S, F, b = (t.detach().numpy() for t in (tokens(), network.space, network.feature, network.bias))
    expected = np.zeros((6, N_TARGETS))
    for n in range(6):
        for v in range(N_TARGETS):
            for row in range(GRID[0]):
                for column in range(GRID[1]):
                    for c in range(N_CHANNELS):
                        expected[n, v] += F[v, c] * S[v, row * GRID[1] + column] * x[n, row, column, c]
            expected[n, v] += b[v]
    np.testing.assert_allclose(network(tokens()).detach().numpy(), expected, atol=1e-5)
    assert network.maps().shape == (N_TARGETS, *GRID)
    assert float(network.maps()[2, 1, 3]) == pytest.approx(float(S[2, 7]))


# ---------------------------------------------------------------------------------------------------------- Gaussian


def test_a_narrow_gaussian_reads_the_cell_at_its_centre():
    network = made("gaussian").eval()
    row, column = 2, 1
    with torch.no_grad():
        network.across.fill_(np.arctanh(2 * (column + 0.5) / GRID[1] - 1))
        network.down.fill_(np.arctanh(2 * (row + 0.5) / GRID[0] - 1))
        network.narrowing.fill_(100.0)
    expected = tokens()[:, row, column] @ network.feature.T + network.bias
    torch.testing.assert_close(network(tokens()), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network.train()(tokens()), expected, atol=1e-4, rtol=1e-4)


def test_evaluation_is_the_mean_of_what_training_draws():
    network = stirred(made("gaussian", n_draws=4000)).eval()
    expected = network(tokens())
    assert torch.equal(network(tokens()), expected)  # nothing is drawn in evaluation
    torch.testing.assert_close(network.maps().sum(dim=(1, 2)), torch.ones(N_TARGETS))
    torch.manual_seed(5)
    drawn = network.train()(tokens())
    assert not torch.equal(drawn, network(tokens()))
    torch.testing.assert_close(drawn, expected, atol=0.1, rtol=0)
    network.n_draws = 1
    assert float((network(tokens()) - expected).detach().std()) > 5 * float((drawn - expected).detach().std())


def test_drawn_places_have_the_size_in_units_of_the_picture():
    """A ramp over the columns reads out where a sample looked; cells are square, so heights are scaled."""
    grid = (8, 16)
    network = GaussianReadout(grid, 2, 1, start_size=0.2, n_draws=1)
    with torch.no_grad():
        network.across.zero_(), network.down.zero_(), network.bias.zero_()
    ramps = torch.stack(
        [
            ((torch.arange(16) + 0.5) / 8 - 1).expand(8, 16),
            ((torch.arange(8) + 0.5) / 4 - 1)[:, None].expand(8, 16),
        ],
        dim=2,
    ).expand(4000, 8, 16, 2)
    torch.manual_seed(5)
    spread = []
    for channel in range(2):
        with torch.no_grad():
            network.feature.copy_(torch.eye(2)[channel : channel + 1])
            spread.append(float(network(ramps).std()))
    assert spread[0] == pytest.approx(0.2, rel=0.05)
    assert spread[1] == pytest.approx(0.4, rel=0.05)


def planted(n: int = 400, n_targets: int = 24, side: int = 8, n_channels: int = 4, seed: int = 0):
    """White tokens, and responses from a Gaussian around a place of each target; centres (x, y) in -1..1."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, side, side, n_channels)).astype(np.float32)
    centres = rng.uniform(-0.8, 0.8, (n_targets, 2))
    cell = 2 * (np.arange(side) + 0.5) / side - 1
    across = np.exp(-((cell[None] - centres[:, :1]) ** 2) / (2 * 0.25**2))
    down = np.exp(-((cell[None] - centres[:, 1:]) ** 2) / (2 * 0.25**2))
    maps = down[:, :, None] * across[:, None]
    feature = rng.standard_normal((n_targets, n_channels))
    Y = np.einsum("nyxc,vyx,vc->nv", x, maps, feature)
    Y = Y / Y.std(axis=0) + 0.5 * rng.standard_normal(Y.shape)
    return torch.from_numpy(x), torch.from_numpy(Y.astype(np.float32)), centres


def fitted(x: torch.Tensor, Y: torch.Tensor, steps: int = 500) -> np.ndarray:
    torch.manual_seed(0)
    network = GaussianReadout(x.shape[1:3], x.shape[3], Y.shape[1])
    optimiser = torch.optim.Adam(network.parameters(), lr=0.03)
    for step in range(steps):
        rows = torch.randint(len(x), (64,), generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        masked_mse(network(x[rows]), Y[rows]).backward()
        optimiser.step()
    return network.centres().detach().numpy()


def recovered(found: np.ndarray, truth: np.ndarray) -> bool:
    """Both coordinates correlate above .9, and the median error is below a tenth of the picture's width."""
    r = [np.corrcoef(found[:, i], truth[:, i])[0, 1] for i in range(2)]
    error = np.median(np.hypot(*(found - truth).T)) / 2
    return min(r) > 0.9 and error < 0.1


def test_planted_places_are_recovered_and_transposed_ones_are_not():
    x, Y, truth = planted()
    found = fitted(x, Y)
    assert recovered(found, truth)
    assert not recovered(found[:, ::-1], truth)  # x and y exchanged on the way out
    assert not recovered(found * [1, -1], truth)  # y upside down
    assert not recovered(fitted(x.transpose(1, 2), Y), truth)  # rows and columns exchanged on the way in


# ---------------------------------------------------------------------------------------------------------- semantic


def test_a_semantic_readout_begins_as_a_spatial_one():
    network = made("semantic")
    x = tokens()
    maps = network.maps()
    torch.testing.assert_close(network.fields(x), maps.expand(6, -1, -1, -1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(maps.flatten(1).norm(dim=1), torch.ones(N_TARGETS), atol=1e-4, rtol=0)
    assert float(maps.min()) >= 0
    pooled = torch.einsum("nyxc,vyx->nvc", x, maps)
    expected = torch.einsum("nvc,vc->nv", pooled, network.feature) + network.bias
    torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=1e-5)


def test_a_map_is_warped_by_its_own_matrix():
    maps = torch.zeros(2, 2, 1, 4)
    maps[..., 1] = 1.0
    moves = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).repeat(2, 2, 1, 1)
    moves[1, 0, 0, 2] = 0.5  # one cell: what lay in column 1 is now seen from column 0
    moves[0, 1, 0, 2] = -1.0  # two cells the other way
    found = warped(maps, moves)[:, :, 0]
    for (sample, number), column in {(0, 0): 1, (0, 1): 3, (1, 0): 0, (1, 1): 1}.items():
        torch.testing.assert_close(found[sample, number], torch.eye(4)[column], atol=1e-5, rtol=0)


def test_another_map_may_localise():
    torch.manual_seed(0)
    network = SemanticTransformerReadout(GRID, N_CHANNELS, N_TARGETS, looks_at=(2, 2, 3))
    other = [tokens(6, (2, 2), 3, seed) for seed in (4, 5)]
    torch.testing.assert_close(network(tokens(), other[0]), network(tokens(), other[1]))  # nothing moves yet
    stirred(network)
    assert not torch.allclose(network(tokens(), other[0]), network(tokens(), other[1]), atol=1e-4)
    assert network.fields(tokens(), other[0], slice(1, 3)).shape == (6, 2, *GRID)


# -------------------------------------------------------------------------------------------------------------- core


def test_a_core_keeps_places_and_refuses_what_it_cannot_halve():
    core = ConvolutionalCore(3, (4, 4)).eval()
    assert core.grid(9, 12) == (4, 6) and core(torch.zeros(2, 9, 12, 3)).shape == (2, 4, 6, 4)
    spot = torch.zeros(1, 16, 16, 3)
    spot[0, 4:6, 10:12] = 5.0
    change = (core(spot) - core(torch.zeros(1, 16, 16, 3))).abs().sum(dim=3)[0].detach().numpy()
    rows, columns = np.indices(change.shape)
    assert (rows * change).sum() / change.sum() == pytest.approx(2, abs=0.6)
    assert (columns * change).sum() / change.sum() == pytest.approx(5, abs=0.6)
    with pytest.raises(DataError, match="cannot be halved"):
        core.grid(1, 8)
    with pytest.raises(DataError, match="odd kernel"):
        ConvolutionalCore(3, (4,), kernel=4)


# ------------------------------------------------------------------------------------------------------------ losses


def with_gaps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    Y_hat, Y = (torch.randn(9, 5, generator=generator) for _ in range(2))
    gaps = torch.rand(9, 5, generator=generator) < 0.3
    return Y_hat.requires_grad_(), Y + 0.4, gaps


def direct_concordance(p: np.ndarray, y: np.ndarray) -> float:
    covariance = np.mean((p - p.mean()) * (y - y.mean()))
    return float(1 - 2 * covariance / (p.var() + y.var() + (p.mean() - y.mean()) ** 2))


def test_losses_are_their_formulas_over_what_is_present():
    Y_hat, Y, gaps = with_gaps()
    p, y = Y_hat.detach().numpy()[~gaps], Y.numpy()[~gaps]
    missing = Y.masked_fill(gaps, float("nan"))
    assert masked_mse(Y_hat, missing).item() == pytest.approx(float(np.mean((p - y) ** 2)), rel=1e-5)
    assert masked_concordance(Y_hat, missing).item() == pytest.approx(direct_concordance(p, y), rel=1e-5)
    assert float(masked_concordance(Y, Y)) == pytest.approx(0.0, abs=1e-6)
    sentinel = Y.masked_fill(gaps, -999.0)  # the broken twin
    assert masked_mse(Y_hat, sentinel).item() > 1e3


@pytest.mark.parametrize("loss", [masked_mse, masked_concordance])
def test_what_is_missing_has_no_gradient_and_no_influence(loss):
    Y_hat, Y, gaps = with_gaps()
    missing = Y.masked_fill(gaps, float("nan"))
    value = loss(Y_hat, missing)
    value.backward()
    assert torch.isfinite(Y_hat.grad).all()
    assert (Y_hat.grad[gaps] == 0).all() and (Y_hat.grad[~gaps] != 0).all()
    elsewhere = torch.where(gaps, Y_hat.detach() * 100 + 7, Y_hat.detach())
    assert torch.equal(loss(elsewhere, missing), value.detach())
    nothing = torch.full((9, 5), float("nan"))
    Y_hat.grad = None
    loss(Y_hat, nothing).backward()
    assert torch.isfinite(loss(Y_hat, nothing)) and (Y_hat.grad == 0).all()


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(DataError, match="same shape"):
        masked_mse(torch.zeros(3, 1), torch.zeros(3, 4))
