"""`--json` of every verb: its result as one JSON document, alone on standard output.

Progress, warnings and errors go to standard error. `demo` and `evaluate`, whose result is as often
kept as read, take the name of a file as well, and print their tables in either case.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from pathlib import Path
from typing import Any

from onesearch_fast.errors import invalid
from onesearch_fast.files import write_json

_STDOUT = Path("-")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print the result as one JSON document, nothing else"
    )


def add_json_or_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        type=Path,
        nargs="?",
        const=_STDOUT,
        metavar="OUT",
        help="write the result to the file OUT as one JSON document, or print it, and tables to "
        "standard error",
    )


def check_json_file(verb: str, out: Path | None) -> None:
    if out is not None and out.is_dir():
        raise invalid(verb, "--json", "a file to write", f"the folder {out}")


def print_json(document: Any) -> None:
    print(json.dumps(_finite(document), ensure_ascii=False, indent=2, allow_nan=False))


def put_json(document: Any, out: Path | None) -> None:
    """What `add_json_or_file` asks for."""
    if out == _STDOUT:
        print_json(document)
    elif out is not None:
        write_json(out, document)


def tables_beside(out: Path | None) -> contextlib.AbstractContextManager[Any]:
    """Sends what is printed to standard error where the document takes standard output."""
    return contextlib.redirect_stdout(sys.stderr) if out == _STDOUT else contextlib.nullcontext()


def _finite(value: Any) -> Any:
    """JSON has no infinity: what is none, as a threshold that does not exist, is null."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
