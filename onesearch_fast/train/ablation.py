"""The rows of the ablation: each adds one thing to the row before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from onesearch_fast.errors import invalid
from onesearch_fast.train.config import (
    PREFERENCE,
    DpoConfig,
    ModelConfig,
    ObjectiveConfig,
    PipelineConfig,
    PolicyConfig,
    StageConfig,
    ThoughtConfig,
    smoke_config,
)
from onesearch_fast.train.losses.distillation import Distillation
from onesearch_fast.train.losses.fgm import Fgm
from onesearch_fast.train.losses.focal import Focal
from onesearch_fast.train.losses.r_drop import RDrop

_KEYWORD_VISITS = {
    "query_to_keywords": 0.5,
    "query_sid_to_keyword_sid": 0.2,
    "user_query_to_keywords": 0.1,
    "user_query_sid_to_keyword_sid": 0.05,
}
_STAGES = ("alignment", "cooccurrence", "personalisation")
_DROPOUT = 0.1
_TEACHER = "joint"  # a model from scratch has to be taught to read keywords behind a query
_TOKENS_PER_BATCH = 1024  # a run this short is short of steps, not of examples


@dataclass(frozen=True)
class AblationRow:
    """A named run; rows share what they have in common."""

    name: str
    config: PipelineConfig


def ablation_config() -> PipelineConfig:
    """What every row starts from: OneSearch V1's three stages, for about a million parameters.

    Steps are counted, not minutes, so that rows differ in what they learn by and not in how often.
    """
    alignment = {"query_to_sid": 0.5, "title_to_sid": 1.0, "sid_to_category": 0.5}
    stages = (
        StageConfig("alignment", alignment, epochs=1),
        StageConfig("cooccurrence", {"query_to_item": 1.0}, epochs=2),
        StageConfig("personalisation", {"search": 1.0}, epochs=4),
    )
    return PipelineConfig(
        model=ModelConfig(hidden_size=128, num_layers=2),
        stages=tuple(replace(stage, tokens_per_batch=_TOKENS_PER_BATCH) for stage in stages),
    )


def small_ablation_config() -> PipelineConfig:
    """All rows in a minute, for tests: what they score means nothing."""
    plain = smoke_config()
    stages = tuple(
        replace(stage, epochs=1, objective=ObjectiveConfig(), tasks=tasks)
        for stage, tasks in zip(
            plain.stages,
            ({"title_to_sid": 1.0}, {"query_to_item": 0.3}, {"search": 0.5}),
            strict=True,
        )
    )
    return replace(plain, stages=stages, thoughts=None)


def ablation_rows(base: PipelineConfig) -> Iterator[AblationRow]:
    """V1, then one addition a row up to the whole of V2.

    `base` has the stages "alignment", "cooccurrence" and "personalisation", and nothing added. The
    last row adds list-wise DPO before TPMA-GRPO, and the advantage of whole items to it.

    Raises ValueError for any other base: its rows would not add what they say.
    """
    _check(base)
    yield AblationRow("v1", base)
    first, *others = base.stages
    tasks = {**first.tasks, **_KEYWORD_VISITS}
    thoughtful = (replace(first, tasks=tasks), *others)
    taught = replace(base, thoughts=ThoughtConfig(), stages=thoughtful)
    yield AblationRow("+ cot tasks", taught)
    objective = ObjectiveConfig()
    for name, addition in (
        ("+ self-distillation", {"distillation": Distillation(teacher=_TEACHER)}),
        ("+ r-drop", {"r_drop": RDrop(), "dropout": _DROPOUT}),
        ("+ fgm", {"fgm": Fgm()}),
        ("+ focal", {"focal": Focal()}),
    ):
        objective = replace(objective, **addition)
        yield AblationRow(name, _with_objective(taught, objective))
    supervised = _with_objective(taught, objective)
    yield AblationRow("+ grpo", _then(supervised, _policy(base, PolicyConfig("grpo"))))
    by_position = PolicyConfig("tpma", item_weight=0.0)
    yield AblationRow("+ tpma", _then(supervised, _policy(base, by_position)))
    preferred = _then(supervised, _dpo(base))
    yield AblationRow("full v2", _then(preferred, _policy(base, PolicyConfig("tpma"))))


def _check(base: PipelineConfig) -> None:
    names = tuple(stage.name for stage in base.stages)
    if names != _STAGES:
        raise invalid("ablation_rows", "stages", f"{_STAGES}", names)
    added = [stage.name for stage in base.stages if stage.objective != ObjectiveConfig()]
    if added:
        raise invalid("ablation_rows", "objective", "nothing that rows add", f"some in {added}")


def _with_objective(config: PipelineConfig, objective: ObjectiveConfig) -> PipelineConfig:
    """The objective of the last stage."""
    *before, last = config.stages
    return replace(config, stages=(*before, replace(last, objective=objective)))


def _then(config: PipelineConfig, stage: StageConfig) -> PipelineConfig:
    return replace(config, stages=(*config.stages, stage))


def _dpo(base: PipelineConfig) -> StageConfig:
    """Half of the prompts, at a thirtieth of the rate of the stage before."""
    return _preference(base, 0.5, 1 / 30, dpo=DpoConfig())


def _policy(base: PipelineConfig, policy: PolicyConfig) -> StageConfig:
    """A tenth of the prompts, at a hundredth of the rate of the stage before.

    Rollouts multiply a prompt's cost, and a policy that is pushed hard forgets what it was taught.
    """
    return _preference(base, 0.1, 1 / 100, policy=policy)


def _preference(
    base: PipelineConfig,
    visits: float,
    rate: float,
    policy: PolicyConfig | None = None,
    dpo: DpoConfig | None = None,
) -> StageConfig:
    last = base.stages[-1]
    return StageConfig(
        PREFERENCE,
        {"search": visits},
        learning_rate=rate * last.learning_rate,
        tokens_per_batch=last.tokens_per_batch,
        validations=1,
        policy=policy,
        dpo=dpo,
    )
