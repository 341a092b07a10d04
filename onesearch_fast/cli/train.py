"""`onesearch-fast train`: a served model from a data folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from onesearch_fast.cli._limits import check_input_file, check_run_folder
from onesearch_fast.cli._result import add_json, print_json
from onesearch_fast.cli.main import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, metavar="DATA", help="data folder, in any known form")
    parser.add_argument(
        "--run", dest="run_folder", type=Path, required=True, help="run folder, made or resumed"
    )
    chosen = "JSON or YAML of settings; default: chosen for the log"
    parser.add_argument("--config", type=Path, help=chosen)
    parser.add_argument("--order", help="order of the log, where the data has several")
    parser.add_argument("--minutes", type=float, help="training time, shared out over the stages")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from onesearch_fast.data.readers import read_dataset
    from onesearch_fast.data.split import leave_last_out
    from onesearch_fast.train.config import check_minutes, read_config
    from onesearch_fast.train.pipeline import run_pipeline
    from onesearch_fast.train.progress import ConsoleProgress
    from onesearch_fast.train.suggest import suggest_config

    check_run_folder("train", "--run", arguments.run_folder)
    if arguments.config is not None:
        check_input_file("train", "--config", str(arguments.config), "name a JSON or YAML file")
    # A slip in the settings should not wait for the data to be read.
    given = None if arguments.config is None else read_config(arguments.config)
    check_minutes(arguments.minutes)
    split = leave_last_out(read_dataset(arguments.data, order=arguments.order))
    config = given or suggest_config(split.log)
    if arguments.minutes is not None:
        config = config.with_minutes(arguments.minutes)
    result = run_pipeline(split, config, arguments.run_folder, progress=ConsoleProgress())
    if arguments.json:
        steps = {
            step.name: {"seconds": step.seconds, "peak_mib": step.peak_mib} for step in result.steps
        }
        print_json({"served": str(result.served_folder), "steps": steps})
    else:
        print(f"served model: {result.served_folder}")
    return 0


VERB = Verb(
    "train",
    "train a model on a data folder and write what serves it",
    add_arguments,
    run,
    resumes=True,
)
