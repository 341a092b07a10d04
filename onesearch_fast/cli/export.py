"""`onesearch-fast export`: the served model of a run, as a folder to hand on."""

from __future__ import annotations

import argparse
from pathlib import Path

from onesearch_fast.cli._limits import check_output_folder
from onesearch_fast.cli._result import add_json, print_json
from onesearch_fast.cli.main import Verb
from onesearch_fast.errors import invalid


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="run folder of train or demo")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the weights"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from onesearch_fast.train.serve import export_served

    check_output_folder("export", "--out", arguments.out)
    if not (arguments.run_folder / "served").is_dir():
        expected = "the run folder of a finished train or demo"
        raise invalid("export", "RUN", expected, str(arguments.run_folder))
    export_served(arguments.run_folder, arguments.out, arguments.dtype)
    if arguments.json:
        print_json({"out": str(arguments.out), "dtype": arguments.dtype})
    else:
        print(f"written to {arguments.out}")
    return 0


VERB = Verb("export", "write the served model of a run as a folder to hand on", add_arguments, run)
