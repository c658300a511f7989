"""A bundle is there whole or not at all, whatever happens while it is made."""

import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from export.bundle.reading.files import file_table, recover, whole_or_nothing, zip_folder
from export.bundle.write import export_bundle
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.errors import UserError
from tests.conftest import SETTINGS, seeded

AGAIN = replace(SETTINGS, overwrite=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put(path: Path, text: str) -> None:
    with whole_or_nothing(path) as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "a").write_text(text)


def test_the_folder_and_its_zip_take_their_names_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "bundle"
    with whole_or_nothing(path) as staging:
        (staging / "a").write_text("1")
        assert staging.parent == path.parent  # one file system, or the last rename would not be atomic
        assert not path.exists()
    assert contents(path.parent) == {
        "bundle/a": b"1",
        "bundle.zip": (path.parent / "bundle.zip").read_bytes(),
    }
    with zipfile.ZipFile(path.parent / "bundle.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a": b"1"}


def test_a_new_bundle_replaces_the_old_one_and_its_zip(tmp_path: Path) -> None:
    put(tmp_path / "bundle", "old")
    put(tmp_path / "bundle", "new")
    assert (tmp_path / "bundle" / "sub" / "a").read_text() == "new"
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        assert archive.read("sub/a") == b"new"
    assert sorted(os.listdir(tmp_path)) == ["bundle", "bundle.zip"]


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt("mine"), UserError("mine")])
def test_a_failure_inside_leaves_the_old_bundle_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    put(tmp_path / "bundle", "old")
    before = contents(tmp_path)

    def fails(path: Path) -> None:
        with whole_or_nothing(path) as staging:
            (staging / "a").write_text("half")
            raise error

    for name in ("bundle", "other"):
        with pytest.raises(type(error), match="mine"):
            fails(tmp_path / name)
        assert contents(tmp_path) == before
    assert sorted(os.listdir(tmp_path)) == ["bundle", "bundle.zip"]


def test_a_place_that_cannot_be_written_is_an_error_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"the bundle '.*bundle' cannot be written: .*; nothing was changed"):
        put(tmp_path / "file" / "bundle", "new")
    assert contents(tmp_path) == {"file": b"mine"}


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
from pathlib import Path
from mentor_mentee.errors import UserError
from export.bundle.reading.files import whole_or_nothing
try:
    with whole_or_nothing(Path(sys.argv[1])) as staging:
        for name, size in (("a", sys.argv[2]), ("b", sys.argv[3])):
            (staging / name).write_bytes(b"x" * int(size))
except UserError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("sizes", [("10", "4000"), ("1500", "1500")], ids=["a file is too large", "the zip is"])
def test_a_full_disk_leaves_the_old_bundle_and_its_zip(tmp_path: Path, sizes: tuple[str, str]) -> None:
    put(tmp_path / "bundle", "old")
    before = contents(tmp_path)
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "bundle"), *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be written: [Errno 27]" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert contents(tmp_path) == before
    assert sorted(os.listdir(tmp_path)) == ["bundle", "bundle.zip"]


KILLED = """
import sys, time
from pathlib import Path
from export.bundle.reading.files import whole_or_nothing
with whole_or_nothing(Path(sys.argv[1])) as staging:
    (staging / "a").write_text("half")
    print("inside", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("older", [False, True])
def test_killed_in_the_middle_there_is_no_half_bundle_and_the_next_export_works(tmp_path: Path, older: bool) -> None:
    path = tmp_path / "bundle"
    if older:
        put(path, "old")
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "inside\n"
        child.kill()
        assert child.wait() == -signal.SIGKILL
    assert path.exists() == older
    assert not older or contents(path) == {"sub/a": b"old"}
    put(path, "new")
    assert contents(path) == {"sub/a": b"new"}


RENAMED = """
import os, signal, sys
from pathlib import Path
from export.bundle.reading.files import whole_or_nothing
left = int(sys.argv[2])
def count(event, arguments):
    global left
    if event == "os.rename":
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
sys.addaudithook(count)
with whole_or_nothing(Path(sys.argv[1])) as staging:
    (staging / "sub").mkdir()
    (staging / "sub" / "a").write_text("new")
"""


@pytest.mark.parametrize(("renames", "content"), [(0, "old"), (1, "old"), (2, "new")])
def test_killed_between_two_renames_one_whole_bundle_and_its_own_zip_come_back(
    tmp_path: Path, renames: int, content: str
) -> None:
    """`renames` of the three happened: the older bundle aside, the new one to its name, the zip to its name."""
    path = tmp_path / "bundle"
    put(path, "old")
    command = [sys.executable, "-c", RENAMED, str(path), str(renames)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) > 2
    recover(path)
    assert sorted(os.listdir(tmp_path)) == ["bundle", "bundle.zip"]
    assert (path / "sub" / "a").read_text() == content
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        assert archive.read("sub/a").decode() == content


def test_a_first_export_that_was_killed_before_its_zip_got_its_name_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    assert subprocess.run([sys.executable, "-c", RENAMED, str(path), "1"], check=False).returncode == -signal.SIGKILL
    recover(path)
    assert sorted(os.listdir(tmp_path)) == ["bundle", "bundle.zip"]


def test_two_exports_at_a_time_do_not_write_one_bundle(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "inside\n"
        with pytest.raises(UserError, match=rf"process {child.pid} is writing '.*bundle'; wait for it"):
            put(path, "new")
        child.kill()
    put(path, "new")
    assert sorted(os.listdir(tmp_path)) == ["bundle", "bundle.zip"]


def test_the_same_folder_gives_the_same_zip_whenever_it_was_written(tmp_path: Path) -> None:
    for name, order in (("one", "abc"), ("two", "cba")):
        (tmp_path / name / "sub").mkdir(parents=True)
        for letter in order:
            (tmp_path / name / "sub" / letter).write_text(letter)
        os.utime(tmp_path / name / "sub" / "a", (1e9, 1e9 if name == "one" else 1.5e9))
        zip_folder(tmp_path / name, tmp_path / f"{name}.zip")
    (tmp_path / "two" / "sub" / "a").chmod(0o600)
    zip_folder(tmp_path / "two", tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_the_table_lists_every_file_with_its_hash_and_size(bundle_folder: Path) -> None:
    table = file_table(bundle_folder)
    for name, data in contents(bundle_folder).items():
        assert table.pop(name) == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    assert table == {}


def test_the_zip_beside_a_bundle_holds_the_bundle(bundle_folder: Path) -> None:
    with zipfile.ZipFile(bundle_folder.with_name(bundle_folder.name + ".zip")) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == contents(bundle_folder)


def test_what_is_there_is_not_overwritten_unasked_nor_anything_but_a_bundle(
    checkpoint: MenteeCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"mine")
    (tmp_path / "file").write_bytes(b"mine")
    before = contents(tmp_path)
    for name in ("photos", "file"):
        with pytest.raises(UserError, match=rf"{name}' exists; choose another bundle=…, or overwrite=true"):
            export_bundle(checkpoint, tmp_path / name, ExportSettings())
        with pytest.raises(UserError, match=rf"{name}' is no bundle, so it is not replaced by one"):
            export_bundle(checkpoint, tmp_path / name, AGAIN)
    monkeypatch.chdir(tmp_path)
    for name in (".", "..", "/"):
        with pytest.raises(UserError, match="is no bundle"):
            export_bundle(checkpoint, Path(name), AGAIN)
    assert contents(tmp_path) == before


def test_two_exports_of_one_checkpoint_differ_in_no_byte(
    checkpoint: MenteeCheckpoint, bundle_folder: Path, tmp_path: Path
) -> None:
    """So whoever has the checkpoint can check a bundle; the second one replaces an older bundle here."""
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "manifest.json").write_text('{"format": "mentee-bundle/1"}')
    with seeded(1):
        export_bundle(checkpoint, path, AGAIN)
    one, two = contents(bundle_folder), contents(path)
    assert one.keys() == two.keys()
    graphs = [name for name in one if name.endswith((".onnx", "checkpoint", ".safetensors"))]
    assert len(graphs) == 8
    assert [name for name in graphs if one[name] != two[name]] == []
    assert sorted(os.listdir(tmp_path)) == ["bundle", "bundle.zip"]
