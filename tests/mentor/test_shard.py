"""A mentor in parts, one in each of two processes: it says what the whole one says."""

import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

from mentor.mentor import Mentor
from mentor.networks import ResidualNet
from mentor.shard import shard, units
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import Adapter, Probe

VIEW = View((1, 8, 8), (0.3,), (0.4,))
PROBE = Probe("early", "stages.0", "features.0", Adapter((2, 8, 8), (16, 8, 8), (2, 8, 8)))


def in_part(rank: int, port: int, network: ResidualNet, folder: Path) -> None:
    """One process: what the sharded mentor says of its own image, and how many numbers of the weights it holds."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    mentor = Mentor(network, VIEW, [PROBE], logits=rank < 2).sharded(torch.device("cpu"))
    answers = [mentor.answer(images(rank)) for _ in range(2)][-1]
    held = sum(value.to_local().numel() for value in mentor.network.parameters())  # type: ignore[operator]
    torch.save((answers.logits, answers.activations["early"], held), folder / f"{rank}.pt")
    dist.destroy_process_group()


def images(rank: int) -> torch.Tensor:
    return torch.randint(0, 256, (3 + rank, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(rank))


def test_two_processes_with_a_half_each_answer_as_one_with_the_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = ResidualNet(1, 10, widths=[16, 32], blocks=2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(in_part, args=(port, network, tmp_path), nprocs=2)
    whole = sum(value.numel() for value in network.parameters())
    for rank in range(2):
        logits, early, held = torch.load(tmp_path / f"{rank}.pt")
        expected = Mentor(network, VIEW, [PROBE]).answer(images(rank))
        torch.testing.assert_close(logits, expected.logits)
        torch.testing.assert_close(early, expected.activations["early"])
        assert 0.45 * whole < held < 0.55 * whole


def test_units_share_no_weight_and_hold_nearly_all() -> None:
    network = ResidualNet(1, 10, widths=[16, 32], blocks=2)
    found = [*units(network)]
    held = [id(value) for unit in found for value in unit.parameters()]
    assert len(found) > 3
    whole = sum(value.numel() for value in network.parameters())
    assert max(sum(value.numel() for value in unit.parameters()) for unit in found) < 0.5 * whole
    assert len(set(held)) == len(held)


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_a_scripted_network_is_refused() -> None:
    with pytest.raises(UserError, match=r"mentor\.shard=true with a TorchScript network"):
        shard(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), torch.device("cpu"))
