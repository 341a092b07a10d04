"""`onesearch-fast evaluate`: a served model beside the baselines, on held-out events."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from onesearch_fast.cli.main import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("served", type=Path, help="served model folder")
    parser.add_argument("--data", type=Path, required=True, help="folder the model was trained on")
    parser.add_argument("--order", help="order of the log, where the data has several")
    parser.add_argument(
        "--holdout",
        type=Path,
        help="JSONL of {user_id, item_id, query?, time?}: targets in place of the last events",
    )
    parser.add_argument("--tasks", help="comma-separated: search,next_item (default: all)")
    parser.add_argument("--num-beams", type=int, default=64, help="beams of the search (64)")
    parser.add_argument("--cases", type=int, help="at most so many reported cases per task")
    parser.add_argument("--device", default="cpu", help="where the model runs (cpu)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write metrics.json to this file")
    parser.add_argument("--out", type=Path, help="folder for metrics, report, table and plots")


def run(arguments: argparse.Namespace) -> int:
    from onesearch_fast.data.readers import read_dataset
    from onesearch_fast.data.split import leave_last_out
    from onesearch_fast.engine.searcher import Searcher
    from onesearch_fast.evaluate.holdout import with_holdout
    from onesearch_fast.evaluate.served import evaluate_served
    from onesearch_fast.evaluate.tables import print_tables
    from onesearch_fast.files import write_json
    from onesearch_fast.sid.text_encoder import load_text_encoder

    searcher = Searcher.load(arguments.served, device=arguments.device)
    dataset = read_dataset(arguments.data, order=arguments.order)
    split = leave_last_out(dataset)
    if arguments.holdout is not None:
        held_out = with_holdout(split, dataset, arguments.holdout)
        split = held_out.split
        if held_out.num_repeats:
            _say(f"{held_out.num_repeats} targets stand in their user's history: left out")
    report = evaluate_served(
        searcher,
        split,
        load_text_encoder(arguments.served / "text_encoder"),
        tasks=arguments.tasks.split(",") if arguments.tasks else None,
        num_beams=arguments.num_beams,
        max_cases=arguments.cases,
        say=_say,
    )
    if arguments.json is not None:
        write_json(arguments.json, report.metrics_json())
    if arguments.out is not None:
        report.write(arguments.out)
    print_tables(report)
    return 0


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


VERB = Verb(
    "evaluate", "compare a served model with baselines on held-out events", add_arguments, run
)
