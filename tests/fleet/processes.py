"""A SuperLink and SuperNodes as processes of their own, with TLS and node keys, on free ports of this machine."""

import datetime
import ipaddress
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.paths import ROOT


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """An authority's certificate, and certificate and key of a server on 127.0.0.1."""
    now = datetime.datetime.now(datetime.UTC)
    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test's authority")])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])

    def signed(name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType) -> x509.Certificate:
        made = x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        for extension in extensions:
            made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return made.sign(authority, hashes.SHA256())

    own_id = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    ca = signed(issuer, authority, x509.BasicConstraints(ca=True, path_length=None), own_id)
    by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own_id)
    files = folder / "ca.crt", folder / "server.pem", folder / "server.key"
    files[0].write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(signed(subject, server, names, by).public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    files[2].write_bytes(server.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return files


def node_key(path: Path) -> Path:
    """An OpenSSH key, its public half beside it with the ending .pub."""
    key, plain = ec.generate_private_key(ec.SECP384R1()), serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, plain))
    openssh = (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.with_suffix(".pub").write_bytes(key.public_key().public_bytes(*openssh))
    return path


class Processes:
    """Programs of the environments `server` and `device` (folders with bin/), ended with their children by `close`."""

    def __init__(self, folder: Path, server: Path, device: Path) -> None:
        self.folder, self.server, self.device = folder, server, device
        self.home, self.port = folder / "flower", free_port()
        self.ca, self.certificate, self.key = certificates(folder)
        self.home.mkdir()
        link = f'[superlink]\ndefault = "test"\n\n[superlink.test]\naddress = "127.0.0.1:{self.port}"\n'
        (self.home / "config.toml").write_text(f'{link}root-certificates = "{self.ca}"\n')
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self, where: Path) -> dict[str, str]:
        """None of this session's variables for Python but the path to this checkout."""
        return {
            "PATH": f"{where / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'device' / 'python'}",
            "OMP_NUM_THREADS": "1",
            "MENTEE_DEVICE_CACHE": os.environ.get("MENTEE_DEVICE_CACHE", str(self.folder / "cache")),
        }

    def start(self, name: str, where: Path, *words: str) -> None:
        """Output goes to <name>.log."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                [str(where / "bin" / words[0]), *words[1:]],
                env=self.environment(where),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )

    def superlink(self) -> None:
        tls = [
            "--ssl-ca-certfile",
            str(self.ca),
            "--ssl-certfile",
            str(self.certificate),
            "--ssl-keyfile",
            str(self.key),
        ]
        ports = ["--host", "127.0.0.1", "--port", str(self.port), "--disable-runtime-dependency-installation"]
        kept = ["--database", str(self.folder / "superlink.db")]  # a SuperLink without it knows no node after a restart
        self.start("superlink", self.server, "flower-superlink", *tls, *ports, *kept, "--enable-supernode-auth")
        self.wait(lambda: answers(self.port), "the SuperLink does not listen")

    def supernode(self, name: str, config: str, key: Path) -> None:
        link = ["--superlink", f"127.0.0.1:{self.port}", "--root-certificates", str(self.ca)]
        own = ["--host", "127.0.0.1", "--port", str(free_port()), "--auth-supernode-private-key", str(key)]
        self.start(name, self.device, "flower-supernode", *link, *own, "--node-config", config)

    def flwr(self, *words: str) -> str:
        """Runs Flower's command line to its end; what it prints."""
        program = str(self.server / "bin" / "flwr")
        done = subprocess.run(
            [program, *words],
            env=self.environment(self.server),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def wait(self, ready: Callable[[], bool], otherwise: str, seconds: float = 120.0) -> None:
        end = time.monotonic() + seconds
        while not ready():
            logs = "\n".join(self.log(name)[-3000:] for name in self._running)
            ended = [name for name, one in self._running.items() if one.poll() is not None]
            assert not ended, f"{otherwise}; ended: {ended}\n{logs}"
            assert time.monotonic() < end, f"{otherwise}\n{logs}"
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        """With all its children, at once."""
        one = self._running.pop(name)
        os.killpg(one.pid, signal.SIGKILL)
        one.wait()

    def close(self) -> None:
        for name in [*self._running]:
            self.kill(name)


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
