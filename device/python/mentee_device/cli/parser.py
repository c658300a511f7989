"""The grammar of `mentee-device`: its commands and their options."""

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import NoReturn

from mentee_device.anomaly.normal import Watch
from mentee_device.cli import asking, labelling, learning, looking, relocating, without_learning
from mentee_device.cli.options import add_fields, at_least, described_fields
from mentee_device.core.backends.choose import BACKENDS
from mentee_device.labels.assign import RULES, GuessRules
from mentee_device.labels.pseudo_labels import GUESSED
from mentee_device.runs.plans.settings import Settings
from mentee_device.state.about import SOURCES

ALIASES = {"forget": "unlearn", "update": "migrate"}  # names that commands had before

NO_DATA, MAY_HAVE_DATA, NEEDS_DATA = None, False, True
COMMANDS = (  # (what it runs, whether --state must be given, --data)
    (looking.info, False, NO_DATA),
    (looking.add, True, NEEDS_DATA),
    (learning.learn, True, MAY_HAVE_DATA),
    (looking.predict, False, NEEDS_DATA),
    (looking.evaluate, False, MAY_HAVE_DATA),
    (looking.versions, True, NO_DATA),
    (looking.log, True, NO_DATA),
    (learning.rollback, True, NO_DATA),
    (learning.reset, True, NO_DATA),
    (learning.unlearn, True, NO_DATA),
    (looking.settings, True, NO_DATA),
    (without_learning.name_class, True, NO_DATA),
    (without_learning.enrol, True, MAY_HAVE_DATA),
    (without_learning.recognise, True, NEEDS_DATA),
    (without_learning.watch, True, MAY_HAVE_DATA),
    (labelling.guess, True, MAY_HAVE_DATA),
    (labelling.undo, True, NO_DATA),
    (asking.ask, True, NO_DATA),
    (relocating.migrate, True, NO_DATA),
    (relocating.export_state, True, NO_DATA),
    (relocating.import_state, True, NO_DATA),
    (relocating.merge, True, NO_DATA),
)


class Parser(argparse.ArgumentParser):
    """Says a mistake in one line, as every other mistake is said, instead of the usage and a line."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with 2."""
        wrong = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        near = did_you_mean(wrong[1], re.findall(r"[\w-]+", wrong[2])) if wrong else ""
        self.exit(2, f"error: {message}{near} (see {self.prog} --help)\n")

    def refuse_lost(self, words: Sequence[str]) -> None:
        """Ends the process with 2 for the value `--` (`--state=--`), of which each version of argparse makes something else, and
        for an empty one, as a shell makes it of a variable that is not set."""
        for word in takewhile(lambda word: word != "--", words):
            name, equals, value = word.partition("=")
            if not word:
                self.error("an argument is empty: expected a value, '' is none")
            if name.startswith("--") and equals and value in ("", "--"):
                self.error(f"argument {name}: expected a value, '{value}' is none")

    def refuse_unknown(self, words: Sequence[str]) -> None:
        """Ends the process with 2 where `words` are left over."""
        if words:
            near = did_you_mean(words[0], re.findall(r"--[\w-]+", self.format_usage()))
            self.error(f"unrecognized arguments: {' '.join(words)}{near}")


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`"; did you mean 'learn'?"` where a known name is close to the given one, else the empty string."""
    from difflib import get_close_matches  # only for who made a mistake

    close = get_close_matches(given, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def make_parser() -> Parser:
    """The whole grammar; a parsed command has its function in `run`."""
    parser = Parser(prog="mentee-device", description="A mentee on its owner's device.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    every = Parser(add_help=False)
    every.add_argument("--bundle", required=True, help="folder or zip made by mentee-export")
    every.add_argument("--key", metavar="PEM", help="public key that must have signed the bundle")
    every.add_argument("--json", action="store_true", help="print one JSON object")
    every.add_argument("--threads", type=at_least(1), default=1, help="of ONNX Runtime (default 1)")
    every.add_argument("--backend", choices=BACKENDS, help="graphs to run (default: what bundle and runtime have)")
    every.add_argument("--key-file", metavar="FILE", help="32 bytes that the state is encrypted with")
    made = {}
    for run, state, data in COMMANDS:
        command = subparsers.add_parser(
            run.__name__.replace("_", "-"),
            parents=[every],
            help=run.__doc__,
            description=run.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("--state", required=state, metavar="FOLDER", help="the owner's folder")
        if data is not NO_DATA:
            command.add_argument("--data", required=data, metavar="NPZ", help="arrays `input` and `labels`")
        command.set_defaults(run=run, command=command)
        made[run.__name__] = command
    _options(made)
    return parser


def _options(made: Mapping[str, argparse.ArgumentParser]) -> None:
    made["add"].add_argument("--source", choices=SOURCES[:-1], default="owner", help="of the labels (default owner)")
    made["add"].add_argument("--weight", type=float, default=1.0, help="of these labels against an owner's")
    learning.learn_options(made["learn"])
    made["log"].add_argument("--last", type=at_least(1), default=20, metavar="N", help="lines to show (default 20)")
    made["rollback"].add_argument("--to", type=at_least(0), metavar="VERSION", help="0 is the base")
    unlearn = made["unlearn"]
    unlearn.add_argument("--samples", type=int, nargs="+", metavar="N", help="numbers, as `add` gave them")
    unlearn.add_argument("--source", choices=SOURCES, help="all whose label is from there")
    unlearn.add_argument("--label", metavar="CLASS", help="all of this class")
    unlearn.add_argument("--all", action="store_true", help="every sample")
    made["settings"].add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
    made["settings"].epilog = f"settings, their defaults and what they do:\n{described_fields(Settings)}"
    name_class = made["name_class"]
    name_class.add_argument("--name", metavar="CLASS", help="of a class that the bundle has a spare row for")
    name_class.add_argument(
        "--number", type=at_least(0), metavar="N", help="of the spare class (default: the first without a name)"
    )
    name_class.add_argument("--remove", metavar="CLASS", help="all of it: samples, what they taught, its name")
    enrol = made["enrol"]
    enrol.add_argument("--name", metavar="CLASS", help="of the samples in --data, the bundle's or a new one")
    enrol.add_argument("--remove", metavar="CLASS", help="all enrolled samples of it")
    enrol.add_argument("--clear", action="store_true", help="removes all that was enrolled, before anything else")
    recognise = made["recognise"]
    recognise.add_argument("--neighbours", type=at_least(0), default=0, help="0: nearest class mean (default)")
    recognise.add_argument("--floor", type=float, default=-1.0, help="least cosine, below it: don't know")
    watch = made["watch"]
    watch.add_argument("--start", action="store_true", help="observe anew what is normal")
    add_fields(watch, Watch, ("seed",))
    watch.add_argument("--freeze", action="store_true", help="end observing now")
    watch.add_argument("--resume", action="store_true", help="observe for one more period")
    watch.add_argument("--stop", action="store_true", help="delete what was observed")
    add_fields(made["guess"], GuessRules, choices={"rule": RULES})
    made["undo"].add_argument("--samples", type=int, nargs="+", metavar="N", help="numbers; default: all guesses")
    made["undo"].add_argument("--source", choices=GUESSED, help="guesses from there only")
    _ask_options(made["ask"])
    for name in ("export_state", "import_state", "merge"):
        made[name].add_argument("file", metavar="FILE", help="the exported state")
    made["import_state"].add_argument("--replace", action="store_true", help="replace the state that is there")
    made["migrate"].add_argument("--steps", type=at_least(1), help="of the replay (default: as many as were learnt)")


def _ask_options(ask: argparse.ArgumentParser) -> None:
    ask.add_argument("verb", choices=asking.VERBS)
    ask.add_argument("--samples", type=int, nargs="+", metavar="N", help="numbers, as `add` gave them")
    ask.add_argument("--service", metavar="URL", help="https://HOST[:PORT] (default: the one that the bundle names)")
    ask.add_argument("--token-file", metavar="FILE", help="this device's token")
    ask.add_argument(
        "--authority", metavar="PEM", help="certificate that the service's is held against (default: the system's)"
    )
    ask.add_argument(
        "--mentor", metavar="HEX", default="", help="fingerprint of the mentor, where the bundle names none"
    )
    ask.add_argument(
        "--if-charging", action="store_true", help="send only while a charger is connected (Linux, Android)"
    )
    ask.add_argument("--most", type=at_least(1), metavar="N", help="samples to send now (default: all that wait)")
    ask.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="seconds for each step of a connection (default 60)"
    )
