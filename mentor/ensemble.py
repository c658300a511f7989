"""Several trained networks as one mentor: distilling an ensemble into one small network (Hinton et al., arXiv 1503.02531,
section 3).

    python -m mentor.ensemble OUT.safetensors FIRST.safetensors SECOND.safetensors …

puts the members' weights into the one file that `mentor.weights` takes, in the order of `mentor.network.members`.
"""

import sys

from mentor_mentee.interrupt import as_usual, end_at_once

if __name__ == "__main__":
    end_at_once()  # until everything is imported

from mentor.ensemble_arguments import read_arguments

if __name__ == "__main__":
    read_arguments(sys.argv[1:])  # torch takes seconds to import

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from mentor.weights.load import MEMBERS, read_state
from mentor_mentee.errors import UserError
from mentor_mentee.files import write_bytes
from mentor_mentee.objective.classifier import build_classifier
from mentor_mentee.output import quiet_when_unread
from mentor_mentee.recipe import Recipe, completed


class Ensemble(nn.Module):
    """Several networks that see the same view and have the same classes. Puts out the mean of their logits; layers to probe are
    the members' own (`members.0.<layer>`).

    - `members`: recipes of the networks, in the order of the file of their weights
    """

    def __init__(self, members: Sequence[Recipe], num_classes: int, in_channels: int) -> None:
        super().__init__()
        if len(members) < 2:
            raise UserError(
                f"an ensemble of {len(members)} members; list two or more recipes in mentor.network.members"
            )
        self.members = nn.ModuleList()
        for number, recipe in enumerate(members):
            where = f"mentor.network.members[{number}]"
            self.members.append(
                build_classifier(completed(recipe, where, num_classes=num_classes, in_channels=in_channels), where)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, K]."""
        return torch.stack([member(x) for member in self.members]).mean(0)


def merge(files: Sequence[Path], out: Path) -> None:
    """Writes the members' weights into one file; prefixes of wrappers are taken off when it is loaded. Raises `UserError` for
    a file that cannot be read as weights, or `out` that cannot be written."""
    state = {
        f"{MEMBERS}{number}.{key}": value.contiguous()
        for number, file in enumerate(files)
        for key, value in read_state(file).items()
    }
    try:
        write_bytes(out, save(state))
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error}); choose another place") from error


def main(arguments: Sequence[str]) -> int:
    as_usual()
    with quiet_when_unread():
        return answer(arguments)


def answer(arguments: Sequence[str]) -> int:
    given = read_arguments(arguments)
    out, files = given.out, [given.first, *given.more]
    try:
        merge(files, out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    print(f"{out}: {len(files)} members; next: mentor=ensemble mentor.weights={out} 'mentor.network.members=[…]'")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
