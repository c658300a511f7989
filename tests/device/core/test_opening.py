"""The first opening of a bundle: what is not what was measured is refused, in a process that may die for it."""

import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from mentee_device import Bundle, BundleError, Learner, Owner
from mentee_device.core import child, opening
from mentee_device.core.opening import require_accuracy
from onnx import helper, numpy_helper
from safetensors.numpy import load_file, save_file

from tests.device.program import ENVIRONMENT, command
from tests.device.sealing import edit_manifest, sums_only
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def nothing_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MENTEE_DEVICE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(opening, "_tried", set())
    monkeypatch.setattr(child, "can_fork", lambda: True)  # this process's threads wait for nothing
    return tmp_path / "cache"


def refused(folder: Path, match: str) -> None:
    sums_only(folder)
    with Bundle.open(folder) as bundle, pytest.raises(BundleError, match=match) as error:
        Learner(bundle)
    assert "\n" not in str(error.value)


def change(folder: Path, pack: str, **values: Callable[[np.ndarray], np.ndarray]) -> None:
    path = folder / f"{pack}.safetensors"
    tensors = load_file(path)
    save_file({name: values.get(name, np.asarray)(value).copy() for name, value in tensors.items()}, path)


def test_a_bundle_is_tried_once(bundle: Bundle, nothing_tried: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Learner(bundle)
    (note,) = nothing_tried.iterdir()
    assert note.name.startswith(bundle.manifest.id)

    def never(*given: object) -> None:
        raise AssertionError("tried again")

    monkeypatch.setattr(opening, "attempt", never)
    Learner(bundle)
    monkeypatch.setattr(opening, "_tried", set())  # as in another process
    Learner(bundle)


def test_where_no_note_can_be_written_it_is_tried_in_each_process(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MENTEE_DEVICE_CACHE", str(tmp_path / "file"))
    Learner(bundle)
    assert {one for one, _ in opening._tried} == {bundle.manifest.id}


def test_a_cache_that_may_not_be_looked_into_is_none(
    bundle: Bundle, nothing_tried: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the home of another user is, or a name that is too long: pathlib raises there."""
    monkeypatch.setenv("MENTEE_DEVICE_CACHE", "x" * 5000)
    Learner(bundle)
    assert {one for one, _ in opening._tried} == {bundle.manifest.id}


@pytest.mark.parametrize("closed", ["<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_program_without_standard_streams(bundle_folder: Path, tmp_path: Path, closed: str) -> None:
    """As a daemon's: pipes and files get their numbers."""
    words = shlex.join(command("info", "--bundle", bundle_folder, "--state", tmp_path / "me"))
    with Owner(Bundle.open(bundle_folder), tmp_path / "me"):
        pass
    environment = {**ENVIRONMENT, "MENTEE_DEVICE_CACHE": str(tmp_path / "other")}
    done = subprocess.run(f"{words} {closed}", shell=True, env=environment, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [*(tmp_path / "other").iterdir()]


def test_a_new_interpreter_says_the_same(bundle: Bundle, altered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "can_fork", lambda: False)
    Learner(bundle)
    change(altered, "golden", labels=lambda labels: labels[::-1])
    refused(altered, "right on .* of the golden set here")


def test_without_a_process_of_its_own_the_figures_are_compared_all_the_same(
    altered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "can_fork", lambda: False)
    monkeypatch.setattr(child, "can_spawn", lambda: False)
    change(altered, "golden", labels=lambda labels: labels[::-1])
    refused(altered, "right on .* of the golden set here")


def test_a_supervision_pack_without_samples_is_refused_where_the_manifest_counts_some(altered: Path) -> None:
    """Replay and mentor would be gone without a word."""
    path = altered / "supervision.safetensors"
    save_file({name: value[:0] for name, value in load_file(path).items()}, path)
    refused(altered, "the supervision pack has 0 samples, manifest.json says")


@pytest.mark.parametrize(
    ("pack", "name", "said"),
    [
        ("golden", "labels", "right on"),
        ("supervision", "mentor_logits", "kl of the replay samples"),
        ("supervision", "mentor_early", "rmse_early of the replay samples"),
        ("supervision", "input", "of the replay samples"),
        ("supervision", "labels", "of the replay samples"),
    ],
)
def test_packs_that_are_mixed_up_are_refused(altered: Path, pack: str, name: str, said: str) -> None:
    classes = name == "mentor_logits"  # of this untrained mentor its rows are nearly alike
    change(
        altered, pack, **{name: lambda value: np.roll(value, 5 if classes else len(value) // 2 + 1, axis=int(classes))}
    )
    refused(altered, said)


def test_a_pack_cut_short_is_refused(altered: Path) -> None:
    names = ("input", "labels")
    change(altered, "golden", **dict.fromkeys(names, lambda value: value[:20]))
    refused(altered, "golden pack has 20 samples, manifest.json says 80")


def test_classes_in_another_order_are_refused(altered: Path) -> None:
    edit_manifest(altered, lambda content: content["classes"].reverse())
    refused(altered, "labels of other classes than manifest.json, or in another order")


def test_another_inference_graph_is_refused(altered: Path) -> None:
    path = altered / "inference.onnx"
    given = onnx.load(path, load_external_data=False)
    for node in given.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Abs"
    path.write_bytes(given.SerializeToString())
    refused(altered, r"'inference\.onnx' answers other than the graph that is trained")


def test_a_training_graph_of_another_network_is_refused(altered: Path) -> None:
    path = altered / "ort-training" / "training_model.onnx"
    given = onnx.load(path, load_external_data=False)
    for node in given.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Abs"
    path.write_bytes(given.SerializeToString())
    refused(altered, "of the training graph is other than the eval graph's")


def before_everything(folder: Path, *nodes: onnx.NodeProto) -> None:
    """Adds what the last of `nodes` puts out, "one", to the eval graph's input."""
    path = folder / "ort-training" / "eval_model.onnx"
    given = onnx.load(path, load_external_data=False)
    for node in given.graph.node:
        for place, name in enumerate(node.input):
            if name == "input":
                node.input[place] = "shifted"
    for place, node in enumerate([*nodes, helper.make_node("Add", ["input", "one"], ["shifted"])]):
        given.graph.node.insert(place, node)
    path.write_bytes(given.SerializeToString())


def constant(name: str, value: object, dtype: type) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value, dtype)))


def test_a_graph_that_asks_for_more_memory_than_a_phone_has_is_refused(
    altered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "MEMORY", 1 << 28)
    size = constant("size", [2**29], np.int64)
    large = helper.make_node("ConstantOfShape", ["size"], ["large"])
    before_everything(altered, size, large, helper.make_node("ReduceMax", ["large"], ["one"], keepdims=0))
    refused(altered, "alloc|memory|ONNX Runtime")


def test_a_graph_that_takes_minutes_is_refused(altered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "CPU_SECONDS", 1)
    zero, size = constant("zero", [0], np.float32), constant("size", [3000, 3000], np.int64)
    wide = helper.make_node("Expand", ["zero", "size"], ["m0"])
    products = [helper.make_node("MatMul", [f"m{at}", "m0"], [f"m{at + 1}"]) for at in range(40)]
    before_everything(altered, zero, size, wide, *products, helper.make_node("ReduceMax", ["m40"], ["one"], keepdims=0))
    started = time.monotonic()
    refused(altered, "did not predict and learn one step in 1 s|alloc")
    assert time.monotonic() - started < 20


def test_a_child_that_crashes_is_one_line_here() -> None:
    with pytest.raises(BundleError, match=r"died of SIGSEGV: refused"):
        child.forked(lambda: f"{os.kill(os.getpid(), signal.SIGSEGV)}")
    with pytest.raises(BundleError, match=r"ended with 1: refused"):
        child.forked(lambda: str(1 / 0))


def children() -> set[str]:
    """Process numbers; a test that ran before in this process may have some."""
    return {number for task in Path("/proc/self/task").iterdir() for number in (task / "children").read_text().split()}


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="Linux lists them")
def test_a_child_that_waits_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "WALL_SECONDS", 0.2)
    before = children()
    with pytest.raises(BundleError, match=r"in 0\.2 s: refused"):
        child.forked(lambda: f"{time.sleep(60)}")
    assert children() == before  # none is left


def test_accuracy_must_be_what_was_measured_but_for_ties() -> None:
    sure = np.array([[2.0, 0], [2, 0], [0, 2], [2, 0]])
    labels = np.array([0, 0, 1, 1])  # right on three
    require_accuracy(sure, labels, 0.75, 4)
    for stated in (0.5, 1.0):
        with pytest.raises(BundleError, match=r"right on 75\.0% of the golden set here, manifest\.json says"):
            require_accuracy(sure, labels, stated, 4)
    tied = np.array([[2.0, 0], [2, 0], [0, 2], [2.0000001, 2]])
    require_accuracy(tied, labels, 1.0, 4)  # the last may fall either way
    with pytest.raises(BundleError, match="right on"):
        require_accuracy(tied * np.nan, labels, 0.25, 4)


def test_of_a_large_golden_set_a_part_is_asked_and_chance_allowed_for() -> None:
    random = np.random.default_rng(0)
    labels = np.zeros(500, np.int64)
    right = random.random(500) < 0.9
    logits = np.where(right[:, None], [5.0, 0.0], [0.0, 5.0])
    require_accuracy(logits, labels, 0.9, 10_000)
    with pytest.raises(BundleError, match="right on"):
        require_accuracy(logits, labels, 0.75, 10_000)


@pytest.mark.skipif(sys.platform != "linux", reason="no fork elsewhere")
def test_a_fork_of_a_killed_program_does_not_hold_its_state(bundle: Bundle, tmp_path: Path) -> None:
    """It has the lock of the program that it is a fork of."""
    program = textwrap.dedent("""
        import os, sys, time
        from mentee_device import Bundle, Owner
        from mentee_device.core import child

        def work():
            print(os.getpid(), flush=True)
            time.sleep(3600)

        child.os.dup2 = lambda *_: None  # so that the fork can be heard
        with Owner(Bundle.open(sys.argv[1]), sys.argv[2]):
            child.forked(work)
    """)
    command = [sys.executable, "-c", program, str(bundle.folder), str(tmp_path / "me")]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        fork = int(process.stdout.readline())
        process.kill()

    def gone() -> bool:
        try:  # a zombie holds nothing, where nobody buries it
            return Path(f"/proc/{fork}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_until(gone)
    with Owner(bundle, tmp_path / "me"):
        pass
