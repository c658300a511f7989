"""How far apart a mentor's logits are: the unit of its temperature."""

import torch

from distill.mentors.pairs import BATCH, IMAGES, some_images
from mentor.mentor import Mentor
from mentor_mentee.data.splits import Split
from mentor_mentee.errors import UserError


def logit_deviation(mentor: Mentor, train: Split) -> float:
    """The standard deviation over the classes, mean over training images.

    A mentor that was trained until it was sure has logits twice as far apart as one that was not, and at one temperature
    its softmax says nothing but the label. Raises `UserError` where the logits are not finite or all the same.
    """
    parts = [mentor.answer(part).logits for part in torch.split(some_images(train, IMAGES), BATCH)]
    deviation = float(torch.cat(parts).double().std(1, correction=0).mean())
    if not 1e-6 < deviation < float("inf"):
        raise UserError(
            f"the mentor's logits are {'the same for all classes' if deviation <= 1e-6 else 'NaN or infinite'} on training "
            "images, so there is nothing to learn from them; check its weights and its view (mentor.weights, mentor.view)"
        )
    return deviation
