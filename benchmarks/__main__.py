"""Lists the benchmarks by the question they answer, or runs them.

    python -m benchmarks                   lists them
    python -m benchmarks speed crashes     runs those of these questions that need no data set
    python -m benchmarks all               runs them all: about an hour

They measure what the demo made, which is made first where it is missing. Each module runs alone as well, as its docstring says.
"""

import argparse
import ast
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DEMO = Path("runs/demo")
BUNDLE, CHECKPOINT = str(DEMO / "seed1" / "bundle"), str(DEMO / "seed1" / "layers_unlabelled" / "mentee.safetensors")
RUNS: dict[str, list[list[str]]] = {
    "speed": [
        ["startup"],
        ["server_step"],
        ["augmentation"],
        ["device_step", BUNDLE, CHECKPOINT],
        ["step_time"],
        ["steady", BUNDLE],
    ],
    "bundles": [["trainable_models"], ["trainable_choices", CHECKPOINT], ["size"]],
    "crashes": [["kills", BUNDLE], ["states", BUNDLE], ["full_disk", BUNDLE], ["bundles", BUNDLE, "--mutants", "200"]],
    "data": [["many_photos", "1000", "10000"]],
    "server": [["epochs"], ["memory"]],
    "personal": [],
    "labels": [],
    "fleet": [],
}


def first_line(path: Path) -> str:
    """The first line of a module's docstring, without importing it."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def listing() -> str:
    lines = []
    for question in RUNS:
        lines += ["", f"{question}: {first_line(HERE / question / '__init__.py')}"]
        for path in sorted((HERE / question).glob("*.py")):
            command = f"python -m benchmarks.{question}.{path.stem}"
            if command in path.read_text(encoding="utf-8"):
                lines.append(f"  {command:<46}  {first_line(path)}")
    return "\n".join(lines[1:])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=first_line(Path(__file__)))
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"all, or some of {', '.join(RUNS)}")
    questions = parser.parse_args().questions
    if unknown := set(questions) - {"all", *RUNS}:
        parser.error(f"no question '{unknown.pop()}'; expected all, or some of {', '.join(RUNS)}")
    if not questions:
        print(listing())
        return 0
    if not (Path(BUNDLE).is_dir() and Path(CHECKPOINT).is_file()):
        subprocess.run([sys.executable, "-m", "demo", "--out", str(DEMO)], check=True)
    for question in RUNS if "all" in questions else questions:
        for module, *arguments in RUNS[question]:
            command = [f"benchmarks.{question}.{module}", *arguments]
            print(f"\n$ python -m {' '.join(command)}", flush=True)
            subprocess.run([sys.executable, "-m", *command], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
