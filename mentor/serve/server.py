"""The service as LitServe runs it: one HTTP process with the door, workers with the mentor, and what watches over both."""

import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import litserve
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from mentor.serve.api import MentorAPI
from mentor.serve.entry.connections import Connection
from mentor.serve.entry.door import Door, Rules
from mentor.serve.entry.openapi import description
from mentor.serve.orphans import end_with
from mentor_mentee.errors import UserError

CONNECTIONS = 1000  # beyond which uvicorn itself answers 503
ACCEPTING = 0.3  # seconds in which the HTTP process heeds a signal to end
KEEP_ALIVE = 30  # seconds that an idle connection stays open


def serve(rules: Rules, precision: str) -> None:
    """Answers until Ctrl-C or SIGTERM; requests in work are answered first. Raises `UserError` where it cannot begin."""
    settings = rules.settings
    server = made(rules, precision)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ending(os.getpid()))
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    tls = {"ssl_certfile": settings.certificate, "ssl_keyfile": settings.private_key} if settings.certificate else {}
    try:
        server.run(
            host=settings.host,
            port=settings.port,
            num_api_servers=1,  # limits, rates and metrics are those of the whole service
            log_level="error",  # a request that is refused is counted, not logged
            generate_client_file=False,
            access_log=False,
            ws="none",
            http=partial(Connection, seconds=settings.body_seconds),
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE,
            **tls,
        )
    except (RuntimeError, KeyboardInterrupt) as error:  # while a worker begins, which LitServe leaves running then
        for worker in getattr(server, "inference_workers", []):
            worker.kill()
        if isinstance(error, KeyboardInterrupt):
            raise
        raise UserError(f"{error}; the lines above say why") from None


def ending(first: int) -> Callable[[int, FrameType | None], None]:
    """Handles SIGINT and SIGTERM: in the process `first`, LitServe ends in good order on KeyboardInterrupt alone. Those forked
    from it, to which a group's signal comes as well, are ended by LitServe."""

    def end(_number: int, _frame: FrameType | None) -> None:
        if os.getpid() == first:
            raise KeyboardInterrupt

    return end


def made(rules: Rules, precision: str) -> Any:
    """LitServe's server, with the door in front of it."""
    settings, served = rules.settings, rules.served
    terms = {
        "bundle": served.bundle,
        "mentor": served.fingerprint,
        "precision": precision,
        "input": {"dtype": served.dtype, "shape": list(served.shape), "max_samples": settings.max_samples},
        "classes": list(served.classes),
        "probes": [{"name": probe.name, "shape": list(probe.adapter.shape)} for probe in served.probes],
    }
    server: Any = Server(
        MentorAPI(served, settings, precision),
        accelerator=settings.device,
        workers_per_device=settings.workers,
        timeout=2 * settings.answer_seconds,  # the door gives up first
        model_metadata=terms,
        restart_workers=True,
        middlewares=[
            (Watched, {"rules": rules, "parent": os.getpid(), "others": lambda: children(server)}),
            *for_pages(settings.allowed_origins()),  # outermost: a page must be able to read a refusal, too
        ],
    )
    server.uvicorn_graceful_timeout = math.ceil(settings.body_seconds + settings.answer_seconds)
    metrics = rules.metrics
    server.app.add_api_route("/metrics", lambda: Response(metrics.text(), media_type="text/plain; version=0.0.4"))
    server.app.openapi = lambda: description(rules)
    return server


def for_pages(origins: list[str]) -> list[tuple[Any, dict[str, Any]]]:
    """Lets pages of `origins` ask, and read when to come again. None is the default: without a header browsers let no page."""
    given = {"allow_methods": ["POST"], "allow_headers": ["Authorization"], "expose_headers": ["Retry-After", "Date"]}
    return [(CORSMiddleware, {"allow_origins": origins, **given})] if origins else []


class Server(litserve.LitServer):
    """Its workers heed no signal that ends a service (api.py): they answer what is in work, and then go at once. Connections that
    come then are refused: the socket is open in several processes, and would go on taking what nobody answers."""

    def _start_server(self, port: int, servers: int, level: str, sockets: Any, kind: str, **given: Any) -> Any:
        self.listening = sockets
        return super()._start_server(port, servers, level, sockets, kind, **given)

    def _perform_graceful_shutdown(self, manager: Any, uvicorn_workers: Any, shutdown_reason: str = "normal") -> None:
        # A worker that ends now is not replaced. This thread's own line to the manager still waits for the event.
        threading.Thread(target=self._shutdown_event.set, daemon=True).start()
        for worker in uvicorn_workers.values():
            worker.terminate()
        time.sleep(ACCEPTING)
        for listening in self.listening:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
        super()._perform_graceful_shutdown(manager, uvicorn_workers, shutdown_reason)

    def launch_inference_worker(self, lit_api: Any) -> Any:
        return [at_once(worker) for worker in super().launch_inference_worker(lit_api)]

    def launch_single_inference_worker(self, lit_api: Any, worker_id: int) -> Any:
        return at_once(super().launch_single_inference_worker(lit_api, worker_id))


def at_once(worker: Any) -> Any:
    worker.terminate = worker.kill
    return worker


class Watched(Door):
    """The door, made in the HTTP process, which ends with its parent and takes the service's helpers along."""

    def __init__(self, app: ASGIApp, rules: Rules, parent: int, others: Any) -> None:
        super().__init__(app, rules)
        if os.getppid() == parent:
            end_with(parent, others)


def children(server: Any) -> list[int]:
    """Process numbers of the manager and of the workers as they were when the HTTP process began."""
    manager = getattr(server.transport_config.manager, "_process", None)
    found = [*(worker.pid for worker in server.inference_workers), *([manager.pid] if manager is not None else [])]
    return [number for number in found if number is not None]
