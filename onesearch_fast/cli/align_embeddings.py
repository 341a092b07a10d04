"""`onesearch-fast align-embeddings`: a text encoder drawn towards what shoppers do."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from onesearch_fast.cli._result import add_json, print_json
from onesearch_fast.cli.main import Verb
from onesearch_fast.data.mining_config import MiningConfig
from onesearch_fast.data.split import leave_last_out
from onesearch_fast.errors import invalid
from onesearch_fast.files import atomic_folder
from onesearch_fast.sid.aligned_encoder import AlignedEncoder
from onesearch_fast.sid.alignment_config import TASKS, AlignmentConfig
from onesearch_fast.sid.config import TFIDF, SidConfig
from onesearch_fast.sid.text_encoder import SETTINGS_FILE

if TYPE_CHECKING:
    from onesearch_fast.sid.alignment import AlignmentCurve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="data folder, in any form that is read")
    parser.add_argument("--out", required=True, type=Path, help="folder for the aligned encoder")
    parser.add_argument("--order", help="order of the log, where the data has several")
    parser.add_argument(
        "--encoder", default=TFIDF, help="tfidf, or the folder of a text encoder (default: tfidf)"
    )
    parser.add_argument(
        "--fine-tune",
        action="store_true",
        help="train all weights of a transformers encoder, not an adapter over its vectors",
    )
    parser.add_argument(
        "--tasks",
        default=",".join(TASKS),
        help="comma-separated: what is learnt (default: %(default)s)",
    )
    parser.add_argument("--steps", type=int, default=AlignmentConfig.steps)
    parser.add_argument("--batch-size", type=int, default=AlignmentConfig.batch_size)
    parser.add_argument(
        "--min-similarity",
        type=float,
        default=MiningConfig.min_similarity,
        help="drop mined pairs whose vectors are less alike than this (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=AlignmentConfig.seed)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from onesearch_fast.data.pair_mining import AlignmentTexts, mine_pairs
    from onesearch_fast.data.readers import read_dataset
    from onesearch_fast.sid.alignment import fine_tune, fit_adapter
    from onesearch_fast.sid.build import check_training_log, open_encoder
    from onesearch_fast.sid.transformers_encoder import TransformersEncoder

    _refuse_other_folders(arguments.out)
    log = leave_last_out(read_dataset(arguments.data, order=arguments.order)).log
    config = AlignmentConfig(
        weights=_weights(arguments.tasks),
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
    )
    mining = MiningConfig(min_similarity=arguments.min_similarity, seed=arguments.seed)
    texts = AlignmentTexts.of(log)
    item_texts = texts.texts[len(texts.queries) :]
    sid_config = SidConfig(encoder=arguments.encoder, seed=arguments.seed)
    training_log = log.content_hash()
    check_training_log("align-embeddings", sid_config, training_log)
    encoder = open_encoder(item_texts, sid_config)
    vectors = encoder.encode(texts.texts)
    pairs = mine_pairs(log, texts, vectors, config=mining)
    if arguments.fine_tune:
        if not isinstance(encoder, TransformersEncoder):
            expected = "an encoder of kind transformers with --fine-tune"
            raise invalid("align-embeddings", "--encoder", expected, arguments.encoder)
        curve = fine_tune(encoder, texts.texts, pairs, config)
        encoder.training_log = training_log
    else:
        weight, curve = fit_adapter(vectors, pairs, config)
        encoder = AlignedEncoder(encoder, weight, training_log)
    with atomic_folder(arguments.out) as folder:
        encoder.save(folder)
    _print_outcome(arguments, pairs.counts(), curve)
    return 0


def _weights(tasks: str) -> tuple[float, ...]:
    chosen = tasks.split(",")
    unknown = sorted(set(chosen) - set(TASKS))
    if unknown:
        raise invalid("align-embeddings", "--tasks", f"some of {','.join(TASKS)}", unknown)
    return tuple(float(task in chosen) for task in TASKS)


def _refuse_other_folders(out: Path) -> None:
    """The folder is replaced as a whole, so it must be new, empty, or an encoder."""
    own = (out / SETTINGS_FILE).is_file()
    if out.exists() and not own and (not out.is_dir() or any(out.iterdir())):
        expected = "a new folder, or that of an encoder"
        raise invalid("align-embeddings", "--out", expected, str(out))


def _print_outcome(
    arguments: argparse.Namespace, counts: dict[str, int], curve: AlignmentCurve
) -> None:
    if arguments.json:
        print_json({"out": str(arguments.out), "pairs": counts, "losses": curve.losses})
        return
    print("  task           examples    loss, first and last tenth of the steps")
    for task, count in counts.items():
        losses = curve.losses.get(task)
        shown = f"{losses[0]:8.4f} {losses[-1]:8.4f}" if losses else "       -        -"
        print(f"  {task:12} {count:10,} {shown}")
    print(f"written to {arguments.out}")


VERB = Verb("align-embeddings", "align a text encoder to a behaviour log", add_arguments, run)
