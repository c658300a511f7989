"""A device gets the pack's numbers for the pack's samples, and one clear line for whatever else it sends."""

import json
import re
import ssl
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, load_file, save

from mentee.checkpoint import MenteeCheckpoint
from mentor.restore import restore_mentor
from mentor.serve.entry.openapi import REFUSALS
from mentor.serve.entry.tokens import add_token
from tests.mentor.serve.service import BOUNDARY, PAGE, Service, form, samples


def test_the_answers_are_those_of_the_pack(service: Service, bundle_folder: Path, checkpoint: MenteeCheckpoint) -> None:
    pack = load_file(bundle_folder / "supervision.safetensors")
    said = service.ask(pack["input"][:40])
    assert said.status == 200
    answer = load(said.body)
    assert sorted(answer) == sorted(name for name in pack if name.startswith("mentor_"))
    for name, value in answer.items():
        recorded = pack[name][:40].astype(np.float32)
        assert value.shape == recorded.shape
        np.testing.assert_allclose(value, recorded, rtol=2e-3, atol=2e-3 * np.abs(recorded).max())  # half precision
    about = json.loads(said.body[8 : 8 + int.from_bytes(said.body[:8], "little")])["__metadata__"]
    assert checkpoint.mentor is not None
    fingerprint = restore_mentor(checkpoint.mentor, checkpoint.probes).fingerprint()
    assert (
        about["mentor"]
        == fingerprint
        == json.loads((bundle_folder / "manifest.json").read_bytes())["mentor"]["fingerprint"]
    )
    assert about["bundle"] == service.bundle
    again = service.ask(pack["input"][:40], mentor=fingerprint)
    assert again.headers["x-cached-samples"] == "40"
    np.testing.assert_array_equal(load(again.body)["mentor_late"], answer["mentor_late"])


def test_requests_of_many_devices_are_answered_together(service: Service) -> None:
    found: dict[int, tuple[int, np.ndarray, int]] = {}

    def ask(seed: int) -> None:
        said = service.ask(samples(2, 100 + seed))
        found[seed] = said.status, load(said.body)["mentor_logits"], int(said.headers["x-batch-samples"])

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status for status, _, _ in found.values()} == {200}
    assert 2 < max(batch for _, _, batch in found.values()) <= 16
    for seed, (_, logits, _) in found.items():  # each its own
        alone = load(service.ask(samples(2, 100 + seed)).body)["mentor_logits"]
        np.testing.assert_array_equal(alone, logits)


def test_what_is_no_request_of_a_device_is_refused_in_a_line(service: Service) -> None:
    good, fields = save({"input": samples(1)}), {"bundle": service.bundle}
    nested = b"[" * 30000
    refused = [
        (401, service.ask(samples(1), token="")),
        (401, service.ask(samples(1), token=service.token[:-1])),
        (409, service.ask(samples(1), bundle="0" * 64)),
        (409, service.ask(samples(1), mentor="0" * 64)),
        (413, service.ask(samples(65))),
        (413, service.ask(bytes(200_000))),
        (415, service.post(good, service.token, "application/octet-stream")),
        (400, service.post(form(good, fields)[:-60], service.token)),
        (400, service.post(good, service.token)),
        (400, service.post(form(good, fields), service.token, "multipart/form-data")),
        (400, service.post(form(good, {}), service.token)),
        (400, service.post(form(good, {"a": "1", "b": "2", "bundle": service.bundle}), service.token)),
        (422, service.ask(good[:-1])),
        (422, service.ask(b"")),
        (422, service.ask(b"\xff" * 80)),
        (422, service.ask(len(nested).to_bytes(8, "little") + nested)),
        (422, service.ask(save({"inputs": samples(1)}))),
        (422, service.ask(samples(1).astype(np.float32))),
        (422, service.ask(samples(1)[0])),
        (422, service.ask(samples(0))),
    ]
    for expected, said in refused:
        assert (said.status, "\n" in said.detail) == (expected, False), said.detail
    assert json.loads(refused[2][1].body)["bundle"] == service.bundle
    assert service.ask(samples(1)).status == 200


def test_a_body_that_ends_early_or_never_comes_holds_nobody_up(service: Service) -> None:
    body = form(save({"input": samples(1)}), {"bundle": service.bundle})
    head = (
        "POST /v1/answers HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {service.token}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    ).encode()
    with opened(service) as gone:
        gone.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body[:100])
    with opened(service) as endless:
        endless.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        endless.sendall(2 * chunk)
        assert b" 413 " in endless.recv(4096)
    with opened(service) as trailing:
        trailing.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        with pytest.raises((ConnectionError, ssl.SSLError)):
            trailing.sendall(400 * (b"A: " + b"a" * 40_000 + b"\r\n"))
    with opened(service) as slow, opened(service) as silent, opened(service) as refused, opened(service) as vast:
        slow.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body[:100])
        silent.sendall(head)
        refused.sendall(b"POST /v1/answers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\na")
        assert rest(vast, head + b"A: " + b"a" * 2_000_000 + b"\r\n\r\n") == b""
        assert b" 408 " in slow.recv(4096)
        assert rest(silent) == b""
        assert b"token" in rest(refused, b"a")
    assert service.ask(samples(1)).status == 200


def rest(connection: ssl.SSLSocket, more: bytes = b"") -> bytes:
    """All that the service says after `more` until it ends the connection. Raises TimeoutError where it does not."""
    said = b""
    try:
        connection.sendall(more)
        while part := connection.recv(4096):
            said += part
    except TimeoutError:
        raise
    except OSError:
        pass
    return said


def opened(service: Service) -> ssl.SSLSocket:
    connection = service.connection()
    connection.connect()
    return connection.sock  # type: ignore[no-any-return]


def test_a_device_that_asks_too_much_waits_and_others_do_not(service: Service, bundle_folder: Path) -> None:
    tokens = Path(service.authority).with_name("tokens")
    greedy = add_token(tokens, "greedy")  # known at once: the file is read again
    many = samples(64)
    found = [service.ask(many, token=greedy) for _ in range(25)]
    assert {said.status for said in found} == {200, 429}
    last = found[-1]
    assert last.status == 429
    assert 1 <= int(last.headers["retry-after"]) <= 60
    assert service.ask(samples(1)).status == 200
    tokens.write_text("\n".join(line for line in tokens.read_text().splitlines() if not line.startswith("greedy")))
    assert service.ask(samples(1), token=greedy).status == 401


def test_pages_of_the_origins_that_were_named_may_ask_and_read_refusals(service: Service) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allows, exposes = "access-control-allow-origin", "access-control-expose-headers"
    preflight = service.send("OPTIONS", "/v1/answers", headers={"Origin": PAGE, **asks})
    assert (preflight.status, preflight.headers[allows]) == (200, PAGE)
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    refusal = service.send("POST", "/v1/answers", headers={"Origin": PAGE})
    assert (refusal.status, refusal.headers[allows], refusal.headers["vary"]) == (401, PAGE, "Origin")
    assert "Retry-After" in refusal.headers[exposes]
    assert "access-control-allow-credentials" not in refusal.headers
    for origin in (f"{PAGE}:8443", "http://app.example", "null", "https://app.example.evil.example"):
        assert allows not in service.send("OPTIONS", "/v1/answers", headers={"Origin": origin, **asks}).headers
        assert allows not in service.send("POST", "/v1/answers", headers={"Origin": origin}).headers


@pytest.mark.parametrize(
    "origins",
    [
        *(
            "*",
            "null",
            "app.example",
            f"{PAGE}/",
            f"{PAGE}.",
            f"{PAGE},",
            f"{PAGE}, {PAGE}:8443",
            "https://App.example",
        ),
        *(
            f"{PAGE}:443",
            f"{PAGE}:65536",
            f"{PAGE}:99999",
            f"{PAGE}:8\N{ARABIC-INDIC DIGIT FOUR}43",
            "https://me@app.example",
        ),
        *("https://[0:0:0:0:0:0:0:1]", "https://[:::]", "http://127.1", "http://127.0.0.256"),
    ],
)
def test_what_no_browser_sends_as_an_origin_is_refused(origins: str, tmp_path: Path) -> None:
    from mentor.serve.settings import ServeSettings, check_serve
    from mentor_mentee.errors import UserError

    given = ServeSettings(bundle=tmp_path, mentor=tmp_path, tokens=tmp_path, origins=origins)
    with pytest.raises(UserError, match=r"no origin as browsers send it; expected https://HOST"):
        check_serve(given)


def test_origins_that_browsers_send_are_taken(tmp_path: Path) -> None:
    from mentor.serve.settings import ServeSettings, check_origins

    origins = (
        PAGE,
        f"{PAGE}:65535",
        "http://localhost:5173",
        "http://127.0.0.1:8000",
        "https://[::1]:8443",
        "https://1.app",
    )
    check_origins(ServeSettings(bundle=tmp_path, mentor=tmp_path, tokens=tmp_path, origins=",".join(origins)))


def test_it_says_how_it_is(service: Service) -> None:
    assert service.ask(samples(1)).status == 200
    described = json.loads(service.get("/openapi.json").body)
    assert set(described["paths"]["/v1/answers"]["post"]["responses"]) == {"200", *REFUSALS}
    assert service.get("/docs").status == 200
    about = json.loads(service.get("/info").body)["model"]
    assert about["bundle"] == service.bundle
    text = service.get("/metrics").body.decode()
    answered = re.search(r'^mentor_requests_total\{status="200"\} (\d+)', text, re.M)
    assert answered is not None
    assert int(answered[1]) > 0
    assert "phone" not in text
    assert service.token not in text


def test_a_port_that_is_taken_is_said_with_the_fix(service: Service) -> None:
    from mentor.serve.settings import require_free
    from mentor_mentee.errors import UserError

    with pytest.raises(UserError, match=rf"cannot listen on 127.0.0.1:{service.port} \(.*in use\); give another port="):
        require_free("127.0.0.1", service.port)


@pytest.mark.parametrize("name", ["tokens", "certificate"])
def test_a_service_without_its_files_does_not_start(name: str, tmp_path: Path) -> None:
    from mentor.serve.settings import ServeSettings, check_serve
    from mentor_mentee.errors import UserError

    (tmp_path / "there").touch()
    given = {"bundle": tmp_path, "mentor": tmp_path, "tokens": tmp_path / "there", name: tmp_path / "missing"}
    with pytest.raises(UserError, match=f"{name}=.*missing"):
        check_serve(ServeSettings(**given))
