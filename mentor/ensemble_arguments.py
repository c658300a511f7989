"""Arguments of `python -m mentor.ensemble`. Imports no torch, so that `--help` and a mistake are answered at once."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from mentor_mentee.output import quiet_when_unread


def read_arguments(arguments: Sequence[str]) -> Namespace:
    """`out`, `first`, `more`. Ends the process for `--help` and for what is none of them."""
    parser = ArgumentParser("python -m mentor.ensemble", description="Puts several networks' weights into one file.")
    parser.add_argument("out", metavar="OUT.safetensors", type=Path, help="the file to make, for mentor.weights")
    parser.add_argument("first", metavar="FIRST", type=Path, help="weights: a safetensors file or a torch state dict")
    parser.add_argument("more", metavar="SECOND", type=Path, nargs="+", help="in the order of mentor.network.members")
    with quiet_when_unread():
        return parser.parse_args(arguments)
