"""A round in which parameters travel: they come in, the device learns from there, and goes out what it does not keep private."""

from flwr.app import ArrayRecord, Message, RecordDict
from mentee_device import Learner, Owner

from fleet.client import kept
from fleet.client.answer import judged_answer, learnt_answer
from fleet.client.learning import learn, plan_of, towards
from fleet.client.settings import DeviceSettings
from fleet.wire.arrays import Arrays, arrays_of, record_of, shapes_of
from fleet.wire.terms import ARRAYS, CONFIG, PROXIMAL, ROUND, Terms


def of_head(owner: Owner, names: list[str]) -> set[str]:
    """Names of the classifier's parameters."""
    head = owner.bundle.manifest.head
    return {name for name in names if name.rpartition(".")[0] == head}


def begin(owner: Owner, learner: Learner, terms: Terms, record: ArrayRecord, private: str) -> tuple[Arrays, set[str]]:
    """Sets `learner` to the round's parameters and this device's own; those that came, and the names of its own. Raises
    FleetError."""
    base = learner.parameters()
    head = of_head(owner, list(base))
    travel = {name: value for name, value in base.items() if terms.shared == "all" or name not in head}
    came = arrays_of(record, shapes_of(travel))
    own = head if private == "head" or terms.shared == "body" else set()
    mine = {name: value for name, value in kept.read(owner, terms.fleet).items() if name in own}
    learner.set_parameters({**came, **mine})
    return {name: came[name] for name in record}, own  # in the message's order, which Flower's noise asks for


def train(owner: Owner, settings: DeviceSettings, terms: Terms, message: Message) -> RecordDict:
    """Parameters and a count. Raises FleetError, LearningError, SampleError, StateError."""
    config = message.content.config_records[CONFIG]
    server_round = int(config.get(ROUND, 0))
    plan = plan_of(owner, terms, settings.most_steps)
    with owner.state.base() as learner:
        came, own = begin(owner, learner, terms, message.content.array_records[ARRAYS], settings.private)
        mu = float(config.get(PROXIMAL, 0.0))
        learnt = learn(owner, learner, plan, terms.seed + server_round, towards(came, mu) if mu > 0 else None)
        after = learner.parameters()
    out = record_of({name: came[name] if name in own else after[name] for name in came})
    keep = {name: after[name] for name in sorted(own)}
    said = f"parameters left this device{' (its own head did not)' if own else ''}"
    return learnt_answer(owner, terms, server_round, learnt, out, said, keep)


def evaluate(owner: Owner, settings: DeviceSettings, terms: Terms, message: Message) -> RecordDict:
    """The round's parameters, with this device's own, on the labels that it holds out and on the golden set."""
    plan = plan_of(owner, terms, settings.most_steps)
    with owner.state.base() as learner:
        begin(owner, learner, terms, message.content.array_records[ARRAYS], settings.private)
        return judged_answer(owner, learner, plan.held)
