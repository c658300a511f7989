"""A round in which logits travel: the average's come in, the device learns under them, and its own on other public samples go
out (FedMD, arXiv 1910.03581). Its mentee stays here, and may be of any size.

Axes: N public samples, n of a round, K classes.
"""

from dataclasses import replace

import numpy as np
from flwr.app import Message, RecordDict
from mentee_device import Owner, Supervision

from fleet.client import kept
from fleet.client.answer import judged_answer, learnt_answer
from fleet.client.learning import learn, plan_of
from fleet.client.settings import DeviceSettings
from fleet.wire.arrays import arrays_of, record_of
from fleet.wire.public import rows_of
from fleet.wire.terms import ARRAYS, CONFIG, LOGITS, ROUND, Terms


def under_average(public: Supervision, terms: Terms, message: Message, server_round: int) -> Supervision:
    """The public samples of the round before, under the fleet's average instead of the mentor. Raises FleetError."""
    rows = rows_of(len(public), terms.ask, terms.seed, server_round - 1)
    shape = {LOGITS: (len(rows), public.mentor_logits.shape[1])}
    logits_nK = arrays_of(message.content.array_records[ARRAYS], shape, np.float16)[LOGITS]
    return replace(public.take(rows), mentor_logits=logits_nK)


def train(owner: Owner, settings: DeviceSettings, terms: Terms, message: Message) -> RecordDict:
    """Logits [n, K] and a count. The first round learns under the mentor's recorded answers to the same samples, which are what
    comes in. Raises FleetError, LearningError, SampleError, StateError."""
    server_round = int(message.content.config_records[CONFIG].get(ROUND, 0))
    plan = replace(plan_of(owner, terms, settings.most_steps), knobs={**terms.knobs(), "beta": 0.0})
    with owner.state.base() as learner:
        learner.set_parameters(kept.read(owner, terms.fleet))
        public = learner.supervision
        pack = under_average(public, terms, message, server_round)
        learnt = learn(owner, learner, plan, terms.seed + server_round, pack=pack if plan.replay_batch else None)
        asked = public.samples.take(rows_of(len(public), terms.ask, terms.seed, server_round))
        logits_nK = learner.predict(asked.input, checked=True).logits.astype(np.float16)
        after = learner.parameters()
    said = f"logits on {len(asked)} samples that are not the owner's left this device"
    return learnt_answer(owner, terms, server_round, learnt, record_of({LOGITS: logits_nK}), said, after)


def evaluate(owner: Owner, settings: DeviceSettings, terms: Terms, message: Message) -> RecordDict:
    """This device's mentee on the labels that it holds out and on the golden set."""
    plan = plan_of(owner, terms, settings.most_steps)
    with owner.state.base() as learner:
        learner.set_parameters(kept.read(owner, terms.fleet))
        return judged_answer(owner, learner, plan.held)
