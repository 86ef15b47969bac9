"""Serves a run's model over HTTP until it is told to stop. Before it says so, it asks itself the golden question through its own socket.

One process, one model, one question at a time. There is neither authentication nor encryption: it binds to this machine unless the user
names another address, and what stands on the open net belongs behind a proxy that has both.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from luban.bundle import Bundle, load
from luban.core.errors import UserError
from luban.core.notes import warn
from luban.folders import find
from luban.server.app import application, example, golden_question, jsonable

_TOLERANCE = 1e-6
_GRACE = 30
"""Seconds that questions under way get at the end; a client that never finishes its own must not keep the server."""
_PATIENCE = 600
"""Seconds that the server has for the golden question."""


def serve(run: str, host: str, port: int, ready: Callable[[str], None], *, model: str | None = None, verbose: bool = False) -> None:
    """Serves the model of `run` on host:port (0: any free port) until Ctrl-C or SIGTERM; for the main thread, which gets the signals.

    ready: called with what a person should know, once the server has proved itself. model: the user's own network, as for `luban.load`.
    Raises UserError where the port cannot be had, or the answers over HTTP are not the model's own.
    """
    folder = find(run)
    with bound(host, port) as sock:  # before the model is loaded: that takes seconds, a port in use is known at once
        bundle = load(folder, model)
        with running(application(bundle), sock, verbose) as (server, thread):
            url = address(sock)
            answered = prove(bundle, url)
            with _stopped_by_signals(server):
                what = f"{bundle.info['task']['name']}, {bundle.info['model']['name']}"
                ready(f"serving {folder.path} ({what}) on {url}; {answered} answered as when it was saved\n{example(bundle, url)}")
                if not verbose:
                    logging.getLogger("luban").setLevel(logging.WARNING)  # notes on each question: nobody who asked would read them here
                while thread.is_alive():
                    thread.join(1)  # on Windows, a signal is not seen before a wait ends


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens on host:port. Says aloud where others than this machine can reach it."""
    try:
        sock = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno).lower()
        raise UserError(f"cannot listen on {host}, port {port}: {why}. Name another by --port (0: any that is free) or --host.") from error
    if not ipaddress.ip_address(sock.getsockname()[0]).is_loopback:
        warn(f"listening on {host}: whoever can reach this machine there can ask the model, for there is no authentication.")
    return sock


def address(sock: socket.socket) -> str:
    """Where this machine finds it: "http://127.0.0.1:8000"."""
    host, port = sock.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:  # 0.0.0.0 is every address of this machine, and not one to connect to
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def running(app: ASGIApp, sock: socket.socket, verbose: bool = False) -> Iterator[tuple[uvicorn.Server, threading.Thread]]:
    """Within it, `app` answers on `sock` from a thread of its own. At the end, questions under way are still answered."""
    config = uvicorn.Config(
        app, http="h11", ws="none", lifespan="off", log_config=None, log_level="warning", timeout_graceful_shutdown=_GRACE
    )
    if verbose:
        log = logging.getLogger("uvicorn.access")
        log.setLevel(logging.INFO)
        log.addHandler(logging.StreamHandler())  # stderr
    server = uvicorn.Server(config)
    # who connects before uvicorn accepts waits in the socket's queue
    thread = threading.Thread(target=server.run, args=([sock],), name="server", daemon=True)
    thread.start()
    try:
        yield server, thread
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Ctrl-C and SIGTERM are how a server ends, not errors. A second Ctrl-C no longer waits for questions under way."""
    before = {each: signal.signal(each, server.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


# ---------------------------------------------------------------- prove


def prove(bundle: Bundle, url: str) -> str:
    """Asks the golden question at `url`; returns what was answered, in words. Raises UserError where an answer is not the bundle's own."""
    question = golden_question(bundle)
    ask = bundle.asked({key: value for key, value in question.items() if key != "rows"})
    expected = json.loads(json.dumps(jsonable(bundle.answer(question.get("rows"), ask))))
    status, received = post(url, question)
    if status != 200:
        raise UserError(f"the server refused the model's own golden question ({status}): {received.get('error')}")
    answers = received["predictions"]
    wrong = next((i for i, (a, b) in enumerate(zip(answers, expected, strict=True)) if not alike(a, b)), None)
    if wrong is not None:
        raise UserError(
            f"the server was stopped: it answered golden row {wrong + 1} with {answers[wrong]}, the model itself with {expected[wrong]}. "
            "This is an error in luban, please report it; `luban predict` answers as the model does."
        )
    return f"{len(answers)} golden rows" if len(answers) > 1 else "the golden question"


def post(url: str, question: dict[str, Any]) -> tuple[int, Any]:
    """The status and the answer to POST url/predict."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=_PATIENCE)
    try:
        connection.request("POST", "/predict", json.dumps(question).encode())
        reply = connection.getresponse()
        return reply.status, json.load(reply)
    finally:
        connection.close()


def alike(a: Any, b: Any) -> bool:
    """Equal, numbers within a millionth."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, float) or isinstance(b, float):
        return isinstance(a, (int, float)) and isinstance(b, (int, float)) and math.isclose(a, b, rel_tol=_TOLERANCE)
    return bool(a == b)
