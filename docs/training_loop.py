"""The steps of a training loop on stock graphs and the languages that have them, once: docs/clients.md is made of this list, and
the tests hold the programs in device/minimal to it.

A program marks where a step begins with a comment that is its title and nothing else; all steps are there, in this order.
`python docs/training_loop.py` writes the two minimal clients again: Python's and Node's programs without what is `extra`.
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).parents[1] / "device" / "minimal"


@dataclass(frozen=True)
class Step:
    title: str
    sentence: str
    extra: bool = False  # the loop runs without it, and the minimal clients do


@dataclass(frozen=True)
class Language:
    """`files`: the program, and before it what it imports, in device/minimal. `proof`: who ran it, and on what."""

    name: str
    title: str
    package: str
    versions: str
    files: tuple[str, ...]
    comment: str
    proof: str


STEPS = (
    Step(
        "Load the runtime",
        "Any ONNX Runtime from 1.17 on. No training build, no provider but the CPU's is needed.",
    ),
    Step(
        "Read tensors",
        "A safetensors file is 8 bytes that say how long its header is, the header in JSON, and the numbers, little-endian. "
        "Answers of the mentor are float16.",
    ),
    Step(
        "Open the graphs",
        "`gradients`, `optimizer` and `forward`, by their paths, so that the runtime finds frozen weights beside them. What a "
        "graph puts out as `new_x` takes the place of `x`.",
    ),
    Step(
        "Begin with the bundle's state",
        "Flat float32 vectors: `parameters` [P] and, where the graphs ask for it, `statistics` [S] from "
        "`stock/state.safetensors`; `moment1`, `moment2` [P] are zeros. The knobs and the learning rate are the manifest's.",
    ),
    Step(
        "Read the replay samples",
        "The bundle's own samples with the mentor's answers, without which a mentee forgets. `labelled` weighs each label (0: "
        "there is none), `supervised` each answer.",
    ),
    Step(
        "Add the owner's samples",
        "Raw, of the shape that the manifest says. They have no answers: zeros, and 0 in `supervised`. An owner's label weighs 4 "
        "replayed ones.",
        extra=True,
    ),
    Step(
        "Mix batches",
        "Normalise once, then take 24 samples a step. The stride of 7919 stands for a shuffle that is the same in every "
        "language; an app shuffles.",
    ),
    Step(
        "Compute gradients",
        "`gradients` takes the state and a batch and puts out the loss, its terms and `gradient` [P]. The loss is that "
        "before the step. `seed`, asked for with Dropout alone, is a number that is new in each step.",
    ),
    Step(
        "Add up the gradients of several batches",
        "Only where the manifest's `accumulate` is above 1. The mean of the gradients is the gradient of the mean.",
        extra=True,
    ),
    Step(
        "Refuse what is not finite",
        "Nothing has changed yet but `statistics`: drop the step, or end the run and keep the state before it.",
        extra=True,
    ),
    Step(
        "Move the parameters",
        "`optimizer` takes the state, `gradient`, `learning_rate` and `step`, 1 at the first. The schedule, groups and clipping "
        "are inside.",
    ),
    Step(
        "Keep the state",
        "All vectors and the number of steps, in one file that takes the place of the old one when it is whole. Next time, "
        "begin with these, and count the steps on.",
        extra=True,
    ),
    Step(
        "Predict",
        "`forward` takes the state and samples, normalised likewise, and puts out `logits` and `embedding`.",
    ),
)

LANGUAGES = (
    Language(
        "python",
        "Python",
        "`onnxruntime`, numpy",
        "tried with 1.17, 1.19.2, 1.32",
        ("train.py",),
        "#",
        "run by the tests",
    ),
    Language(
        "node",
        "Node",
        "`onnxruntime-node`",
        "tried with 1.30",
        ("safetensors.mjs", "train.mjs"),
        "//",
        "run by the tests",
    ),
    Language(
        "browser",
        "Browser",
        "`onnxruntime-web`",
        "tried with 1.30",
        ("safetensors.mjs", "browser.mjs"),
        "//",
        "run by the tests in Node, on WebAssembly; once in Chromium",
    ),
    Language(
        "react-native",
        "React Native",
        "`onnxruntime-react-native`, `expo-file-system`",
        "1.24.3",
        ("safetensors.mjs", "react-native.mjs"),
        "//",
        "not run here; but for files and the runtime its lines are Node's",
    ),
    Language(
        "cpp",
        "C++",
        "a release archive, with `include/` and `lib/`; nlohmann/json",
        "tried with 1.30",
        ("train.cpp",),
        "//",
        "compiled and run by the tests where `ORT_CPP` says where the archive lies",
    ),
    Language(
        "kotlin",
        "Kotlin",
        "`com.microsoft.onnxruntime:onnxruntime-android`",
        "1.27.0",
        ("Train.kt",),
        "//",
        "not run here; once on a desktop's JVM, with the bindings' own source",
    ),
    Language(
        "swift",
        "Swift",
        "`microsoft/onnxruntime-swift-package-manager`, or CocoaPods' `onnxruntime-objc`",
        "1.24.2",
        ("Train.swift",),
        "//",
        "not run here: names were checked against the package's headers",
    ),
)

MINIMAL = {"minimal.py": "python", "minimal.mjs": "node"}


def language(name: str) -> Language:
    return next(one for one in LANGUAGES if one.name == name)


def blocks(one: Language) -> dict[str, str]:
    """The code of each step by its title, in the order of `STEPS`. Raises ValueError where a program has other steps."""
    found = [block for file in one.files for block in _cut((PROGRAMS / file).read_text(), one.comment)]
    order = [step.title for step in STEPS]
    code = dict(sorted(found, key=lambda block: order.index(block[0]) if block[0] in order else -1))
    if [*code] != order or len(found) != len(order):
        raise ValueError(f"{one.files[-1]} has the steps {[title for title, _ in found]}, expected {order}")
    return code


def _cut(text: str, comment: str) -> Iterator[tuple[str, str]]:
    pieces = re.split(_mark(comment), text, flags=re.MULTILINE)
    for title, code in zip(pieces[1::2], pieces[2::2], strict=True):
        yield title, textwrap.dedent(code.strip("\n"))


def _mark(comment: str) -> str:
    return rf"^[ \t]*{comment} ({'|'.join(re.escape(step.title) for step in STEPS)})\n"


def minimal(file: str) -> str:
    """A minimal client: the program without the steps that are extra."""
    one = language(MINIMAL[file])
    name = one.files[-1]
    pieces = re.split(rf"(?={_mark(one.comment)})", (PROGRAMS / name).read_text(), flags=re.MULTILINE)
    extra = {step.title for step in STEPS if step.extra}
    # the split gives the title that it found as a piece of its own, before the block
    kept = pieces[:1] + [code for title, code in zip(pieces[1::2], pieces[2::2], strict=True) if title not in extra]
    program = "".join(kept)
    for words, fewer in (
        (name, file),
        (" STEPS SAMPLES", " STEPS"),
        ("steps, samples]", "steps]"),
        (", rename, writeFile }", " }"),
    ):
        program = program.replace(words, fewer)
    return program


if __name__ == "__main__":
    for name in MINIMAL:
        (PROGRAMS / name).write_text(minimal(name))
