"""A mentee: small networks, their budget, and the checkpoint that distillation hands over to the export."""

from typing import TYPE_CHECKING

from mentor_mentee.lazy import lazily

if TYPE_CHECKING:
    from mentee.budget import Budget as Budget
    from mentee.checkpoint import MenteeCheckpoint as MenteeCheckpoint
    from mentee.networks import InvertedResidualCNN as InvertedResidualCNN
    from mentee.networks import PlainCNN as PlainCNN
    from mentee.networks import ResidualCNN as ResidualCNN
    from mentee.networks import SignalCNN as SignalCNN

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Budget": "mentee.budget",
        "InvertedResidualCNN": "mentee.networks",
        "MenteeCheckpoint": "mentee.checkpoint",
        "PlainCNN": "mentee.networks",
        "ResidualCNN": "mentee.networks",
        "SignalCNN": "mentee.networks",
    },
)
