"""Simulated owners of one bundle in a process of the device program alone; prints a JSON object.

    python -m benchmarks.personal.owners_device BUNDLE SAMPLES WHAT

`SAMPLES` is the file that base.py writes, `WHAT` a file of JSON, what owners.py asks: {"owners": [[name, rows, other rows,
domain, kind], …], "labels": [0, 3], "draws": [0], "judged": share, "learning_rate": rate, "settings": {…}}.
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
from benchmarks.personal.hard import KINDS, Draw, draw_owner

Hits = NDArray[np.bool_]


def run(bundle: Path, samples: Path, what: dict[str, Any]) -> dict[str, Any]:
    """A row for each owner, draw and number of labels: see `row`."""
    columns = load_file(samples)
    mine = Samples(columns["input"], columns["labels"])
    others = Samples(columns["others_input"], columns["others_labels"])
    rows = []
    with Bundle.open(bundle) as opened, Learner(opened) as learner:
        before_everybody = hits(learner, others)
        for name, own, other, domain, kind in what["owners"]:
            for draw in what["draws"]:
                for k in what["labels"]:
                    seed = draw + 1000 * sum(name.encode())
                    owner = draw_owner(
                        mine.take(np.array(own)),
                        mine.take(np.array(other)) if other else others.take(np.arange(0, len(others), 2)),
                        KINDS[domain][kind],
                        k,
                        seed,
                        what["judged"],
                    )
                    learner.reset()
                    before = hits(learner, owner.test)
                    started = time.process_time()
                    found, answers, candidate = learnt(opened, owner, draw, what, others)
                    rows.append(
                        {
                            "owner": name, "kind": kind, "k": k, "draw": draw, "test": len(before), "of": len(owner.unlabelled),
                            "seconds": time.process_time() - started,
                            "answers": compared(before, before_everybody, answers),
                            "candidate": compared(before, before_everybody, candidate),
                            **found,
                        }
                    )  # fmt: skip
    return {"rows": rows, "peak_mib": memory_mib("VmHWM"), "torch": "torch" in sys.modules}


def learnt(
    bundle: Bundle, owner: Draw, draw: int, what: dict[str, Any], others: Samples
) -> tuple[dict[str, Any], tuple[Hits, Hits], tuple[Hits, Hits]]:
    """The run's result; on the owner's test and on everybody's samples, hits of what answers then, and of the candidate."""
    candidate: list[tuple[Hits, Hits]] = []

    def at_end(progress: Any) -> None:
        if progress.fraction >= 1:
            candidate[:] = [(hits(program.learner, owner.test), hits(program.learner, others))]

    with tempfile.TemporaryDirectory() as folder, Owner(bundle, Path(folder) / "owner") as program:
        if len(owner.labelled):
            program.add(owner.labelled)
        program.add(Samples(owner.unlabelled.input, np.full(len(owner.unlabelled), UNLABELLED)))
        program.set(**what["settings"])
        result = program.learn(Plan(learning_rate=what["learning_rate"], seed=draw), on_progress=at_end)
        answers = hits(program.learner, owner.test), hits(program.learner, others)
        verdict = program.versions.get(result.number).verdict
    found = {"status": result.status, "why": result.why, "share": result.share, "verdict": verdict}
    return found, answers, candidate[0] if candidate else answers


def hits(learner: Learner, samples: Samples) -> Hits:
    right: Hits = learner.predict(samples.input).logits.argmax(axis=1) == samples.labels
    return right


def compared(before: Hits, before_everybody: Hits, after: tuple[Hits, Hits]) -> dict[str, Any]:
    """Accuracies, shares, and how many test samples of the owner alone one of both is right on."""
    return {
        "owner": [float(before.mean()), float(after[0].mean())],
        "everybody": [float(before_everybody.mean()), float(after[1].mean())],
        "better": int((after[0] & ~before).sum()),
        "worse": int((before & ~after[0]).sum()),
    }


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text()))))
