"""Objectives that learn from rewards: list-wise DPO, GRPO and TPMA-GRPO."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_model, save_model

from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.engine.engine import Engine
from onesearch_fast.errors import invalid
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.index.trie_walk import child_nodes, valid_tokens
from onesearch_fast.train.advantages import (
    LEAST_REWARD_SPREAD,
    group_advantages,
    tpma_advantages,
)
from onesearch_fast.train.backbones import Backbone
from onesearch_fast.train.cases import PreferenceCase
from onesearch_fast.train.config import DpoConfig, PolicyConfig
from onesearch_fast.train.losses.policy_gradient import policy_gradient, reference_kl
from onesearch_fast.train.rewards.behaviour import QuerySession
from onesearch_fast.train.rewards.calibration import ItemCounts
from onesearch_fast.train.rewards.composite import CompositeReward
from onesearch_fast.train.rewards.guidance import Guidance
from onesearch_fast.train.rewards.towers import RewardModel
from onesearch_fast.train.stages import StageInputs
from onesearch_fast.train.steps import Step

_REFERENCE_FILE = "reference.safetensors"


class _Preference:
    """What the objectives share: the cases, the reference, token ids of SIDs."""

    def __init__(
        self, backbone: Backbone, cases: Sequence[PreferenceCase], inputs: StageInputs
    ) -> None:
        self._backbone = backbone
        self._cases = cases
        self._inputs = inputs
        self._reference: Backbone | None = None

    def after_step(self) -> None:
        return

    def metrics(self) -> Mapping[str, float]:
        return {}

    def save(self, folder: Path) -> None:
        if self._reference is not None:
            save_model(self._reference.model, str(folder / _REFERENCE_FILE))

    def load(self, folder: Path) -> None:
        if self._reference is not None:
            load_model(self._reference.model, str(folder / _REFERENCE_FILE))

    def _freeze_reference(self) -> None:
        model = copy.deepcopy(self._backbone.model).eval().requires_grad_(False)
        self._reference = self._backbone.like(model)

    def _token_ids(self, codes: npt.ArrayLike) -> npt.NDArray[np.int64]:
        return self._inputs.prompts.tokenizer.code_ids(codes)

    def _supervised(self, step: Step) -> torch.Tensor:
        """Mean -log p of the rows' own labels."""
        logits = self._backbone.logits(self._backbone.embed(step.batch), step.batch)
        losses = torch.nn.functional.cross_entropy(logits, step.batch.labels, reduction="sum")
        return losses / step.num_labels

    def _num_cases(self, step: Step) -> int:
        """Of the whole step: a case's labels are the codes of one SID."""
        return step.num_labels // int(self._inputs.item_codes.shape[1])


def policy_log_probs(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    codes: torch.Tensor,
    trie: SidTrie,
    tokenizer: SidTokenizer,
    temperature: float = 1.0,
) -> torch.Tensor:
    """float32 [prompts, rollouts, levels]: log softmax(logits / temperature) of every code.

    The softmax is over the codes that lead on in the trie, as that of `Engine.sample` is.

    Args:
        codes: int [prompts, rollouts, levels], each row an SID of the trie.

    Raises ValueError for an SID that the trie does not hold: no rollout can be one.
    """
    flat = codes.reshape(-1, codes.shape[2]).numpy()
    unknown = ~trie.contains(flat)
    if unknown.any():
        got = f"{int(unknown.sum())} others, such as {flat[unknown][0].tolist()}"
        raise invalid("policy_log_probs", "codes", "SIDs of the trie", got)
    logits = backbone.branch_logits(prompts, tokenizer.code_ids(codes.numpy())) / temperature
    nodes = np.zeros(len(flat), dtype=np.int64)
    offsets = tokenizer.code_token_offsets
    chosen = []
    for level, (begin, size) in enumerate(zip(offsets, trie.level_sizes, strict=True)):
        leads_on = torch.from_numpy(valid_tokens(trie, level, nodes)).to(logits.device)
        of_level = logits[:, :, level, begin : begin + size]
        of_level = of_level.masked_fill(~leads_on.view(of_level.shape), -math.inf)
        taken = codes[:, :, level, None].long().to(logits.device)
        chosen.append(of_level.log_softmax(-1).gather(2, taken)[..., 0])
        nodes = child_nodes(trie, level, nodes, flat[:, level])
    return torch.stack(chosen, dim=2)


def _trie(inputs: StageInputs) -> SidTrie:
    sizes, popularity = inputs.prompts.tokenizer.level_sizes, inputs.log.item_popularity()
    return SidTrie.build(inputs.item_codes, sizes, item_scores=popularity)


def _engine(backbone: Backbone, inputs: StageInputs, trie: SidTrie) -> Engine:
    """The weights as they are, in the engine that serves them."""
    return Engine.from_pretrained(
        backbone.model,
        trie,
        device=backbone.model.device,
        dtype="float32",
        code_token_offsets=inputs.prompts.tokenizer.code_token_offsets,
    )


class PolicyGradient(_Preference):
    """GRPO or TPMA-GRPO over rollouts of the served engine.

        mean over rollouts and levels of  -ratio A + kl KL(policy || reference), + sft L_sft

    Rollouts are independent samples of the weights that are about to be updated, so the ratio is 1
    and its gradient that of the log-probability. Both are of the distribution that was sampled:
    over the vocabulary, what is pushed down would flow to codes of no item.
    """

    def __init__(
        self,
        backbone: Backbone,
        config: PolicyConfig,
        cases: Sequence[PreferenceCase],
        inputs: StageInputs,
        reward: CompositeReward,
    ) -> None:
        super().__init__(backbone, cases, inputs)
        self._config = config
        self._trie = _trie(inputs)
        self._reward = reward
        self._is_stale = False
        self._rewards: list[float] = []
        self._engine = _engine(backbone, inputs, self._trie)
        if config.reference_kl:
            self._freeze_reference()

    def after_step(self) -> None:
        self._is_stale = True

    def metrics(self) -> Mapping[str, float]:
        if not self._rewards:
            return {}
        mean, self._rewards = float(np.mean(self._rewards)), []
        return {"reward": mean}

    def load(self, folder: Path) -> None:
        super().load(folder)
        self._is_stale = True

    def losses(self, step: Step) -> Iterator[torch.Tensor]:
        cases = [self._cases[index] for index in step.chosen.tolist()]
        codes, rows = self._roll_out(cases)
        advantages = self._advantages(cases, codes, rows).to(self._backbone.model.device)
        prompts = [case.prompt for case in cases]
        log_probs = self._policy(self._backbone, prompts, codes)
        loss = policy_gradient(log_probs, log_probs.detach(), advantages)
        if self._reference is not None:
            with torch.no_grad():
                reference = self._policy(self._reference, prompts, codes)
            loss = loss + self._config.reference_kl * reference_kl(log_probs, reference)
        yield loss.mean(dim=(1, 2)).sum() / self._num_cases(step)
        if self._config.sft:
            yield self._config.sft * self._supervised(step)

    def _policy(
        self, backbone: Backbone, prompts: list[list[int]], codes: torch.Tensor
    ) -> torch.Tensor:
        tokenizer, temperature = self._inputs.prompts.tokenizer, self._config.temperature
        return policy_log_probs(backbone, prompts, codes, self._trie, tokenizer, temperature)

    def _roll_out(
        self, cases: Sequence[PreferenceCase]
    ) -> tuple[torch.Tensor, npt.NDArray[np.int64]]:
        """codes [cases, rollouts, levels], and the item that each SID is answered with."""
        if self._is_stale:
            self._engine.update_weights(self._backbone.model)
            self._is_stale = False
        # From torch's own generator, whose state a checkpoint keeps.
        seeds = torch.randint(1 << 40, (len(cases),))
        prompts = self._backbone.engine_prompts(self._engine, [case.prompt for case in cases])
        samples = self._engine.sample(
            prompts.input_ids,
            self._config.rollouts,
            self._config.temperature,
            seed=seeds,
            attention_mask=prompts.attention_mask,
            prompt_embeds=prompts.prompt_embeds,
        )
        items, begin = self._trie.items(samples.rank.reshape(-1).numpy())
        return samples.codes.cpu(), items[begin[:-1]].reshape(samples.rank.shape)

    def _advantages(
        self,
        cases: Sequence[PreferenceCase],
        codes: torch.Tensor,
        rows: npt.NDArray[np.int64],
    ) -> torch.Tensor:
        """[cases, rollouts, levels]"""
        wanted = [case.session.wanted for case in cases]
        rewards = torch.from_numpy(
            np.stack(
                [
                    self._reward(case.session.query, own.tolist(), case.session.wanted)
                    for case, own in zip(cases, rows, strict=True)
                ]
            )
        ).float()
        self._rewards.append(float(rewards.mean()))
        if self._config.algorithm == "grpo":
            advantages = group_advantages(rewards, least_spread=LEAST_REWARD_SPREAD)
            return advantages[..., None].expand(codes.shape)
        targets = torch.full((len(cases), max(map(len, wanted)), codes.shape[2]), -1)
        for place, items in enumerate(wanted):
            of_items = self._inputs.item_codes[[one.row for one in items]]
            targets[place, : len(items)] = torch.from_numpy(of_items).long()
        config = self._config
        return tpma_advantages(
            codes.long(), targets, rewards, config.item_weight, config.cumulative_gate
        )


class DirectPreference(_Preference):
    """List-wise DPO: what was wanted against what was not, by the log or by a reward model.

    By the log, a pair weighs by the gap of 2 level ctr cvr / (ctr + cvr), see `ItemCounts.quality`.
    """

    def __init__(
        self,
        backbone: Backbone,
        config: DpoConfig,
        cases: Sequence[PreferenceCase],
        inputs: StageInputs,
        model: RewardModel | None = None,
    ) -> None:
        """model: whose preferences over generated items to learn, in place of the logged ones."""
        super().__init__(backbone, cases, inputs)
        self._config = config
        self._freeze_reference()
        self._guidance: Guidance | None = None
        if model is None:
            self._quality = ItemCounts.of(inputs.log).quality()
        else:
            self._quality = np.ones(len(inputs.log.items))  # the model's scores say it all
            engine = _engine(backbone, inputs, _trie(inputs))
            self._guidance = Guidance(engine, model, config.candidates)

    def load(self, folder: Path) -> None:
        super().load(folder)
        if self._guidance is not None:
            self._guidance.engine.update_weights(self._frozen().model)

    def losses(self, step: Step) -> Iterator[torch.Tensor]:
        cases = [self._cases[index] for index in step.chosen.tolist()]
        prompts = [case.prompt for case in cases]
        sessions = [case.session for case in cases]
        if self._guidance is not None:
            asked = self._frozen().engine_prompts(self._guidance.engine, prompts)
            sessions = self._guidance(asked, sessions)
        rows, rewards, is_rejected = self._lists(sessions)
        targets = self._token_ids(self._inputs.item_codes[rows])
        log_probs = self._backbone.branch_log_probs(prompts, targets).sum(-1)
        reference = self._reference_log_probs(prompts, targets).sum(-1)
        device = log_probs.device
        weights = self._config.loss.weights(rewards[:, 0], rewards[:, 1:]).to(device)
        losses = self._config.loss(log_probs, reference, weights, is_rejected.to(device))
        yield losses.sum() / self._num_cases(step)

    def _reference_log_probs(
        self, prompts: list[list[int]], targets: npt.NDArray[np.int64]
    ) -> torch.Tensor:
        with torch.no_grad():
            return self._frozen().branch_log_probs(prompts, targets)

    def _frozen(self) -> Backbone:
        assert self._reference is not None, "frozen at the start"
        return self._reference

    def _lists(
        self, sessions: Sequence[QuerySession]
    ) -> tuple[npt.NDArray[np.int64], torch.Tensor, torch.Tensor]:
        """Rows [cases, 1 + rejected], their rewards, and which of the rejected there are."""
        most = self._config.rejected
        rows = np.zeros((len(sessions), 1 + most), dtype=np.int64)
        rewards = np.zeros(rows.shape)
        for place, session in enumerate(sessions):
            chosen, unwanted = session.wanted[0], session.unwanted[:most]
            rows[place] = chosen.row  # stands for those there are not
            for at, one in enumerate((chosen, *unwanted)):
                rows[place, at] = one.row
                rewards[place, at] = one.level * self._quality[one.row]
        # An SID that is the chosen one's own cannot lose against it.
        codes = self._inputs.item_codes[rows]
        differs = (codes[:, 1:] != codes[:, :1]).any(axis=2)
        return rows, torch.from_numpy(rewards).float(), torch.from_numpy(differs)
