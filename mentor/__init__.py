"""A mentor: a frozen network that answers, the networks that can be one, their weights, the cache of their answers."""

from typing import TYPE_CHECKING

from mentor_mentee.lazy import lazily

if TYPE_CHECKING:
    from mentor.cache import AnswerCache as AnswerCache
    from mentor.ensemble import Ensemble as Ensemble
    from mentor.mentor import Answers as Answers
    from mentor.mentor import Mentor as Mentor
    from mentor.networks import ResidualNet as ResidualNet
    from mentor.plain import PlainNet as PlainNet
    from mentor.restore import restore_mentor as restore_mentor
    from mentor.weights.load import load_weights as load_weights

__getattr__, __dir__ = lazily(
    __name__,
    {
        "AnswerCache": "mentor.cache",
        "Answers": "mentor.mentor",
        "Ensemble": "mentor.ensemble",
        "Mentor": "mentor.mentor",
        "PlainNet": "mentor.plain",
        "ResidualNet": "mentor.networks",
        "load_weights": "mentor.weights.load",
        "restore_mentor": "mentor.restore",
    },
)
