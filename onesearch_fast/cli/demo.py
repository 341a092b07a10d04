"""`onesearch-fast demo`: the whole way from a catalogue and a log to answered queries."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onesearch_fast.cli._limits import check_cases, check_num_beams, check_run_folder
from onesearch_fast.cli._result import (
    add_json_or_file,
    check_json_file,
    put_json,
    tables_beside,
)
from onesearch_fast.cli.main import Verb

if TYPE_CHECKING:
    from onesearch_fast.data.split import EvalCase, Split
    from onesearch_fast.engine.searcher import Searcher
    from onesearch_fast.evaluate.ranking import Ranker
    from onesearch_fast.train.pipeline import PipelineResult
    from onesearch_fast.train.progress import Progress
    from onesearch_fast.train.run_folder import RunFolder, StepReport

_NUM_BEAMS = 128
_EXAMPLES = 5
_HITS = 5
# What the example queries should show, first found first printed; the rest is drawn in order.
_EXAMPLE_KINDS = ("negation", "chinese", "brand_constraint", "attribute", "head")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="data folder; default: a synthetic catalogue")
    parser.add_argument("--order", help="order of the log, where the data has several")
    parser.add_argument(
        "--run", dest="run_folder", type=Path, help="run folder; default: runs/demo-NAME"
    )
    parser.add_argument("--minutes", type=float, help="training time, shared out over the stages")
    parser.add_argument("--num-beams", type=int, default=_NUM_BEAMS, help="beams of the search")
    parser.add_argument("--cases", type=int, help="at most so many reported cases per task")
    add_json_or_file(parser)


def run(arguments: argparse.Namespace) -> int:
    from onesearch_fast.evaluate.served import reported_tasks
    from onesearch_fast.train.config import demo_config
    from onesearch_fast.train.pipeline import run_pipeline
    from onesearch_fast.train.progress import ConsoleProgress
    from onesearch_fast.train.suggest import suggest_config

    _check_options(arguments)
    progress = ConsoleProgress()
    progress.say("data ...")
    split, others = _load(arguments)
    reported_tasks(split)  # a log without any would fail at the table, after all training
    config = demo_config() if arguments.data is None else suggest_config(split.log)
    if arguments.minutes is not None:
        config = config.with_minutes(arguments.minutes)
    folder = arguments.run_folder or default_run_folder(split.name)
    events = sum(len(history.events) for history in split.log.histories)
    progress.say(f"{split.name}: {len(split.log.items):,} items, {events:,} events to learn from")

    result = run_pipeline(split, config, folder, progress=progress)
    with tables_beside(arguments.json):
        metrics = _report(arguments, result, progress, split, others)
    put_json(metrics, arguments.json)
    return 0


def _check_options(arguments: argparse.Namespace) -> None:
    """Before the training: what only the search or the table needs would fail minutes later."""
    from onesearch_fast.train.config import check_minutes

    check_run_folder("demo", "--run", arguments.run_folder)
    check_minutes(arguments.minutes)
    check_num_beams("demo", arguments.num_beams)
    check_cases("demo", arguments.cases)
    check_json_file("demo", arguments.json)


def default_run_folder(split_name: str) -> Path:
    """Where the demo of a data set runs, and `evaluate` looks for its served model."""
    return Path("runs") / f"demo-{split_name.replace('/', '-')}"


def _load(arguments: argparse.Namespace) -> tuple[Split, Mapping[str, Sequence[Ranker]]]:
    """The split, and for synthetic data the oracle beside it."""
    from onesearch_fast.data.readers import read_dataset
    from onesearch_fast.data.split import leave_last_out
    from onesearch_fast.data.synthetic import make_synthetic

    if arguments.data is not None:
        return leave_last_out(read_dataset(arguments.data, order=arguments.order)), {}
    synthetic = make_synthetic()
    split = leave_last_out(synthetic.dataset)
    return split, {task: [synthetic.oracle] for task in split.cases}


def _report(
    arguments: argparse.Namespace,
    result: PipelineResult,
    progress: Progress,
    split: Split,
    others: Mapping[str, Sequence[Ranker]],
) -> Any:
    """Prints what came of a run, writes its metrics beside it, and returns them."""
    from onesearch_fast.engine.searcher import Searcher
    from onesearch_fast.files import read_json, write_json
    from onesearch_fast.sid.quality import SidQuality
    from onesearch_fast.train.run_folder import RunFolder

    print("Semantic IDs\n" + SidQuality(**result.semantic_id_quality).as_text() + "\n", flush=True)
    searcher = Searcher.load(result.served_folder)
    steps = RunFolder(result.run_folder, progress)
    evaluation = _evaluate(steps, arguments, searcher, split, others)
    metrics = read_json(evaluation / "metrics.json")
    write_json(result.run_folder / "metrics.json", metrics)
    print((evaluation / "table.txt").read_text(encoding="utf-8"))
    _print_examples(searcher, split)
    _print_steps([*result.steps, *steps.reports])
    print(f"\nserved model: {result.served_folder}\ncurves: {result.run_folder / 'curves.png'}")
    return metrics


def _evaluate(
    steps: RunFolder,
    arguments: argparse.Namespace,
    searcher: Searcher,
    split: Split,
    others: Mapping[str, Sequence[Ranker]],
) -> Path:
    from onesearch_fast.evaluate.output import write_report
    from onesearch_fast.evaluate.served import evaluate_served
    from onesearch_fast.sid.text_encoder import load_text_encoder

    def make(folder: Path) -> None:
        report = evaluate_served(
            searcher,
            split,
            load_text_encoder(steps.path / "served" / "text_encoder"),
            num_beams=arguments.num_beams,
            max_cases=arguments.cases,
            others=others,
            say=steps.progress.say,
        )
        write_report(report, folder)

    # A step is found by its name, and other options give another table.
    sampled = "" if arguments.cases is None else f"_{arguments.cases}_cases"
    return steps.step(f"evaluation_{arguments.num_beams}_beams{sampled}", make)


def _print_examples(searcher: Searcher, split: Split) -> None:
    from onesearch_fast.engine.requests import PastEvent, SearchRequest, UserContext

    items = split.log.items
    for case in _examples(split):
        history = [
            PastEvent(items[event.row].item_id, event.query, event.event) for event in case.history
        ]
        request = SearchRequest(case.query, UserContext(case.profile, history))
        (hits,) = searcher.search([request], k=_HITS)
        kind = f"  [{case.query_kind}]" if case.query_kind else ""
        print(f"{'query: ' + case.query if case.query else 'next item'}{kind}")
        for past in case.history[-2:]:
            print(f"      earlier: {items[past.row].title}")
        rows = searcher.items.rows([hit.item_id for hit in hits])
        for place, row in enumerate(rows.tolist(), start=1):
            item = items[row]
            price = "" if item.price is None else f", {item.price:g}"
            mark = "  <- what the user took" if row == case.target_row else ""
            print(f"  {place}. {item.title} ({item.brand or 'no brand'}{price}){mark}")
        print()


def _examples(split: Split) -> Iterator[EvalCase]:
    """Reported cases, the first of each kind to be shown, then the first ones there are."""
    for task in split.cases:
        reported = [case for case in split.cases[task] if case.group == "report"]
        wanted = [next((c for c in reported if _is(c, kind)), None) for kind in _EXAMPLE_KINDS]
        chosen = {id(case): case for case in (*wanted, *reported) if case is not None}
        shown = list(chosen.values())
        synthetic = any(wanted)
        yield from shown[: _EXAMPLES if synthetic else 2]
        if synthetic:
            return


def _is(case: EvalCase, kind: str) -> bool:
    if kind == "chinese":
        return any("一" <= character <= "鿿" for character in case.query or "")
    return case.query_kind == kind


def _print_steps(reports: Sequence[StepReport]) -> None:
    print(f"{'step':28}{'seconds':>10}{'peak MiB':>10}")
    for report in reports:
        print(f"{report.name:28}{report.seconds:>10.1f}{report.peak_mib:>10,.0f}")
    print(f"{'in all':28}{sum(report.seconds for report in reports):>10.1f}")


VERB = Verb(
    "demo",
    "from a catalogue and a log to answered queries, in one go",
    add_arguments,
    run,
    resumes=True,
)
