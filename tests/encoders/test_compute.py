"""Jobs in pairs give what they give one by one, and leave the threads as they were."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier, BrokenBarrierError

import numpy as np
import pytest
import torch

from brainenc.encoders.compute import SMALL, Compute, two_at_a_time

CPU = Compute("cpu")


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def eigenvalues(seed: int) -> np.ndarray:
    X = torch.randn(60, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.eigvalsh(X.T @ X).numpy()


@pytest.mark.usefixtures("four_threads")
def test_pairs_give_the_results_of_single_jobs_in_their_order() -> None:
    jobs = list(range(7))
    for found, job in zip(two_at_a_time(CPU, eigenvalues, jobs, 30), jobs, strict=True):
        np.testing.assert_allclose(found, eigenvalues(job), rtol=1e-10)
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(
    ("compute", "size", "side_by_side"),
    [(CPU, SMALL, True), (CPU, SMALL + 1, False), (Compute("numpy"), SMALL, False)],
)
def test_only_small_factorisations_on_a_cpu_run_in_pairs(compute: Compute, size: int, side_by_side: bool) -> None:
    barrier = Barrier(2, timeout=5 if side_by_side else 0.05)

    def work(job: int) -> bool:
        try:
            barrier.wait()
        except BrokenBarrierError:
            return False
        return True

    assert two_at_a_time(compute, work, [0, 1], size) == [side_by_side] * 2


@pytest.mark.usefixtures("four_threads")
def test_a_job_that_fails_gives_the_threads_back() -> None:
    def work(job: int) -> None:
        raise ValueError("a job that fails")

    with pytest.raises(ValueError, match="fails"):
        two_at_a_time(CPU, work, [0, 1], 30)
    assert torch.get_num_threads() == 4
