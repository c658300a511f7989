"""A name that one process holds at a time."""

import subprocess
import sys
import threading
from pathlib import Path

from mentor_mentee.files import locked
from tests.waiting import wait_until


def test_the_second_waits_for_the_first_and_says_so_once(tmp_path: Path) -> None:
    path, seen = tmp_path / "deep" / "name.lock", list[str]()

    def second() -> None:
        with locked(path, lambda: seen.append("waiting")):
            seen.append("in")

    with locked(path, lambda: seen.append("never")):
        thread = threading.Thread(target=second)
        thread.start()
        wait_until(lambda: seen == ["waiting"], lambda: True)
        seen.append("out")
    thread.join(timeout=20)
    assert seen == ["waiting", "out", "in"]
    assert list(path.parent.iterdir()) == []


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "name.lock"
    source = "import sys, time; from pathlib import Path; from mentor_mentee.files import locked\n" + (
        "with locked(Path(sys.argv[1]), print): print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", source, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "in\n"
        child.kill()
    with locked(path, lambda: (_ for _ in ()).throw(AssertionError("it waited"))):
        assert path.exists()
