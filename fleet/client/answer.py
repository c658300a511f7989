"""A device's answer to a round, whatever travels in it: what is kept, what the log says of what left, and the figures."""

from flwr.app import ArrayRecord, MetricRecord, RecordDict
from mentee_device import Learner, Owner

from fleet.client import kept
from fleet.client.learning import Learnt
from fleet.wire.arrays import Arrays, bytes_of
from fleet.wire.terms import ARRAYS, COUNT, METRICS, Terms


def learnt_answer(
    owner: Owner, terms: Terms, server_round: int, learnt: Learnt, out: ArrayRecord, said: str, keep: Arrays
) -> RecordDict:
    """`out` and a count. `said`: of what the bytes are. `keep`: parameters that stay here for the next round. Both are in the
    state before anything leaves. Raises StateError."""
    with owner.store.transaction():
        if keep:
            kept.write(owner, terms.fleet, keep, learnt.learned)
        owner.store.record(
            "fleet",
            f"round {server_round} of fleet {terms.fleet}: learnt on {learnt.count} samples, {bytes_of(out):,} bytes of {said}",
        )
    metrics = MetricRecord({COUNT: learnt.count, "loss": learnt.loss, "golden": learnt.golden})
    return RecordDict({ARRAYS: out, METRICS: metrics})


def judged_answer(owner: Owner, learner: Learner, held: tuple[int, ...]) -> RecordDict:
    """Accuracy of `learner` on the owner's samples `held` out, where there are none on the golden set, and on the golden set."""
    samples, _ = owner.samples.read(held)
    golden = learner.evaluate_golden()
    mine = learner.evaluate(samples.input, samples.labels) if len(samples) else golden
    return RecordDict({METRICS: MetricRecord({COUNT: max(1, len(samples)), "accuracy": mine, "golden": golden})})
