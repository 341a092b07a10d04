"""Amazon Beauty 2014 with small models on a processor: our model, every baseline, SASRec; by seed.

OMP_NUM_THREADS=1 python benchmarks/beauty_table.py DATA/beauty2014 OUT.json --runs build/beauty

Search (the query is the target's category path) and next item, of the same split, over the whole
catalogue. An interrupted run goes on; OUT.json is written anew after every seed. Nothing is chosen
on the reported users.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from onesearch_fast.data.mining_config import MiningConfig
from onesearch_fast.data.pair_mining import AlignmentTexts, mine_pairs
from onesearch_fast.data.prompts import PromptConfig
from onesearch_fast.data.readers import read_dataset
from onesearch_fast.data.records import item_text
from onesearch_fast.data.split import Split, TrainLog, leave_last_out
from onesearch_fast.engine.searcher import ItemOrder, Searcher
from onesearch_fast.errors import invalid
from onesearch_fast.evaluate.baselines.sasrec import SasRecConfig
from onesearch_fast.evaluate.bootstrap import (
    paired_difference,
    percentile_intervals,
    resampled_means,
)
from onesearch_fast.evaluate.protocol import GENERATIVE, table_label
from onesearch_fast.evaluate.report import EvaluationReport, Metrics
from onesearch_fast.evaluate.served import evaluate_served
from onesearch_fast.files import atomic_folder, read_json, write_json
from onesearch_fast.models import read_checkpoint
from onesearch_fast.sid.aligned_encoder import AlignedEncoder
from onesearch_fast.sid.alignment import fit_adapter
from onesearch_fast.sid.alignment_config import TASKS, AlignmentConfig
from onesearch_fast.sid.build import open_encoder
from onesearch_fast.sid.config import SidConfig
from onesearch_fast.sid.text_encoder import load_text_encoder
from onesearch_fast.testing.machine import machine
from onesearch_fast.train.config import ModelConfig, ObjectiveConfig, PipelineConfig, StageConfig
from onesearch_fast.train.pipeline import run_pipeline
from onesearch_fast.train.progress import ConsoleProgress
from onesearch_fast.train.stages.any_order import ORDERS

METRICS = ("hr@1", "hr@5", "hr@10", "ndcg@10", "mrr@10", "hr@50")
NUM_BEAMS = 128
ITEM_ORDER: ItemOrder = "likelihood"
MADE_FROM = "made_from.json"
# By its place from here, so that a repository that moved goes on with its runs.
TEMPLATE = os.path.relpath(Path(__file__).with_name("beauty_template.json"))
# Items that the same users took, however their texts differ: what SIDs should bring together.
ALIGNMENT = AlignmentConfig(
    steps=600,
    weights=tuple(float(task == "item_item") for task in TASKS),
)
MINING = MiningConfig(min_similarity=-1.0)
# About as long as our model trains, on one thread: a quarter of an hour.
SASREC = SasRecConfig(epochs=20)


def make_config(encoder: Path, seed: int) -> PipelineConfig:
    """Three codes an item, and a query by its SID alone: on a processor, tokens are what costs."""
    both = {"search": 1.0, "next_item": 1.0}
    mixed = {task: visits / ORDERS for task, visits in both.items()}
    return PipelineConfig(
        sid=SidConfig(encoder=str(encoder), level_sizes=(512, 256), opq=(256,), opq_directions=16),
        model=ModelConfig(text_vocab_size=300),
        prompts=PromptConfig(template=TEMPLATE, profiles=False),
        stages=(
            StageConfig(
                "any_order",
                mixed,
                epochs=12,
                objective=ObjectiveConfig(dropout=0.1),
            ),
            # Slow enough not to lose what the first stage learnt.
            StageConfig(
                "personalisation",
                both,
                epochs=3,
                learning_rate=5e-4,
                validations=6,
                keep_best=True,
                objective=ObjectiveConfig(dropout=0.1),
            ),
        ),
        seed=seed,
    )


def align(log: TrainLog, folder: Path) -> None:
    """Writes a text encoder that is drawn towards what the same users took."""
    mining, alignment = asdict(MINING), asdict(ALIGNMENT)
    made_from = {"train_log": log.content_hash(), "mining": mining, "alignment": alignment}
    if folder.is_dir():
        check_same(folder / MADE_FROM, made_from)
        return
    texts = AlignmentTexts.of(log)
    encoder = open_encoder([item_text(item) for item in log.items], SidConfig())
    vectors = encoder.encode(texts.texts)
    weight, _ = fit_adapter(vectors, mine_pairs(log, texts, vectors, config=MINING), ALIGNMENT)
    with atomic_folder(folder) as temporary:
        AlignedEncoder(encoder, weight, log.content_hash()).save(temporary)
        write_json(temporary / MADE_FROM, made_from)


def check_same(path: Path, wanted: Mapping[str, Any]) -> None:
    """Refuses what an earlier call left in `path`, had it other settings."""
    found = read_json(path) if path.is_file() else {}
    now = json.loads(json.dumps(wanted))
    differing = sorted(key for key in now if found.get(key) != now[key])
    if differing:
        expected = f"what was made with the same {', '.join(differing)}"
        raise invalid("beauty_table", "--runs", expected, str(path.parent), "name a new folder")


def evaluation_settings() -> dict[str, Any]:
    return {
        "sasrec": asdict(SASREC),
        "num_beams": NUM_BEAMS,
        "item_order": ITEM_ORDER,
        "metrics": METRICS,
    }


def evaluate_seed(split: Split, runs: Path, seed: int) -> dict[str, Any]:
    """Trains and evaluates one seed; its case values are kept beside its run."""
    run = runs / f"seed_{seed}"
    about, values = run / "about.json", run / "case_values.npz"
    ran_on = machine()
    config = make_config(runs / "encoder", seed)
    result = run_pipeline(split, config, run, progress=ConsoleProgress())
    if about.is_file():
        check_same(about, evaluation_settings())
    else:
        report = evaluate(split, result.served_folder, seed)
        np.savez(values, **flat_values(report))
        outcome = describe(report, run, result.served_folder)
        write_json(about, {"seed": seed, "machine": ran_on, **evaluation_settings(), **outcome})
    found: dict[str, Any] = read_json(about)
    return found


def evaluate(split: Split, served: Path, seed: int) -> EvaluationReport:
    searcher = Searcher.load(served, item_order=ITEM_ORDER)
    if searcher.trie.item_scores() is None:
        expected, got = "a trie that keeps item scores", f"{served}, of an earlier version"
        remedy = f"remove {served} to have it written again"
        raise invalid("beauty_table", "--runs", expected, got, remedy)
    return evaluate_served(
        searcher,
        split,
        load_text_encoder(served / "text_encoder"),
        num_beams=NUM_BEAMS,
        seed=seed,
        sasrec=replace(SASREC, seed=seed),
        say=lambda message: print(message, file=sys.stderr, flush=True),
    )


def describe(report: EvaluationReport, run: Path, served: Path) -> dict[str, Any]:
    return {
        "parameters": num_parameters(served),
        "valid_sid_rate": {
            key: found["valid_sid_rate"] for key, found in report.metrics[GENERATIVE].items()
        },
        "training": {
            stage: {name: curve[name] for name in ("steps", "tokens", "seconds")}
            | {"validation_losses": [one["loss"] for one in curve["validations"]]}
            for stage, curve in read_json(run / "curves.json").items()
        },
        "meta": dict(report.meta),
    }


def num_parameters(served: Path) -> int:
    return sum(math.prod(shape) for shape in read_checkpoint(served).shapes.values())


def flat_values(report: EvaluationReport) -> dict[str, np.ndarray]:
    """ "system|key" -> float64 [num_cases, metrics]."""
    return {
        f"{system}|{key}": np.stack([values[metric] for metric in METRICS], axis=1)
        for system, results in report.case_values.items()
        for key, values in results.items()
    }


def table(by_seed: list[Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Means over seeds with bootstrap intervals over users, and paired differences to ours."""
    mean = {name: np.mean([one[name] for one in by_seed], axis=0) for name in by_seed[0]}
    systems: dict[str, dict[str, Metrics]] = {}
    differences: dict[str, dict[str, Metrics]] = {}
    for name, values in mean.items():
        system, key = name.split("|")
        intervals = percentile_intervals(values, resampled_means(values))
        systems.setdefault(key, {})[system] = named(intervals)
        if system != GENERATIVE:
            difference = paired_difference(mean[f"{GENERATIVE}|{key}"], values)
            differences.setdefault(key, {})[system] = named(difference)
    return {"systems": systems, "onesearch_minus_system": differences}


def named(intervals: np.ndarray) -> Metrics:
    return dict(zip(METRICS, intervals.round(5).tolist(), strict=True))


def show(found: Mapping[str, Any]) -> None:
    print(table_label(len(found["seeds"])))
    for key, systems in found["systems"].items():
        print(f"\n{key}\n{'system':<24}{'HR@10':>26}{'NDCG@10':>26}   ours minus it, HR@10")
        for system, metrics in sorted(systems.items(), key=lambda one: -one[1]["hr@10"][0]):
            cells = "".join(f"{shown(metrics[name]):>26}" for name in ("hr@10", "ndcg@10"))
            less = found["onesearch_minus_system"][key].get(system)
            print(f"{system:<24}{cells}   {'' if less is None else shown(less['hr@10'])}")


def shown(interval: list[float]) -> str:
    value, low, high = interval
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--order", default="shuffled")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    split = leave_last_out(read_dataset(arguments.data, order=arguments.order))
    align(split.log, arguments.runs / "encoder")
    abouts, values = [], []
    for seed in arguments.seeds:
        abouts.append(evaluate_seed(split, arguments.runs, seed))
        with np.load(arguments.runs / f"seed_{seed}" / "case_values.npz") as kept:
            values.append(dict(kept))
        found = {
            "machine": abouts[0]["machine"],
            "config": asdict(make_config(Path("encoder"), seed)),
            "sasrec": abouts[0]["sasrec"],
            "seeds": abouts,
            **table(values),
        }
        write_json(arguments.out, found)
    show(found)


if __name__ == "__main__":
    main()
