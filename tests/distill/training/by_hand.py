"""A training on labels alone, written out in plain torch with the options that Lightning has for it.

Axes: B samples, K classes.
"""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from fnmatch import fnmatchcase

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.schema import Clipping, DistillConfig
from mentee.networks import PlainCNN
from mentor_mentee.data.batches import EpochBatches
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.pools import training_pools


def by_hand(
    config: DistillConfig, decay: Callable[[int], float] | None = None, weight_K: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """The weights after the last step; with `decay`, a function of how many steps it has already, their
    exponential moving average, buffers among them. SGD."""
    splits, fit = digits(), config.trainer
    pixels = splits.train.images.double() / 255
    mean, std = pixels.mean(), pixels.std(correction=0)
    torch.manual_seed(config.seed)
    net = PlainCNN(1, 10, (4, 6)).train()
    factor = {
        name: next((rate for pattern, rate in fit.layer_rates.items() if fnmatchcase(name, pattern)), 1.0)
        for name, _ in net.named_parameters()
    }
    groups = [{"params": [value], "name": name} for name, value in net.named_parameters()]
    optimizer = torch.optim.SGD(groups, 1.0, momentum=fit.momentum, weight_decay=fit.weight_decay)
    class_weight_K = None if weight_K is None else torch.tensor(weight_K)
    average = None
    in_epoch = math.ceil((fit.steps_per_epoch or 0) / fit.accumulate_grad_batches)
    step, steps = 0, in_epoch * fit.max_epochs
    for epoch in range(fit.max_epochs):
        batches = EpochBatches(training_pools(splits.train.labels.numpy(), fit.batch, config.seed), fit.steps_per_epoch)
        batches.set_epoch(epoch)
        drawn = list(batches)
        for first in range(0, len(drawn), fit.accumulate_grad_batches):
            optimizer.zero_grad()
            for batch in drawn[first : first + fit.accumulate_grad_batches]:
                index_B = [draw % len(splits.train) for draw in batch]
                logits_BK = net(((pixels[index_B] - mean) / std).float())
                loss = F.cross_entropy(
                    logits_BK, splits.train.labels[index_B], class_weight_K, label_smoothing=fit.label_smoothing
                )
                (loss / fit.accumulate_grad_batches).backward()
            if fit.gradient_clip_val is not None and fit.gradient_clip_algorithm is Clipping.norm:
                torch.nn.utils.clip_grad_norm_(net.parameters(), fit.gradient_clip_val)
            elif fit.gradient_clip_val is not None:
                torch.nn.utils.clip_grad_value_(net.parameters(), fit.gradient_clip_val)
            warm = fit.warmup * steps
            cosine = 0.5 + 0.5 * math.cos(math.pi * (step - warm) / (steps - warm))
            rate = fit.learning_rate * ((step + 1) / (warm + 1) if step < warm else cosine)
            for group in optimizer.param_groups:
                group["lr"] = rate * factor[group["name"]]
            optimizer.step()
            step += 1
            if decay is not None:
                average = (
                    deepcopy(net.state_dict()) if average is None else mixed(average, net.state_dict(), decay(step - 1))
                )
    return dict(net.state_dict() if average is None else average)


def mixed(average: dict[str, Tensor], now: dict[str, Tensor], decay: float) -> dict[str, Tensor]:
    """Whole numbers, of batches that BatchNorm has seen, are cut off as torch does."""
    return {name: (decay * value + (1 - decay) * now[name]).to(value.dtype) for name, value in average.items()}
