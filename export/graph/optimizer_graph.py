"""The optimizer as a graph that every build of ONNX Runtime 1.19.2 runs: clip, decay, one update per group, the schedule.

What the runtime gives: `learning_rate` [1], `step` [1] (1 at the first step) and, of all trainable parameters alike, the
sequences `params`, `gradients`, `first_order_moments`, `second_order_moments`, in an order that is another one in every process
(that of a hash map). AdamWOptimizer, SGDOptimizerV2 and InplaceClipGradNorm write through their inputs. What follows:

* A group is told by rank. Its parameters get leading axes of length 1 until they have RANK + its number of them
  (`mark_groups`), and the graph erases all others from the sequences: SequenceErase shares memory, SequenceAt copies.
* The runtime takes the moments it keeps from the one update node it finds, and refuses a graph with two. All but one are inside
  an If on the node before, which it does not look into, and which puts them in order.
* All of SGD is SGDOptimizerV2, w ← w − r·g: momentum is m ← m − (1 − μ)·m, m ← m − (−1)·g, w ← w − rate·m, and Nesterov's
  w ← w − rate·g and then − rate·μ·m. The runtime keeps a first moment for SGD, whether it is used or not.
* SGD's weight decay is g ← g − (−wd)·w.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export.graph.optimizer_spec import Members, Optimizer, Schedule
from export.graph.versions import IR_VERSION

RANK = 8  # no parameter of a network has as many axes
DOMAIN = "com.microsoft"
OPSET = 17
FACTOR = "schedule_factor"  # the tensor that parity reads
SEQUENCES = ("params", "gradients", "first_order_moments", "second_order_moments")


def optimizer_model(optimizer: Optimizer, groups: Sequence[Members]) -> onnx.ModelProto:
    """`groups` as `assign` gives them; the graph's parameters must have gone through `mark_groups` with the same."""
    return Builder(optimizer, groups).model()


def mark_groups(forward: onnx.ModelProto, optimizer: Optimizer, groups: Sequence[Members]) -> None:
    """Gives, in place, the parameters of `optimizer`'s own groups their group's rank, and their users the shape they had."""
    for number, group in enumerate(groups[: len(optimizer.groups)]):
        for name in group.names:
            (tensor,) = (tensor for tensor in forward.graph.initializer if tensor.name == name)
            shape = list(tensor.dims)
            tensor.dims[:] = [1] * (RANK + number - len(shape)) + shape
            for node in forward.graph.node:
                node.input[:] = [f"{name}.shaped" if given == name else given for given in node.input]
            forward.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{name}.shape"))
            reshape = helper.make_node("Reshape", [name, f"{name}.shape"], [f"{name}.shaped"], f"{name}.reshape")
            forward.graph.node.insert(0, reshape)


class Builder:
    """Nodes and constants in the order in which they are needed; one object makes one model."""

    def __init__(self, optimizer: Optimizer, groups: Sequence[Members]) -> None:
        self.spec, self.groups = optimizer, groups
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NDArray[np.generic]] = {}
        self.sequences = SEQUENCES if optimizer.name == "adamw" else SEQUENCES[:3]

    def model(self) -> onnx.ModelProto:
        if self.spec.clip_norm is not None:
            clip = helper.make_node("InplaceClipGradNorm", ["gradients"], ["clipped"], domain=DOMAIN)
            clip.attribute.append(helper.make_attribute("max_norm", float(self.spec.clip_norm)))
            self.nodes.append(clip)
        fed = self.node("Squeeze", ["learning_rate"], "fed_rate")  # a scalar: SGDOptimizerV2's output is stated as one
        self.node("Mul", [fed, self.number("rate_scale", self.spec.rate_scale)], "base_rate")
        rate = self.scheduled("base_rate")
        updates: list[NodeProto] = []
        for number, (group, given) in enumerate(zip(self.groups, self.members(), strict=True)):
            scaled = self.times(rate, group.factor, f"rate_{number}")
            updates += self.updates(group, given, scaled, number)
        *inside, last = updates
        go = self.node("Greater", ["step", self.constant("zero", np.int64(0))], "always") if inside else ""
        for number, update in enumerate(inside):
            go = self.hidden(update, go, f"done_{number}")
        last.output[:] = ["updated_flag"]
        if inside:
            last.input.append(go)  # which no other update node is: the graph waits for it
        self.nodes.append(last)
        return self.finished()

    def updates(self, group: Members, given: Sequence[str], rate: str, number: int) -> list[NodeProto]:
        """Update nodes of one group, in the order they must run in; `given`: its sequences."""
        params, gradients, *moments = given
        spec = self.spec
        if spec.name == "adamw":
            first, second = spec.betas
            numbers: dict[str, Any] = {"alpha": first, "beta": second, "epsilon": spec.epsilon}
            numbers["weight_decay"] = group.weight_decay
            return [self.adamw(rate, [params, gradients, *moments], adam_mode=0, correct_bias=1, **numbers)]
        nodes = []
        if group.weight_decay:
            nodes.append(descend(self.number(f"minus_decay_{number}", -group.weight_decay), gradients, params))
        if not spec.momentum:
            return [*nodes, descend(rate, params, gradients)]
        (momentum,) = moments
        nodes.append(descend(self.number("forgotten", 1 - spec.momentum), momentum, momentum))
        nodes.append(descend(self.number("minus_one", -1), momentum, gradients))
        if spec.nesterov:
            nodes.append(descend(rate, params, gradients))
            rate = self.times(rate, spec.momentum, f"momentum_rate_{number}")
        return [*nodes, descend(rate, params, momentum)]

    def adamw(self, rate: str, sequences: Sequence[str], **numbers: Any) -> NodeProto:
        return helper.make_node("AdamWOptimizer", [rate, "step", *sequences], ["updated"], domain=DOMAIN, **numbers)

    def hidden(self, update: NodeProto, go: str, done: str) -> str:
        """`update` where the runtime does not look for it; runs after `go` is known, which is true."""
        shape = [1] if update.op_type == "AdamWOptimizer" else []  # that of `step`, that of the rate
        update.output[:] = [f"{done}_then"]
        constant = helper.make_node("Constant", [], [f"{done}_else"])
        constant.attribute.append(
            helper.make_attribute("value", helper.make_tensor("", TensorProto.BOOL, shape, [False]))
        )
        branches = [
            helper.make_graph(
                [node], branch, [], [helper.make_tensor_value_info(node.output[0], TensorProto.BOOL, shape)]
            )
            for branch, node in (("then", update), ("else", constant))
        ]
        self.nodes.append(helper.make_node("If", [go], [done], then_branch=branches[0], else_branch=branches[1]))
        return done

    def members(self) -> list[list[str]]:
        """The sequences of each group, sharing memory with the inputs; those of the last one have no rank of their own."""
        given = [
            "clipped" if name == "gradients" and self.spec.clip_norm is not None else name for name in self.sequences
        ]
        if len(self.groups) == 1:
            return [given]
        total = sum(len(group.names) for group in self.groups)
        ranks = []
        for i in range(total):
            at = self.node("SequenceAt", ["params", self.constant(f"index_{i}", np.int64(i))], f"parameter_{i}")
            ranks.append(self.node("Shape", [self.node("Shape", [at], f"shape_{i}")], f"rank_{i}"))
        every = self.node("Concat", ranks, "ranks", axis=0)
        return [self.sharing(given, every, number, total) for number in range(len(self.groups))]

    def sharing(self, given: Sequence[str], ranks: str, number: int, total: int) -> list[str]:
        if number < len(self.spec.groups):
            mine = self.node(
                "Equal", [ranks, self.constant(f"own_rank_{number}", np.array([RANK + number]))], f"mine_{number}"
            )
        else:
            mine = self.node("Less", [ranks, self.constant("least_rank", np.array([RANK]))], f"mine_{number}")
        others = self.node(
            "Cast", [self.node("Not", [mine], f"not_mine_{number}")], f"other_{number}", to=TensorProto.INT64
        )
        places = self.node("NonZero", [others], f"places_{number}")  # [1, others], ascending
        current = list(given)
        for k in range(total - len(self.groups[number].names)):
            last = self.constant(f"last_{k}", np.array([-1 - k]))  # from the end: an erased one moves those after it
            place = self.node("Gather", [places, last], f"place_{number}_{k}", axis=1)
            place = self.node("Squeeze", [place], f"at_{number}_{k}")
            current = [
                self.node("SequenceErase", [sequence, place], f"{name}_{number}_{k}")
                for name, sequence in zip(self.sequences, current, strict=True)
            ]
        return current

    def scheduled(self, rate: str) -> str:
        factor = self.schedule_factor(self.spec.schedule)
        return rate if factor is None else self.node("Mul", [rate, factor], "scheduled_rate")

    def schedule_factor(self, schedule: Schedule) -> str | None:
        """`Schedule.at(step − 1)`, float32; None where it is 1."""
        if schedule.name == "constant" and not schedule.warm_up:
            return None
        step = self.node("Cast", [self.node("Squeeze", ["step"], "step_scalar")], "step_float", to=TensorProto.FLOAT)
        factors = []
        if schedule.warm_up:
            risen = self.node("Div", [step, self.number("warm_up", schedule.warm_up)], "risen")
            factors.append(self.node("Min", [risen, self.number("one", 1)], "rise"))
        since = self.node("Sub", [step, self.number("first", schedule.warm_up + 1)], "since_warm_up")
        after = self.node("Max", [since, self.number("nothing", 0)], "after_warm_up")
        if schedule.name == "cosine":
            share = self.node("Div", [after, self.number("length", schedule.steps - schedule.warm_up)], "share")
            ended = self.node("Min", [share, self.number("whole", 1)], "t")
            cosine = self.node("Cos", [self.node("Mul", [ended, self.number("pi", np.pi)], "angle")], "cosine")
            half = (1 - schedule.final) / 2
            wave = self.node("Mul", [cosine, self.number("half", half)], "wave")
            factors.append(self.node("Add", [wave, self.number("middle", schedule.final + half)], "fall"))
        if schedule.name == "step":
            ratio = self.node("Div", [after, self.number("every", schedule.every)], "ratio")
            falls = self.node("Floor", [ratio], "falls")
            factors.append(self.node("Pow", [self.number("fall_factor", schedule.factor), falls], "fall"))
        return self.node("Mul", [factors[0], factors[1] if len(factors) > 1 else self.number("plain", 1)], FACTOR)

    def times(self, rate: str, factor: float, name: str) -> str:
        return rate if factor == 1 else self.node("Mul", [rate, self.number(f"{name}_factor", factor)], name)

    def number(self, name: str, value: float) -> str:
        return self.constant(name, np.float32(value))

    def constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def finished(self) -> onnx.ModelProto:
        tensors = [helper.make_tensor_value_info(*port) for port in (("learning_rate", 1, [1]), ("step", 7, [1]))]
        sequences = [helper.make_tensor_sequence_value_info(name, TensorProto.FLOAT, None) for name in self.sequences]
        flag = helper.make_tensor_value_info("updated_flag", TensorProto.BOOL, None)
        initializers = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, "optimizer", [*tensors, *sequences], [flag], initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="mentee-export")


def descend(rate: str, params: str, gradients: str) -> NodeProto:
    """params ← params − rate · gradients"""
    return helper.make_node("SGDOptimizerV2", [rate, params, gradients], ["updated"], domain=DOMAIN)
