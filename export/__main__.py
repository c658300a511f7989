"""The exporter's command line, installed as `mentee-export`: a verb, then SETTING=VALUE arguments."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from mentor_mentee.interrupt import while_importing
from mentor_mentee.output import quiet_when_unread

VERBS = {  # name -> module of export.cli; the function there has the verb's name
    "make": "make",
    "preflight": "preflight",
    "inspect": "bundles",
    "verify": "bundles",
    "keygen": "bundles",
}
HELP = """\
mentee-export checkpoint=FILE bundle=FOLDER [SETTING=VALUE …]
                                              makes a bundle of a run's mentee.safetensors (the verb `make` may be left out)
mentee-export settings                        prints the settings of `make`: name, default, what it does
mentee-export preflight checkpoint=FILE       says for each backend whether a model trains on it, without exporting
mentee-export inspect bundle=FOLDER           prints what a bundle is (json=true)
mentee-export verify bundle=FOLDER            checks every byte, the signature (key=PEM), and the parity with torch anew
mentee-export keygen private=FILE public=FILE
                                              makes an Ed25519 key: sign_key=PRIVATE, then verify key=PUBLIC
mentee-export VERB --help                     prints the verb's settings
"""


def main() -> None:
    with quiet_when_unread():
        answer([word.removeprefix("export.") for word in sys.argv[1:]])  # export.trainable=head is trainable=head


def answer(words: Sequence[str]) -> None:
    verb = words[0] if words else "--help"
    if verb in VERBS:
        sys.exit(function(verb)(words[1:]))
    if verb == "settings":
        sys.exit(function("make")(["--help", *words[1:]]))
    if verb in ("-h", "--help"):
        print(HELP, end="")
    elif "=" in verb or verb.startswith("-"):
        sys.exit(function("make")(words))
    else:
        from mentor_mentee.errors import did_you_mean

        near = did_you_mean(verb, (*VERBS, "settings"))
        print(f"error: no verb '{verb}'{near} (see mentee-export --help)", file=sys.stderr)
        sys.exit(2)


def function(verb: str) -> Callable[[Sequence[str]], int]:
    """Imported when it is called: torch, onnx and Hydra take seconds."""
    with while_importing():
        found: Callable[[Sequence[str]], int] = getattr(import_module(f"export.cli.{VERBS[verb]}"), verb)
    return found


if __name__ == "__main__":
    main()
