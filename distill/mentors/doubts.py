"""Says what is doubtful of a mentor: that it has seen what it is judged by, or knows less than its own mentee."""

import torch
from torch.nn import functional as F

from mentor.mentor import Mentor
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.store.images import in_parts

FEWEST = 60  # validation samples: a mentor of 95 % is right on all of 60 in one case of twenty
LOOKED_AT = 512  # training samples
SURE = 0.99  # mean probability of the true class above which a softmax says no more than the label


def too_sure(mentor: Mentor, splits: Splits, given: bool) -> str:
    """Warning about a mentor that is right on every validation sample; "" where these are too few to
    tell. `given`: its weights come from a file, and not from a training on the training split."""
    count = int((splits.val.labels >= 0).sum())
    if count < FEWEST:
        return ""
    sure = sureness(mentor, splits)
    seen = (
        "its weights were most likely trained on them, so how it does on new samples is not known"
        if given
        else "this split cannot tell it from a better one"
    )
    empty = (
        ": little more than the labels is in its answers there; distil on samples that it has not seen, or at a higher "
        "schedule.temperature"
        if sure > SURE
        else ""
    )
    return (
        f"the mentor is right on all {count} validation samples: {seen}. On training samples it gives the true class a "
        f"probability of {sure:.3f} in the mean{empty}"
    )


def sureness(mentor: Mentor, splits: Splits) -> float:
    """Mean probability that it gives the true class of training samples, at temperature 1; of some, evenly spread."""
    labelled = torch.nonzero(splits.train.labels >= 0).flatten()
    count = min(len(labelled), LOOKED_AT)
    if not count:
        return float("nan")
    some = splits.train.subset(labelled[torch.arange(count) * len(labelled) // count])
    logits_NK = torch.cat([mentor.answer(part).logits for part in in_parts(some.images, mentor.batch)])
    return float(F.softmax(logits_NK.double(), 1).gather(1, some.labels.unsqueeze(1)).mean())


def outdone(mentor: float, mentee: float, samples: int) -> str:
    """Warning about a mentee that beats its mentor on the validation split beyond chance (two standard errors of the difference
    of two shares, which for paired samples is more than needed); else "". Accuracies are from 0 to 1."""
    error = ((mentor * (1 - mentor) + mentee * (1 - mentee)) / max(1, samples)) ** 0.5
    if not mentee - mentor > 2 * error:
        return ""
    return (
        f"the mentor is right on {mentor:.1%} of the validation samples, its own mentee on {mentee:.1%}: where they differ, the "
        "mentor mostly teaches mistakes. Train it longer (mentor.fit.max_epochs, mentor.transfer.all_epochs), take a better one, "
        "or compare with schedule=alone"
    )
