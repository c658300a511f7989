"""`python -m mentor.serve`: the command line of the service. Alone in this package it sees what lies above `mentor`: a bundle's
reader, a mentee's checkpoint, the words of a command line; below it only typed arguments go on."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentor_mentee.interrupt import while_importing
from mentor_mentee.output import quiet_when_unread

if TYPE_CHECKING:
    from mentor.serve.served import Served
    from mentor.serve.settings import ServeSettings, TokenSettings

USAGE = """\
python -m mentor.serve bundle=FOLDER mentor=FILE tokens=FILE [SETTING=VALUE …]   answers what devices ask
python -m mentor.serve token name=NAME tokens=FILE                              makes a device's token and prints it

python -m mentor.serve bundle=bundles/mine mentor=runs/mine/mentee.safetensors tokens=tokens.txt
"""
CHECKED = 64  # samples of the bundle's pack that the mentor is asked about before it serves


def main() -> None:
    with quiet_when_unread():
        sys.exit(answer(sys.argv[1:]))


def answer(words: Sequence[str]) -> int:
    with while_importing():
        from export.cli.arguments import run
        from mentor.serve.settings import ServeSettings, TokenSettings

    if words[:1] == ["token"]:
        return run(TokenSettings, words[1:], USAGE, print_token)
    return run(ServeSettings, words, USAGE, act)


def print_token(settings: "TokenSettings") -> int:
    """Adds a device to the file, and prints its token, which nothing else has."""
    from mentor.serve.entry.tokens import add_token

    print(add_token(settings.tokens, settings.name))
    return 0


def act(settings: "ServeSettings") -> int:
    """Checks that the mentor is the bundle's, and serves it."""
    from mentor.serve.settings import check_serve, require_free

    check_serve(settings)
    require_free(settings.host, settings.port)
    with while_importing():
        import torch  # takes seconds to import: only now

        from mentor.serve.entry.door import Rules
        from mentor.serve.entry.limits import Rates
        from mentor.serve.entry.tokens import Tokens
        from mentor.serve.metrics import Metrics
        from mentor.serve.precision import chosen
        from mentor.serve.served import require_recorded
        from mentor.serve.server import serve

    served, pack, named = read(settings.bundle, settings.mentor, settings.weights)
    mentor = served.restored()
    served = replace(served, fingerprint=mentor.fingerprint())
    held = require_recorded(served, mentor, pack, named)
    precision, why = settings.precision, "as set"
    if precision == "auto":
        device = torch.device("cuda" if settings.device in ("cuda", "auto") and torch.cuda.is_available() else "cpu")
        precision, why = chosen(served, mentor.to(device), pack["input"].to(device))
    scheme = "https" if settings.certificate else "http"
    print(
        f"bundle      {served.bundle}\nmentor      {served.fingerprint}\nanswers     {held}\n"
        f"precision   {precision} ({why})\nlistens     {scheme}://{settings.host}:{settings.port}  (page: /docs)",
        flush=True,
    )
    del mentor
    rules = Rules(served, settings, Tokens(settings.tokens), Rates(settings.rate), Metrics())
    serve(rules, precision)
    return 0


def read(bundle: Path, checkpoint: Path, weights: Path | None = None) -> tuple["Served", dict[str, Any], str | None]:
    """All that is served but for the mentor's fingerprint, some samples of the bundle's pack, and the fingerprint that it names.
    Raises `UserError` for a bundle and a checkpoint that do not belong together."""
    from safetensors.torch import load_file

    from export.bundle.reading.read import opened
    from export.network.classes import ClassPlan
    from mentee.checkpoint import MenteeCheckpoint
    from mentor.serve.served import Served, require_same_terms
    from mentor_mentee.errors import UserError

    path = checkpoint / "mentee.safetensors" if checkpoint.is_dir() else checkpoint
    made_of = MenteeCheckpoint.load(path)
    if made_of.mentor is None:
        raise UserError(
            f"'{path}' names no mentor: its run had none, or was a script's; serve the mentee of a run under a mentor"
        )
    with opened(bundle) as (folder, manifest):
        pack = {name: value[:CHECKED] for name, value in load_file(folder / manifest["supervision"]["file"]).items()}
    classes = tuple(manifest["classes"])
    plan = None if classes == made_of.classes else ClassPlan.between(made_of.classes, classes)
    view = made_of.view
    served = Served(
        bundle=manifest["id"],
        fingerprint="",
        classes=classes,
        shape=tuple(view.shape),
        dtype=view.dtype,
        mentor=made_of.mentor if weights is None else {**made_of.mentor, "weights": str(weights)},
        probes=made_of.probes,
        to_classes=None if plan is None else plan.logits,
        spare=len(manifest.get("spare_classes", [])),
    )
    require_same_terms(served, manifest, path)
    return served, pack, manifest.get("mentor", {}).get("fingerprint")


if __name__ == "__main__":
    main()
