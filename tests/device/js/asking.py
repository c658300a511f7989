"""A device that asks the real service under TypeScript, and whether Python goes on from its state as from one of its own."""

import datetime
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
    page = f"http://127.0.0.1:{real.free_port()}"
    given = {"max_samples": MOST, "rate": RATE, "origins": page}
    with real.serving(folder, fixtures / "stock" / BUNDLE, folder, wait=False, **given) as service:
        others = {name: add_token(folder / "tokens", name) for name in ("tablet", "watch")}
        about = {"address": f"https://localhost:{service.port}", "token": service.token, "page": page, **others}
        trusted = folder / "trusted.pem"
        trusted.write_bytes(b"".join(path.read_bytes() for path in (service.authority, *certificates(folder))))
        about["certificates"] = str(folder)
        yield service, {"MENTEE_SERVICE": json.dumps(about), "NODE_EXTRA_CA_CERTS": str(trusted)}


def certificates(folder: Path) -> list[Path]:
    """Makes those of devices whose clocks are years off, and one that no device trusts; those that are trusted."""
    for name, years in (("early", 30), ("late", -30), ("unknown", 0)):
        made = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=365 * years)
        real.make_certificate(folder / f"{name}.pem", folder / f"{name}.key", made)
    return [folder / "early.pem", folder / "late.pem"]


def come_answered(fixtures: Path, written: Path, service: real.Service, folder: Path) -> list[str]:
    """Differences between the state in `written`/js-asked.state, which TypeScript exported with the mentor's answers, and what it
    says of that in js-asked.json; and between its answers and those that Python gets to the same samples."""
    told = json.loads((written / "js-asked.json").read_text())
    token = add_token(folder / "tokens", "python")
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
