"""A real service on localhost, with TLS of its own making, and a client that can also send what no device would."""

import datetime
import http.client
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from numpy.typing import NDArray
from safetensors.numpy import save

from mentor.serve.entry.tokens import add_token
from tests.paths import ROOT
from tests.waiting import wait_until

BOUNDARY = "a-boundary-of-the-test"
PAGE = "https://app.example"  # whose pages may ask


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        return str(json.loads(self.body)["detail"])


@dataclass
class Service:
    """Where it listens, and what a device of its bundle sends."""

    process: subprocess.Popen[bytes]
    port: int
    authority: Path  # PEM of its certificate
    token: str
    bundle: str

    def connection(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.authority))
        return http.client.HTTPSConnection("localhost", self.port, timeout=60, context=context)

    def get(self, path: str) -> Answer:
        return self.send("GET", path)

    def ask(self, samples: NDArray[Any] | bytes, **other: Any) -> Answer:
        """`other`: token, bundle and mentor instead of the right ones."""
        content = samples if isinstance(samples, bytes) else save({"input": samples})
        fields = {"bundle": other.get("bundle", self.bundle), "mentor": other.get("mentor")}
        return self.post(form(content, fields), other.get("token", self.token))

    def post(self, body: bytes, token: str, kind: str = f"multipart/form-data; boundary={BOUNDARY}") -> Answer:
        return self.send("POST", "/v1/answers", body, {"Content-Type": kind, "Authorization": f"Bearer {token}"})

    def begin(self, body: bytes) -> http.client.HTTPSConnection:
        """A request of which half has gone."""
        connection, half = self.connection(), len(body) // 2
        connection.putrequest("POST", "/v1/answers")
        connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        connection.putheader("Authorization", f"Bearer {self.token}")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:half])
        return connection

    def send(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        connection = self.connection()
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()


def form(samples: bytes, fields: Mapping[str, str | None]) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
        if value is not None
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="samples"; filename="s"\r\n\r\n'.encode()
    return b"".join([*parts, head, samples, f"\r\n--{BOUNDARY}--\r\n".encode()])


@contextmanager
def serving(folder: Path, bundle: Path, mentor: Path, *, wait: bool = True, **settings: Any) -> Iterator[Service]:
    """A service in a process group of its own; `folder` has its token, its certificate and its cache, also of an earlier one.
    Without `wait` it may not be up yet."""
    tokens, token = folder / "tokens", folder / "token"
    if not tokens.exists():
        token.write_text(add_token(tokens, "phone"))
        make_certificate(folder / "certificate.pem", folder / "key.pem")
    port = free_port()
    given = {
        "bundle": bundle,
        "mentor": mentor,
        "tokens": tokens,
        "port": port,
        "cache_dir": folder / "cache",
        "certificate": folder / "certificate.pem",
        "private_key": folder / "key.pem",
        "threads": 1,
        "batch": 16,
        "precision": "32-true",
        **settings,
    }
    words = [f"{name}={value}" for name, value in given.items()]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mentor.serve", *words],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    service = Service(process, port, folder / "certificate.pem", token.read_text(), manifest["id"])
    try:
        if wait:
            wait_until(lambda: is_up(service), lambda: process.poll() is None, every=0.1)
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def is_up(service: Service) -> bool:
    try:
        return service.get("/health").status == 200
    except OSError:
        return False


def make_certificate(certificate: Path, key: Path, now: datetime.datetime | None = None) -> None:
    """For localhost, signed by itself, valid for a day from `now`."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = now or datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))


def samples(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Raw samples of the shared checkpoint's shape."""
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 8), np.uint8)
