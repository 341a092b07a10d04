"""What a search takes, checked before the long work that comes first."""

from __future__ import annotations

import math
from pathlib import Path

from onesearch_fast.errors import invalid

# A page of hits is held in memory and printed; more than this is a typing error.
MAX_HITS = 1_000_000


def check_num_beams(verb: str, num_beams: int) -> None:
    from onesearch_fast.engine.numbers import whole_number
    from onesearch_fast.engine.search_batch import MAX_BEAMS

    whole_number(verb, "--num-beams", num_beams, 1, MAX_BEAMS)


def check_num_hits(verb: str, k: int) -> None:
    from onesearch_fast.engine.numbers import whole_number

    whole_number(verb, "-k", k, 1, MAX_HITS)


def check_minutes(verb: str, flag: str, minutes: float | None) -> None:
    if minutes is not None and not 0 < minutes < math.inf:
        raise invalid(verb, flag, "minutes, more than 0", minutes)


def check_cases(verb: str, cases: int | None) -> None:
    from onesearch_fast.engine.numbers import whole_number

    if cases is not None:
        whole_number(verb, "--cases", cases, 1)


def check_input_file(verb: str, flag: str, path: str, remedy: str) -> None:
    """A pipe counts as a file."""
    if not Path(path).exists() or Path(path).is_dir():
        got = f"the folder {path}" if Path(path).is_dir() else f"{path}, which does not exist"
        raise invalid(verb, flag, "a file to read", got, remedy)


def check_output_file(verb: str, flag: str, path: str) -> None:
    if Path(path).is_dir():
        remedy = "name a file within it"
        raise invalid(verb, flag, "a file to write", f"the folder {path}", remedy)


def check_output_folder(
    verb: str, flag: str, folder: Path | None, remedy: str = "name a new folder"
) -> None:
    """None: nothing is written there. A folder that is yet to be made may not lie within a file."""
    if folder is None:
        return
    found = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if found is not None and not found.is_dir():
        raise invalid(verb, flag, "a folder to write", f"the file {found}", remedy)


def check_run_folder(verb: str, flag: str, folder: Path | None) -> None:
    check_output_folder(verb, flag, folder, "name a new folder, or that of a run to go on with")
