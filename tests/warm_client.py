"""Asks the process of `tests.warm` for a command, and ends as the command does. Python alone, so that it starts at once."""

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

ADDRESS = "MENTEE_TESTS_WARM"  # the variable that names its socket


def ask(words: Sequence[str], cwd: str, variables: Mapping[str, str], out: int, err: int) -> int:
    """The exit code of `python *words`, which writes to the descriptors `out` and `err`. Raises `OSError` where none listens."""
    asked = json.dumps([words, cwd, dict(variables)]).encode()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(os.environ[ADDRESS])
        socket.send_fds(line, [len(asked).to_bytes(4)], [out, err])
        line.sendall(asked)
        answer = line.recv(4)
    if not answer:
        raise ConnectionError("the process of tests.warm ended")
    return int.from_bytes(answer, signed=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = ask(sys.argv[1:], os.getcwd(), os.environ, 1, 2)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)
