"""A service serves the bundle's own mentor only, in half precision where nobody could tell, and to whom has a token."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mentee.checkpoint import MenteeCheckpoint
from mentor.mentor import Answers
from mentor.serve.__main__ import CHECKED, read
from mentor.serve.entry.limits import Rates
from mentor.serve.entry.tokens import Tokens, add_token
from mentor.serve.precision import HARMLESS
from mentor.serve.served import require_recorded
from mentor_mentee.errors import UserError


def test_another_mentor_than_the_bundles_is_refused(
    bundle_folder: Path, mentor_file: Path, checkpoint: MenteeCheckpoint, tmp_path: Path
) -> None:
    served, pack, named = read(bundle_folder, mentor_file)
    mentor = served.restored()
    assert named == mentor.fingerprint()
    served = replace(served, fingerprint=mentor.fingerprint())
    assert "recorded answers" in require_recorded(served, mentor, pack, named)
    with torch.no_grad():
        mentor.network.head.weight.mul_(1.1)  # type: ignore[operator, union-attr]
    with pytest.raises(UserError, match="another mentor"):
        require_recorded(served, mentor, pack, None)  # an older bundle names none: its recorded answers tell
    with pytest.raises(UserError, match="another mentor"):
        require_recorded(replace(served, fingerprint=mentor.fingerprint()), mentor, pack, named)
    replace(checkpoint, probes=checkpoint.probes[:1]).save(tmp_path / "mentee.safetensors")
    with pytest.raises(UserError, match=r"probes of .*the mentee.safetensors that it was made of"):
        read(bundle_folder, tmp_path)
    replace(checkpoint, mentor=None).save(tmp_path / "mentee.safetensors")
    with pytest.raises(UserError, match="names no mentor"):
        read(bundle_folder, tmp_path)
    assert len(pack["input"]) <= CHECKED
    assert json.loads((bundle_folder / "manifest.json").read_bytes())["id"] == served.bundle


def test_half_precision_is_harmless_only_where_no_answer_moves() -> None:
    logits = torch.tensor([[4.0, 0.0, -1.0], [0.0, 3.0, 1.0]])
    exact = Answers(logits, {"early": torch.ones(2, 4)})
    assert HARMLESS.of(exact, Answers(logits + 0.001, {"early": torch.full((2, 4), 1.01)})) is None
    assert "class" in str(HARMLESS.of(exact, Answers(logits.flip(0), exact.activations)))
    assert "probability" in str(HARMLESS.of(exact, Answers(logits * 1.3, exact.activations)))
    assert "early" in str(HARMLESS.of(exact, Answers(logits, {"early": torch.full((2, 4), 1.03)})))


def test_a_token_is_one_devices_and_its_file_holds_none(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    first, second = add_token(path, "phone"), add_token(path, "watch")
    tokens = Tokens(path)
    assert [tokens.device_of(token) for token in (first, second, "", first[:-1], "ä")] == [
        "phone",
        "watch",
        None,
        None,
        None,
    ]
    assert first not in path.read_text()
    with pytest.raises(UserError, match="has a token for phone"):
        add_token(path, "phone")
    with pytest.raises(UserError, match="name=a b; expected"):
        add_token(path, "a b")
    path.write_text("phone 123\n")
    assert tokens.device_of(first) == "phone"  # a file that is half written changes nothing
    with pytest.raises(UserError, match="line 1: expected"):
        Tokens(path)
    path.write_text(f"phone {'0' * 64}\nwatch {'0' * 64}\n")  # to remove one line would not lock it out
    with pytest.raises(UserError, match="line 2: expected"):
        Tokens(path)


def test_a_devices_rate_fills_again_with_time() -> None:
    now = [0.0]
    rates = Rates(60, lambda: now[0])
    assert rates.wait("a", 50) == 0
    assert rates.wait("a", 20) == 10  # 10 are left, and one comes a second
    assert rates.wait("b", 60) == 0
    now[0] = 10.0
    assert rates.wait("a", 20) == 0
    now[0] = 1000.0
    assert rates.wait("a", 500) == 0  # above a minute's amount: a full bucket is enough
