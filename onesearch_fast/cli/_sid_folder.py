"""The folder that `build-sids` writes and other verbs read and write again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onesearch_fast.data.records import Item
from onesearch_fast.errors import invalid
from onesearch_fast.files import atomic_folder, atomic_path, write_json
from onesearch_fast.sid.codebooks import Codebooks
from onesearch_fast.sid.quality import SidQuality
from onesearch_fast.sid.text_encoder import TextEncoder, load_text_encoder

_ENCODER_FOLDER = "text_encoder"
_CODEBOOKS_FILE = "codebooks.safetensors"
_SIDS_FILE = "sids.parquet"
_QUALITY_FILE = "quality.json"


def refuse_other_folders(where: str, out: Path) -> None:
    """The folder is replaced as a whole, so it must be new, empty, or our own."""
    if out.exists() and not _is_sid_folder(out) and (not out.is_dir() or any(out.iterdir())):
        raise invalid(where, "--out", "a new folder, or an earlier one of this verb", str(out))


def _is_sid_folder(folder: Path) -> bool:
    return (folder / _CODEBOOKS_FILE).is_file() and (folder / _SIDS_FILE).is_file()


def read_sid_folder(where: str, folder: Path) -> tuple[TextEncoder, Codebooks]:
    """What made the SIDs of a folder, and makes those of new texts."""
    if not _is_sid_folder(folder):
        raise invalid(where, "--sids", "a folder that build-sids wrote", str(folder))
    encoder = load_text_encoder(folder / _ENCODER_FOLDER)
    codebooks = Codebooks.load(folder / _CODEBOOKS_FILE)
    if encoder.dim != codebooks.dim:
        expected = f"a text encoder of the codebooks' {codebooks.dim} dimensions"
        raise invalid(where, "--sids", expected, encoder.dim)
    return encoder, codebooks


def write_sid_folder(
    out: Path,
    items: Sequence[Item],
    codes: npt.NDArray[np.int32],
    encoder: TextEncoder,
    codebooks: Codebooks,
    measured: SidQuality,
) -> None:
    """All of it or nothing."""
    with atomic_folder(out) as folder:
        encoder.save(folder / _ENCODER_FOLDER)
        codebooks.save(folder / _CODEBOOKS_FILE)
        write_sids(folder / _SIDS_FILE, items, codes)
        write_json(folder / _QUALITY_FILE, measured.as_dict())


def write_sids(path: Path, items: Sequence[Item], codes: npt.NDArray[np.int32]) -> None:
    """Parquet of `item_id` and `codes`, codes [num_items, num_levels]."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    lists = pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), codes.shape[1])
    table = pa.table({"item_id": pa.array([item.item_id for item in items]), "codes": lists})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
