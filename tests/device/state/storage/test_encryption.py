"""Under a key, and after unlearning, no file holds anything personal."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from mentee_device import Budget, Bundle, Owner, Plan, Samples, StateError

from tests.device.state.folders import KEY, edit, everything, lenient


def test_under_a_key_nothing_personal_can_be_read(bundle: Bundle, owner: Samples, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    folders = {key: tmp_path / name for key, name in ((None, "plain"), (KEY, "sealed"))}
    snapshots = []
    for key, folder in folders.items():
        with lenient(bundle, folder, key) as me:
            me.add(owner)
            me.store.put("enrolment", b"the owner's embeddings")
            me.learn(Plan(budget=Budget(steps=3)))
            snapshots.append(me.learner.snapshot())
            assert me.add(owner) == list(range(1, 13))  # known again under a key as well
        with Owner(bundle, folder, key) as me:
            assert me.learner.snapshot() == snapshots[0]
            np.testing.assert_array_equal(me.samples.read(range(1, 13))[0].input, owner.input)
            assert me.store.get("enrolment") == b"the owner's embeddings"
    secrets = (owner.input[3].tobytes(), b"the owner's embeddings", snapshots[0].checkpoint[-200:], b'"owner", ')
    assert all(secret in everything(folders[None]) for secret in secrets)
    assert not any(secret in everything(folders[KEY]) for secret in secrets)

    for folder, key, match in (
        (folders[KEY], None, "its key is needed"),
        (folders[KEY], bytes(32), "under another key"),
        (folders[None], KEY, "was made without a key"),
        (folders[KEY], b"short", "has 5 bytes, expected 32"),
    ):
        with pytest.raises(StateError, match=match):
            Owner(bundle, folder, key)

    # a row put in another's place does not open
    exchange = edit("UPDATE samples SET content = (SELECT content FROM samples WHERE number = 2) WHERE number = 1")
    with Owner(bundle, folders[KEY], KEY) as me:
        exchange(folders[KEY] / "state.sqlite")
        assert len(me.samples.read([1, 2])[0]) == 1
        assert "1 damaged samples were removed" in me.log(1)[0].line


@pytest.mark.parametrize("key", [None, KEY])
def test_what_is_unlearned_is_in_no_file(bundle: Bundle, owner: Samples, tmp_path: Path, key: bytes | None) -> None:
    if key:
        pytest.importorskip("cryptography")
    folder = tmp_path / "me"
    with lenient(bundle, folder, key) as me:
        me.add(owner)
        me.learn(Plan(budget=Budget(steps=2)))
        ((content,),) = me.store.rows("SELECT content FROM samples WHERE number = 4")
        checkpoint = me.store.rows("SELECT checkpoint FROM versions WHERE number = 1")[0][0]
        for secret in (content[-60:], checkpoint[-200:]):
            assert secret in everything(folder)
        shutil.copy(folder / "backup.sqlite", folder / "damaged-1.sqlite")
        me.unlearn([4])
        for secret in (content[-60:], checkpoint[-200:]):
            assert secret not in everything(folder)
        assert not (folder / "damaged-1.sqlite").exists()
        me.store.set("scrub", True)
    (folder / "damaged-2.sqlite").write_bytes(b"killed before it was wiped")
    with Owner(bundle, folder, key):
        assert not (folder / "damaged-2.sqlite").exists()
