"""The settings of the service and of the verb that makes a token.

Imports neither torch nor LitServe: a typo must be answered at once.
"""

import re
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path

from mentor.precisions import AUTO, PRECISIONS
from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.settings import setting

HOSTS = ("127.0.0.1", "0.0.0.0", "::")
DEVICES = ("cpu", "cuda", "mps", AUTO)
PACKAGES = ("litserve", "prometheus_client", "python_multipart")
ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]*[a-z0-9_-]|\[[0-9a-f:]+\])(?::([1-9]\d{0,4}))?", re.ASCII)
OWN_PORT = {"http": "80", "https": "443"}  # which a browser leaves out


@dataclass
class ServeSettings:
    bundle: Path = setting("???", "the bundle whose devices ask: folder or zip")
    mentor: Path = setting("???", "mentee.safetensors of the run that the bundle was made of: it names the mentor")
    weights: Path | None = setting(None, "the mentor's file of weights, where it is not where the run left it")
    tokens: Path = setting("???", "file of the devices' tokens; `python -m mentor.serve token` adds one")
    host: str = setting("127.0.0.1", "address to listen on: 127.0.0.1, 0.0.0.0 or ::")
    port: int = setting(8010, "port, 1024 to 65535")
    certificate: Path | None = setting(None, "PEM file of the TLS certificate and its chain")
    private_key: Path | None = setting(None, "PEM file of the certificate's private key")
    behind_proxy: bool = setting(False, "a proxy on this machine speaks TLS with the devices (docs/serve.md)")
    origins: str | None = setting(
        None,
        "pages of other origins that may ask from a browser: https://app.example, more after commas; none by default",
    )
    cache_dir: Path | None = setting(Path(".cache"), "folder whose answers/ keeps the answers; null: in memory only")
    cache_mb: float = setting(4096.0, "bound of the stored answers, in 10^6 bytes")
    precision: str = setting(AUTO, "32-true, bf16-mixed, 16-mixed; auto: bf16 where it is faster and changes nothing")
    device: str = setting(AUTO, "cpu, cuda, mps or auto")
    workers: int = setting(1, "processes that each hold the mentor, for each accelerator")
    threads: int = setting(0, "CPU threads of each worker; 0: torch's default")
    batch: int = setting(64, "samples that the mentor is asked about at once, across requests")
    window_ms: float = setting(5.0, "how long a batch waits for more requests, in milliseconds")
    max_samples: int = setting(64, "samples in one request; more are answered with 413")
    rate: int = setting(6000, "samples a minute of one device; more are answered with 429")
    queue: int = setting(256, "requests in work at once; more are answered with 503")
    body_seconds: float = setting(
        20.0, "time for a request's head, its body (later: 408), and for reading its answer, each"
    )
    answer_seconds: float = setting(30.0, "time for the mentor's answer; later the request is answered with 503")

    def allowed_origins(self) -> list[str]:
        return self.origins.split(",") if self.origins else []


@dataclass
class TokenSettings:
    name: str = setting("???", "the device's name")
    tokens: Path = setting("???", "file of the devices' tokens; made where there is none")


def check_serve(settings: ServeSettings) -> None:
    """Raises `UserError` for what cannot be meant, a file that is missing, and a package that is not installed."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UserError(f"the service needs {', '.join(missing)}: pip install 'mentor-mentee[serve]'")
    for name, known in (("host", HOSTS), ("device", DEVICES), ("precision", (AUTO, *PRECISIONS))):
        if (value := getattr(settings, name)) not in known:
            raise UserError(f"{name}={value}{did_you_mean(value, known)}; expected one of {', '.join(known)}")
    if not 1024 <= settings.port <= 65535:
        raise UserError(f"port={settings.port}; expected 1024 to 65535")
    for name in ("workers", "batch", "max_samples", "rate", "queue"):
        if getattr(settings, name) < 1:
            raise UserError(f"{name}={getattr(settings, name)}; expected 1 or more")
    for name in ("cache_mb", "body_seconds", "answer_seconds"):
        if not 0 < getattr(settings, name) < float("inf"):
            raise UserError(f"{name}={getattr(settings, name)}; expected a number above 0")
    if settings.threads < 0 or not 0 <= settings.window_ms <= 1000:
        raise UserError(f"threads={settings.threads} window_ms={settings.window_ms}; expected 0 or more, and 0 to 1000")
    check_origins(settings)
    check_files(settings)


def check_origins(settings: ServeSettings) -> None:
    """Raises `UserError` for one that no browser sends: what is compared is its `Origin`, letter by letter."""
    for origin in settings.allowed_origins():
        match = ORIGIN.fullmatch(origin)
        if (
            match is None
            or not is_host(match[2])
            or int(match[3] or 0) > 65535
            or OWN_PORT.get(match[1]) == match[3] is not None
        ):
            raise UserError(
                f"origins: {origin!r} is no origin as browsers send it; expected https://HOST or https://HOST:PORT in lower "
                "case, without a path or a dot behind the host, a port of at most 65535 and not the one that the scheme has "
                "anyway; several with commas and no spaces"
            )


def is_host(text: str) -> bool:
    """Whether a browser writes a host so: an address has one form only, [::1] or 127.0.0.1."""
    address = text.strip("[]")
    if ":" not in address and not address.rpartition(".")[2].isdigit():
        return True
    try:
        return str(ip_address(address)) == address
    except ValueError:
        return False


def require_free(host: str, port: int) -> None:
    """Raises `UserError` for a port that another program has: before a mentor is loaded for it."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise UserError(f"cannot listen on {host}:{port} ({error.strerror}); give another port=…") from None


def check_files(settings: ServeSettings) -> None:
    """TLS, a proxy, or this machine alone: a token must not cross a network in the clear."""
    for name in ("tokens", "weights", "certificate", "private_key"):
        path = getattr(settings, name)
        if path is not None and not Path(path).is_file():
            more = "; make one: python -m mentor.serve token name=phone tokens=…" if name == "tokens" else ""
            raise UserError(f"{name}={path} is no file{more}")
    if (settings.certificate is None) != (settings.private_key is None):
        raise UserError("certificate and private_key go together; give both PEM files")
    if settings.certificate is None and settings.host != HOSTS[0] and not settings.behind_proxy:
        raise UserError(
            f"host={settings.host} without TLS would send tokens and samples in the clear; give certificate=… private_key=…, or "
            "behind_proxy=true where a proxy on this machine has them"
        )
