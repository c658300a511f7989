"""The file that a whole state travels in: what is in it, between both backends, under a key, in place of another state."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Budget, Bundle, Owner, Plan, Samples, StateError, Watch, import_state
from mentee_device.relocate.portable.container import Content, packed, read_head, unpacked

from tests.device.program import ENVIRONMENT

KEY = bytes(range(32))


@pytest.fixture
def both(both_folder: Path) -> Bundle:
    return Bundle.open(both_folder)


def content_of(file: Path, bundle: str, key: bytes | None = None) -> Content:
    with file.open("rb") as opened:
        head = read_head(opened, file.name)
        return unpacked(head, opened, file.stat().st_size - opened.tell(), file.name, bundle, key)


def lived(bundle: Bundle, folder: Path, key: bytes | None = None, backend: str | None = None) -> Owner:
    """An owner of whom there is something in every table, with a run that waits."""
    golden = bundle.golden()
    mine = golden.take(np.arange(24))
    labels = mine.labels.copy()
    labels[::4] = -1
    me = Owner(bundle, folder, key, backend=backend)
    me.set(golden_drop=1.0, blocked=["3"], beta=[[0, 1], [1, 0.5]], most_versions=2)
    numbers = me.add(Samples(mine.input, labels), mentor_logits_NK=np.eye(10)[mine.labels].astype(np.float32))
    me.guess()
    me.undo_guesses(numbers[:1])
    me.learn(Plan(budget=Budget(steps=3), seed=5, holdout=0.3, rounds=0))
    me.learn(Plan(budget=Budget(steps=2), rounds=0))
    me.unlearn(numbers[-1:])
    me.enrol("my cup", golden.input[30:32])
    me.observe(golden.input[32:60], Watch(samples=40, capacity=10))
    me.learn(Plan(budget=Budget(steps=8), rounds=2), on_progress=lambda at: me.pause() if at.done.steps == 6 else None)
    return me


def without_log(content: Content) -> tuple[dict[str, Any], list[str]]:
    kept = {name: value for name, value in content.record.items() if name != "log"}
    return kept, [sha256(part).hexdigest() for part in content.parts]


@pytest.mark.parametrize("backends", [("ort-training", "stock"), ("stock", "ort-training")])
def test_all_of_a_state_travels_between_backends_and_back(
    both: Bundle, tmp_path: Path, backends: tuple[str, str]
) -> None:
    home, away = backends
    files = [tmp_path / f"{number}.state" for number in range(3)]
    with lived(both, tmp_path / "phone", backend=home) as phone:
        phone.export_state(files[0])
    before = content_of(files[0], both.manifest.id)
    assert {version["status"] for version in before.record["versions"]} >= {"candidate", "accepted", "unlearned"}
    assert before.record["versions"][-1]["guesses"]
    assert before.record["watch"]
    assert before.record["enrolled"]
    assert before.record["settings"]["blocked"] == ["3"]
    import_state(files[0], tmp_path / "tablet", both, backend=away)
    with Owner(both, tmp_path / "tablet", backend=away) as tablet:
        tablet.export_state(files[1])
    import_state(files[1], tmp_path / "again", both, backend=home)
    after = content_of(files[1], both.manifest.id)
    assert without_log(after) == without_log(before)
    assert after.record["log"][: len(before.record["log"])] == before.record["log"]
    with Owner(both, tmp_path / "phone", backend=home) as phone, Owner(both, tmp_path / "again", backend=home) as back:
        ends = [me.resume() for me in (phone, back)]
        assert ends[0].last == ends[1].last
        for name, value in phone.learner.parameters().items():
            np.testing.assert_array_equal(value, back.learner.parameters()[name])
        assert [one.number for one in back.samples.all()] == [one.number for one in phone.samples.all()]
        new = [me.add(Samples(both.golden().input[60:61], np.array([1]))) for me in (phone, back)]
        assert new[0] == new[1] == [25]  # 24 was unlearnt and is nobody's number again


def test_under_a_key_nothing_of_it_can_be_read_and_it_may_get_one_on_the_way(
    both: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, plain = tmp_path / "keyed.state", tmp_path / "plain.state"
    with lived(both, tmp_path / "phone", KEY) as phone:
        phone.export_state(file)
        sample = phone.samples.content(2)
        assert sample is not None
    assert sample[0].tobytes() not in file.read_bytes()
    with pytest.raises(StateError, match="is encrypted: its key is needed"):
        import_state(file, tmp_path / "new", both)
    with monkeypatch.context() as without:
        for module in ("exceptions", "hazmat.primitives.ciphers.aead"):
            without.setitem(sys.modules, f"cryptography.{module}", None)
        with pytest.raises(StateError, match="pip install cryptography"):
            content_of(file, both.manifest.id, KEY)
    import_state(file, tmp_path / "tablet", both, KEY)
    plain.write_bytes(packed(content_of(file, both.manifest.id, KEY), both.manifest.id, None))
    assert sample[0].tobytes() in plain.read_bytes()
    import_state(plain, tmp_path / "sealed", both, KEY)
    assert sample[0].tobytes() not in (tmp_path / "sealed" / "state.sqlite").read_bytes()
    with Owner(both, tmp_path / "tablet", KEY) as one, Owner(both, tmp_path / "sealed", KEY) as other:
        assert one.learner.snapshot().digest() == other.learner.snapshot().digest()


def test_a_state_is_replaced_only_when_asked_to_and_leaves_nothing(both: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "me.state"
    with lived(both, tmp_path / "phone") as phone:
        phone.export_state(file)
    golden = both.golden()
    with Owner(both, tmp_path / "tablet") as tablet:
        tablet.add(golden.take(np.arange(70, 80)))
    with pytest.raises(StateError, match="holds 10 samples and 0 versions: import into a new folder"):
        import_state(file, tmp_path / "tablet", both)
    with Owner(both, tmp_path / "tablet") as tablet:
        assert len(tablet.samples.all()) == 10
    import_state(file, tmp_path / "tablet", both, replace=True)
    for name in ("state.sqlite", "backup.sqlite"):
        assert golden.input[70].tobytes() not in (tmp_path / "tablet" / name).read_bytes()
    with Owner(both, tmp_path / "tablet") as tablet:
        tablet.export_state(tmp_path / "back.state")
        assert not tablet.notes
        assert tablet.log()[-1].line.endswith("in place of 10 samples and 0 versions")
    assert without_log(content_of(file, both.manifest.id)) == without_log(
        content_of(tmp_path / "back.state", both.manifest.id)
    )


IMPORTS = """
import sys
from mentee_device import Bundle, import_state
bundle, folder, *files = sys.argv[1:]
opened = Bundle.open(bundle)
while True:
    for file in files:
        import_state(file, folder, opened, replace=True)
        print(file, flush=True)
"""


def test_an_import_killed_at_any_instant_leaves_one_of_the_two_states_whole(
    both_folder: Path, both: Bundle, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    files, folder = [tmp_path / "one.state", tmp_path / "other.state"], tmp_path / "tablet"
    with lived(both, tmp_path / "phone") as phone:
        phone.export_state(files[0])
        phone.add(both.golden().take(np.arange(70, 72)))
        phone.export_state(files[1])
    wanted = [without_log(content_of(file, both.manifest.id)) for file in files]
    for _ in range(5):
        command = [sys.executable, "-c", IMPORTS, both_folder, folder, *files]
        with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(2):
                assert process.stdout.readline()
            time.sleep(random.uniform(0, 0.1))  # an import takes about as long
            process.send_signal(signal.SIGKILL)
        with Owner(both, folder) as tablet:
            assert not tablet.notes
            tablet.export_state(tmp_path / "left.state")
        assert without_log(content_of(tmp_path / "left.state", both.manifest.id)) in wanted


DIES_BETWEEN = """
import os, sys
from mentee_device import Bundle, import_state
from mentee_device.relocate import state_file
from mentee_device.state.storage.twin import Twin
note = state_file._note

def noted(*given):
    note(*given)
    Twin.commit = lambda twin: (twin.main.execute("COMMIT"), os._exit(9))

state_file._note = noted
bundle, folder, file = sys.argv[1:]
import_state(file, folder, Bundle.open(bundle), replace=True)
"""


def test_an_import_killed_before_its_backup_knows_of_it_leaves_nothing_of_what_was_there(
    both_folder: Path, both: Bundle, tmp_path: Path
) -> None:
    file, folder, golden = tmp_path / "me.state", tmp_path / "tablet", both.golden()
    with lived(both, tmp_path / "phone") as phone:
        phone.export_state(file)
    with Owner(both, folder) as tablet:
        tablet.add(golden.take(np.arange(70, 80)))
    command = [sys.executable, "-c", DIES_BETWEEN, both_folder, folder, file]
    assert subprocess.run(command, env=ENVIRONMENT, check=False).returncode == 9
    with Owner(both, folder) as tablet:
        assert not tablet.notes
        tablet.export_state(tmp_path / "left.state")
    assert sorted(path.name for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm"))) == [
        "backup.sqlite",
        "lock",
        "state.sqlite",
    ]
    for name in ("state.sqlite", "backup.sqlite"):
        assert golden.input[70].tobytes() not in (folder / name).read_bytes()
    assert without_log(content_of(tmp_path / "left.state", both.manifest.id)) == without_log(
        content_of(file, both.manifest.id)
    )


def test_a_file_of_format_1_is_still_read(bundle: Bundle, mine: Samples, tmp_path: Path) -> None:
    with Owner(bundle, tmp_path / "phone") as phone:
        phone.set(golden_drop=1.0)
        phone.add(mine)
        phone.learn(Plan(budget=Budget(steps=2)))
        snapshot = phone.learner.snapshot()
        with phone.store.copied() as database:
            body = database.read_bytes()
    head = {"format": "mentee-state/1", "bundle": bundle.manifest.id, "encrypted": False, "bytes": len(body)}
    line = json.dumps({**head, "sha256": sha256(body).hexdigest()}).encode() + b"\n"
    (tmp_path / "old.state").write_bytes(line + body)
    import_state(tmp_path / "old.state", tmp_path / "tablet", bundle)
    with Owner(bundle, tmp_path / "tablet") as tablet:
        assert tablet.learner.snapshot() == snapshot
    (tmp_path / "old.state").write_bytes(line + body[:-1])
    with pytest.raises(StateError, match="cut off or was altered"):
        import_state(tmp_path / "old.state", tmp_path / "other", bundle)


Edit = Callable[[Content], object]


def wrong(content: Content, edit: Edit) -> Content:
    copy = Content(json.loads(json.dumps(content.record)), list(content.parts))
    edit(copy)
    return copy


def not_finite(content: Content) -> None:
    part = content.record["versions"][-1]["snapshot"]["vectors"]["parameters"]
    content.parts[part] = np.full(len(content.parts[part]) // 4, np.nan, "<f4").tobytes()


REFUSED: dict[str, Edit] = {
    "parameters holds NaN|holds NaN or Inf": not_finite,
    "which this program does not know": lambda content: content.record.update(more=1),
    "lacks 'settings'": lambda content: content.record.pop("settings"),
    "is not there or not accepted": lambda content: content.record.update(current=7),
    "a part is not used": lambda content: content.parts.append(b""),
    "has the label 12": lambda content: content.record["samples"][1].update(label=12, source="owner"),
    "numbers that do not rise": lambda content: content.record["next"].update(sample=2),
    "block a class that is none": lambda content: content.record["settings"].update(blocked=["nobody"]),
    "layout": lambda content: content.record["layout"]["parameters"][0].__setitem__(1, [2, 2]),
    "bytes, expected": lambda content: content.parts.__setitem__(content.record["samples"][0]["input"], b"ab"),
    "is stored twice": lambda content: content.parts.__setitem__(
        content.record["samples"][0]["input"], content.parts[content.record["samples"][1]["input"]]
    ),
}


def test_what_no_program_wrote_is_refused(both: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "me.state"
    with lived(both, tmp_path / "phone", backend="stock") as phone:
        phone.export_state(file)
    content = content_of(file, both.manifest.id)
    for reason, edit in REFUSED.items():
        file.write_bytes(packed(wrong(content, edit), both.manifest.id, None))
        with pytest.raises(StateError, match=reason):
            import_state(file, tmp_path / "new", both)
    line, _, body = packed(content, both.manifest.id, None).partition(b"\n")
    large = json.loads(line) | {"bytes": 1 << 40}
    for data, reason in (
        (json.dumps(large).encode() + b"\n" + body, "damaged in its first line"),
        (line + b"\n" + body + b"more", "cut off or was altered"),
        (line + b"\n" + body[: len(body) // 2], "cut off or was altered"),
    ):
        file.write_bytes(data)
        with pytest.raises(StateError, match=reason):
            import_state(file, tmp_path / "new", both)
    assert not (tmp_path / "new").exists()
