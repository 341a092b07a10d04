"""`onesearch-fast refit-sids`: codebooks fitted again, with codes that stay where they can."""

from __future__ import annotations

import argparse
from pathlib import Path

from onesearch_fast.cli._result import add_json, print_json
from onesearch_fast.cli.main import Verb

_WHERE = "refit-sids"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="data folder with all items")
    parser.add_argument("--sids", required=True, type=Path, help="folder that build-sids wrote")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument(
        "--from-level",
        type=int,
        default=1,
        metavar="L",
        help="fit this level and those after it; codes before it stay (default: 1, all)",
    )
    parser.add_argument(
        "--balance-slack", type=float, metavar="S", help="needed where the SIDs are balanced"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--device",
        help="cpu or cuda (default: a GPU where torch sees one); the codes are the same",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from onesearch_fast.cli._sid_folder import (
        read_sid_folder,
        refuse_other_folders,
        write_sid_folder,
    )
    from onesearch_fast.data.readers import read_dataset
    from onesearch_fast.data.records import item_text
    from onesearch_fast.sid.quality import quality
    from onesearch_fast.sid.refit import refit_codebooks

    refuse_other_folders(_WHERE, arguments.out)
    encoder, codebooks = read_sid_folder(_WHERE, arguments.sids)
    items = read_dataset(arguments.data).items
    with Console(stderr=True).status("encoding the texts") as status:
        vectors = encoder.encode([item_text(item) for item in items])
        result = refit_codebooks(
            codebooks,
            vectors,
            arguments.from_level,
            balance_slack=arguments.balance_slack,
            seed=arguments.seed,
            device=arguments.device,
            on_level=status.update,
        )
    codes = result.codebooks.encode(vectors, arguments.device)
    measured = quality(codes, result.codebooks.level_sizes, vectors)
    write_sid_folder(arguments.out, items, codes, encoder, result.codebooks, measured)
    if arguments.json:
        document = {"out": str(arguments.out), "kept": result.kept, "quality": measured.as_dict()}
        print_json(document)
    else:
        print(measured.as_text())
        kept = ", ".join(f"{share:.4f}" for share in result.kept)
        print(f"items that kept their first 1, 2, ... codes: {kept}")
        print(f"written to {arguments.out}")
    return 0


VERB = Verb(_WHERE, "fit semantic IDs again; codes stay where they can", add_arguments, run)
