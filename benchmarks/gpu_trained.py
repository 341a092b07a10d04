"""A model trained for some seconds: what a GPU finds with it, against the CPU in float32."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from gpu_operators import Row, Rows
from gpu_timing import Target

from onesearch_fast.data.split import leave_last_out
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.engine.requests import Hit, SearchRequest
from onesearch_fast.engine.searcher import Searcher
from onesearch_fast.train.config import PipelineConfig, smoke_config
from onesearch_fast.train.pipeline import run_pipeline

NUM_QUERIES, NUM_HITS, NUM_BEAMS = 64, 20, 32
# The least mean overlap, and how far scores may lie apart, in nats. bfloat16 has 8 bits.
ALIKE = {"float32": (0.99, 1e-3), "bfloat16": (0.85, 0.25)}


def measure(target: Target) -> Rows:
    for dtype in ALIKE:
        yield {"model": "trained on synthetic data", "dtype": dtype}, partial(agree, target, dtype)


def agree(target: Target, dtype: str) -> Row:
    folder, queries = trained()
    requests = [SearchRequest(query) for query in queries]
    want, got = (
        Searcher.load(folder, device=device, dtype=own).search(requests, NUM_HITS, 0, NUM_BEAMS)
        for device, own in (("cpu", "float32"), (target.device, dtype))
    )
    row: Row = {
        "queries": len(queries),
        "overlap": min(map(overlap, want, got)),
        "mean_overlap": sum(map(overlap, want, got)) / len(want),
        "most_nats_apart": max(map(apart, want, got)),
    }
    least, most = ALIKE[dtype]
    assert row["mean_overlap"] >= least and row["most_nats_apart"] <= most, row
    return row


@cache
def trained() -> tuple[Path, tuple[str, ...]]:
    """The served folder, and queries that it was not trained on: some 10 s on one core."""
    split = leave_last_out(make_synthetic(seed=3, num_items=250, num_users=120).dataset)
    queries = dict.fromkeys(case.query for case in split.cases["search"] if case.query)
    folder = tempfile.mkdtemp(prefix="gpu_trained_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    served = run_pipeline(split, config(), folder).served_folder
    return served, tuple(queries)[:NUM_QUERIES]


def config() -> PipelineConfig:
    """The tests' own, with heads as the kernels take them."""
    small = smoke_config()
    model = replace(small.model, hidden_size=64, head_dim=64, intermediate_size=128)
    return replace(small, model=model).with_minutes(0.2)


def overlap(want: Sequence[Hit], got: Sequence[Hit]) -> float:
    """The mean over depths d of the part of the first d hits that both have."""
    depths = range(1, max(len(want), len(got)) + 1)
    shared = [len(ids(want[:depth]) & ids(got[:depth])) / depth for depth in depths]
    return sum(shared) / len(shared) if shared else 1.0


def ids(hits: Sequence[Hit]) -> set[str]:
    return {hit.item_id for hit in hits}


def apart(want: Sequence[Hit], got: Sequence[Hit]) -> float:
    """The greatest difference between scores of an item that both have."""
    scores = {hit.item_id: hit.score for hit in want}
    return max((abs(scores.get(hit.item_id, hit.score) - hit.score) for hit in got), default=0.0)
