"""A Grid of devices in this process: Flower's messages, as bytes, without a SuperLink. For tests and experiments."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fleet.wire.errors import FleetError

Tamper = Callable[[int, Message], Message | None]  # a device's reply on its way: another one, or None where it is lost


class LocalGrid(Grid):
    """`nodes`: node config by number. Each message goes through Flower's own bytes both ways. `tamper` stands for devices that
    fail or lie; `counted` has the bytes of train messages to and from devices."""

    def __init__(
        self,
        app: ClientApp,
        nodes: Mapping[int, Mapping[str, Any]],
        run_config: Mapping[str, Any] | None = None,
        tamper: Tamper | None = None,
    ) -> None:
        self._app, self.nodes, self._run_config = app, dict(nodes), dict(run_config or {})
        self._tamper = tamper
        self.counted = {"to": 0, "from": 0}
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = (
            1,
            1,
            1,
        )  # messages are made in the name of a task

    def set_run(self, run: Run) -> None:
        """There is none."""

    @property
    def run(self) -> Run:
        raise FleetError("a local grid has no run of a SuperLink")

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise FleetError("a local grid answers at once: use send_and_receive")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise FleetError("a local grid answers at once: use send_and_receive")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        replies = []
        for message in messages:
            reply = self._answer(message)
            if reply is not None:
                replies.append(reply)
        return replies

    def _answer(self, message: Message) -> Message | None:
        node = message.metadata.dst_node_id
        sent = message_to_proto(message)
        context = Context(0, node, dict(self.nodes[node]), RecordDict(), self._run_config)
        given = message_from_proto(sent)
        try:
            reply: Message | None = self._app(given, context)
        except Exception as error:  # as a SuperNode does with whatever an app raises
            reply = Message(Error(2, f"{type(error).__name__}: {error}"), reply_to=given)
        assert reply is not None
        if self._tamper is not None:
            reply = self._tamper(node, reply)
        if reply is None:
            return None
        came = message_to_proto(reply)
        if message.metadata.message_type == "train":
            self.counted["to"] += sent.ByteSize()
            self.counted["from"] += came.ByteSize()
        return message_from_proto(came)
