"""Signatures: what one key signed no other key verifies, on the server's side and on the device's."""

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from mentee_device import Bundle, BundleError

from export.bundle.manifest import write_manifest
from export.bundle.reading.read import opened
from export.bundle.reading.signature import make_keys, private_key, public_key, require_signature, sign
from mentor_mentee.errors import UserError
from tests.paths import DEVICE


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "keys" / "private.pem", tmp_path / "keys" / "public.pem"
    make_keys(*paths)
    return paths


def test_the_signature_is_one_of_the_manifests_bytes_by_the_given_key(sealed_folder: Path) -> None:
    """By `cryptography` itself: 64 bytes of Ed25519 over manifest.json, in the folder and in the zip."""
    public = sealed_folder.with_name("public.pem")
    load_pem_public_key(public.read_bytes()).verify(  # type: ignore[union-attr,call-arg]
        (sealed_folder / "manifest.sig").read_bytes(), (sealed_folder / "manifest.json").read_bytes()
    )
    for path in (sealed_folder, sealed_folder.with_name("bundle.zip")):
        with opened(path) as (folder, manifest), Bundle.open(path, key=public) as bundle:
            require_signature(folder, public_key(public))
            assert "manifest.sig" not in manifest["files"]
            assert bundle.manifest.id == manifest["id"]


def test_a_manifest_that_was_altered_and_made_whole_again_is_refused(
    sealed_folder: Path, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    altered = Path(shutil.copytree(sealed_folder, tmp_path / "altered"))
    content = json.loads((altered / "manifest.json").read_bytes())
    content["classes"] = list(reversed(content["classes"]))
    write_manifest(altered / "manifest.json", content)
    mine = sealed_folder.with_name("public.pem")
    with opened(altered), Bundle.open(altered):
        pass  # whole it is: `id` is no signature
    for folder, key in ((altered, mine), (sealed_folder, keys[1])):
        with pytest.raises(UserError, match=r"manifest.sig is not this key's signature of manifest.json"):
            require_signature(folder, public_key(key))
        with pytest.raises(BundleError, match=r"manifest.sig is not this key's signature of manifest.json"):
            Bundle.open(folder, key=key)


def test_an_unsigned_bundle_is_refused_where_a_signature_is_asked_for(
    bundle_folder: Path, keys: tuple[Path, Path]
) -> None:
    with pytest.raises(UserError, match=r"the bundle is not signed: it holds no manifest.sig"):
        require_signature(bundle_folder, public_key(keys[1]))
    with pytest.raises(BundleError, match=r"the bundle holds no manifest.sig"):
        Bundle.open(bundle_folder, key=keys[1])


def test_the_private_key_is_its_owners_and_none_is_ever_overwritten(keys: tuple[Path, Path]) -> None:
    assert stat.S_IMODE(keys[0].stat().st_mode) == 0o600
    before = [path.read_bytes() for path in keys]
    for one, other in (keys, (keys[0], keys[1].with_name("new")), (keys[0].with_name("new"), keys[1])):
        with pytest.raises(UserError, match="exists, and a lost key cannot be made again"):
            make_keys(one, other)
    assert [path.read_bytes() for path in keys] == before
    assert len(list(keys[0].parent.iterdir())) == 2


def test_what_is_no_key_is_named(keys: tuple[Path, Path], tmp_path: Path, bundle_folder: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for path in (tmp_path / "text", tmp_path / "gone", keys[1]):
        with pytest.raises(UserError, match=f"no private key can be read from '{path}'"):
            private_key(path)
    for path in (tmp_path / "text", tmp_path / "gone", keys[0]):
        with pytest.raises(UserError, match=f"no public key can be read from '{path}'"):
            public_key(path)
        with pytest.raises(BundleError, match=f"no public key can be read from {path}"):
            Bundle.open(bundle_folder, key=path)


def test_signing_is_deterministic(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    (tmp_path / "manifest.json").write_bytes(b"{}")
    made = []
    for _ in range(2):
        sign(tmp_path, private_key(keys[0]))
        made.append((tmp_path / "manifest.sig").read_bytes())
    assert made[0] == made[1]
    assert len(made[0]) == 64


WITHOUT = """
import sys
sys.modules["cryptography"] = None
from mentee_device.cli.main import main
sys.exit(main(["info", "--bundle", sys.argv[1], "--key", sys.argv[2]]))
"""


def test_a_device_without_cryptography_says_what_is_missing(sealed_folder: Path) -> None:
    command = [sys.executable, "-c", WITHOUT, str(sealed_folder), str(sealed_folder.with_name("public.pem"))]
    path = str(DEVICE)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": path})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: a signature needs the package `cryptography`")
    assert len(done.stderr.splitlines()) == 1
