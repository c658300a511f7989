"""The ClientApp: `fleet.client.app:app`. A mistake is an error reply of one line, and leaves the state as it was."""

import logging
from collections.abc import Callable

import numpy as np
from flwr.app import ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod
from mentee_device import BundleError, LearningError, Owner, RuntimeMissing, SampleError, SettingError, StateError

from fleet.client import averaging, distilling
from fleet.client.device import opened, require_member
from fleet.client.settings import DeviceSettings
from fleet.wire.arrays import record_of
from fleet.wire.errors import FleetError
from fleet.wire.terms import AVERAGE, CONFIG, Terms

MISTAKES = (FleetError, BundleError, LearningError, RuntimeMissing, SampleError, SettingError, StateError, OSError)
REFUSED = 100  # an error code that is none of Flower's own
Work = Callable[[Owner, DeviceSettings, Terms, Message], RecordDict]

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round of learning."""

    def answer(message: Message, context: Context) -> Message:
        return answered(message, context, {AVERAGE: averaging.train}.get(mode_of(message), distilling.train))

    try:
        settings = DeviceSettings.read(context.node_config, context.run_config)
    except FleetError as error:
        return refusal(message, error)
    if settings.dp_epsilon and mode_of(message) != AVERAGE:
        return refusal(
            message, FleetError("this device adds noise to parameters (dp-epsilon), and the round is about logits")
        )
    if settings.dp_epsilon:  # the device's own noise: no server can leave it out
        noise = LocalDpMod(settings.dp_clip, 2 * settings.dp_clip, settings.dp_epsilon, settings.dp_delta)
        return in_float32(noise(message, context, answer))
    return answer(message, context)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """How good the round's mentee is here."""
    return answered(message, context, {AVERAGE: averaging.evaluate}.get(mode_of(message), distilling.evaluate))


@app.query()
def query(message: Message, context: Context) -> Message:
    """Whether this device belongs to the fleet: an empty record, or an error that says why not."""
    return answered(
        message, context, lambda owner, settings, terms, message: RecordDict({"here": MetricRecord({"member": 1})})
    )


def in_float32(reply: Message) -> Message:
    """Flower's noise comes in float64, which is nothing that a mentee has."""
    for name, record in list(reply.content.array_records.items()) if reply.has_content() else ():
        reply.content[name] = record_of({key: one.numpy().astype(np.float32) for key, one in record.items()})
    return reply


def mode_of(message: Message) -> str:
    return str(message.content.config_records.get(CONFIG, ConfigRecord()).get("mode", AVERAGE))


def answered(message: Message, context: Context, work: Work) -> Message:
    """`work`'s content as a reply, once it is known that the round is for this device."""
    try:
        settings = DeviceSettings.read(context.node_config, context.run_config)
        terms = Terms.read(message.content.config_records.get(CONFIG, ConfigRecord()))
        with opened(settings) as owner:
            require_member(owner, settings, terms)
            return Message(work(owner, settings, terms, message), reply_to=message)
    except MISTAKES as error:
        return refusal(message, error)


def refusal(message: Message, error: Exception) -> Message:
    reason = " ".join(str(error).split())[:1000]
    logging.getLogger("flwr").error("this round is refused: %s", reason)
    return Message(Error(REFUSED, reason), reply_to=message)
