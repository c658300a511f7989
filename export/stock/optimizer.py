"""The optimizer's step on flat vectors, in ordinary operators: clip, one update per group, the schedule.

AdamW (arXiv 1711.05101) and SGD as torch.optim has them. With m and v the moments, k = `step`:

    m ← β₁·m + (1 − β₁)·g    v ← β₂·v + (1 − β₂)·g²
    w ← (1 − rate·wd) · w − s · m / (√v + ε·√(1 − β₂ᵏ)), s = rate·√(1 − β₂ᵏ)/(1 − β₁ᵏ)
"""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import onnx
from onnx import helper

from export.graph.flat import Layout
from export.graph.optimizer_spec import Members, Optimizer, Schedule
from export.graph.versions import IR_VERSION, OPSET
from export.stock.simplify import simplify
from export.stock.tape import Tape
from export.stock.values import Values

FACTOR = "schedule_factor"  # the tensor that parity reads
ORDERS = 8  # of a series; the ninth, of ½, is below float32's rounding


def moments_of(optimizer: Optimizer) -> int:
    """How many vectors of moments a step keeps."""
    return 2 if optimizer.name == "adamw" else int(bool(optimizer.momentum))


def optimizer_graph(optimizer: Optimizer, groups: Sequence[Members], layout: Layout) -> onnx.ModelProto:
    """parameters, moments, gradient [P] each, learning_rate and step [1] -> new_parameters and new moments.

    The parts of `layout` must lie in the order of `groups`.
    """
    return Step(optimizer, groups, layout).model()


class Step:
    def __init__(self, optimizer: Optimizer, groups: Sequence[Members], layout: Layout) -> None:
        self.spec = optimizer
        sizes = {part.name: part.size for part in layout.parts}
        self.groups = [(group, sum(sizes[name] for name in group.names)) for group in groups if group.names]
        self.size = layout.size
        self.t = Tape(Values({}, {}, {}, {}), "optimizer")
        self.moments = [f"moment{number + 1}" for number in range(moments_of(optimizer))]

    def model(self) -> onnx.ModelProto:
        t, spec = self.t, self.spec
        rate = "learning_rate"
        if (factor := self.schedule_factor(spec.schedule)) is not None:
            rate = t("Mul", rate, factor)
        names = ["parameters", *self.moments, "gradient"]
        gradient = self.clipped("gradient")
        made: list[list[str]] = []
        whole = ["parameters", *self.moments, gradient]
        parts = [self.split(name) for name in whole]
        for (group, _), values in zip(self.groups, zip(*parts, strict=True), strict=True):
            own = rate if group.factor == 1 else t("Mul", rate, float(group.factor))
            parameters, *moments, g = values
            made.append(
                self.adamw(parameters, moments, g, own, group)
                if spec.name == "adamw"
                else self.sgd(parameters, moments, g, own, group)
            )
        outputs = [f"new_{name}" for name in names[:-1]]
        for name, pieces in zip(outputs, zip(*made, strict=True), strict=True):
            joined = pieces[0] if len(pieces) == 1 else t("Concat", *pieces, axis=0)
            t.nodes.append(helper.make_node("Identity", [joined], [name], name=name))
        vector = [self.size]
        ports = [*((name, vector) for name in names), ("learning_rate", [1]), ("step", [1])]
        graph = helper.make_graph(
            t.nodes,
            "optimizer",
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in ports],
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, vector) for name in outputs],
            t.tensors(),
        )
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="mentee-export"
        )
        simplify(made)
        return made

    def split(self, name: str) -> list[str]:
        return self.t.apart(name, [size for _, size in self.groups])

    def clipped(self, gradient: str) -> str:
        """Times min(1, max / (norm + 1e-6)), as torch's clip_grad_norm_."""
        if self.spec.clip_norm is None:
            return gradient
        t = self.t
        norm = t("ReduceL2", gradient, [0], keepdims=1)
        factor = t("Min", t("Div", float(self.spec.clip_norm), t("Add", norm, 1e-6)), 1.0)
        return t("Mul", gradient, factor)

    def adamw(self, w: str, moments: Sequence[str], g: str, rate: str, group: Members) -> list[str]:
        t, (first, second) = self.t, self.spec.betas
        m = self.mixed(moments[0], g, first)
        v = self.mixed(moments[1], t("Mul", g, g), second)
        of_first, root = self.corrections
        below = t("Add", t("Sqrt", v), t("Mul", root, float(self.spec.epsilon)))
        change = t("Mul", t("Div", m, below), t("Div", t("Mul", rate, root), of_first))
        if group.weight_decay:
            w = t("Mul", w, t("Sub", 1.0, t("Mul", rate, float(group.weight_decay))))
        return [t("Sub", w, change), m, v]

    def mixed(self, moment: str, g: str, share: float) -> str:
        """share · moment + (1 − share) · g"""
        return self.t("Add", self.t("Mul", moment, float(share)), self.t("Mul", g, float(1 - share)))

    @cached_property
    def corrections(self) -> tuple[str, str]:
        """1 − β₁ᵏ and √(1 − β₂ᵏ), [1] each. With x = −k·ln β: near 0, where 1 − exp(−x) loses half of float32's digits, by its
        series x − x²/2! + …"""
        t = self.t
        slopes = -np.log(np.maximum(np.array(self.spec.betas), np.exp(-90))).reshape(2, 1)  # β of 0: 1 − exp(−90)
        orders = np.arange(1, ORDERS + 1)
        series = np.array([-((-1.0) ** n) / math.factorial(n) for n in orders]).reshape(-1, 1)
        x = t("Mul", "step", t.constant(slopes.astype(np.float32)))
        # both sides of one shape: WebGPU's Pow of ONNX Runtime 1.30 does not compile where it repeats one
        again = t("Mul", "step", t.constant(np.repeat(slopes, ORDERS, 1).astype(np.float32)))
        powers = t("Pow", again, t.constant(np.repeat(orders.reshape(1, -1), 2, 0).astype(np.float32)))
        near = t("MatMul", powers, t.constant(series.astype(np.float32)))
        far = t("Sub", 1.0, t("Exp", t("Neg", x)))
        both = t("Reshape", t("Where", t("Less", x, 0.5), near, far), [2])
        of_first, of_second = t.several("Split", [both, [1, 1]], 2, axis=0)
        return of_first, t("Sqrt", of_second)

    def sgd(self, w: str, moments: Sequence[str], g: str, rate: str, group: Members) -> list[str]:
        t, spec = self.t, self.spec
        if group.weight_decay:
            g = t("Add", g, t("Mul", w, float(group.weight_decay)))
        if not spec.momentum:
            return [t("Sub", w, t("Mul", g, rate))]
        m = t("Add", t("Mul", moments[0], float(spec.momentum)), g)
        step = t("Add", g, t("Mul", m, float(spec.momentum))) if spec.nesterov else m
        return [t("Sub", w, t("Mul", step, rate)), m]

    def schedule_factor(self, schedule: Schedule) -> str | None:
        """`Schedule.at(step − 1)`, [1]; None where it is 1."""
        t = self.t
        if schedule.name == "constant" and not schedule.warm_up:
            return None
        factors = []
        if schedule.warm_up:
            factors.append(t("Min", t("Div", "step", float(schedule.warm_up)), 1.0))
        after = t("Max", t("Sub", "step", float(schedule.warm_up + 1)), 0.0)
        if schedule.name == "cosine":
            share = t("Min", t("Div", after, float(schedule.steps - schedule.warm_up)), 1.0)
            half = (1 - schedule.final) / 2
            wave = t("Mul", t("Cos", t("Mul", share, float(np.pi))), float(half))
            factors.append(t("Add", wave, float(schedule.final + half)))
        if schedule.name == "step":
            falls = t("Floor", t("Div", after, float(schedule.every)))
            factors.append(t("Pow", float(schedule.factor), falls))
        whole = factors[0] if len(factors) == 1 else t("Mul", *factors)
        t.nodes.append(helper.make_node("Identity", [whole], [FACTOR], name=FACTOR))
        return FACTOR
