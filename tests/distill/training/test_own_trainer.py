"""A user with a Trainer, a DataLoader and two networks of their own trains the LightningModule of the commands."""

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import distill
from distill.evaluate.metrics import kl_from_mentor
from distill.schedules import constant
from mentor import Mentor
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.splits import Batch, identity
from mentor_mentee.data.views.view import View
from mentor_mentee.objective.probes import ProbedMentee, find_probes


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU())
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore")  # Lightning's advice to a user who trains in a test
def test_it_trains_two_networks_of_the_users_own() -> None:
    train = digits().train
    torch.manual_seed(0)
    big, small = Net(64), Net(16)
    view = View((1, 8, 8), (0.3,), (0.4,))
    example = view(train.images[:2])
    probes = find_probes({"body": ["body", "body"]}, big, example, small, example)
    before = {name: value.clone() for name, value in small.state_dict().items()}
    frozen = {name: value.clone() for name, value in big.state_dict().items()}
    module = distill.Distillation(
        ProbedMentee(small, probes, "head"),
        view,
        constant(0, 1, 1, 4),  # the mentor alone
        distill.FitConfig(max_epochs=5),
        seed=0,
        mentor=Mentor(big, view, probes),
    )
    loader: DataLoader[Batch] = DataLoader(train, batch_size=64, shuffle=True, collate_fn=identity)  # type: ignore[arg-type]
    image = view(train.images)
    distance = kl_from_mentor(small(image), big(image))
    trainer = pl.Trainer(max_epochs=5, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(module, loader)
    assert trainer.global_step == 5 * -(-len(train) // 64)
    assert all(not torch.equal(before[name], value) for name, value in small.state_dict().items())
    assert all(torch.equal(frozen[name], value) for name, value in big.state_dict().items())
    assert kl_from_mentor(small(image), big(image)) < distance / 2
