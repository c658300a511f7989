"""One arm for one owner in a process of its own, on the device program alone; prints a JSON object.

    python -m benchmarks.personal.device BUNDLE SAMPLES ARM LABELS DRAWS

`SAMPLES` is the file that base.py writes, `ARM` the JSON of an Arm, `LABELS` and `DRAWS` lists as 0,1,3.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from mentee_device import Bundle, Learner, Owner, Plan, Samples
from mentee_device.bundle.samples import UNLABELLED
from numpy.typing import NDArray
from safetensors.numpy import load_file

from benchmarks.device_process import memory_mib
from benchmarks.personal.arms import Answer, Arm, draw_owner, personalise
from benchmarks.personal.arms import Owner as Draw


def run(bundle: Path, samples: Path, arm: Arm, labels: list[int], draws: list[int]) -> dict[str, Any]:
    """Per number of labels a class and draw: accuracy for the owner and for everybody else before and after, and seconds."""
    columns = load_file(samples)
    mine = Samples(columns["input"], columns["labels"])
    others = Samples(columns["others_input"], columns["others_labels"])
    rows = []
    with Bundle.open(bundle) as opened, Learner(opened) as learner:
        for draw in draws:
            untouched: tuple[float, float] | None = None
            for k in labels:
                owner = draw_owner(mine, logits_of(columns, k, draw), k, draw)
                if untouched is None:
                    learner.reset()
                    untouched = accuracy(base(learner), owner.test), accuracy(base(learner), others)
                start = time.process_time()  # of one thread: other work on the machine does not count
                answer = (
                    by_program(learner, arm, owner, draw) if arm.program else personalise(learner, arm, owner, draw)
                )
                seconds = time.process_time() - start
                after = accuracy(answer, owner.test), accuracy(answer, others)
                rows.append({"k": k, "draw": draw, "before": untouched, "after": after, "seconds": seconds})
    return {"rows": rows, "peak_mib": memory_mib("VmHWM"), "torch": "torch" in sys.modules}


def by_program(learner: Learner, arm: Arm, owner: Draw, draw: int) -> Answer:
    """`Owner.learn` by its defaults in a folder of its own, the guard's included; `learner` then is what that made current."""
    with tempfile.TemporaryDirectory() as folder, Owner(learner.bundle, Path(folder) / "owner") as program:
        program.add(owner.labelled)
        program.add(Samples(owner.unlabelled, np.full(len(owner.unlabelled), UNLABELLED)))
        program.set(**arm.settings)
        program.learn(Plan(learning_rate=arm.learning_rate, seed=draw))
        learner.restore(program.learner.snapshot())
    return base(learner)


def logits_of(columns: dict[str, NDArray[Any]], k: int, draw: int) -> dict[str, NDArray[Any]]:
    known = {"mentor": columns["mentor_logits"]}
    adapted = columns.get(f"adapted_k{k}_draw{draw}")
    return known if adapted is None else {**known, "adapted mentor": adapted}


def base(learner: Learner) -> Answer:
    return lambda input: learner.predict(input).logits.argmax(axis=1)


def accuracy(answer: Answer, samples: Samples) -> float:
    return float((answer(samples.input) == samples.labels).mean())


if __name__ == "__main__":
    given = sys.argv[1:]
    numbers = [[int(number) for number in part.split(",")] for part in given[3:5]]
    print(json.dumps(run(Path(given[0]), Path(given[1]), Arm(**json.loads(given[2])), *numbers)))
