"""The one table of a served model: it beside every baseline, on the same held-out cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from onesearch_fast.data.split import NEXT_ITEM, EvalCase, Split
from onesearch_fast.errors import invalid
from onesearch_fast.evaluate.baselines import BaselineContext, fit_baselines
from onesearch_fast.evaluate.baselines.sasrec import SasRec, SasRecConfig, train_sasrec
from onesearch_fast.evaluate.generative import DEFAULT_BEAMS, GenerativeRanker, RowSearcher
from onesearch_fast.evaluate.metrics import KS
from onesearch_fast.evaluate.protocol import evaluate
from onesearch_fast.evaluate.ranking import Ranker, TieOrder
from onesearch_fast.evaluate.report import EvaluationReport
from onesearch_fast.sid.text_encoder import TextEncoder

_WHERE = "evaluate_served"


def evaluate_served(
    searcher: RowSearcher,
    split: Split,
    text_encoder: TextEncoder | None = None,
    tasks: Sequence[str] | None = None,
    num_beams: int = DEFAULT_BEAMS,
    max_cases: int | None = None,
    ks: Sequence[int] = KS,
    seed: int = 0,
    others: Mapping[str, Sequence[Ranker]] | None = None,
    sasrec: SasRecConfig | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> EvaluationReport:
    """Evaluates the generative model and all baselines that can run, task by task.

    Args:
        searcher: the served model, trained on `split.log` and nothing later.
        text_encoder: for the baselines that compare embeddings; None leaves them out.
        tasks: default: those of the split that have reported cases.
        num_beams: beams of the generative model's search.
        max_cases: reported cases per task, a seeded sample; default all.
        others: task -> further systems to put into the table, such as an oracle.
        sasrec: trains that baseline on `split.log`, once for all tasks; None leaves it out.
        say: hears what is being done.
    """
    tasks = reported_tasks(split) if tasks is None else tasks
    for task in tasks:
        if task not in split.cases:
            raise invalid(_WHERE, "tasks", f"tasks of {sorted(split.cases)}", task)
    sampled = sample_reported(split, max_cases, seed)
    rankers: dict[str, list[Ranker]] = {}
    sequence_model = None if sasrec is None else _trained_sasrec(split, sasrec, say)
    for task in tasks:
        say(f"{task}: fitting baselines on the training log")
        stop = _stop_cases(split, task)
        context = BaselineContext(split.log, task, stop, text_encoder, sequence_model)
        generative = GenerativeRanker(searcher, split.log.items, num_beams, seed, say)
        rankers[task] = [generative, *fit_baselines(context), *(others or {}).get(task, ())]
    return evaluate(rankers, sampled, ks, seed, say=say)


def reported_tasks(split: Split) -> list[str]:
    """The tasks of `split` that have reported cases; raises ValueError where none has."""
    tasks = [task for task, cases in split.cases.items() if _reported(cases)]
    if not tasks:
        expected, remedy = "reported cases", "the log needs users with two clicks or orders"
        raise invalid(_WHERE, "split", expected, "none in any task", remedy)
    return tasks


def _trained_sasrec(split: Split, config: SasRecConfig, say: Callable[[str], None]) -> SasRec:
    """Its best weights are those for the next item: it knows no queries."""
    ties = TieOrder([item.item_id for item in split.log.items])
    return train_sasrec(split.log, _stop_cases(split, NEXT_ITEM), ties, config, say)


def sample_reported(split: Split, max_cases: int | None, seed: int = 0) -> Split:
    """The split with at most `max_cases` reported cases per task, drawn without replacement."""
    if max_cases is None:
        return split
    if max_cases < 1:
        raise invalid(_WHERE, "max_cases", "an integer >= 1 or None", max_cases)
    cases = {}
    for task, every in split.cases.items():
        reported = _reported(every)
        order = np.random.default_rng(seed).permutation(len(reported))[:max_cases]
        kept = [reported[index] for index in sorted(order)]
        cases[task] = (*_stop_cases(split, task), *kept)
    return replace(split, cases=cases)


def _reported(cases: Sequence[EvalCase]) -> list[EvalCase]:
    return [case for case in cases if case.group == "report"]


def _stop_cases(split: Split, task: str) -> list[EvalCase]:
    return [case for case in split.cases[task] if case.group == "stop"]
