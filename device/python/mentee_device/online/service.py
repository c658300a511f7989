"""A mentor's service at one address: one request at a time, over TLS, with the device's token."""

import http.client
import json
import re
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from mentee_device.bundle.manifest import ADDRESS
from mentee_device.online.errors import AskError, NotNow, NotTaken

PATH = "/v1/answers"
HERE = ("localhost", "127.0.0.1", "::1")  # where a request without TLS crosses no network
NOT_YET, EXPIRED = 9, 10  # OpenSSL's codes of a certificate whose time is not now
LINE = 300  # characters of what a service says that an error repeats
ERROR_BODY = 1 << 16


class Service:
    """`address`: https://HOST[:PORT], http for this machine alone. `authority`: a PEM file that its certificate is held against,
    instead of the system's. `timeout`: seconds for each step of a connection. Raises AskError."""

    def __init__(self, address: str, token: str, authority: str | None = None, timeout: float = 60.0) -> None:
        if not re.fullmatch(ADDRESS, address):
            raise AskError(f"service {address[:70]!r}; expected https://HOST or https://HOST:PORT")
        parts = urlsplit(address)
        if parts.scheme == "http" and parts.hostname not in HERE:
            raise AskError(
                f"{address} has no TLS, so samples and the token would cross the network in the clear: use https"
            )
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise AskError(
                "the token is empty, or has a space or line break in it: give what `python -m mentor.serve token` printed, alone"
            )
        self.address, self.host, self._timeout, self._token = address, parts.hostname or "", timeout, token
        try:
            self._port = parts.port
        except ValueError:
            raise AskError(f"service {address[:70]!r} has no port that there is") from None
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=authority)
            except OSError as error:
                raise AskError(f"{authority} is no PEM file of a certificate ({error})") from None

    def ask(self, body: bytes, kind: str, most: int) -> bytes:
        """The body of a 200; `most` bytes are read. Raises NotNow, NotTaken, AskError, by what the service says."""
        connection = self._connection()
        try:
            try:
                headers = {
                    "Content-Type": kind,
                    "Authorization": f"Bearer {self._token}",
                    "User-Agent": "mentee-device",
                }
                connection.request("POST", PATH, body, headers)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it may have answered before it had read everything
            with connection.getresponse() as response:
                content = response.read(most + 1 if response.status == 200 else ERROR_BODY)
        except ssl.SSLCertVerificationError as error:
            raise self._not_trusted(error) from error
        except (OSError, http.client.HTTPException) as error:  # gone, unreachable, too slow, cut off
            said = " ".join(str(error).split()) or type(error).__name__
            raise NotNow(f"{self.address} cannot be reached ({said[:LINE]})") from error
        finally:
            connection.close()
        if response.status != 200:
            raise self._refused(response, content)
        if len(content) > most:
            raise AskError(f"the service's answer is above {most:,} bytes: it is not for these samples")
        return content

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self.host, self._port, timeout=self._timeout)
        return http.client.HTTPSConnection(self.host, self._port, timeout=self._timeout, context=self._tls)

    def _not_trusted(self, error: ssl.SSLCertVerificationError) -> AskError:
        if error.verify_code in (NOT_YET, EXPIRED):
            now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
            state = "not valid yet" if error.verify_code == NOT_YET else "expired"
            return NotNow(
                f"the certificate of {self.address} is {state}, by this device's clock ({now}): is that right?"
            )
        return AskError(f"the certificate of {self.address} is not trusted ({error.verify_message}): nothing was sent")

    def _refused(self, response: http.client.HTTPResponse, content: bytes) -> AskError:
        said = detail(content) or response.reason
        line = f"{self.address} said {response.status}: {said}"
        if response.status in (408, 425, 429) or response.status >= 500:
            return NotNow(line, wait(response.getheader("Retry-After"), response.getheader("Date")))
        if response.status in (413, 422):
            return NotTaken(line, too_many=response.status == 413)
        if response.status in (401, 403):
            return AskError(f"{line}: give this device's own token")
        if 300 <= response.status < 400:
            return AskError(f"{self.address} points elsewhere; samples go to no address but the one that was given")
        return AskError(line)


def detail(content: bytes) -> str:
    """The one line of an error's body."""
    try:
        said: Any = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    text = said.get("detail") if isinstance(said, dict) else ""
    return " ".join(text.split())[:LINE] if isinstance(text, str) else ""


def wait(retry_after: str | None, date: str | None) -> float | None:
    """Seconds of a Retry-After; a date there is held against the service's own clock, not against the device's."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        until, now = parsedate_to_datetime(retry_after), parsedate_to_datetime(date or "")
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):
        return None
