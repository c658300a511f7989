"""The published schema: real manifests hold, and over broken ones both readers say no; the device has no schema."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mentee_device import Bundle, BundleError

from export.bundle.manifest import write_manifest
from export.bundle.reading.files import file_table
from export.bundle.reading.read import manifest_schema, opened, require_schema
from mentor_mentee.errors import UserError
from tests.device.breaking import BROKEN, BROKEN_STOCK


@pytest.fixture(scope="module")
def shared(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path_factory.mktemp("shared") / "bundle"))


@pytest.fixture
def manifest(shared: Path, bundle_folder: Path) -> dict[str, Any]:
    """A bundle in `shared`, whose manifest.json each test writes anew."""
    return json.loads((bundle_folder / "manifest.json").read_bytes())  # type: ignore[no-any-return]


def refused(folder: Path) -> tuple[str, str]:
    """Messages of the two readers, one line each."""
    with pytest.raises(UserError) as server, opened(folder):
        pass
    with pytest.raises(BundleError) as device:
        Bundle.open(folder)
    assert "\n" not in str(server.value) + str(device.value)
    return str(server.value), str(device.value)


def test_the_schema_is_one_and_what_is_exported_holds(
    bundle_folder: Path, sealed_folder: Path, both_folder: Path
) -> None:
    jsonschema.Draft202012Validator.check_schema(manifest_schema())
    for folder in (bundle_folder, sealed_folder, both_folder):
        for path in (folder, folder.with_name(folder.name + ".zip")):
            with opened(path) as (_, manifest), Bundle.open(path) as bundle:
                assert bundle.manifest.id == manifest["id"]
                named = bundle.manifest.mentor, bundle.manifest.service
                assert named == (manifest["mentor"]["fingerprint"], manifest["mentor"].get("service", ""))
    with opened(sealed_folder) as (_, manifest):
        assert manifest["mentor"]["service"] == "https://mentor.example:8443"


@pytest.mark.parametrize("name", BROKEN)
def test_both_readers_refuse_what_is_broken(shared: Path, manifest: dict[str, Any], name: str) -> None:
    BROKEN[name](manifest)
    if "id" in name.split():
        (shared / "manifest.json").write_text(json.dumps(manifest))
    else:
        write_manifest(shared / "manifest.json", manifest)
    refused(shared)


@pytest.fixture(scope="module")
def shared_both(both_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(both_folder, tmp_path_factory.mktemp("both") / "bundle"))


@pytest.mark.parametrize("name", BROKEN_STOCK)
def test_both_readers_refuse_what_is_broken_in_format_2(shared_both: Path, both_folder: Path, name: str) -> None:
    manifest = json.loads((both_folder / "manifest.json").read_bytes())
    BROKEN_STOCK[name](manifest)
    write_manifest(shared_both / "manifest.json", manifest)
    said = refused(shared_both)
    assert all("manifest.json" in one for one in said), said


def test_a_manifest_of_before_the_optional_keys_holds(shared: Path, manifest: dict[str, Any]) -> None:
    for key in ("variants", "settings", "costs", "dropout"):
        manifest.pop(key, None)
    for key in ("probe", "softmax", "standardise"):
        del manifest["loss"][key]
    for key in ("bytes_per_sample", "rule"):
        del manifest["supervision"][key]
    del manifest["preprocessing"]["dtype"]
    manifest["optimizer"] = {
        "name": "AdamW",
        "learning_rate": 0.003,
        "betas": [0.9, 0.999],
        "epsilon": 1e-8,
        "weight_decay": 0.01,
        "schedule": "constant",
    }
    write_manifest(shared / "manifest.json", manifest)
    with opened(shared), Bundle.open(shared):
        pass


@pytest.mark.parametrize(
    "place", ["loss", "checkpoint", "preprocessing", "supervision", "optimizer", "parameters", "costs"]
)
def test_a_misspelt_key_is_refused_where_it_is_written(manifest: dict[str, Any], place: str) -> None:
    manifest[place]["gama"] = 1.0
    with pytest.raises(UserError, match=rf"manifest.json at {place}: .*'gama' was unexpected"):
        require_schema(manifest)


def test_a_key_that_the_format_does_not_know_is_refused(manifest: dict[str, Any]) -> None:
    manifest["gama"] = 1.0
    with pytest.raises(UserError, match=r"'gama' was unexpected"):
        require_schema(manifest)


def test_no_object_of_the_schema_is_left_open() -> None:
    """Every object with named keys says which others it takes, and none takes any but by a schema of their own."""

    def objects(part: Any) -> Iterator[dict[str, Any]]:
        if isinstance(part, dict):
            if part.get("type") == "object" and "properties" in part:
                yield part
            for value in part.values():
                yield from objects(value)
        if isinstance(part, list):
            for value in part:
                yield from objects(value)

    for found in objects(manifest_schema()):
        assert found["additionalProperties"] is False or isinstance(found["additionalProperties"], dict)


def test_both_readers_see_a_file_that_is_altered_gone_or_too_much(
    shared: Path, manifest: dict[str, Any], bundle_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "mine"))
    whole = (folder / "parity.json").read_bytes()
    (folder / "parity.json").write_bytes(whole[:-1] + b" ")
    assert all("altered" in said for said in refused(folder))
    (folder / "parity.json").unlink()
    assert all("missing" in said for said in refused(folder))
    (folder / "parity.json").symlink_to(bundle_folder / "parity.json")
    assert all("a link" in said for said in refused(folder))
    (folder / "parity.json").unlink()
    (folder / "parity.json").write_bytes(whole)
    (folder / "more").write_bytes(b"")
    assert all("does not list it" in said for said in refused(folder))
    manifest["files"] = {name: entry for name, entry in file_table(folder).items() if name != "manifest.json"}
    write_manifest(folder / "manifest.json", manifest)
    with opened(folder), Bundle.open(folder):
        pass
