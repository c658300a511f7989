"""Services that are away, busy, lie, or are somebody else's: one clear line, and the device keeps what it has."""

import datetime
import email.utils
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from mentee_device import AskError, Bundle, Owner, Plan, Samples, Service, on_charger
from mentee_device.online.asking import FIRST, LONGEST, Asking
from mentee_device.online.service import wait
from mentee_device.online.spare import with_spare
from mentee_device.runs.plans.budget import Budget
from safetensors.numpy import load, save

from export.bundle.packs import SupervisionPack
from tests.device.online.conftest import Bad, response
from tests.mentor.serve import service as real

LONG_AGO = "Mon, 01 Jan 2001 00:00:%02d GMT"  # by the service's clock
YEAR = 365 * 86400.0


@pytest.fixture
def asking(me: Owner, owner: Samples, now: list[float]) -> Asking:
    """Four samples wait."""
    numbers = me.add(owner)
    queue = Asking(me.state, lambda: now[0])
    queue.add(numbers[:4])
    return queue


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nhalf", "cut off"),
        (b"\x00\xff\r\n\r\n", "cannot be reached"),
        (response("200 OK", b"no safetensors"), "cannot be read"),
        (response("500 Internal Server Error", b"<html>"), "said 500: Internal Server Error"),
        (response("503 Service Unavailable", b'{"detail": "busy"}', "Retry-After: 40"), "busy"),
        (
            response("503 Service Unavailable", b"", f"Date: {LONG_AGO % 0}", f"Retry-After: {LONG_AGO % 40}"),
            "said 503",
        ),
    ],
)
def test_a_service_that_is_away_or_busy_is_left_alone_for_a_while(
    asking: Asking, me: Owner, bad: Bad, now: list[float], answer: bytes, said: str
) -> None:
    service, waiting = bad(answer), asking.asked.waiting
    result = asking.run(service)
    assert said in result.why
    assert (result.answered, asking.asked.waiting, asking.asked.sent) == (0, waiting, 4)
    least = 40 if b"Retry-After" in answer else FIRST / 2
    assert least <= result.after <= max(least, FIRST)
    assert asking.run(service).sent == 0  # too soon
    assert asking.asked.sent == 4
    for _ in range(20):
        now[0] = asking.asked.not_before
        last = asking.run(service)
    assert LONGEST / 2 <= last.after <= LONGEST
    now[0] -= 10 * 365 * 86400  # the clock goes back: a wait of years is none
    assert asking.run(service).sent == 4
    assert me.learn(Plan(budget=Budget(steps=1), replay_batch=2)).status == "accepted"  # learning goes on without


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (response("401 Unauthorized", b'{"detail": "no token"}'), "no token: give this device's own token"),
        (response("409 Conflict", b'{"detail": "another\\nbundle"}'), "said 409: another bundle"),
        (response("302 Found", b"", "Location: https://elsewhere.example/"), "points elsewhere"),
        (response("404 Not Found"), "said 404"),
        (response("200 OK", bytes(500_000)), "above"),
    ],
)
def test_what_waiting_does_not_mend_is_an_error(asking: Asking, bad: Bad, answer: bytes, said: str) -> None:
    waiting = asking.asked.waiting
    with pytest.raises(AskError, match=said) as error:
        asking.run(bad(answer))
    assert "\n" not in str(error.value)
    assert asking.asked.waiting == waiting


def test_answers_of_another_mentor_or_of_other_shapes_are_refused(
    asking: Asking, me: Owner, bad: Bad, bundle: Bundle, running: real.Service, owner: Samples
) -> None:
    said = load(running.ask(owner.input[:4]).body)
    about = {"format": "mentee-answers/1", "bundle": bundle.manifest.id, "mentor": bundle.manifest.mentor}
    short = {**said, "mentor_logits": said["mentor_logits"][:, :-1].copy()}
    spoiled = {**said, "mentor_logits": np.full_like(said["mentor_logits"], np.nan)}
    for tensors, changed, line in (
        (said, {"mentor": "0" * 64}, "its answers are refused"),
        (said, {"bundle": "0" * 64}, "its answers are refused"),
        (said, {"format": "mentee-answers/9"}, "update one"),
        (short, {}, "mentor_logits is"),
        (spoiled, {}, "mentor_logits is"),
    ):
        with pytest.raises(AskError, match=line):
            asking.run(bad(response("200 OK", save(tensors, {**about, **changed}))))
    assert me.state.answers.numbers() == set()
    with pytest.raises(AskError, match="answers of another are refused"):
        asking.run(bad(b""), "0" * 64)
    assert asking.run(bad(response("200 OK", save(said, about)))).answered == 4


def test_a_sample_that_the_service_does_not_take_holds_up_no_other(
    asking: Asking, me: Owner, running: real.Service, bad: Bad
) -> None:
    waiting = asking.asked.waiting
    result = asking.run(bad(response("422 Unprocessable Content", b'{"detail": "not finite"}')))
    assert (result.refused, result.waiting) == (4, 0)
    assert all("not finite" in why for why in asking.asked.refused.values())
    assert asking.add(waiting[:1]) == [*waiting[:1]]  # chosen anew
    assert list(asking.asked.refused) == [str(number) for number in waiting[1:]]


def test_a_bundle_for_another_base_and_a_wrong_token_are_said(
    asking: Asking, bundle: Bundle, running: real.Service, service: Service
) -> None:
    wrong = Service(service.address, "wrong", str(running.authority))
    with pytest.raises(AskError, match=r"401.*give this device's own token"):
        asking.run(wrong)
    refused = running.ask(np.zeros((1, 1, 8, 8), np.uint8), bundle="0" * 64)
    assert refused.status == 409
    assert json.loads(refused.body)["bundle"] == bundle.manifest.id


def test_nothing_is_sent_in_the_clear_or_to_a_certificate_that_is_not_trusted(
    asking: Asking, running: real.Service
) -> None:
    with pytest.raises(AskError, match="in the clear"):
        Service("http://mentor.example", "token")
    with pytest.raises(AskError, match="expected https"):
        Service("https://mentor.example/path", "token")
    with pytest.raises(AskError, match=r"is not trusted.*nothing was sent"):
        asking.run(Service(f"https://localhost:{running.port}", running.token))


@pytest.mark.parametrize(("years", "state"), [(-30, "not valid yet"), (30, "expired")])
def test_a_clock_that_is_years_off_costs_one_line_and_no_wait_once_it_is_right(
    asking: Asking, service: Service, tmp_path: Path, now: list[float], years: int, state: str
) -> None:
    """To a device whose clock is `years` ahead, the certificate is that much older."""
    waiting, shown = asking.asked.waiting, datetime.datetime.now(datetime.UTC)
    made = shown - datetime.timedelta(seconds=years * YEAR)
    real.make_certificate(tmp_path / "c.pem", tmp_path / "k.pem", made)
    with speaking_tls(tmp_path) as port:
        result = asking.run(Service(f"https://localhost:{port}", "token", str(tmp_path / "c.pem"), timeout=10))
    assert f"is {state}, by this device's clock ({shown:%Y-%m-%d}" in result.why
    assert asking.asked.waiting == waiting
    assert asking.run(service).sent == 0  # left alone, by that clock
    now[0] -= years * YEAR
    assert asking.run(service).answered == 4


@contextmanager
def speaking_tls(folder: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "c.pem", folder / "k.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def shake() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=shake)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_retry_after_is_by_the_services_clock() -> None:
    skewed = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    later = skewed + datetime.timedelta(seconds=90)
    assert wait(email.utils.format_datetime(later, usegmt=True), email.utils.format_datetime(skewed, usegmt=True)) == 90
    assert (wait("7", None), wait(None, None), wait("soon", None)) == (7, None, None)


def test_a_charger_is_looked_for_where_linux_says_so(tmp_path: Path) -> None:
    def supply(name: str, **content: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        for file, text in content.items():
            (tmp_path / name / file).write_text(f"{text}\n")

    assert on_charger(tmp_path)  # no battery
    supply("BAT0", type="Battery", status="Discharging")
    assert not on_charger(tmp_path)
    supply("AC", type="Mains", online="0")
    assert not on_charger(tmp_path)
    supply("AC", online="1")
    assert on_charger(tmp_path)
    supply("AC", online="0")
    supply("BAT0", status="Charging")
    assert on_charger(tmp_path)
    assert not on_charger(tmp_path / "missing")


def test_conditions_are_asked_before_each_request(asking: Asking, service: Service) -> None:
    result = asking.run(service, may=lambda: False)
    assert (result.sent, result.why) == (0, "not under these conditions")
    allowed = iter([True, False])
    result = asking.run(service, may=lambda: next(allowed), together=3)
    assert (result.answered, result.waiting) == (3, 1)


def test_spare_classes_get_the_bases_share_as_in_the_pack() -> None:
    random = torch.Generator().manual_seed(0)
    mentor, base = (torch.randn(5, 6, generator=random) * 4 for _ in range(2))
    pack = SupervisionPack(torch.zeros(5, 1), torch.zeros(5).long(), mentor, {})
    expected = pack.with_spare(base, 2, 3.0).mentor_logits_NK
    np.testing.assert_allclose(with_spare(mentor.numpy(), base.numpy(), 2, 3.0), expected.numpy(), rtol=1e-5, atol=1e-5)
