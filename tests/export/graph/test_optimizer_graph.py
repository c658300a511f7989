"""The optimizer model in ONNX Runtime's own trainer against torch.optim, on a small hand-made graph: no export, no mentee."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.graph.artifacts import silenced, write_artifacts
from export.graph.optimizer_spec import RUNTIME_RATE, Group, Optimizer, Schedule, assign, check_optimizer
from mentor_mentee.errors import UserError

SHAPES = {
    **{f"layers.{i}.weight": (2, 3) for i in range(4)},
    **{f"layers.{i}.bias": (3,) for i in range(4)},
    "head.weight": (2, 3),  # of the same shape as the layers': only its name tells it from them
}
STEPS = 6


def forward() -> tuple[onnx.ModelProto, dict[str, NDArray[np.float32]]]:
    """loss = x · Σ_p mean(sin p)"""
    random = np.random.default_rng(0)
    values = {name: random.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    nodes, total = [], "start"
    for i, name in enumerate(values):
        nodes += [helper.make_node("Sin", [name], [f"sine{i}"], name=f"sin{i}")]
        nodes += [helper.make_node("ReduceMean", [f"sine{i}"], [f"mean{i}"], name=f"reduce{i}", keepdims=0)]
        nodes += [helper.make_node("Add", [total, f"mean{i}"], [f"sum{i}"], name=f"add{i}")]
        total = f"sum{i}"
    nodes.append(helper.make_node("Mul", [total, "x"], ["loss"], name="scale"))
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "loss")]
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    constants.append(numpy_helper.from_array(np.zeros(1, np.float32), "start"))
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), values


def in_torch(values: dict[str, NDArray[np.float32]]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in values.items()}


def torch_run(
    parameters: dict[str, torch.Tensor],
    make: Callable[[dict[str, torch.Tensor]], torch.optim.Optimizer],
    clip: float | None = None,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
) -> dict[str, NDArray[np.float64]]:
    optimizer = make(parameters)
    scheduler = schedule(optimizer) if schedule is not None else None
    for k in range(STEPS):
        optimizer.zero_grad()
        loss = torch.stack([torch.sin(p).mean() for p in parameters.values()]).sum() * (1 + k)
        loss.backward()  # type: ignore[no-untyped-call]
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(list(parameters.values()), clip)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return {name: parameter.detach().numpy() for name, parameter in parameters.items()}


def runtime_run(model: onnx.ModelProto, optimizer: Optimizer, folder: Path) -> dict[str, NDArray[np.float32]]:
    from onnxruntime.training import api

    write_artifacts(model, list(SHAPES), optimizer, folder)
    with silenced():
        state = api.CheckpointState.load_checkpoint(str(folder / "checkpoint"))
        module = api.Module(str(folder / "training_model.onnx"), state, str(folder / "eval_model.onnx"))
        stepper = api.Optimizer(str(folder / "optimizer_model.onnx"), module)
    assert stepper.get_learning_rate() == np.float32(RUNTIME_RATE)  # nothing sets one: the web build cannot
    module.train()
    for k in range(STEPS):
        module(np.array([1 + k], np.float32))
        stepper.step()
        module.lazy_reset_grad()
    return {name: np.array(state.parameters[name].data).reshape(SHAPES[name]) for name in SHAPES}


def every(parameters: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    return list(parameters.values())


def grouped(parameters: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
    """GROUPS, written out: biases do not decay at a tenth of the rate, the head learns three times as fast."""
    biases = [value for name, value in parameters.items() if "bias" in name]
    rest = [value for name, value in parameters.items() if "bias" not in name and "head" not in name]
    return [
        {"params": biases, "lr": 0.005, "weight_decay": 0.0},
        {"params": [parameters["head.weight"]], "lr": 0.15, "weight_decay": 0.3},
        {"params": rest, "lr": 0.05, "weight_decay": 0.1},
    ]


GROUPS = [Group("*.bias", 0.1, 0.0), Group("head.*", 3.0, 0.3)]
SGD = torch.optim.SGD
CASES: dict[str, tuple[Optimizer, Callable[[dict[str, torch.Tensor]], torch.optim.Optimizer]]] = {
    "adamw": (
        Optimizer(learning_rate=0.05, betas=[0.8, 0.95], epsilon=1e-6, weight_decay=0.25),
        lambda p: torch.optim.AdamW(every(p), lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.25),
    ),
    "adamw in groups": (
        Optimizer(learning_rate=0.05, weight_decay=0.1, groups=GROUPS),
        lambda p: torch.optim.AdamW(grouped(p)),
    ),
    "sgd": (Optimizer("sgd", 0.05, weight_decay=0.0), lambda p: SGD(every(p), lr=0.05)),
    "sgd, decay": (Optimizer("sgd", 0.05, weight_decay=0.2), lambda p: SGD(every(p), lr=0.05, weight_decay=0.2)),
    "momentum": (
        Optimizer("sgd", 0.05, weight_decay=0.2, momentum=0.8),
        lambda p: SGD(every(p), lr=0.05, weight_decay=0.2, momentum=0.8),
    ),
    "nesterov in groups": (
        Optimizer("sgd", 0.05, weight_decay=0.1, momentum=0.9, nesterov=True, groups=GROUPS),
        lambda p: SGD(grouped(p), momentum=0.9, nesterov=True),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("clip", [None, 0.4])
def test_six_steps_equal_torchs(case: str, clip: float | None, tmp_path: Path) -> None:
    model, values = forward()
    optimizer, make = CASES[case]
    optimizer = Optimizer(**{**vars(optimizer), "clip_norm": clip})
    expected = torch_run(in_torch(values), make, clip)
    seen = runtime_run(model, optimizer, tmp_path)
    for name, value in expected.items():
        np.testing.assert_allclose(seen[name], value, rtol=0, atol=3e-6, err_msg=name)
        assert np.abs(value - values[name]).max() > 1e-3


SCHEDULES: dict[str, tuple[Schedule, Callable[[torch.optim.Optimizer], Any]]] = {
    "warm-up": (
        Schedule(warm_up=4),
        lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=0.25, total_iters=3),
    ),
    "cosine": (
        Schedule("cosine", steps=5, final=0.1),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=5, eta_min=0.005),
    ),
    "step": (
        Schedule("step", every=2, factor=0.3),
        lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=2, gamma=0.3),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_torchs_and_runs_in_the_graph(name: str, tmp_path: Path) -> None:
    schedule, torchs = SCHEDULES[name]
    model, values = forward()
    optimizer = Optimizer("sgd", 0.05, weight_decay=0.0, schedule=schedule)
    expected = torch_run(in_torch(values), lambda p: SGD(every(p), lr=0.05), schedule=torchs)
    seen = runtime_run(model, optimizer, tmp_path)
    constant = torch_run(in_torch(values), lambda p: SGD(every(p), lr=0.05))
    for key, value in expected.items():
        np.testing.assert_allclose(seen[key], value, rtol=0, atol=1e-6)
        assert np.abs(value - constant[key]).max() > 1e-3


def test_warm_up_comes_before_the_other_schedules_and_the_end_stays() -> None:
    cosine = Schedule("cosine", warm_up=2, steps=6, final=0.2)
    assert [cosine.at(k) for k in (0, 1, 2, 4, 6, 99)] == pytest.approx([0.5, 1, 1, 0.6, 0.2, 0.2])
    step = Schedule("step", warm_up=2, every=3, factor=0.5)
    assert [step.at(k) for k in (0, 1, 2, 4, 5, 8)] == [0.5, 1, 1, 1, 0.5, 0.25]


def test_the_first_group_that_matches_takes_a_parameter() -> None:
    optimizer = Optimizer(weight_decay=0.1, groups=[Group("head.*", 2.0), Group("*.bias", 1.0, 0.0)])
    first, second, rest = assign(optimizer, ["body.weight", "body.bias", "head.weight", "head.bias"])
    assert (first.names, first.factor, first.weight_decay) == (("head.weight", "head.bias"), 2.0, 0.1)
    assert (second.names, second.factor, second.weight_decay) == (("body.bias",), 1.0, 0.0)
    assert (rest.names, rest.factor, rest.weight_decay) == (("body.weight",), 1.0, 0.1)
    with pytest.raises(UserError, match=r"match='\*\.gamma' gets no trainable parameter"):
        assign(Optimizer(groups=[Group("*.gamma")]), ["body.weight"])


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (Optimizer("adam"), r"optimizer.name=adam; did you mean 'adamw'\?; expected one of adamw, sgd"),
        (Optimizer("sgd", momentum=1.0), r"optimizer.momentum=1.0; expected from 0 to below 1"),
        (Optimizer(momentum=0.9), "are SGD's"),
        (Optimizer("sgd", nesterov=True), "needs a momentum"),
        (Optimizer(clip_norm=0.0), "optimizer.clip_norm=0.0; expected above 0"),
        (Optimizer(accumulate=0), "optimizer.accumulate=0; expected 1 or more"),
        (Optimizer(betas=[0.9]), "optimizer.betas="),
        (Optimizer(epsilon=0.0), "optimizer.epsilon="),
        (Optimizer(learning_rate=float("nan")), "optimizer.learning_rate=nan"),
        (Optimizer(groups=[Group("*", 0.0)]), r"optimizer.groups\[0\].learning_rate=0.0"),
        (Optimizer(groups=[Group("*", 1.0, -1.0)]), r"optimizer.groups\[0\].weight_decay=-1.0"),
        (Optimizer(schedule=Schedule("cosin")), "did you mean 'cosine'"),
        (Optimizer(schedule=Schedule("cosine", warm_up=5, steps=5)), "more than the 5 of warm_up"),
        (Optimizer(schedule=Schedule("step")), r"schedule.every=0; expected 1 or more"),
        (Optimizer(schedule=Schedule(warm_up=-1)), r"schedule.warm_up=-1"),
    ],
)
def test_what_cannot_be_meant_is_refused(optimizer: Optimizer, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_optimizer(optimizer)
