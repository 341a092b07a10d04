"""Entry point: finds the verbs, parses, runs, and turns known errors into one line."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import onesearch_fast
from onesearch_fast import cli
from onesearch_fast.errors import BackendUnavailable

_INSTALL = "install it with pip install 'onesearch-fast[train]'"


@dataclass(frozen=True)
class Verb:
    """One verb of the command line: a module of this package binds it to the name `VERB`.

    Every one takes `--json`, as of `cli._result`. Its module imports torch within `run`, if at all:
    help texts are read without.

    `resumes`: whether the same command again goes on where an interrupted one was.
    """

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    resumes: bool = False


def discover_verbs() -> list[Verb]:
    """The verb of every module beside this one, by name."""
    names = [module.name for module in pkgutil.iter_modules(cli.__path__)]
    verbs = [_load_verb(name) for name in names if name != "main" and not name.startswith("_")]
    return sorted((verb for verb in verbs if verb is not None), key=lambda verb: verb.name)


def _load_verb(module_name: str) -> Verb | None:
    """The module's `VERB`; a verb that only says what is missing, where an import fails."""
    try:
        module = importlib.import_module(f"onesearch_fast.cli.{module_name}")
    except ImportError as error:
        return _unavailable_verb(module_name.replace("_", "-"), error)
    verb: Verb | None = getattr(module, "VERB", None)
    return verb


def _unavailable_verb(name: str, error: ImportError) -> Verb:
    """Stands in for a verb whose module needs a package that is not installed here."""

    def run(arguments: argparse.Namespace) -> int:
        raise BackendUnavailable(f"{error}; {_INSTALL}")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.prefix_chars = "\0"  # options count as plain words, so that `run` is reached
        parser.add_argument("anything", nargs="*", help=argparse.SUPPRESS)

    return Verb(name, f"not available here: {error}", add_arguments, run)


class _VerbParser(argparse.ArgumentParser):
    """Lets options stand between the words of a verb: `search FOLDER -k 5 QUERY`."""

    _splitting = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._splitting:
            return super().parse_known_args(args, namespace)
        self._splitting = True  # parse_known_intermixed_args calls back twice
        try:
            found, unknown = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._splitting = False
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._nearest(unknown[0])}")
        return found, unknown

    def _nearest(self, mistyped: str) -> str:
        near = get_close_matches(mistyped.partition("=")[0], self._option_string_actions, n=1)
        return f"; did you mean {near[0]}?" if near else ""


def build_parser(verbs: Sequence[Verb]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="onesearch-fast", description="Generative product search, from catalogue to answers."
    )
    parser.add_argument(
        "--version", action="version", version=f"onesearch-fast {onesearch_fast.__version__}"
    )
    subparsers = parser.add_subparsers(
        dest="verb", metavar="VERB", required=True, parser_class=_VerbParser
    )
    for verb in verbs:
        subparser = subparsers.add_parser(verb.name, help=verb.help, description=verb.help)
        verb.add_arguments(subparser)
        subparser.set_defaults(run=verb.run, resumes=verb.resumes)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb. Exit code 0: done, 1: the verb says no, 2: bad input, 130: interrupted.

    141, as for any program whose reader left: stdout was closed.
    """
    try:
        return _run(build_parser(discover_verbs()).parse_args(argv))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace) -> int:
    try:
        return int(arguments.run(arguments))
    except BrokenPipeError:
        # The reader left (`... | head`). The interpreter flushes stdout once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, TypeError, OSError, ModuleNotFoundError, BackendUnavailable) as error:
        if "ONESEARCH_DEBUG" in os.environ:
            raise
        sentence = _sentence(error).removeprefix(f"{arguments.verb}: ")
        print(f"onesearch-fast {arguments.verb}: {sentence}", file=sys.stderr)
        print("  (ONESEARCH_DEBUG=1 shows the traceback)", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if arguments.resumes:
            print("the same command again goes on from here", file=sys.stderr)
        raise


def _sentence(error: Exception) -> str:
    """An error of the system names its file first, as all others do."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error}; {_INSTALL}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
