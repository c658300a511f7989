"""A service that is killed in the middle loses nothing: every answer that a device was given, and the service itself."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from tests.mentor.serve.service import Service, form, is_up, samples, serving
from tests.waiting import wait_until

Given = dict[int, bytes]  # seed of the samples -> the answer as a device was given it


def flood(service: Service, given: Given, seeds: range) -> list[threading.Thread]:
    """Devices that ask one after the other until the service is gone."""

    def ask(first: int) -> None:
        for seed in seeds[first::4]:
            try:
                said = service.ask(samples(3, seed))
            except OSError:
                return
            if said.status == 200:
                given[seed] = said.body

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    return threads


def test_no_answer_that_was_given_is_lost(tmp_path: Path, bundle_folder: Path, mentor_file: Path) -> None:
    given: Given = {}
    with serving(tmp_path, bundle_folder, mentor_file) as service:
        threads = flood(service, given, range(2000))
        wait_until(lambda: len(given) >= 40)
        children = processes_of(service.process.pid)
        os.kill(service.process.pid, signal.SIGKILL)  # the first process alone: the others must not hold the port
        for thread in threads:
            thread.join()
        wait_until(lambda: not any(map(is_alive, children)), every=0.05)
    assert len(given) < 2000
    with serving(tmp_path, bundle_folder, mentor_file, answer_seconds=5) as service:
        for seed, body in given.items():
            again = service.ask(samples(3, seed))
            assert again.headers["x-cached-samples"] == "3"
            for name, value in load(again.body).items():
                np.testing.assert_array_equal(value, load(body)[name])
        survives_its_worker(service)
        answers_what_is_in_work_when_it_is_ended(service)


def answers_what_is_in_work_when_it_is_ended(service: Service) -> None:
    """As systemd ends it: SIGTERM for every process."""
    body = form(save({"input": samples(2, 9000)}), {"bundle": service.bundle})
    asked = [service.begin(body) for _ in range(3)]
    wait_until(lambda: b"\nmentor_requests_in_work 3.0" in service.get("/metrics").body)
    children = processes_of(service.process.pid)
    os.killpg(service.process.pid, signal.SIGTERM)
    wait_until(lambda: not is_up(service))
    for connection in asked:
        connection.send(body[len(body) // 2 :])
        with closing(connection), connection.getresponse() as answer:
            assert answer.status == 200
    assert service.process.wait(20) == 0
    wait_until(lambda: not any(map(is_alive, children)), every=0.05)


def survives_its_worker(service: Service) -> None:
    """A worker that is killed costs the requests that it had; a new one takes its place."""
    (worker,) = [pid for pid in processes_of(service.process.pid) if b"spawn_main" in command(pid)]
    os.kill(worker, signal.SIGKILL)
    statuses: list[int] = []

    def answered() -> bool:
        statuses.append(service.ask(samples(2, 5000 + len(statuses))).status)
        return statuses[-1] == 200

    wait_until(answered, every=0.1)
    assert set(statuses) <= {200, 503}
    assert np.isfinite(load(service.ask(samples(2, 5000)).body)["mentor_logits"]).all()


def processes_of(parent: int) -> list[int]:
    """Its children and theirs."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (number := parent_of(int(entry.name))) is not None and number == parent:
            found += [int(entry.name), *processes_of(int(entry.name))]
    return found


def parent_of(pid: int) -> int | None:
    return read(lambda: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]), None)


def command(pid: int) -> bytes:
    return read(lambda: Path(f"/proc/{pid}/cmdline").read_bytes(), b"")


def is_alive(pid: int) -> bool:
    """Not a zombie that nobody waits for."""
    return read(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX", False)


def read(look: Callable[[], Any], otherwise: Any) -> Any:
    try:
        return look()
    except (OSError, IndexError, ValueError):
        return otherwise
