"""What a GPU's step takes to rank children is counted before a search starts."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import onesearch_fast as osf
from onesearch_fast.engine import loads
from onesearch_fast.engine.beam_search import SearchSettings
from onesearch_fast.engine.catalogues import Catalogues
from onesearch_fast.engine.deadline import Deadline
from onesearch_fast.engine.memory import NO_RANKING, Load, MemoryModel, Ranking
from onesearch_fast.engine.prompt_batch import PromptBatch
from onesearch_fast.engine.search_batch import SearchBatch
from onesearch_fast.kernels.triton._sibling_rules import select_by_rules
from onesearch_fast.ops.constrained_beam_step import BeamStepOptions, BeamStepResult, GumbelNoise
from onesearch_fast.registry import use_backend
from onesearch_fast.testing import random_codes

SIZES = (200, 30, 60)
CPU, GPU = torch.device("cpu"), torch.device("cuda")
# Of what torch's sort works in, which no dispatcher sees: an index and a key in and out.
SORT_BYTES = 32


def searched(num_beams: int, seeds: tuple[int, ...] | None = None) -> SearchBatch:
    trie = osf.SidTrie.build(random_codes(100, SIZES), SIZES)
    return SearchBatch(
        PromptBatch(torch.ones(1, 2).long(), None, torch.tensor([2]), (2,)),
        Catalogues((trie,)),
        filters=None,
        num_beams=(num_beams,),
        deadlines=(Deadline(),),
        seeds=seeds,
    )


def ranking(device: torch.device, width: int, **options: Any) -> Ranking:
    settings = SearchSettings((width,) * 3, "level", osf.SearchOptions(**options))
    return loads.constrained_loads(searched(width), settings, 0, device).ranking


def test_children_are_counted_where_options_rank_them() -> None:
    of_root = searched(1).catalogues.num_nodes(1)  # fewer than the level has codes
    assert of_root < SIZES[0]
    want = Ranking(root=100 * of_root, beam=100 * SIZES[2])
    assert ranking(GPU, 8, max_children_per_parent=2) == want
    assert ranking(CPU, 8, max_children_per_parent=2) == NO_RANKING


def test_children_are_counted_where_beams_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ranking(GPU, 5000).beam == 16 * SIZES[2]
    monkeypatch.setattr(loads, "why_not", lambda *_: None)
    assert ranking(GPU, 5000).beam == 16 * SIZES[2]
    assert ranking(GPU, 4096) == NO_RANKING
    with use_backend("triton"):
        assert ranking(GPU, 4096).beam == 16 * SIZES[2]


def test_samples_are_beams_from_the_root_on() -> None:
    settings = SearchSettings((1000,) * 3, "children")
    batch = searched(1000, seeds=(1,))
    got = loads.sampling_loads(batch, settings, GPU)
    assert tuple(got.beams) == (1000,)  # more than any level has nodes
    assert got.ranking == Ranking(beam=100 * batch.catalogues.num_nodes(1))


def test_a_search_takes_the_ranking_of_its_widest_step() -> None:
    model = MemoryModel(1000, key_value=0, activation=0, logits=7, scratch=0, num_steps=2)
    load = Load(requests=3, prompt_tokens=1, beams=5, columns=0)
    plain = model.search(load)
    assert model.search(replace(load, ranking=Ranking(root=100, beam=1))) == plain + 300
    assert model.search(replace(load, ranking=Ranking(root=1, beam=100))) == plain + 1500


class LiveBytes(TorchDispatchMode):
    """The most bytes that tensors made in its context held at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._of_storage: dict[int, int] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor.untyped_storage())
        self.most = max(self.most, sum(self._of_storage.values()))
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        address = storage._cdata
        if address not in self._of_storage:
            self._of_storage[address] = storage.nbytes()
            weakref.finalize(storage, self._of_storage.pop, address, None)


@pytest.mark.parametrize("noisy", [False, True])
def test_no_more_is_taken_than_is_counted(noisy: bool) -> None:
    batch, beams, fan_out, nodes = 2, 40, 500, 9
    keys = torch.randint(-(1 << 62), 1 << 62, (batch, beams, fan_out))
    noise = GumbelNoise(
        torch.arange(batch),
        torch.zeros(batch, beams, 1, dtype=torch.int32),
        torch.zeros(batch, beams),
    )
    options = BeamStepOptions(
        node_prior=torch.zeros(nodes),
        max_children_per_parent=2,
        sibling_penalty=0.5,
        gumbel=noise if noisy else None,
    )
    out = BeamStepResult.empty(batch, beams, perturbed=noisy)
    to = torch.zeros(keys.shape, dtype=torch.int32)
    lost = torch.full((batch, beams), -torch.inf)
    with LiveBytes() as live:
        select_by_rules(keys, to, lost, beams, options, out)
    of_slot = (live.most + keys.nbytes + to.nbytes) / keys.numel()
    sorting = 0 if noisy else SORT_BYTES  # noise takes more than the sorts after it
    assert 40 < of_slot + sorting <= loads.RANKED_CHILD
