"""How a script's network is named so that another process can build it again, and what is refused."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from mentee.networks import PlainCNN
from mentor_mentee.data.datasets import digits
from mentor_mentee.errors import UserError
from mentor_mentee.naming import recipe, recipe_of
from mentor_mentee.recipe import build

EXAMPLE = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.head = nn.Linear(64, 3)
        self.sign = sign

    def forward(self, x: Tensor) -> Tensor:
        return self.sign * self.head(x.flatten(1))  # type: ignore[no-any-return]


def test_a_recipe_is_what_the_configuration_would_hold() -> None:
    made = recipe(PlainCNN, in_channels=1, num_classes=10, widths=(4, 6))
    assert made == {"_target_": "mentee.networks.PlainCNN", "in_channels": 1, "num_classes": 10, "widths": (4, 6)}
    assert isinstance(build(made, "here", nn.Module), PlainCNN)
    assert recipe(resnet18, num_classes=7)["_target_"] == "torchvision.models.resnet.resnet18"
    assert recipe(digits, seed=2) == {"_target_": "mentor_mentee.data.datasets.digits", "seed": 2}


def test_what_no_other_process_could_import_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Inner(nn.Module): ...

    class Net(nn.Module): ...

    Net.__module__, Net.__qualname__ = "__main__", "Net"
    monkeypatch.setattr(sys.modules["__main__"], "Net", Net, raising=False)
    for target, message in (
        (lambda: PlainCNN(1, 10), r"recipe\(a lambda\): a checkpoint cannot name that"),
        (Inner, r"Inner, which is defined inside a function"),
        (Net, r"Net is defined in the script or notebook itself \(__main__\).*mynets\.py"),
        (Plain(), r"expected the class or the function that makes it"),
        (print, r"builtins"),
        (partial(PlainCNN, 1, 10), r"'partial' of functools is not what is imported by that name"),
    ):
        with pytest.raises(UserError, match=message):
            recipe(target)  # type: ignore[arg-type]


def test_options_are_bound_and_must_be_json() -> None:
    with pytest.raises(UserError, match="has no option 'widhts'; did you mean 'widths'"):
        recipe(PlainCNN, in_channels=1, num_classes=10, widhts=[3])
    with pytest.raises(UserError, match="needs num_classes"):
        recipe(PlainCNN, in_channels=1)
    with pytest.raises(UserError, match=r"recipe\(Plain, sign=.*a checkpoint is JSON"):
        recipe(Plain, sign=torch.ones(1))


def test_a_class_without_options_names_itself_and_others_are_proved() -> None:
    state = torch.get_rng_state()
    assert recipe_of(Plain(), None, EXAMPLE, "mentee") == {"_target_": f"{__name__}.Plain"}
    torch.set_rng_state(state)
    wide = PlainCNN(1, 10, [4, 8])
    with pytest.raises(UserError, match=r"PlainCNN, which is made with in_channels, num_classes"):
        recipe_of(wide, None, EXAMPLE, "mentee")
    with pytest.raises(
        UserError, match=r"another network .* 'features\.0\.0\.weight' is \[8, 1, 3, 3\] there, \[4, 1, 3, 3\]"
    ):
        recipe_of(wide, recipe(PlainCNN, in_channels=1, num_classes=10), EXAMPLE, "mentee")
    with pytest.raises(UserError, match=r"mentee: what .*Plain builds has other answers under the same weights"):
        recipe_of(Plain(-1.0), None, EXAMPLE, "mentee")
    with pytest.raises(UserError, match=r"mentee is a Sequential, which is made with args"):
        recipe_of(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), None, EXAMPLE, "mentee")


def test_proving_it_draws_nothing_from_torchs_random_state() -> None:
    network: nn.Module = Plain()
    before = torch.get_rng_state()
    recipe_of(network, None, EXAMPLE, "mentee")
    assert torch.equal(before, torch.get_rng_state())


def test_a_function_of_the_users_own_file(own_module: Callable[[str], str]) -> None:
    name = own_module(
        "from torch import nn\n\ndef net(width):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, width))\n"
    )
    module: Any = __import__(name)
    network = module.net(5)
    given = recipe(module.net, width=5)
    assert recipe_of(network, given, EXAMPLE, "mentee") == {"_target_": f"{name}.net", "width": 5}
