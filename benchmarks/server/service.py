"""How much of its own throughput does a mentor keep as a service with many devices, and how long do those wait?

python -m benchmarks.server.service [--seconds 15] [--rounds 5] [--devices 32] [--samples 4] [--network resnet18]

The mentor is torchvision's, untrained, on one thread; every sample is a new one, so that the cache answers none. Rounds of the
mentor alone and of the service are interleaved: a slow stretch of the machine hits both.
"""

import argparse
import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from mentee_device.online.wire import request_body
from numpy.typing import NDArray
from safetensors.torch import save_file

from mentee.networks import PlainCNN
from mentor.mentor import Mentor
from mentor.precisions import FULL
from mentor.serve.entry.tokens import add_token
from mentor.serve.served import Served
from mentor_mentee.objective.probes import find_probes
from mentor_mentee.recipe import build

SHAPE = (3, 96, 96)
BUNDLE = "b" * 64
TOGETHER = 64  # samples of the mentor alone at once, as the service takes them
WARM = 3.0  # seconds before a round of the service counts


@dataclass
class Round:
    """Samples a second, processor seconds a sample by process (Linux), and the seconds of each request."""

    rate: float
    costs: dict[str, float]
    waits: list[float] = field(default_factory=list)


def served(folder: Path, network: str) -> Served:
    """A mentor with two probes, as a run on images of 96 px would have it."""
    recipe = {"_target_": f"torchvision.models.{network}", "num_classes": 100}
    torch.manual_seed(0)
    mentor, mentee = build(recipe, "a benchmark").eval(), PlainCNN(3, 100, [16, 32]).eval()
    save_file(mentor.state_dict(), folder / "mentor.safetensors")
    example = torch.randn(2, *SHAPE)
    pairs = {"early": ("layer1", "features.0"), "late": ("layer2", "features.1")}
    about = {
        "network": recipe,
        "weights": str(folder / "mentor.safetensors"),
        "view": {"shape": SHAPE, "mean": (0.5,) * 3, "std": (0.25,) * 3, "dtype": "uint8"},
    }
    probes = tuple(find_probes(pairs, mentor, example, mentee, example))
    one = Served(BUNDLE, "", tuple(map(str, range(100))), SHAPE, "uint8", about, probes)
    return Served(**{**vars(one), "fingerprint": one.restored().fingerprint()})


def serve_in_child(folder: Path, network: str, port: int) -> None:
    from mentor.serve.entry.door import Rules
    from mentor.serve.entry.limits import Rates
    from mentor.serve.entry.tokens import Tokens
    from mentor.serve.metrics import Metrics
    from mentor.serve.server import serve
    from mentor.serve.settings import ServeSettings

    settings = ServeSettings(
        bundle=folder,
        mentor=folder,
        tokens=folder / "tokens",
        cache_dir=folder / "cache",
        port=port,
        device="cpu",
        threads=1,
        batch=TOGETHER,
        rate=10**9,
    )
    serve(Rules(served(folder, network), settings, Tokens(settings.tokens), Rates(settings.rate), Metrics()), FULL)


def alone(mentor: Mentor, seconds: float) -> Round:
    images = torch.from_numpy(new_samples(TOGETHER, 0))
    done, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        mentor.answer(images)
        done += TOGETHER
    return Round(done / (time.perf_counter() - start), {"alone": (time.process_time() - cpu) / done})


def cpu_of(child: int) -> dict[str, float]:
    """Processor seconds of a service's worker, and of its other processes together."""
    found = {"worker": 0.0, "http and queue": 0.0}
    for place in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            if place.name.isdigit() and child in (int(place.name), int(fields[1])):
                name = "worker" if b"spawn_main" in (place / "cmdline").read_bytes() else "http and queue"
                found[name] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def asked(
    port: int, mentor: str, token: str, devices: int, samples: int, seconds: float, seed: int, child: int
) -> Round:
    """All devices ask at once, one request after the other each; counted between the first and the last that ended in time."""
    begin = time.perf_counter() + WARM
    end, lock, ended, waits = begin + seconds, threading.Lock(), list[float](), list[float]()

    def device(number: int) -> None:
        connection, count = http.client.HTTPConnection("127.0.0.1", port, timeout=120), 0
        while time.perf_counter() < end:
            count += 1
            body, kind = request_body(new_samples(samples, (seed * devices + number) * 100_000 + count), BUNDLE, mentor)
            sent = time.perf_counter()
            connection.request("POST", "/v1/answers", body, {"Content-Type": kind, "Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            content = response.read()
            if response.status != 200:
                raise SystemExit(f"the service said {response.status}: {content[:200]!r}")
            now = time.perf_counter()
            with lock:
                if begin <= now <= end:
                    ended.append(now)
                    waits.append(now - sent)
        connection.close()

    threads = [threading.Thread(target=device, args=(number,)) for number in range(devices)]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, begin - time.perf_counter()))
    before = cpu_of(child)
    time.sleep(max(0.0, end - time.perf_counter()))
    after, done = cpu_of(child), max(1, samples * len(ended))
    for thread in threads:
        thread.join()
    return Round(samples * len(ended) / seconds, {name: (after[name] - before[name]) / done for name in after}, waits)


POOL = np.random.default_rng(0).integers(0, 256, (TOGETHER, *SHAPE), np.uint8)


def new_samples(count: int, number: int) -> NDArray[np.uint8]:
    """Samples that nobody saw before: `number` is written into their first bytes."""
    made = POOL[:count].copy()
    made.reshape(count, -1)[:, :8] = np.frombuffer(number.to_bytes(8, "little"), np.uint8)
    return made


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("seconds", 15.0), ("rounds", 5), ("devices", 32), ("samples", 4), ("port", 8765)):
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        serve_in_child(given.serve, given.network, given.port)
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        token = add_token(folder / "tokens", "device")
        one = served(folder, given.network)
        words = [
            "-m",
            "benchmarks.server.service",
            "--serve",
            name,
            "--network",
            given.network,
            "--port",
            str(given.port),
        ]
        child = subprocess.Popen([sys.executable, *words])
        try:
            measure(given, one, token, child.pid)
        finally:
            child.terminate()
            child.wait()


def measure(given: argparse.Namespace, one: Served, token: str, child: int) -> None:
    while not is_up(given.port):
        time.sleep(0.2)
    mentor, rounds = one.restored(), []
    alone(mentor, 2.0)
    for number in range(given.rounds):
        own = alone(mentor, given.seconds)
        many = asked(given.port, one.fingerprint, token, given.devices, given.samples, given.seconds, 1 + number, child)
        rounds.append((own, many))
        print(
            f"round {number + 1}: alone {own.rate:.1f} samples/s, service {many.rate:.1f}, {many.rate / own.rate:.2f}",
            flush=True,
        )
    single = asked(given.port, one.fingerprint, token, 1, given.samples, given.seconds, 1000, child)
    for name in ("alone", "worker", "http and queue"):
        costs = [one.costs[name] for pair in rounds for one in pair if name in one.costs]
        print(f"processor milliseconds a sample, {name}: {1000 * statistics.median(costs):.2f}")
    ratios, waits = [many.rate / own.rate for own, many in rounds], [wait for _, many in rounds for wait in many.waits]
    print(
        f"share of its own throughput: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"
    )
    for devices, times in ((given.devices, waits), (1, single.waits)):
        p50, p99 = np.percentile(times, [50, 99])
        print(
            f"{devices} devices, {given.samples} samples a request: p50 {p50:.3f} s, p99 {p99:.3f} s (n = {len(times)})"
        )


def is_up(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False


if __name__ == "__main__":
    main()
