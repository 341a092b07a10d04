# ruff: noqa: N999 (the name of an extension module)
"""The native core. Only this package calls it; arguments arrive checked and converted."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from onesearch_fast.index.catalogue_rows import CatalogueRows
from onesearch_fast.index.column_rows import Rows
from onesearch_fast.index.predicates import Kind

class Catalogue:
    @property
    def num_items(self) -> int: ...
    @property
    def num_sids(self) -> int: ...
    @property
    def num_levels(self) -> int: ...
    @property
    def level_sizes(self) -> tuple[int, ...]: ...
    @property
    def nbytes(self) -> int: ...
    def num_nodes(self, level: int) -> int: ...
    def child(
        self, level: int, nodes: npt.NDArray[np.int64], tokens: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]: ...
    def children(
        self, level: int, nodes: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]: ...
    def rank(self, codes: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]: ...
    def codes(self, ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]: ...
    def items(
        self, ranks: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...

class SidTrie(Catalogue):
    @staticmethod
    def build(
        codes: npt.NDArray[np.integer],
        level_sizes: list[int],
        item_ids: npt.NDArray[np.int64] | None,
        item_scores: npt.NDArray[np.float64] | None,
        keep_scores: bool,
    ) -> SidTrie: ...
    @staticmethod
    def assemble(
        level_sizes: list[int],
        num_nodes: list[int],
        num_items: int,
        has_item_ids: bool,
        has_item_scores: bool,
        sections: Iterator[npt.NDArray[np.generic]],
    ) -> SidTrie: ...
    @staticmethod
    def build_file(
        path: bytes,
        level_sizes: list[int],
        keep_scores: bool,
        max_memory_bytes: int,
        scratch_folder: bytes,
        next_chunk: Callable[[], CatalogueRows | None],
    ) -> None: ...
    @staticmethod
    def load(path: bytes, verify: bool) -> SidTrie: ...
    def save(self, path: bytes) -> None: ...
    def verify(self) -> None: ...
    @property
    def fingerprint(self) -> int: ...
    @property
    def has_scores(self) -> bool: ...
    def item_scores(self) -> npt.NDArray[np.float32] | None: ...
    def sections(self) -> list[tuple[int, int, int]]: ...
    def child_range(
        self, level: int, nodes: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...
    def rank_of(self, item_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]: ...
    def rank_at(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]: ...
    def node_statistic(
        self, level: int, values: npt.NDArray[np.float32] | None, kind: int, quantile: float
    ) -> npt.NDArray[np.float32]: ...
    def rank_range(
        self, level: int, nodes: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...
    def item_range(
        self, level: int, nodes: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...

class Snapshot(Catalogue):
    @property
    def version(self) -> int: ...
    @property
    def generation(self) -> int: ...
    def base_columns(self) -> ItemColumns | None: ...
    def overlay_columns(self) -> ItemColumns | None: ...
    def positions(self, item_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]: ...
    def count_items(self, level: int, nodes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]: ...

class LiveStore:
    @staticmethod
    def create(
        folder: bytes, trie: SidTrie, columns: ItemColumns | None, fsync: bool, compact_after: int
    ) -> LiveStore: ...
    @staticmethod
    def open(folder: bytes, verify: bool, compact_after: int) -> LiveStore: ...
    def close(self) -> None: ...
    def snapshot(self) -> Snapshot: ...
    def insert(
        self,
        item_ids: npt.NDArray[np.int64],
        codes: npt.NDArray[np.integer],
        scores: npt.NDArray[np.float32],
        columns: ItemColumns | None,
    ) -> int: ...
    def delete(self, item_ids: npt.NDArray[np.int64], ignore_missing: bool) -> int: ...
    def update_scores(
        self,
        item_ids: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float32],
        ignore_missing: bool,
    ) -> int: ...
    def update_attributes(
        self,
        item_ids: npt.NDArray[np.int64],
        columns: ItemColumns | None,
        ignore_missing: bool,
    ) -> int: ...
    def rollback(self, version: int) -> int: ...
    def versions(self) -> list[tuple[int, int]]: ...
    def compact(self) -> bool: ...
    def wait_for_compaction(self) -> None: ...
    @property
    def fsync(self) -> bool: ...
    @property
    def torn_bytes(self) -> int: ...

class ItemSet:
    @property
    def num_items(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

# Conditions are added in postfix order; a join takes the last `n` and leaves one.
class ItemPredicate:
    def __init__(self) -> None: ...
    def add_integers(self, column: str, low: list[int], high: list[int]) -> None: ...
    def add_reals(self, column: str, low: list[float], high: list[float]) -> None: ...
    def add_texts(self, column: str, texts: list[str]) -> None: ...
    def add_true(self, column: str) -> None: ...
    def add_missing(self, column: str) -> None: ...
    def join_all(self, n: int) -> None: ...
    def join_any(self, n: int) -> None: ...
    def negate(self) -> None: ...

class ItemColumns:
    @staticmethod
    def build(num_items: int, rows: list[Rows], trie: SidTrie | None) -> ItemColumns: ...
    @staticmethod
    def load(path: bytes, verify: bool) -> ItemColumns: ...
    def save(self, path: bytes) -> None: ...
    def verify(self) -> None: ...
    def evaluate(self, predicate: ItemPredicate) -> ItemSet: ...
    def values(self, name: str, positions: npt.NDArray[np.int64]) -> list[Any]: ...
    def categories(self, name: str) -> list[str]: ...
    @property
    def kinds(self) -> dict[str, Kind]: ...
    @property
    def num_items(self) -> int: ...
    @property
    def fingerprint(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

class ItemFilter:
    @staticmethod
    def make(
        catalogue: Catalogue,
        allow: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | None,
        deny: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | None,
        where_base: ItemSet | None,
        where_overlay: ItemSet | None,
    ) -> ItemFilter: ...
    def intersection(self, other: ItemFilter) -> ItemFilter: ...
    def union(self, other: ItemFilter) -> ItemFilter: ...
    def difference(self, other: ItemFilter) -> ItemFilter: ...
    def complement(self) -> ItemFilter: ...
    @property
    def num_allowed_items(self) -> int: ...
    @property
    def num_allowed_sids(self) -> int: ...
    @property
    def num_unknown_ids(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def item_allowed(self) -> npt.NDArray[np.bool_]: ...
    def contains(self, item_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]: ...
    def allows(self, level: int, nodes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]: ...

def item_codes(catalogue: Catalogue, item_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]: ...

# Tensors: torch, numpy, or any object with `__dlpack__`; outputs are filled in place.
class BeamStepResult:
    def __init__(
        self,
        scores: object,
        parent_beam: object,
        tokens: object,
        node: object,
        count: object,
        best_dropped: object,
        perturbed: object | None,
    ) -> None: ...

class BeamStepOptions:
    def __init__(
        self,
        node_prior: object | None,
        max_children_per_parent: int,
        sibling_penalty: float,
        beam_widths: object | None,
        gumbel_seed: object | None,
        gumbel_path: object | None,
        gumbel_perturbed: object | None,
    ) -> None: ...

# Tries, filters, options and results: native ones, or what holds one as `_handle`; of the first two
# also a list or tuple with one per request.
def constrained_beam_step(
    logits: object,
    node: object,
    beam_scores: object,
    trie: object,
    num_beams: object,
    level: object,
    normalizer: str,
    log_normalizer: object | None,
    filter: object | None,
    options: object | None,
    out: object,
) -> None: ...

# Refuses what constrained_beam_step refuses, for backends of other languages; `out` may be None.
def check_constrained_beam_step(
    logits: object,
    node: object,
    beam_scores: object,
    trie: object,
    num_beams: object,
    level: object,
    normalizer: str,
    log_normalizer: object | None,
    filter: object | None,
    options: object | None,
    out: object | None,
) -> None: ...

# What of a catalogue or a filter goes to a device in one transfer; `pack` gives the bytes that are
# to stand at an address there, and `beam_step_slots` what refers to them, one row per request.
class DeviceImage:
    @staticmethod
    def of_trie(catalogue: Catalogue) -> DeviceImage: ...
    @staticmethod
    def of_changes(catalogue: Catalogue) -> DeviceImage: ...
    @staticmethod
    def of_filter(filter: ItemFilter) -> DeviceImage: ...
    @property
    def nbytes(self) -> int: ...
    def pack(self, address: int) -> npt.NDArray[np.uint8]: ...

def base_of(catalogue: Catalogue) -> int: ...
def beam_step_slots(
    requests: list[tuple[DeviceImage, DeviceImage, DeviceImage | None]],
) -> npt.NDArray[np.uint8]: ...
def plan_beam_step(logits: object, num_beams: int) -> tuple[int, bool, int]: ...
def constrained_beam_step_cuda(
    logits: object,
    node: object,
    beam_scores: object,
    trie: object,
    num_beams: object,
    level: object,
    normalizer: str,
    log_normalizer: object | None,
    filter: object | None,
    options: object | None,
    out: object,
    slots: object,
    shares: int,
    cluster: bool,
    memory: object,
) -> None: ...
def rms_norm(x: object, weight: object, eps: float, out: object) -> None: ...
def check_rms_norm(x: object, weight: object, eps: float, out: object) -> None: ...
def add_norm(
    x: object,
    residual: object,
    weight: object,
    bias: object | None,
    eps: float,
    sum: object,
    normed: object,
) -> None: ...
def check_add_norm(
    x: object,
    residual: object,
    weight: object,
    bias: object | None,
    eps: float,
    sum: object,
    normed: object,
) -> None: ...
def swiglu(x: object, out: object) -> None: ...
def check_swiglu(x: object, out: object) -> None: ...
def rotary(
    x: object,
    rotation: object,
    norm_weight: object | None,
    eps: float,
    query: object,
    key: object,
    value: object,
) -> None: ...
def check_rotary(
    x: object,
    rotation: object,
    norm_weight: object | None,
    eps: float,
    query: object,
    key: object,
    value: object,
) -> None: ...
def nearest_code(
    vectors: object, centroids: object, prices: object | None, groups: object | None, out: object
) -> None: ...
def check_nearest_code(
    vectors: object, centroids: object, prices: object | None, groups: object | None, out: object
) -> None: ...
def code_residual(
    vectors: object,
    centroids: object,
    codes: object,
    normalize: bool,
    project: bool,
    out: object,
) -> None: ...
def check_code_residual(
    vectors: object,
    centroids: object,
    codes: object,
    normalize: bool,
    project: bool,
    out: object,
) -> None: ...
def int8_linear(
    x: object,
    weight: object,
    weight_scale: object,
    bias: object | None,
    activation: int,
    added: object | None,
    factor: object | None,
    out: object,
) -> None: ...
def check_int8_linear(
    x: object,
    weight: object,
    weight_scale: object,
    bias: object | None,
    activation: int,
    added: object | None,
    factor: object | None,
    out: object,
) -> None: ...
def log_sum_exp(x: object, out: object) -> None: ...
def check_log_sum_exp(x: object, out: object) -> None: ...
def beam_attention(
    query: object,
    context_key: object | None,
    context_value: object | None,
    context_length: object | None,
    own_key: object | None,
    own_value: object | None,
    ancestry: object | None,
    scale: float | None,
    out: object,
) -> None: ...
def check_beam_attention(
    query: object,
    context_key: object | None,
    context_value: object | None,
    context_length: object | None,
    own_key: object | None,
    own_value: object | None,
    ancestry: object | None,
    scale: float | None,
    out: object,
) -> float: ...
def sid_embedding_bag(
    codes: object,
    table: object,
    level_sizes: Sequence[int],
    offsets: object,
    weights: object | None,
    bag_scales: object | None,
    row_scales: object | None,
    side_ids: object | None,
    side_table: object | None,
    out: object,
) -> None: ...
def check_sid_embedding_bag(
    codes: object,
    table: object,
    level_sizes: Sequence[int],
    offsets: object,
    weights: object | None,
    bag_scales: object | None,
    row_scales: object | None,
    side_ids: object | None,
    side_table: object | None,
    out: object,
) -> None: ...
def sid_embedding_bag_backward(
    grad_out: object,
    codes: object,
    level_sizes: Sequence[int],
    offsets: object,
    weights: object | None,
    bag_scales: object | None,
    out: object,
) -> None: ...
def check_sid_embedding_bag_backward(
    grad_out: object,
    codes: object,
    level_sizes: Sequence[int],
    offsets: object,
    weights: object | None,
    bag_scales: object | None,
    out: object,
) -> None: ...
def causal_attention(
    query: object, key: object, value: object, scale: float | None, out: object
) -> None: ...
def check_causal_attention(
    query: object, key: object, value: object, scale: float | None, out: object
) -> float: ...

class _CpuInfo(TypedDict):
    architecture: str
    features: list[str]
    kernels: str
    bfloat16_attention: str

class _CudaDevice(TypedDict):
    name: str
    compute_capability: str
    num_sms: int
    memory_bytes: int

class _CudaInfo(TypedDict):
    why_not: str | None
    driver_version: str | None
    runtime_version: str | None
    devices: list[_CudaDevice]

def cpu_info() -> _CpuInfo: ...
def cuda_info() -> _CudaInfo: ...
def usable_isa_tiers() -> str: ...
def set_isa_tier(name: str) -> None: ...
def borrow_threads() -> None: ...
def uses_borrowed_threads() -> bool: ...
def get_num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
