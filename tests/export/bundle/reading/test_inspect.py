"""`inspect`, `verify` and `keygen`: what they print of a sound bundle, and what they say of one that computes something else."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from export.bundle.manifest import write_manifest
from export.bundle.reading.files import file_table
from export.bundle.reading.inspect import inspected
from export.bundle.verify import Check, verify
from export.cli import bundles as verbs
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.errors import UserError
from tests.paths import ROOT

HEAVY = """
import sys
from export.__main__ import main
try:
    main()
finally:
    print([name for name in ("torch", "onnx", "onnxruntime", "hydra") if name in sys.modules])
"""


def run(*given: str, code: str = "from export.__main__ import main; main()") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code, *given], env=env, capture_output=True, text=True, check=False)


def command(*given: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    verb, *words = map(str, given)
    code = getattr(verbs, verb)(words)
    out, err = capsys.readouterr()
    return code, out, err


def reseal(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"] = {name: entry for name, entry in file_table(folder).items() if name != "manifest.json"}
    write_manifest(folder / "manifest.json", manifest)


def outcome(checks: list[Check]) -> dict[str, bool | None]:
    return {check.name: check.passed for check in checks}


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (["--help"], 0, "mentee-export inspect bundle=FOLDER"),
        ([], 0, "mentee-export verify bundle=FOLDER"),
        (["verfy", "bundle=b"], 2, "error: no verb 'verfy'; did you mean 'verify'?"),
        (["inspect"], 2, "error: bundle is not set; give it as bundle=…"),
        (["inspect", "bundle=nowhere"], 2, "error: no bundle at 'nowhere'; expected a folder with manifest.json"),
        (
            ["verify", "bundle=b", "kye=a"],
            2,
            "error: no setting 'kye'; did you mean 'key'? (known: bundle, key, checkpoint",
        ),
        (["keygen", "--help"], 0, "mentee-export keygen private=FILE public=FILE"),
    ],
)
def test_help_and_mistakes_are_answered_without_torch_or_onnx(given: list[str], code: int, said: str) -> None:
    done = run(*given, code=HEAVY)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert code == 0 or len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("verb", ["make", "preflight"])
def test_a_checkpoint_that_is_not_there_is_answered_without_torch(verb: str) -> None:
    done = run(verb, "checkpoint=none", *(["bundle=b"] if verb == "make" else []), code=HEAVY)
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1] == "['hydra']"
    assert done.stderr.startswith("error: no mentee checkpoint at 'none'")
    assert len(done.stderr.splitlines()) == 1


def test_inspect_prints_what_the_manifest_says(sealed_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = command("inspect", f"bundle={sealed_folder}", capsys=capsys)
    assert (code, err) == (0, "")
    manifest = json.loads((sealed_folder / "manifest.json").read_bytes())
    headings = [line.split()[0] for line in out.splitlines() if line[0] != " "]
    for name in ("bundle", "signed", "classes", "input", "files", "probes", "loss", "optimizer", "trains", "accuracy"):
        assert name in headings
    for name, entry in manifest["files"].items():
        assert f"{entry['bytes']:>12,}  {name}" in out
    for text in (
        manifest["id"],
        "early: mentee features.0 against mentor stages.0, slice, 8×8×8",
        "alpha 1, beta 0.5, gamma 0.7, temperature 4",
        "learning_rate 0.003",
        "frozen",
        "supervision: 60 samples, 1,628 bytes each, chosen by random",
        "inference.int8.onnx",
        f"{manifest['base']['test']['accuracy']:.2%} of 800 test samples",
        "gradients:",
        "onnxruntime-training-cpu 1.19.2",
    ):
        assert text in out, text


def test_inspect_as_json_is_the_manifest_with_parity_of_folder_and_zip(
    sealed_folder: Path, bundle_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, signed in ((sealed_folder, True), (bundle_folder, False)):
        about = json.loads(command("inspect", f"bundle={folder}.zip", "json=true", capsys=capsys)[1])
        assert about == inspected(folder)
        assert about.pop("signed") == signed
        assert about.pop("parity") == json.loads((folder / "parity.json").read_bytes())
        assert about == json.loads((folder / "manifest.json").read_bytes())


def test_verify_of_a_sound_bundle_passes_and_says_what_was_not_done(
    sealed_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = sealed_folder.with_name("public.pem")
    code, out, err = command("verify", f"bundle={sealed_folder}", f"key={key}", capsys=capsys)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["ok", "ok", "ok", "ok", "ok", "not"]


def test_verify_sees_a_bundle_that_was_made_whole_around_other_weights(bundle_folder: Path, tmp_path: Path) -> None:
    """One weight of 1,418 is another, in the checkpoint and so in inference.onnx; every sum is right again."""
    altered = Path(shutil.copytree(bundle_folder, tmp_path / "altered"))
    checkpoint = altered / "ort-training" / "checkpoint"
    data = checkpoint.read_bytes()
    manifest = json.loads((altered / "manifest.json").read_bytes())
    entry = next(entry for entry in external_offsets(altered / "inference.onnx"))
    value = np.frombuffer(data, "<f4", 1, entry)[0] + 0.5
    checkpoint.write_bytes(data[:entry] + np.float32(value).tobytes() + data[entry + 4 :])
    reseal(altered)
    assert json.loads((altered / "manifest.json").read_bytes())["id"] != manifest["id"]
    seen = outcome(verify(altered))
    assert seen["files"] is True
    assert seen["inference against torch"] is False
    assert seen["outputs against torch"] is False


def external_offsets(path: Path) -> list[int]:
    import onnx

    model = onnx.load(path, load_external_data=False)
    entries = [entry for tensor in model.graph.initializer for entry in tensor.external_data]
    return [int(entry.value) for entry in entries if entry.key == "offset"]


@pytest.mark.parametrize(
    ("prefix", "failed"), [("gradients/", "gradients"), ("outputs/ce", "outputs"), ("outputs/logits", "inference")]
)
def test_verify_fails_on_any_result_that_is_not_torchs(
    bundle_folder: Path, tmp_path: Path, prefix: str, failed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    altered = Path(shutil.copytree(bundle_folder, tmp_path / "altered"))
    recorded = load_file(altered / "reference.safetensors")
    name = next(name for name in sorted(recorded) if name.startswith(prefix))
    recorded[name] = recorded[name] * (1 + 1e-3)
    save_file(recorded, altered / "reference.safetensors")
    reseal(altered)
    code, out, _ = command("verify", f"bundle={altered}", capsys=capsys)
    assert code == 1
    assert any(line.startswith("FAILED") and failed in line for line in out.splitlines())


def test_a_report_or_results_that_no_export_writes_are_one_line(bundle_folder: Path, tmp_path: Path) -> None:
    altered = Path(shutil.copytree(bundle_folder, tmp_path / "altered"))
    whole = (altered / "parity.json").read_bytes()
    for text in (b"{", b"[]", b"\xff", b"[" * 100_000, b'{"inconclusive": 7}', b'{"torch_float32": {"outputs": 1}}'):
        (altered / "parity.json").write_bytes(text)
        reseal(altered)
        for reader in (inspected, verify):
            with pytest.raises(UserError, match=r"^parity\.json is not what an export writes; make the bundle again$"):
                reader(altered)
    (altered / "parity.json").write_bytes(whole)
    for name in ("reference.safetensors", "supervision.safetensors"):
        sound = (altered / name).read_bytes()
        (altered / name).write_bytes(sound[:100])
        reseal(altered)
        with pytest.raises(
            UserError, match=r"^the bundle cannot be run on ort-training \(.*\); make the bundle again$"
        ):
            verify(altered)
        (altered / name).write_bytes(sound)


def test_verify_with_the_checkpoint_exports_again_and_compares_every_file(
    checkpoint: MenteeCheckpoint, bundle_folder: Path, tmp_path: Path
) -> None:
    checkpoint.save(tmp_path / "mentee.safetensors")
    seen = {check.name: check for check in verify(bundle_folder, checkpoint=tmp_path / "mentee.safetensors")}
    assert seen["parity anew"].passed
    assert seen["second export"].passed, seen["second export"].detail
    assert seen["second export"].detail == "10 files the same"


def test_an_older_bundle_without_results_to_compare_with_says_so(bundle_folder: Path, tmp_path: Path) -> None:
    older = Path(shutil.copytree(bundle_folder, tmp_path / "older"))
    (older / "reference.safetensors").unlink()
    reseal(older)
    assert outcome(verify(older)) == {
        "files": True,
        "signature": None,
        "runtime against torch": None,
        "second export": None,
    }


def test_a_zip_that_leaves_its_folder_is_refused_and_nothing_is_written(
    bundle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = Path(shutil.copy(bundle_folder.with_name(bundle_folder.name + ".zip"), tmp_path / "bundle.zip"))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("../evil", b"evil")
    code, out, err = command("verify", f"bundle={packed}", capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: zip entry '../evil' leaves the folder")
    assert list(tmp_path.iterdir()) == [packed]


def test_keygen_says_how_its_files_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = command("keygen", f"private={tmp_path / 'a.pem'}", f"public={tmp_path / 'b.pem'}", capsys=capsys)
    assert code == 0
    assert f"sign_key={tmp_path / 'a.pem'}" in out
    code, out, err = command("keygen", f"private={tmp_path / 'a.pem'}", f"public={tmp_path / 'c.pem'}", capsys=capsys)
    assert (code, out) == (2, "")
    assert "exists" in err


def test_a_fingerprint_sees_a_change_of_any_one_number() -> None:
    from export.parity.recorded import fingerprint

    values: Any = np.random.default_rng(0).standard_normal((20, 30))
    mark = fingerprint(values)
    assert mark[0] == pytest.approx(np.linalg.norm(values))
    for place in range(0, 600, 37):
        other = values.copy()
        other.ravel()[place] += 1e-3
        np.testing.assert_allclose(np.abs(fingerprint(other) - mark)[1:], 1e-3, rtol=1e-6)
    swapped = values.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert np.abs(fingerprint(swapped) - mark)[1:].max() > 0.1
