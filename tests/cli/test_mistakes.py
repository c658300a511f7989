"""A mistake is answered at once, in one line, with the name that was meant; also inside a YAML file."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import TINY, environment, mistake, run

TYPOS = [
    (["schedule=obediant"], "no 'obediant' for schedule; did you mean 'obedient'?"),
    (
        ["callbacks=[emma]"],
        "no 'emma' for callbacks; did you mean 'ema'? (known: early_stopping, ema, model_checkpoint; your own: ",
    ),
    (["logger=[tensorbord]"], "no 'tensorbord' for logger; did you mean 'tensorboard'?"),
    (["cache_dir=/dev/null/cache"], "cache_dir=/dev/null/cache: /dev/null is a file; set cache_dir=... to a folder"),
    (["trainer.epoch=3"], "no setting 'trainer.epoch'; did you mean 'max_epochs'?"),
    (["mentor.fit.epoch=3"], "no setting 'mentor.fit.epoch'; did you mean 'max_epochs'?"),
    (
        ["trainer.augment.shift=0.1"],
        "no setting 'trainer.augment.shift' any more: augmentation is torchvision's; write 'trai",
    ),
    (
        ["trainer.augment.transforms=[RandomHorizontalFip]"],
        "trainer.augment.transforms[0]: torchvision.transforms.v2 has no transform 'RandomHorizontalFip'; did you mean 'Ra",
    ),
    (["trainer.max_epochs=many"], "trainer.max_epochs: Value 'many' of type 'str' could not be converted to Integer"),
    (["trainer.optimizer=adam"], "trainer.optimizer: Invalid value 'adam', expected one of [adamw, sgd]"),
    (
        ["mentee.network.widhts=[3]"],
        "mentee.network: 'mentee.networks.PlainCNN' has no option 'widhts'; did you mean 'wi",
    ),
    (
        ["data.labels_pr_class=3"],
        "data: 'mentor_mentee.data.datasets.digits' has no option 'labels_pr_class'; did you mean 'labels_per",
    ),
    (["schedule.alfa=1"], "schedule: 'distill.schedules.piecewise' has no option 'alfa'; did you mean 'alpha'?"),
    (["max_epochs=3"], "no setting 'max_epochs'; did you mean trainer.max_epochs or mentor.fit.max_epochs? (known: "),
    (["epochs=3"], "no setting 'epochs'; did you mean trainer.max_epochs or mentor.fit.max_epochs or mentor.transfer."),
    (["augment.mix.mixup=1"], "no setting 'augment'; did you mean trainer.augment or mentor.fit.augment? (known: "),
    (["logger=false"], "logger=false is no name; expected one of csv, tensorboard, wandb; logger=[] is none of them"),
    (["callbacks=[ema,1]"], "callbacks=[ema,1] is no name; expected one of early_stopping, ema, model_checkpoint; cal"),
    (
        ["callbacks.ema.decay=0.9"],
        "callbacks.ema has options but no class; expected callbacks=ema beside them (callbacks=[ema,…] for several), or ",
    ),
    (["shedule=obedient"], "no setting 'shedule'; did you mean 'schedule'?"),
    (["+trainer.epoch=3"], "no setting 'trainer.epoch'; did you mean 'max_epochs'?"),
    (["-m", "seeed=1,2"], "no setting 'seeed'; did you mean 'seed'?"),
    (
        ["mentee=torchvision", "mentee.network.name=resnt18"],
        "torchvision has no classifier 'resnt18'; did you mean 'resnet18'?",
    ),
    (["data=image_folder"], "data.root is not set; give it as data.root=…"),
    (["data=image_folder", "data.root=nowhere"], "no folder"),
    (["run_dir=/dev/null/x"], "the run's folder '/dev/null/x' cannot be made (Not a directory); set run_dir=... to a"),
    (["trainer.epochs=3", "trainer.max_epochs=2"], "trainer.epochs=3 and trainer.max_epochs=2 are one setting,"),
    (["threads=0"], "threads=0; expected 1 or more"),
    (["--epochs", "3"], "no option --epochs; a setting is given as SETTING=VALUE, without dashes (see --help)"),
    (["--cfg", "jobs"], "argument --cfg/-c: invalid choice: 'jobs' (choose from "),
    (["--help", "--config-dir", "nowhere"], "no folder "),
    (["seed", "3"], "'seed' cannot be read; expected SETTING=VALUE"),
    (["seed", "=3"], "'=3' names no setting; expected SETTING=VALUE, without blanks around the ="),
    (["=3"], "'=3' names no setting"),
    (["-run_dir=x"], "no option -run_dir; a setting is given without dashes: run_dir=x"),
    (
        ["--trainer.max_epochs=3"],
        "no option --trainer.max_epochs; a setting is given without dashes: trainer.max_epochs=3",
    ),
    (["-seed", "3"], "no option -seed; a setting is given without dashes: seed=…"),
    (["-s"], "-s installs the shell's completion; write -sc install=bash"),
    (["stray"], "'stray' cannot be read; expected SETTING=VALUE"),
    (
        ["+experiment=mnist5k_demo"],
        "+experiment=mnist5k_demo adds to a setting that has a value already; write experiment=",
    ),
    (
        ["+mentor=mnist_plain"],
        "+mentor=mnist_plain adds to a setting that has a value already; write mentor=mnist_plain,",
    ),
    (["seed=1,2"], "seed=1,2 has several values; -m seed=1,2 is a sweep over them, 'seed=[1,2]' a list"),
    (
        ["-m", "hydra/launcher=ray", "seed=1,2"],
        "no 'ray' for hydra/launcher here: its plugin is a package of its own; pip install hydra-ray-launcher",
    ),
    (
        ["-m", "hydra/sweeper=ax"],
        "no 'ax' for hydra/sweeper here: its plugin is a package of its own; pip install hydra-ax",
    ),
    (["-m", "hydra/launcher=jobli"], "no 'jobli' for hydra/launcher"),
    (["data=image_folder", "data.root=.", "data.size=[12,16]"], "data.size=[12, 16]; expected a whole number"),
]


@pytest.mark.parametrize(("given", "message"), [pytest.param(*typo, id=" ".join(typo[0])) for typo in TYPOS])
def test_on_the_command_line(given: list[str], message: str, tmp_path: Path) -> None:
    found = mistake("distill", given, tmp_path)
    assert message in found if message == "no folder" else found.startswith(message)


@pytest.mark.parametrize(
    "given",
    [
        ["--help", "--config-dir", ".", "experiment=mine"],
        ["experiment=mine", "-cd=.", "-h"],
        ["--help", "--config-dir=.", "experiment=mine", "--cfg", "job"],
        ["--cfg", "job", "experiment=mine", "--config-dir", "."],
        ["experiment=mine", "--cfg", "job", "--config-dir", ".", "seed=3"],  # Hydra takes no override after an option
    ],
    ids=" ".join,
)
def test_help_and_cfg_know_a_folder_of_the_users_own(given: list[str], tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\ntrainer: {max_epochs: 77}\n")
    done = run("distill", *given, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"max_epochs:? +77\b", done.stdout)
    assert "seed=3" not in given or "seed: 3" in done.stdout


def test_help_names_files_for_what_takes_them(tmp_path: Path) -> None:
    """`optimizer.schedule` of an export is a setting: no file of a run's `schedule` fills it in."""
    shown = {
        program: run(*words, "--help", cwd=tmp_path).stdout
        for program, *words in (("export", "export", "make"), ("distill", "distill"))
    }
    assert "SETTING=FILE" not in shown["export"]
    listed = shown["distill"].partition("as SETTING=FILE:\n")[2]
    for group in ("mentor", "augment", "mentee", "data", "probes", "schedule", "callbacks", "logger", "experiment"):
        assert f"{group}: " in listed


IN_A_FILE = [
    ("defaults: [{override /schedule: obediant}]", "no 'obediant' for schedule; did you mean 'obedient'?"),
    ("defaults: [{override /shedule: obedient}]", "no setting 'shedule'; did you mean 'schedule'?"),
    ("trainer: {epochs: 3}", "no setting 'trainer.epochs'; it is called trainer.max_epochs now"),
    ("trainer: {epoch: 3}", "no setting 'trainer.epoch'; did you mean 'max_epochs'?"),
    ("mentor: {fit: {epoch: 3}}", "no setting 'mentor.fit.epoch'; did you mean 'max_epochs'?"),
    ("trainer: {max_epochs: many}", "trainer.max_epochs: Value 'many' of type 'str' could not be converted to Integer"),
    (
        "mentee: {network: {widhts: [3]}}",
        "mentee.network: 'mentee.networks.PlainCNN' has no option 'widhts'; did you mean",
    ),
    ("schedule: {alfa: 1}", "schedule: 'distill.schedules.piecewise' has no option 'alfa'; did you mean 'alpha'?"),
    ("keep_answers: true", "no setting 'keep_answers'; it is called cache.answers now"),
    ("traner: {epochs: 3}", "no setting 'traner'; did you mean 'trainer'?"),
    ("seed: [3", "while parsing a flow sequence"),
]


@pytest.mark.parametrize(("text", "message"), [pytest.param(*typo, id=typo[0]) for typo in IN_A_FILE])
def test_in_an_experiment_file(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    assert mistake("distill", ["--config-dir", ".", "experiment=mine"], tmp_path).startswith(message)


def test_an_experiment_that_is_not_there(tmp_path: Path) -> None:
    found = mistake("distill", ["experiment=digit_demo"], tmp_path)
    assert found.startswith("no 'digit_demo' for experiment; did you mean 'digits_demo'?")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["probes.early=[stages.0,feature.0]"], "no layer 'feature.0' in PlainCNN; did you mean 'features.0'?"),
        (["accelerator=gpuu"], "accelerator=gpuu: "),
    ],
)
def test_what_is_found_out_once_things_are_built(
    finished: tuple[Path, subprocess.CompletedProcess[str]], given: list[str], message: str, tmp_path: Path
) -> None:
    cache = finished[0] / ".cache"  # where the mentor is, so that none is trained here
    done = run("distill", *TINY, f"cache_dir={cache}", *given, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(f"error: {message}")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error") == 1


ABSENT = [
    ("distill", ["data=mnist", "data.root=nowhere"], "mnist not found: no train-images-idx3-ubyte"),
    ("distill", ["data=cifar10", "data.root=nowhere"], "cifar10 not found: no data_batch_1"),
    ("distill", ["data=image_folder", "data.root=nowhere"], "no folder nowhere"),
    ("distill", ["data=arrays", "data.path=nowhere.npz"], "no file 'nowhere.npz'"),
    ("distill", ["mentor.weights=nowhere.pth"], "no weights at 'nowhere.pth'"),
    ("distill", ["mentor=torchvision", "mentor.network.name=resnet18", "mentor.weights=no/where"], "no weights at"),
    ("distill", ["resume=true", "run_dir=new"], "nothing to resume: no checkpoint at '"),
    ("distill.evaluate.cli", ["checkpoint=nowhere.safetensors"], "no mentee checkpoint at 'nowhere.safetensors'"),
    ("distill.evaluate.cli", ["checkpoint=[a,b]"], "no mentee checkpoint at 'b'"),
]


@pytest.mark.parametrize(("module", "given", "message"), [pytest.param(*one, id=" ".join(one[1])) for one in ABSENT])
def test_a_file_that_is_not_there_is_answered_without_importing_torch(
    module: str, given: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, module, *given],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    mistake, imported = done.stderr.splitlines()
    assert mistake.startswith(f"error: {message}")
    assert imported == "2 []"


HEAVY = """
import runpy, sys
module, *sys.argv[1:] = sys.argv[1:]
code = 0
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as ended:
    code = ended.code
heavy = {"torch", "pytorch_lightning", "onnx", "onnxruntime", "sklearn", "matplotlib"} & set(sys.modules)
print(code, sorted(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("program", "given", "code"),
    [
        *(("distill", *one) for one in (("--help", "0"), ("trainer.epoch=3", "2"), ("mentee.network.widhts=1", "2"))),
        ("mentor.ensemble", "--help", "0"),
    ],
)
def test_help_and_a_typo_are_answered_without_importing_torch(
    program: str, given: str, code: str, tmp_path: Path
) -> None:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, program, given],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"{given}: {time.perf_counter() - started:.1f} s")
    assert done.stderr.splitlines()[-1] == f"{code} []"
    assert (program, given) != (
        "distill",
        "--help",
    ) or "schedule: adamant, alone, constant, gullible, independent, mnist5k, obedient" in done.stdout
    assert given != "--help" or list(tmp_path.iterdir()) == []


def test_a_missing_folder_of_data_is_told_before_a_network_is_imported(tmp_path: Path) -> None:
    """Torch comes with most networks of a user's own, and takes seconds, on a cold disk a minute."""
    (tmp_path / "heavy.py").write_text("from heavier import *\n")
    (tmp_path / "heavier.py").write_text("raise SystemExit('imported')\n")
    network = [f"{whose}.network._target_=heavy.Net" for whose in ("mentor", "mentee")]
    found = mistake(
        "distill", ["mentor=own", "mentee=own", *network, "data=image_folder", "data.root=nowhere"], tmp_path
    )
    assert found.startswith("no folder nowhere; set data.root=")
