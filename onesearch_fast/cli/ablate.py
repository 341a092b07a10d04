"""`onesearch-fast ablate`: what each part of the training is worth, row by row."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onesearch_fast.cli._limits import check_num_beams, check_run_folder
from onesearch_fast.cli._result import add_json, print_json
from onesearch_fast.cli.main import Verb

if TYPE_CHECKING:
    from onesearch_fast.data.split import EvalCase, Split
    from onesearch_fast.evaluate.ablation import RowValues
    from onesearch_fast.train.config import PipelineConfig
    from onesearch_fast.train.progress import Progress

_SEEDS = 3
_NUM_BEAMS = 64
# Of the synthetic catalogue: what all rows and seeds get through in an hour and a half on one core.
# Many users with a short past, as each is one case, and a session is what costs. Newcomers cost
# their searches alone; so many make four times the cases that users of the log have.
_ITEMS, _USERS, _NEWCOMERS, _SESSIONS = 3_000, 2_500, 7_000, 5.0
_SMALL_ITEMS, _SMALL_USERS, _SMALL_NEWCOMERS = 200, 60, 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="data folder; default: a synthetic catalogue")
    parser.add_argument("--order", help="order of the log, where the data has several")
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs and the table")
    parser.add_argument("--config", type=Path, help="JSON or YAML of what every row starts from")
    parser.add_argument("--seeds", type=int, default=_SEEDS, help=f"runs of each row ({_SEEDS})")
    parser.add_argument("--num-beams", type=int, default=_NUM_BEAMS, help="beams of the search")
    parser.add_argument("--small", action="store_true", help="a minute of everything, for tests")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from onesearch_fast.data.split import SEARCH
    from onesearch_fast.errors import invalid
    from onesearch_fast.evaluate.ablation import as_json, as_text, compare_rows, of_cases
    from onesearch_fast.files import write_json
    from onesearch_fast.train.progress import ConsoleProgress

    check_run_folder("ablate", "--out", arguments.out)
    check_num_beams("ablate", arguments.num_beams)
    if arguments.seeds < 1:
        raise invalid("ablate", "--seeds", "at least 1", arguments.seeds)
    config = _config(arguments)
    split, newcomers = _data(arguments)
    known = [case for case in split.cases[SEARCH] if case.group == "report"]
    if not known:
        raise invalid("ablate", "--data", "a log with held-out searches", "none")
    cases = [*known, *newcomers]
    rows = _all_rows(split, cases, config, arguments, ConsoleProgress())
    tables: dict[str, Any] = {}
    for name, places in _parts(cases, len(known)).items():
        compared = compare_rows(of_cases(rows, places), [cases[place] for place in places])
        tables[name] = {"cases": len(places), "seeds": arguments.seeds, "rows": as_json(compared)}
        if not arguments.json:
            head = f"{name}: {len(places):,} cases, {arguments.seeds} seeds"
            print(as_text(head, compared), end="\n\n")
    write_json(arguments.out / "ablation.json", tables)
    if arguments.json:
        print_json(tables)
    return 0


def _parts(cases: list[EvalCase], num_known: int) -> dict[str, list[int]]:
    """Which cases each table is of; those of users of the log stand first."""
    from onesearch_fast.evaluate.ablation import hard_cases

    everyone = list(range(len(cases)))
    parts = {"all queries": everyone, "hard queries": hard_cases(cases)}
    if num_known < len(cases):
        parts["users of the log"] = everyone[:num_known]
        parts["newcomers"] = everyone[num_known:]
    return {name: places for name, places in parts.items() if places}


def _config(arguments: argparse.Namespace) -> PipelineConfig:
    from onesearch_fast.train.ablation import ablation_config, small_ablation_config
    from onesearch_fast.train.config import read_config

    if arguments.config is not None:
        return read_config(arguments.config)
    return small_ablation_config() if arguments.small else ablation_config()


def _data(arguments: argparse.Namespace) -> tuple[Split, Sequence[EvalCase]]:
    """What is trained on, and searches of users whom it does not hold."""
    from onesearch_fast.data.readers import read_dataset
    from onesearch_fast.data.split import SEARCH, cases_of_newcomers, leave_last_out
    from onesearch_fast.data.synthetic import make_newcomers, make_synthetic

    if arguments.data is not None:
        return leave_last_out(read_dataset(arguments.data, order=arguments.order)), ()
    items, users, newcomers = (
        (_SMALL_ITEMS, _SMALL_USERS, _SMALL_NEWCOMERS)
        if arguments.small
        else (_ITEMS, _USERS, _NEWCOMERS)
    )
    shop = make_synthetic(num_items=items, num_users=users, sessions_per_user=_SESSIONS)
    others = make_newcomers(num_items=items, num_users=newcomers, sessions_per_user=_SESSIONS)
    split = leave_last_out(shop.dataset)
    return split, cases_of_newcomers(split.log, others.dataset)[SEARCH]


def _all_rows(
    split: Split,
    cases: list[EvalCase],
    config: PipelineConfig,
    arguments: argparse.Namespace,
    progress: Progress,
) -> list[RowValues]:
    """Trains and ranks every row with every seed; what is done already is kept."""
    import numpy as np

    from onesearch_fast.evaluate.ablation import METRICS, RowValues
    from onesearch_fast.train.ablation import ablation_rows
    from onesearch_fast.train.pipeline import run_pipeline

    found: dict[str, list[dict[str, Any]]] = {}
    made: list[Path] = []
    for seed in range(arguments.seeds):
        for row in ablation_rows(replace(config, seed=config.seed + seed)):
            folder = arguments.out / f"seed_{seed}" / row.name.replace("+ ", "").replace(" ", "_")
            progress.say(f"{row.name}, seed {seed}")
            # The newest first: it shares the most.
            result = run_pipeline(
                split, row.config, folder, progress=progress, fork_from=made[::-1]
            )
            made.append(folder)
            minutes = sum(step.seconds for step in result.steps) / 60
            values = _values(folder, split, cases, arguments.num_beams, progress)
            found.setdefault(row.name, []).append({**values, "minutes": minutes})
    return [
        RowValues(
            name,
            {metric: np.array([run[metric] for run in runs]) for metric in METRICS},
            float(np.mean([run["valid_sid_rate"] for run in runs])),
            float(np.mean([run["minutes"] for run in runs])),
        )
        for name, runs in found.items()
    ]


def _values(
    folder: Path, split: Split, cases: list[EvalCase], num_beams: int, progress: Progress
) -> dict[str, Any]:
    """Each metric of each case, kept in the run by what the cases are."""
    import hashlib

    import numpy as np

    from onesearch_fast.engine.searcher import Searcher
    from onesearch_fast.evaluate.ablation import METRICS
    from onesearch_fast.evaluate.generative import VALID_SID_RATE, GenerativeRanker
    from onesearch_fast.evaluate.metrics import ranking_metrics
    from onesearch_fast.files import read_json, write_json

    asked = repr([(case.user_id, case.query, case.target_row) for case in cases])
    digest = hashlib.sha256(asked.encode()).hexdigest()
    path = folder / f"values_{num_beams}_{digest[:8]}.json"
    if not path.is_file():
        searcher = Searcher.load(folder / "served")
        ranker = GenerativeRanker(searcher, split.log.items, num_beams, say=progress.say)
        targets = np.array([case.target_row for case in cases])
        metrics = ranking_metrics(ranker.rank(cases, 10), targets, (10,))
        rates = ranker.case_values(cases)[VALID_SID_RATE]
        values: dict[str, Any] = {metric: metrics[metric].tolist() for metric in METRICS}
        write_json(path, {**values, "valid_sid_rate": float(np.nanmean(rates))})
    kept: dict[str, Any] = read_json(path)
    return kept


VERB = Verb(
    "ablate",
    "train and compare rows that add one thing at a time",
    add_arguments,
    run,
    resumes=True,
)
