"""Other classes: kept rows, fresh rows, mapped labels and answers, checked by hand and by brute force."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from export.bundle.knobs import device_knobs
from export.bundle.packs import SupervisionPack
from export.bundle.prepare import prepare
from export.network.classes import ClassPlan
from export.schema import ExportSettings, check_export
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.data.load import load_data
from mentor_mentee.data.splits import Split
from mentor_mentee.errors import UserError

PLAN = ClassPlan.between(("a", "b", "c", "d"), ["d", "new", "a", "b"])  # c is dropped


def test_the_plan_says_what_becomes_of_each_class() -> None:
    assert (PLAN.kept, PLAN.new, PLAN.dropped) == (["d", "a", "b"], ["new"], ["c"])
    assert PLAN.rows == (3, None, 0, 1)
    assert PLAN.untaught == [1]
    assert PLAN.labels(torch.tensor([0, 1, 3, -1, 0])).tolist() == [2, 3, 0, -1, 2]


@pytest.mark.parametrize("bias", [True, False])
def test_a_kept_class_keeps_its_row_and_a_new_one_starts_below_all(bias: bool) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(5, 4, bias=bias))
    old = network[1]
    network[1].weight.requires_grad_(False)  # type: ignore[union-attr]
    PLAN.head(network, "1")
    head = network.get_submodule("1")
    assert isinstance(head, nn.Linear)
    x = torch.randn(7, 5)
    with torch.no_grad():
        before, after = old(x), head(x)
    torch.testing.assert_close(after[:, [0, 2, 3]], before[:, [3, 0, 1]])
    assert not head.weight.requires_grad
    lowest = float(old.bias.detach()[[0, 1, 3]].min()) if bias else 0.0  # type: ignore[index]
    torch.testing.assert_close(after[:, 1], torch.full((7,), lowest))


def test_a_head_without_a_row_for_each_class_is_an_error() -> None:
    with pytest.raises(
        UserError, match=r"the head '0' is Linear.*expected an nn.Linear with one output for each of the 4"
    ):
        PLAN.head(nn.Sequential(nn.Linear(5, 3)), "0")
    with pytest.raises(UserError, match="the head '0' is Conv2d"):
        PLAN.head(nn.Sequential(nn.Conv2d(5, 4, 1)), "0")


def test_samples_of_a_dropped_class_leave_and_others_change_their_number() -> None:
    images = torch.arange(6, dtype=torch.uint8).view(-1, 1, 1, 1)
    split = Split(images, torch.tensor([0, 2, 1, -1, 3, 2]))
    mapped = PLAN.split(split)
    assert mapped.images.flatten().tolist() == [0, 2, 3, 4]
    assert mapped.labels.tolist() == [2, 3, -1, 0]
    assert mapped.positions.tolist() == [0, 2, 3, 4]
    assert PLAN.unheld(split.relabelled(torch.full((6,), 2)), split).positions.tolist() == [0, 2, 3, 4]


def test_the_mentor_takes_no_sample_for_a_new_class_and_half_precision_holds_it() -> None:
    logits = torch.tensor([[3.0, -2.0, 90.0, 5.0], [1.0, 1.0, 1.0, 1.0], [65000.0, -65000.0, 0.0, 1.0]]).half()
    mapped = PLAN.logits(logits)
    assert mapped.dtype == torch.float16
    assert torch.equal(mapped[:, [0, 2, 3]], logits[:, [3, 0, 1]])
    assert mapped[:, 1].tolist() == [-12.0, -9.0, -65504.0]  # −2 − max(7, 10); 1 − 10; the last in half's range
    assert torch.isfinite(mapped).all()


def test_an_unlabelled_sample_that_the_mentor_takes_for_a_dropped_class_leaves() -> None:
    logits = torch.eye(4)[[0, 2, 2, 3]].half() * 9
    pack = SupervisionPack(torch.zeros(4, 1, 1, 1), torch.tensor([2, -1, 3, -1]), logits, {"p": torch.arange(4).half()})
    mapped = pack.for_classes(PLAN)
    assert mapped.labels_N.tolist() == [2, 3, -1]
    assert mapped.mentor_activations["p"].tolist() == [0, 2, 3]
    assert mapped.mentor_logits_NK.shape == (3, 4)


def test_lists_that_cannot_be_meant_are_errors() -> None:
    for given, said in (
        (["a"], r"classes=\['a'\]; expected at least two names"),
        (["a", "b", "a"], "classes names 'a' more than once"),
    ):
        with pytest.raises(UserError, match=said):
            check_export(ExportSettings("x", "y", classes=given))
    with pytest.raises(UserError, match="is the checkpoint's own list; leave classes out"):
        ClassPlan.between(("a", "b"), ["a", "b"])
    with pytest.raises(UserError, match=r"has none of the checkpoint's classes \['cat', 'dog'\]; did you mean 'cat'\?"):
        ClassPlan.between(("cat", "dog"), ["cats", "mouse"])
    assert ClassPlan.between(("a", "b"), ["b", "a"]).rows == (1, 0)


def test_what_is_prepared_has_the_new_list_throughout(checkpoint: MenteeCheckpoint) -> None:
    settings = ExportSettings(supervision_per_class=6, golden_per_class=5, classes=["7", "smile", "0", "3"])
    prepared = prepare(checkpoint, settings)
    assert prepared.classes == ("7", "smile", "0", "3")
    assert np.bincount(prepared.golden.labels.numpy(), minlength=4).tolist() == [5, 0, 5, 5]
    truth = load_data(checkpoint.data, whole=True)
    shown = {
        image.numpy().tobytes(): int(label) for image, label in zip(truth.val.images, truth.val.labels, strict=True)
    }
    names = [prepared.classes[label] for label in prepared.golden.labels.tolist()]
    assert [str(shown[image.numpy().tobytes()]) for image in prepared.golden.images] == names
    assert len(prepared.test) == sum(str(label) in prepared.classes for label in truth.test.labels.tolist())
    labels, logits = prepared.pack.labels_N, prepared.pack.mentor_logits_NK
    assert np.bincount(labels.numpy() + 1, minlength=5)[1:].tolist() == [4, 0, 4, 4]  # the budget: 4 a class
    assert logits.shape[1] == 4
    assert bool((logits[:, 1] < logits[:, [0, 2, 3]].amin(1)).all())
    with torch.no_grad():
        now = prepared.graph.student(checkpoint.view(prepared.test.images[:20])).logits
        before = checkpoint.network()(checkpoint.view(prepared.test.images[:20]))
    torch.testing.assert_close(now[:, [0, 2, 3]], before[:, [7, 0, 3]], rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="is the checkpoint's own list"):
        prepare(checkpoint, replace(settings, classes=list(checkpoint.classes)))


def test_spare_classes_are_new_rows_behind_the_others(checkpoint: MenteeCheckpoint) -> None:
    settings = ExportSettings(supervision_per_class=3, golden_per_class=2, spare_classes=2)
    prepared = prepare(checkpoint, settings)
    assert prepared.classes == (*checkpoint.classes, "spare 1", "spare 2")
    assert prepared.plan is not None
    assert (prepared.plan.spares, prepared.plan.changes) == (["spare 1", "spare 2"], {})
    assert int(prepared.golden.labels.max()) == int(prepared.pack.labels_N.max()) == 9
    temperature = device_knobs(settings.loss, checkpoint).temperature
    with torch.no_grad():
        base = prepared.graph.student(checkpoint.view(prepared.pack.pixels)).logits
    shares = [(logits.double() / temperature).softmax(1)[:, 10:] for logits in (prepared.pack.mentor_logits_NK, base)]
    torch.testing.assert_close(*shares, rtol=0.02, atol=0)  # half precision
    changed = ClassPlan.asked(("a", "b"), ["b", "new"], 1)
    assert changed is not None
    assert (changed.rows, changed.spares) == ((1, None, None), ["spare 1"])
    assert changed.changes == {"kept": ["b"], "new": ["new"], "dropped": ["a"]}
    assert ClassPlan.asked(("a", "b"), None, 0) is None
    with pytest.raises(UserError, match=r"a class is called 'spare 1', as spare_classes=1 calls one; rename it"):
        ClassPlan.asked(("a", "spare 1"), None, 1)
    for count in (-1, 1001):
        with pytest.raises(UserError, match=rf"spare_classes={count}; expected 0 to 1000"):
            check_export(ExportSettings("x", "y", spare_classes=count))
