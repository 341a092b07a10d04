"""`onesearch-fast evaluate`: a served model beside the baselines, on held-out events."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from onesearch_fast.cli._limits import (
    check_cases,
    check_minutes,
    check_num_beams,
    check_output_folder,
)
from onesearch_fast.cli._result import (
    add_json_or_file,
    check_json_file,
    put_json,
    tables_beside,
)
from onesearch_fast.cli.demo import default_run_folder
from onesearch_fast.cli.main import Verb
from onesearch_fast.errors import invalid

if TYPE_CHECKING:
    from onesearch_fast.data.split import Split

_NUM_BEAMS = 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "served",
        type=Path,
        nargs="?",
        metavar="SERVED",
        help="served model folder; default: that of `demo` on the same data",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder the model was trained on")
    parser.add_argument("--order", help="order of the log, where the data has several")
    parser.add_argument(
        "--holdout",
        type=Path,
        help="JSONL of {user_id, item_id, query?, time?}: targets in place of the last events",
    )
    parser.add_argument("--tasks", help="comma-separated: search,next_item (default: all)")
    parser.add_argument(
        "--num-beams", type=int, default=_NUM_BEAMS, help=f"beams of the search ({_NUM_BEAMS})"
    )
    parser.add_argument("--cases", type=int, help="at most so many reported cases per task")
    parser.add_argument(
        "--sasrec",
        type=float,
        metavar="MINUTES",
        help="train SASRec for so long, as one more baseline (default: leave it out)",
    )
    parser.add_argument("--device", default="cpu", help="where the model runs (cpu)")
    add_json_or_file(parser)
    parser.add_argument("--out", type=Path, help="folder for metrics, report, table and plots")


def run(arguments: argparse.Namespace) -> int:
    from onesearch_fast.data.readers import read_dataset
    from onesearch_fast.data.split import leave_last_out
    from onesearch_fast.engine.checks import check_device
    from onesearch_fast.engine.searcher import Searcher
    from onesearch_fast.evaluate.baselines.sasrec import SasRecConfig
    from onesearch_fast.evaluate.holdout import with_holdout
    from onesearch_fast.evaluate.output import write_report
    from onesearch_fast.evaluate.served import evaluate_served
    from onesearch_fast.evaluate.tables import print_tables
    from onesearch_fast.sid.text_encoder import load_text_encoder

    check_json_file("evaluate", arguments.json)
    check_output_folder("evaluate", "--out", arguments.out)
    check_num_beams("evaluate", arguments.num_beams)
    check_cases("evaluate", arguments.cases)
    check_minutes("evaluate", "--sasrec", arguments.sasrec)
    minutes = arguments.sasrec
    sasrec = None if minutes is None else SasRecConfig(epochs=None, minutes=minutes)
    check_device("evaluate", "--device", arguments.device)
    dataset = read_dataset(arguments.data, order=arguments.order)
    split = leave_last_out(dataset)
    served = arguments.served or _served_by_demo(split.name)
    searcher = Searcher.load(served, device=arguments.device)
    _check_training_log(searcher.training_log, split)
    if arguments.holdout is not None:
        held_out = with_holdout(split, dataset, arguments.holdout)
        split = held_out.split
        if held_out.num_repeats:
            _say(f"{held_out.num_repeats} targets stand in their user's history: left out")
        if held_out.num_stop:
            _say(f"{held_out.num_stop} targets are of users that tuning has seen: left out")
    report = evaluate_served(
        searcher,
        split,
        load_text_encoder(served / "text_encoder"),
        tasks=arguments.tasks.split(",") if arguments.tasks else None,
        num_beams=arguments.num_beams,
        max_cases=arguments.cases,
        sasrec=sasrec,
        say=_say,
    )
    with tables_beside(arguments.json):
        print_tables(report)
    put_json(report.metrics_json(), arguments.json)
    if arguments.out is not None:
        write_report(report, arguments.out)
    return 0


def _served_by_demo(split_name: str) -> Path:
    served = default_run_folder(split_name) / "served"
    if not served.is_dir():
        remedy = "name the served model's folder, or run `onesearch-fast demo` on the data first"
        raise invalid("evaluate", "SERVED", "a served model folder", f"no {served}", remedy)
    return served


def _check_training_log(trained_on: str | None, split: Split) -> None:
    """A model that saw another log may have been trained on the very targets it is asked for."""
    if trained_on is None:
        _say(f"the served model does not say its log: it is taken to be trained on {split.name}")
        return
    if trained_on != split.log.content_hash():
        raise invalid(
            "evaluate",
            "--data",
            "the log that the model was trained on",
            f"another one ({split.name}), which may hold out what the model has seen",
            "give the same folder and --order as in training, or train on this log",
        )


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


VERB = Verb(
    "evaluate", "compare a served model with baselines on held-out events", add_arguments, run
)
