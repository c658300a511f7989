"""A device that asks the real service: only what its owner chose leaves it, and learning uses what comes back."""

import json
import re
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Bundle, Learner, Owner, Plan, Samples, Service, import_state
from mentee_device.bundle.samples import OwnAnswers
from mentee_device.cli.main import main
from mentee_device.online.errors import AskError
from mentee_device.runs.plans.budget import Budget
from mentee_device.state.storage.schema import FORMAT, ONLINE
from safetensors.numpy import load
from scipy.special import log_softmax, softmax

from tests.device.online.conftest import hanging
from tests.device.program import ENVIRONMENT, command
from tests.device.taking import pause_at, unlabelled
from tests.mentor.serve import service as real
from tests.waiting import wait_until


def requests_of(running: real.Service) -> int:
    text = running.get("/metrics").body.decode()
    return sum(int(float(number)) for number in re.findall(r"^mentor_requests_total\{.*\} (\S+)", text, re.M))


def test_only_what_was_chosen_leaves_and_it_is_counted(
    me: Owner, owner: Samples, service: Service, running: real.Service
) -> None:
    numbers, before = me.add(owner), requests_of(running)
    with pytest.raises(AskError, match="together is 0 "):
        me.asking.run(service, together=0)
    nothing = me.asking.run(service)
    assert (nothing.sent, requests_of(running)) == (0, before)
    assert me.asking.add(numbers[:11]) == numbers[:11]
    assert me.asking.remove(numbers[:1]) == numbers[:1]
    result = me.asking.run(service)  # the service takes 8 at once, which the device finds out
    assert (result.answered, result.waiting, result.why) == (10, 0, "")
    asked = me.asking.asked
    assert set(asked.left) == {str(number) for number in numbers[1:11]}
    assert asked.sent == result.sent == 20  # the refused request held all of them
    assert asked.service == service.address
    said = load(running.ask(owner.input[1:9]).body)
    for row, number in enumerate(numbers[1:9]):
        answer = me.state.answers.get(number)
        assert answer is not None
        np.testing.assert_array_equal(answer.mentor_logits, said["mentor_logits"][row])
        for name, value in answer.activations.items():
            np.testing.assert_array_equal(value, said[f"mentor_{name}"][row])
    assert me.state.answers.numbers() == set(numbers[1:11])
    assert me.asking.add() == [numbers[0], numbers[11]]  # the others are answered


def test_the_mentors_terms_count_its_answers_to_the_owners_samples(
    bundle: Bundle, owner: Samples, running: real.Service
) -> None:
    said = load(running.ask(owner.input[:6]).body)
    known = np.array([True, False, True, True, False, True])
    activations = {name: said[f"mentor_{name}"] for name in bundle.manifest.probes}
    answers = OwnAnswers(known, said["mentor_logits"], activations)
    with Learner(bundle) as learner:
        mine = learner.predict(owner.input[:6]).logits[known].astype(np.float64)
        some = unlabelled(owner.take(np.arange(6)))
        terms = learner.learn_batch(some, answers=answers, alpha=1.0, beta=0.0, gamma=0.5, temperature=3.0)
        recorded = learner.supervision.take(np.arange(1))
        learner.reset()
        both = learner.learn_batch(some, recorded, answers=answers, beta=0.5, gamma=0.5, temperature=3.0)
    mentor = said["mentor_logits"][known].astype(np.float64)
    kl_N = (softmax(mentor / 3, 1) * (log_softmax(mentor / 3, 1) - log_softmax(mine / 3, 1))).sum(1)
    assert terms["kl"] == pytest.approx(kl_N.mean(), rel=1e-4)
    assert terms["loss"] == pytest.approx(0.5 * 9 * kl_N.mean(), rel=1e-4)
    assert both["kl"] != pytest.approx(terms["kl"], rel=1e-6)
    assert both["rmse_early"] > 0


def test_guesses_of_the_mentor_that_was_asked_say_so(
    me: Owner, owner: Samples, service: Service, tmp_path: Path
) -> None:
    numbers = me.add(unlabelled(owner))
    me.asking.add(numbers[:3])
    me.asking.run(service)
    assert format_of(me.store.folder) == FORMAT
    found = {one.number: one for one in me.guess()}
    logits = {number: me.state.answers.get(number) for number in numbers[:3]}
    for number, answer in logits.items():
        assert answer is not None
        assert (found[number].source, found[number].label) == ("mentor-online", int(answer.mentor_logits.argmax()))
    assert format_of(me.store.folder) == ONLINE  # a program before would take such a label for damage
    result = me.learn(Plan(budget=Budget(steps=2), replay_batch=4))
    assert "the mentor's answers to 3 of them" in next(one.line for one in me.log() if "begins on" in one.line)
    assert result.status == "accepted"
    me.export_state(tmp_path / "exported")
    import_state(tmp_path / "exported", tmp_path / "elsewhere", me.bundle)
    with Owner(me.bundle, tmp_path / "elsewhere") as other:
        assert [one.source for one in other.samples.all()] == [one.source for one in me.samples.all()]
        assert format_of(other.store.folder) == ONLINE
        assert other.asking.asked == me.asking.asked
        for number, answer in logits.items():
            came = other.state.answers.get(number)
            assert came is not None
            assert answer is not None
            assert (came.version, answer.version) == (0, 0)
            np.testing.assert_array_equal(came.mentor_logits, answer.mentor_logits)
            for name, value in answer.activations.items():
                np.testing.assert_array_equal(came.activations[name], value)
    with Owner(me.bundle, tmp_path / "tablet") as tablet:  # what was sent elsewhere is counted there
        tablet.merge(tmp_path / "exported")
        assert len(tablet.state.answers.numbers()) == 3
        assert tablet.asking.asked.sent == 0
    me.unlearn(numbers[:1])
    assert me.state.answers.numbers() == set(numbers[1:3])
    assert set(me.asking.asked.left) == {str(number) for number in numbers[1:3]}
    assert me.asking.asked.sent == 3


def format_of(folder: Path) -> int:
    with sqlite3.connect(folder / "state.sqlite") as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
    database.close()
    return int(version)


def test_an_answer_that_comes_during_a_pause_is_for_the_next_run(
    bundle: Bundle, owner: Samples, service: Service, tmp_path: Path
) -> None:
    def learnt(name: str, ask_in_between: bool) -> dict[str, Any]:
        with Owner(bundle, tmp_path / name) as one:
            one.set(golden_drop=1.0, replay="mentor", rounds=0)
            numbers = one.add(owner)
            one.asking.add(numbers[:4])
            one.asking.run(service)
            plan = Plan(budget=Budget(steps=6), batch=4, replay_batch=2, seed=1)
            one.learn(plan, on_progress=pause_at(one, 3))
            if ask_in_between:
                one.asking.add()
                assert one.asking.run(service).answered == len(numbers) - 4
            one.resume()
            return one.learner.parameters()

    first, second = learnt("b", ask_in_between=False), learnt("c", ask_in_between=True)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_a_program_that_is_killed_while_it_asks_keeps_its_queue_and_its_count(
    bundle: Bundle, training_folder: Path, owner: Samples, running: real.Service, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(running.token)
    with Owner(bundle, tmp_path / "me") as one:
        numbers = one.add(owner)
        one.asking.add(numbers[:2])
    shared = ["--bundle", training_folder, "--state", tmp_path / "me", "--token-file", tmp_path / "token"]
    with hanging() as (address, came, requests):
        process = subprocess.Popen(command("ask", "run", *shared, "--service", address), env=ENVIRONMENT)
        wait_until(came.is_set, lambda: process.poll() is None)
        process.kill()
        process.wait()
    assert owner.input[0].tobytes() in requests[0]
    assert owner.input[2].tobytes() not in requests[0]  # nobody chose it
    with Owner(bundle, tmp_path / "me") as one:
        asked = one.asking.asked
        assert (asked.waiting, asked.sent, set(asked.left)) == (tuple(numbers[:2]), 2, {str(n) for n in numbers[:2]})
    https = ["--service", f"https://localhost:{running.port}", "--authority", running.authority]
    done = subprocess.run(
        command("ask", "run", *shared, *https, "--json"), env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["answered"], report["waiting"]) == (2, [])
    info = subprocess.run(
        command("info", *shared[:4], "--json"), env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    left = json.loads(info.stdout)["left_the_device"]
    assert (left["sent"], left["answered"], left["waiting"]) == (4, 2, 0)


def test_what_a_person_mistypes_is_one_line(
    training_folder: Path, tmp_path: Path, data_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    shared = ["--bundle", str(training_folder), "--state", str(tmp_path / "me")]
    assert main(["add", *shared, "--data", str(data_file)]) == 0
    capsys.readouterr()
    for words, said in MISTAKES:
        assert main(["ask", *words, *shared]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


MISTAKES = [
    (["add"], "needs --samples"),
    (["add", "--samples", "99"], "no sample 99"),
    (["run"], "names no service"),
    (["run", "--service", "https://mentor.example"], "needs --token-file"),
    (["run", "--service", "mentor.example", "--token-file", "missing"], "cannot be read"),
]
