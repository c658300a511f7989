"""A device that asks the real service under TypeScript, and whether Python goes on from its state as from one of its own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from mentee_device import Budget, Bundle, Owner, Plan, Service, import_state

from mentee.checkpoint import MenteeCheckpoint
from mentor.serve.entry.tokens import add_token
from tests.mentor.serve import service as real

BUNDLE, STOCK = "spare", "stock"
MOST, RATE = 8, 40  # samples in one request, and a minute


@contextmanager
def served(fixtures: Path, folder: Path, checkpoint: MenteeCheckpoint) -> Iterator[tuple[real.Service, dict[str, str]]]:
    """The mentor's service of the bundle, which is up once TypeScript's tests have waited for it, and what those have to know."""
    folder.mkdir()
    checkpoint.save(folder / "mentee.safetensors")
    with real.serving(folder, fixtures / "stock" / BUNDLE, folder, wait=False, max_samples=MOST, rate=RATE) as service:
        about = {"address": f"https://localhost:{service.port}", "token": service.token}
        yield service, {"MENTEE_SERVICE": json.dumps(about), "NODE_EXTRA_CA_CERTS": str(service.authority)}


def come_answered(fixtures: Path, written: Path, service: real.Service, folder: Path) -> list[str]:
    """Differences between the state in `written`/js-asked.state, which TypeScript exported with the mentor's answers, and what it
    says of that in js-asked.json; and between its answers and those that Python gets to the same samples."""
    told = json.loads((written / "js-asked.json").read_text())
    token = add_token(folder / "tokens", "tablet")
    with Bundle.open(fixtures / "stock" / BUNDLE) as bundle:
        import_state(written / "js-asked.state", written / "asked", bundle)
        with (
            Owner(bundle, written / "asked", backend=STOCK) as me,
            Owner(bundle, written / "anew", backend=STOCK) as mine,
        ):
            samples = [one.number for one in me.samples.all()]
            mine.add(me.samples.read(samples)[0])
            mine.asking.add(told["answered"])
            mine.asking.run(Service(told["service"], token, str(service.authority)), together=4)
            found = {
                "answered": sorted(me.state.answers.numbers()),
                "left": sorted(map(int, me.asking.asked.left)),
                "sent": [me.asking.asked.sent, me.asking.asked.sent_bytes],
                "sources": [one.source for one in me.samples.all()],
            }
            apart = [difference(me, mine, number) for number in told["answered"]]
            done = me.learn(Plan(budget=Budget(steps=4), rounds=1))
            apart += [abs(done.last[name] - value) for name, value in told["last"].items()]
    wrong = [f"{name}: {value}, not {told[name]}" for name, value in found.items() if told[name] != value]
    return wrong + ([f"numbers by {max(apart)}"] if not max(apart) < 1e-4 else [])


def difference(me: Owner, mine: Owner, number: int) -> float:
    """The largest difference of the logits of two answers to a sample; infinite where their layers are not the same bytes."""
    one, other = me.state.answers.get(number), mine.state.answers.get(number)
    if one is None or other is None:
        return np.inf
    same = all(np.array_equal(value, other.activations[name]) for name, value in one.activations.items())
    return float(np.abs(one.mentor_logits - other.mentor_logits).max()) if same else np.inf
