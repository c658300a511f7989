"""Weights are found wherever they lie in a file, and never where leaving something out would change the network."""

import argparse
import copy
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mentor.networks import ResidualNet
from mentor.weights.load import load_weights
from mentor_mentee.errors import UserError

State = dict[str, Tensor]


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = ResidualNet(1, 3, (2, 4))
    for name, value in net.named_buffers():
        if "running" in name:
            value.uniform_(0.5, 2)
    return net


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


def holds(net: nn.Module, state: State) -> bool:
    return all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def load(tmp_path: Path, content: Any, at: str | None = None) -> tuple[nn.Module, str]:
    torch.save(content, tmp_path / "w.pt")
    target = network(2)
    return target, load_weights(target, tmp_path / "w.pt", at=at)


def refusal(tmp_path: Path, content: Any, at: str | None = None) -> str:
    """The message, in one line; the network is as it was."""
    torch.save(content, tmp_path / "w.pt")
    target = network(2)
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(UserError) as error:
        load_weights(target, tmp_path / "w.pt", at=at)
    assert holds(target, before)
    assert "\n" not in str(error.value)
    return str(error.value)


PLACES = ["", "model", "net", "model_state_dict", "state_dict", "state_dict_ema", "module", "ema", "a.b.c"]
PREFIXES = ["", "student.", "module.student.", "module.", "_orig_mod.", "model.", "backbone.0.", "x.y.z."]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_state_dict_is_found_at_any_place_under_any_prefix(tmp_path: Path, place: str, prefix: str) -> None:
    original = network(1)
    content: Any = prefixed(original.state_dict(), prefix)
    for name in reversed(place.split(".") if place else []):
        content = {name: content, "epoch": 3}
    if place:
        content["optimizer"] = torch.optim.AdamW(original.parameters()).state_dict()
    target, said = load(tmp_path, content)
    assert holds(target, original.state_dict())
    where = ".".join(part for part in (place, prefix.rstrip(".")) if part)
    assert (f"'{where}' is taken" in said) == bool(where)
    assert "skipped" not in said


def beside(state: State, **more: Tensor) -> State:
    return state | {name.replace("__", "."): value for name, value in more.items()}


def test_what_others_leave_beside_the_weights_is_skipped_and_said(tmp_path: Path) -> None:
    state = network(1).state_dict()
    layers = {name.rpartition(".")[0] for name in state}
    thop = {f"{layer}.total_ops": torch.zeros(1, dtype=torch.float64) for layer in layers} | {
        "total_params": torch.ones(1)
    }
    renamed = {f"{layer}.flops_seen": torch.zeros((), dtype=torch.float64) for layer in layers}
    for content, skipped in (
        (state | thop, "total_ops"),
        (state | renamed, "flops_seen"),
        (beside(state, criterion__weight=torch.zeros(3), criterion__bias=torch.zeros(3)), "criterion.weight"),
        (beside(state, aux1__fc__weight=torch.zeros(3, 3)), "aux1.fc.weight"),
        ({"net": beside(prefixed(state, "student."), teacher__fc__weight=torch.zeros(9))}, "teacher.fc.weight"),
        (AveragedModel(network(1)).state_dict(), "n_averaged"),
    ):
        target, said = load(tmp_path, content)
        assert holds(target, state)
        assert skipped in said
        assert "ResidualNet lacks" in said


def without(state: State, *names: str) -> State:
    return {name: value for name, value in state.items() if not name.endswith(names)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "head.bias"), "missing head.bias; "),
        (lambda s: without(s, "running_mean", "running_var"), "missing stem.1.running_mean and 11 more"),
        (lambda s: beside(s, stem__0__bias=torch.zeros(2)), "unexpected stem.0.bias"),
        (lambda s: beside(s, stages__1__1__conv1__weight=torch.zeros(1)), "unexpected stages.1.1.conv1.weight"),
        (lambda s: beside(s, logit_scale=torch.zeros(())), "unexpected logit_scale"),
        (
            lambda s: s | {"head.weight": torch.zeros(5, 4)},
            "of another shape head.weight (file [5, 4], network [3, 4])",
        ),
        (lambda s: s | {"head.weight": s["head.weight"].char()}, "(file [3, 4], network [3, 4], int8 for float32)"),
        (lambda s: {n.replace("head", "fc"): v for n, v in s.items()}, "(the file has fc.weight)"),
    ],
)
@pytest.mark.parametrize("place", ["", "ema.student"])
def test_a_key_that_matters_is_never_skipped(
    tmp_path: Path, change: Callable[[State], State], message: str, place: str
) -> None:
    changed = change(network(1).state_dict())
    said = refusal(tmp_path, {"ema": prefixed(changed, "student.")} if place else changed)
    assert message in said
    assert "do not fit ResidualNet" in said
    assert "the file holds" in said


def test_of_two_that_fit_the_averaged_one_is_taken_and_any_other_choice_is_asked_for(tmp_path: Path) -> None:
    raw, ema = network(1).state_dict(), network(3).state_dict()
    both = {"state_dict": raw, "state_dict_ema": ema}
    target, said = load(tmp_path, both)
    assert holds(target, ema)
    assert "'state_dict_ema' is taken; 'state_dict' would fit too (mentor.weights_at=state_dict)" in said
    assert holds(load(tmp_path, both, at="state_dict")[0], raw)

    two = prefixed(raw, "student.") | prefixed(ema, "teacher.")
    assert "mentor.weights_at=student or mentor.weights_at=teacher" in refusal(tmp_path, two)
    assert holds(load(tmp_path, two, at="teacher")[0], ema)
    assert "did you mean 'teacher'" in refusal(tmp_path, two, at="teachr")
    inside = raw | {"best": ema}
    assert "mentor.weights_at=. or mentor.weights_at=best" in refusal(tmp_path, inside)
    assert holds(load(tmp_path, inside, at=".")[0], raw)
    assert holds(load(tmp_path, {"last": raw, "best": dict(raw)})[0], raw)  # no choice between equals


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_cast_and_it_is_said(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {
        name: value.to(dtype) if value.is_floating_point() else value for name, value in network(1).state_dict().items()
    }
    target, said = load(tmp_path, state)
    assert all(torch.equal(value, state[name].to(value.dtype)) for name, value in target.state_dict().items())
    assert said.endswith(f"{str(dtype).removeprefix('torch.')} as float32")


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = network(2)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight


def test_a_network_around_the_files_own(tmp_path: Path) -> None:
    state = network(1).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    target = Wrapped()
    load_weights(target, tmp_path / "w.safetensors")
    assert holds(target.net, state)


@pytest.mark.parametrize("names", [True, False], ids=["names kept", "names lost"])
def test_tied_weights_of_which_the_file_has_one(tmp_path: Path, names: bool) -> None:
    original, target = Tied(), Tied()
    if names:
        save_model(original, str(tmp_path / "w.safetensors"))
    else:
        save_file(without(original.state_dict(), "b.weight"), tmp_path / "w.safetensors")
    load_weights(target, tmp_path / "w.safetensors")
    assert holds(target, original.state_dict())
    assert target.a.weight is target.b.weight


def test_modules_and_archives_are_read_without_running_them(tmp_path: Path) -> None:
    original, path = network(1).eval(), tmp_path / "w.pt"
    hyper = argparse.Namespace(lr=0.1, widths=[1, 2])

    def write(how: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, and its files are there
            if how == "scripted":
                torch.jit.script(original).save(path)
            elif how == "traced":
                torch.jit.trace(original, torch.zeros(1, 1, 8, 8)).save(path)
            else:
                content = {"state_dict": prefixed(original.state_dict(), "model."), "hyper_parameters": hyper}
                torch.save({"whole": original, "in a dict": {"model": original, "ema": None}}.get(how, content), path)

    for how in ("whole", "in a dict", "scripted", "traced", "lightning"):
        write(how)
        target = network(2)
        load_weights(target, path)
        assert holds(target, original.state_dict()), how
        whole = path.read_bytes()
        for cut in (len(whole) // 3, len(whole) - 9):
            path.write_bytes(whole[:cut])
            with pytest.raises(UserError, match="not a readable state dict"):
                load_weights(network(2), path)


class Payload:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def test_code_beside_the_weights_does_not_run(tmp_path: Path) -> None:
    state = network(1).state_dict()
    payload = Payload(tmp_path / "ran")
    content = {"state_dict": state, "config": payload, "more": [argparse.Namespace(a=payload)]}
    target, _ = load(tmp_path, content)
    assert holds(target, state)
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "w.pt", weights_only=False)  # so the payload was a live one
    assert (tmp_path / "ran").exists()


def test_a_file_without_weights_names_what_it_holds(tmp_path: Path) -> None:
    optimizer = torch.optim.AdamW(network(1).parameters()).state_dict()
    assert "hold a dict of state, param_groups, not a state dict" in refusal(tmp_path, optimizer)
    other = {"model": nn.Linear(3, 2).state_dict()}
    assert "the file holds model (2 tensors: weight [2, 3], bias [2])" in refusal(tmp_path, other)


def test_an_altered_pickle_of_a_module_is_refused_or_read_and_neither_hangs_nor_fills_the_memory(
    tmp_path: Path,
) -> None:
    path, chance, target = tmp_path / "w.pt", random.Random(1), network(2)
    torch.save({"model": network(1)}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = (name for name in records if name.endswith("/data.pkl"))
    refused = []
    for _ in range(300):
        altered = bytearray(records[pickled])
        for _ in range(chance.randint(1, 4)):
            altered[chance.randrange(len(altered))] = chance.randrange(256)
        with zipfile.ZipFile(path, "w") as archive:  # its checksums are those of what was altered
            for name, content in records.items():
                archive.writestr(name, bytes(altered) if name == pickled else content)
        try:
            load_weights(target, path)
        except UserError as error:
            refused.append(str(error))
    assert len(refused) > 200
    assert not any("\n" in line for line in refused)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda value: value * float("nan"), "values that are not finite in float32"),
        (lambda value: value.double() * 0 + 1e300, "values that are not finite in float32"),
        (lambda value: value.to_sparse(), "is sparse; expected plain numbers"),
        (lambda value: torch.empty(value.shape, device="meta"), "is without values"),
    ],
    ids=["nan", "beyond float32", "sparse", "meta"],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor")  # torch's, while it reads one
def test_tensors_that_are_no_weights_are_refused_by_name(
    tmp_path: Path, made: Callable[[Tensor], Tensor], said: str
) -> None:
    state = network(1).state_dict()
    name = next(name for name, value in state.items() if value.dim() == 4)
    told = refusal(tmp_path, {"model": state | {name: made(state[name])}})
    assert f"{name} " in told
    assert said in told


def test_a_place_with_a_broken_line_in_its_name_is_named_in_one_line(tmp_path: Path) -> None:
    assert r"mentor.weights_at='one\ntwo'" in refusal(
        tmp_path, {"one\ntwo": network(1).state_dict(), "three": network(3).state_dict()}
    )


WRAPS: dict[str, tuple[str, Callable[[nn.Module], Any]]] = {
    "compiled": ("_orig_mod", torch.compile),
    "parallel": ("module", nn.DataParallel),
    "both": ("_orig_mod", lambda module: torch.compile(nn.DataParallel(module))),
}


@pytest.mark.parametrize("how", WRAPS)
@pytest.mark.parametrize("layers", [("stages",), ("head",), ("stem", "stages", "head"), ("stages.0.0.conv1",)], ids=str)
@pytest.mark.parametrize("prefix", ["", "module.", "model.student."])
def test_a_wrapper_around_an_inner_module_is_taken_off_and_said(
    tmp_path: Path, how: str, layers: tuple[str, ...], prefix: str
) -> None:
    original, wrapped = network(1), network(1)
    word, wrap = WRAPS[how]
    for layer in layers:
        wrapped.set_submodule(layer, wrap(wrapped.get_submodule(layer)))
    content = prefixed(wrapped.state_dict(), prefix)
    assert any(f".{word}." in name for name in content)
    target, said = load(tmp_path, content)
    assert holds(target, original.state_dict())
    assert f"'{word}'" in said
    assert "inside its names is taken off" in said
    assert "skipped" not in said


def test_a_network_whose_own_module_has_such_a_name_keeps_it(tmp_path: Path) -> None:
    class Mine(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.body = nn.ModuleDict({"module": network(seed)})

    original, target = Mine(1), Mine(2)
    torch.save(original.state_dict(), tmp_path / "w.pt")
    assert load_weights(target, tmp_path / "w.pt") == ""
    assert holds(target, original.state_dict())


def test_names_that_would_become_one_stay_two(tmp_path: Path) -> None:
    state = network(1).state_dict()
    more = {name.replace("stages.", "stages.module."): value + 1 for name, value in state.items() if "stages." in name}
    torch.save(state | more, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"unexpected stages\.module\."):
        load_weights(network(2), tmp_path / "w.pt")
