"""All settings of a run in one tree of frozen dataclasses, to and from JSON."""

from __future__ import annotations

import difflib
import math
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from onesearch_fast.data.cot.language_model import LANGUAGES
from onesearch_fast.data.prompts import PromptConfig
from onesearch_fast.data.tokenizer import SMALLEST_VOCABULARY
from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import read_json
from onesearch_fast.sid.config import SidConfig
from onesearch_fast.train.losses.distillation import Distillation
from onesearch_fast.train.losses.fgm import Fgm
from onesearch_fast.train.losses.focal import Focal
from onesearch_fast.train.losses.list_wise_dpo import ListWiseDpo
from onesearch_fast.train.losses.r_drop import RDrop

T = TypeVar("T")

PREFERENCE = "preference"

ARCHITECTURES = ("qwen3", "gpt2", "bart")


@dataclass(frozen=True)
class ModelConfig:
    """The model that is trained.

    Attributes:
        checkpoint: folder of a Hugging Face model to extend; None trains one with tied embeddings
            from scratch, of the architecture and sizes below.
        architecture: "qwen3", "gpt2" or "bart"; what a size means nothing to passes it over
            (num_kv_heads and head_dim are of Qwen3 alone). BART has so many layers on both sides.
        text_vocab_size: text pieces of the tokenizer trained for a model from scratch.
        catalogue_start: the embeddings of words and codes of a model from scratch begin where the
            items' vectors put them; the rest of it begins at random.
    """

    checkpoint: str | None = None
    architecture: str = "qwen3"
    text_vocab_size: int = 2000
    hidden_size: int = 128
    num_layers: int = 3
    num_heads: int = 2
    num_kv_heads: int = 2
    head_dim: int = 64
    intermediate_size: int = 384
    catalogue_start: bool = True

    def __post_init__(self) -> None:
        # What the engine would refuse is refused before anything is trained.
        if self.architecture not in ARCHITECTURES:
            expected = f"one of {ARCHITECTURES}"
            raise invalid("ModelConfig", "architecture", expected, self.architecture)
        if self.architecture != "qwen3" and self.hidden_size % self.num_heads:
            expected = f"a multiple of num_heads ({self.num_heads})"
            raise invalid("ModelConfig", "hidden_size", expected, self.hidden_size)
        for name in ("hidden_size", "num_layers", "num_heads", "num_kv_heads", "intermediate_size"):
            if getattr(self, name) < 1:
                raise invalid("ModelConfig", name, "at least 1", getattr(self, name))
        if self.head_dim < 2 or self.head_dim % 2:
            expected = "an even number of at least 2, for rotary positions"
            raise invalid("ModelConfig", "head_dim", expected, self.head_dim)
        if self.num_heads % self.num_kv_heads:
            expected = f"a divisor of num_heads ({self.num_heads})"
            raise invalid("ModelConfig", "num_kv_heads", expected, self.num_kv_heads)
        if self.text_vocab_size < SMALLEST_VOCABULARY:
            expected = f"at least {SMALLEST_VOCABULARY}"
            raise invalid("ModelConfig", "text_vocab_size", expected, self.text_vocab_size)


MINED = "mined"
KEYWORD_TASKS = (
    "query_to_keywords",
    "query_sid_to_keyword_sid",
    "user_query_to_keywords",
    "user_query_sid_to_keyword_sid",
)


@dataclass(frozen=True)
class ThoughtConfig:
    """Where keywords of queries come from.

    Attributes:
        source: "mined" from the log, or the folder of a Hugging Face causal LM.
        language: of what the language model is told, "english" or "chinese".
        inject_target: the teacher reads the keywords of the very item that is to be learnt. It is
            a leak by design: only teachers read it, but the keyword tasks of a user learn it too,
            so they are refused beside it.
    """

    source: str = MINED
    language: str = "english"
    inject_target: bool = False

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise invalid("ThoughtConfig", "language", f"one of {LANGUAGES}", self.language)


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is added to the loss of a stage; None leaves an addition out.

    Attributes:
        dropout: of the embeddings and the last states of what is trained, beside the model's own.
        distillation: needs keywords (`PipelineConfig.thoughts`), which the teacher alone reads.
    """

    dropout: float = 0.0
    focal: Focal | None = None
    distillation: Distillation | None = None
    r_drop: RDrop | None = None
    fgm: Fgm | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise invalid("ObjectiveConfig", "dropout", "a share in [0, 1)", self.dropout)


@dataclass(frozen=True)
class PolicyConfig:
    """Reinforcement learning on rollouts, in place of the loss of labels.

    Attributes:
        algorithm: "tpma" (advantages by position) or "grpo" (one for the whole rollout).
        rollouts: independent samples for each prompt.
        item_weight: of the rollout's own advantage in "tpma".
        cumulative_gate: see `tpma_advantages`.
        reference_kl: weight of the KL to the weights that the stage began with.
        sft: weight of the loss of the logged target.
    """

    algorithm: str = "tpma"
    rollouts: int = 16
    temperature: float = 1.0
    item_weight: float = 0.5
    cumulative_gate: bool = False
    reference_kl: float = 0.0
    sft: float = 0.1

    def __post_init__(self) -> None:
        if self.algorithm not in ("tpma", "grpo"):
            raise invalid("PolicyConfig", "algorithm", "tpma or grpo", self.algorithm)
        if self.rollouts < 1:
            raise invalid("PolicyConfig", "rollouts", "at least 1", self.rollouts)
        if not 0 < self.temperature < math.inf:
            raise invalid("PolicyConfig", "temperature", "more than 0", self.temperature)
        for name in ("item_weight", "reference_kl", "sft"):
            if not 0 <= getattr(self, name) < math.inf:
                raise invalid("PolicyConfig", name, "at least 0", getattr(self, name))


@dataclass(frozen=True)
class TowersConfig:
    """Sizes, training, and the weights of score = a ctr + b cvr + c ctcvr + 10 d relevance / 3."""

    hidden_size: int = 64
    epochs: int = 3
    batch_size: int = 256
    learning_rate: float = 1e-3
    seed: int = 0
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 0.1)

    def __post_init__(self) -> None:
        for name in ("hidden_size", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise invalid("TowersConfig", name, "at least 1", getattr(self, name))
        if not 0 < self.learning_rate < math.inf:
            raise invalid("TowersConfig", "learning_rate", "more than 0", self.learning_rate)
        if len(self.weights) != 4 or not all(map(math.isfinite, self.weights)):
            expected = "four finite numbers: ctr, cvr, ctcvr, relevance"
            raise invalid("TowersConfig", "weights", expected, self.weights)


@dataclass(frozen=True)
class DpoConfig:
    """List-wise DPO, in place of the loss of labels.

    Attributes:
        rejected: at most so many items a prompt.
        towers: a reward model whose preferences over `candidates` generated items are learnt; None
            learns from logged behaviour.
    """

    loss: ListWiseDpo = field(default_factory=ListWiseDpo)
    rejected: int = 8
    towers: TowersConfig | None = None
    candidates: int = 64

    def __post_init__(self) -> None:
        for name in ("rejected", "candidates"):
            if getattr(self, name) < 1:
                raise invalid("DpoConfig", name, "at least 1", getattr(self, name))


@dataclass(frozen=True)
class StageConfig:
    """One training stage.

    A stage ends after `epochs`, or after `max_minutes` of training when that comes first. The
    learning rate follows progress = max(steps done / all steps, minutes used / max_minutes): up
    over the first `warmup` of it, then down a cosine to 2 %. So a slower machine gets a shorter
    schedule, not a cut one. Without `max_minutes`, equal inputs give equal weights.

    Attributes:
        name: a stage in `onesearch_fast/train/stages/`.
        tasks: task -> how often its rows are visited in an epoch; tasks not named are left out.
        tokens_per_batch: rows x longest row of a batch, padding included.
        validations: how often the loss on the stopping users is taken.
        keep_best: end with the weights of the best validation instead of the last ones.
        patience: with keep_best, end the stage after so many validations in a row without a better
            one; None goes on.
        objective: what is added to the loss of labels.
        policy, dpo: what a stage "preference" learns by; one of them.
        parts: a step is run in so many parts, one after the other, to save memory.
        gradient_checkpointing: layers are run twice instead of remembering what they computed.
    """

    name: str
    tasks: Mapping[str, float]
    epochs: int = 1
    max_minutes: float | None = None
    learning_rate: float = 3e-3
    warmup: float = 0.05
    weight_decay: float = 0.05
    tokens_per_batch: int = 2048
    validations: int = 4
    keep_best: bool = False
    patience: int | None = None
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    policy: PolicyConfig | None = None
    dpo: DpoConfig | None = None
    parts: int = 1
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        where = f"StageConfig {self.name!r}"
        if not self.tasks or not all(0 < visits < math.inf for visits in self.tasks.values()):
            raise invalid(where, "tasks", "task -> visits an epoch above 0", dict(self.tasks))
        for name in ("epochs", "tokens_per_batch", "parts"):
            if getattr(self, name) < 1:
                raise invalid(where, name, "at least 1", getattr(self, name))
        learns_preference = (self.policy is None) != (self.dpo is None)
        if learns_preference != (self.name == PREFERENCE) or (self.policy and self.dpo):
            expected = f"one of policy and dpo in a stage {PREFERENCE!r}, and in no other"
            raise invalid(where, "policy", expected, (self.policy, self.dpo))
        if learns_preference and self.objective != ObjectiveConfig():
            expected = f"nothing in a stage {PREFERENCE!r}, which has no loss of labels to add to"
            raise invalid(where, "objective", expected, self.objective)
        if self.max_minutes is not None and not 0 < self.max_minutes < math.inf:
            raise invalid(where, "max_minutes", "more than 0, or null", self.max_minutes)
        if not 0 <= self.learning_rate < math.inf:
            raise invalid(where, "learning_rate", "at least 0", self.learning_rate)
        if not 0 <= self.warmup < 1:
            raise invalid(where, "warmup", "a share in [0, 1)", self.warmup)
        if not 0 <= self.weight_decay < math.inf:
            raise invalid(where, "weight_decay", "at least 0", self.weight_decay)
        if self.validations < 0 or (self.keep_best and not self.validations):
            expected = "at least 0, and at least 1 with keep_best"
            raise invalid(where, "validations", expected, self.validations)
        if self.patience is not None and (self.patience < 1 or not self.keep_best):
            raise invalid(where, "patience", "at least 1, with keep_best", self.patience)


@dataclass(frozen=True)
class PipelineConfig:
    """A whole run: data to served folder.

    Attributes:
        thoughts: keywords of queries, for the stages that ask for them; None makes none.
        sid_keywords: draws the vectors behind SIDs to the keywords of their texts: those of a
            dictionary's file, or "mined", of the items' fields and the training log.
        precision: "bfloat16" (autocast), "float32", or "auto": bfloat16 where the processor
            multiplies it natively.
        checkpoint_seconds: pause between two checkpoints of a stage.
    """

    sid: SidConfig = field(default_factory=SidConfig)
    sid_keywords: str | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    prompts: PromptConfig = field(default_factory=PromptConfig)
    thoughts: ThoughtConfig | None = None
    stages: tuple[StageConfig, ...] = ()
    seed: int = 0
    precision: str = "auto"
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        self._check_thoughts()
        self._check_long_history()
        if self.precision not in ("auto", "bfloat16", "float32"):
            raise invalid(
                "PipelineConfig", "precision", "auto, bfloat16 or float32", self.precision
            )
        if not 0 <= self.seed < 1 << 32:
            raise invalid("PipelineConfig", "seed", "an integer in [0, 2^32)", self.seed)
        if not 0 <= self.checkpoint_seconds < math.inf:
            got = self.checkpoint_seconds
            raise invalid("PipelineConfig", "checkpoint_seconds", "at least 0", got)

    def _check_thoughts(self) -> None:
        """Before any training time is spent."""
        taught = [one.name for one in self.stages if one.objective.distillation is not None]
        tasks = {task for one in self.stages for task in one.tasks if task in KEYWORD_TASKS}
        if self.thoughts is None and (taught or tasks):
            got, remedy = f"none, with {taught or sorted(tasks)}", "set thoughts, or leave them out"
            raise invalid("PipelineConfig", "thoughts", "keywords to learn", got, remedy)
        leaking = self.thoughts is not None and self.thoughts.inject_target
        if leaking and any(task.startswith("user_") for task in tasks):
            got = f"true, with {sorted(tasks)}"
            raise invalid("PipelineConfig", "thoughts.inject_target", "false", got)

    def _check_long_history(self) -> None:
        past, width = self.prompts.long_history, self.model.hidden_size
        if past is not None and self.model.checkpoint is None and width % past.num_heads:
            expected = f"a divisor of hidden_size ({width})"
            raise invalid("LongHistoryConfig", "num_heads", expected, past.num_heads)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> PipelineConfig:
        """Reads parsed JSON; what is absent has its default. An unknown key is an error."""
        return _build(cls, value, "config")

    def with_minutes(self, minutes: float) -> PipelineConfig:
        """The same run in `minutes` of training, shared out as the stages' limits are now.

        A stage without a limit takes the share of its epochs times tasks.
        """
        check_minutes(minutes)
        shares = [stage.max_minutes or float(stage.epochs) for stage in self.stages]
        limits = [minutes * share / sum(shares) for share in shares]
        stages = (
            replace(stage, max_minutes=limit)
            for stage, limit in zip(self.stages, limits, strict=True)
        )
        return replace(self, stages=tuple(stages))


def read_config(path: str | os.PathLike[str]) -> PipelineConfig:
    """A config file, JSON or YAML by its ending (.yaml, .yml)."""
    if Path(path).suffix not in (".yaml", ".yml"):
        return PipelineConfig.from_json(read_json(path))
    import yaml

    try:
        return PipelineConfig.from_json(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise FormatError(f"{path}: expected YAML: {error}") from error


def check_minutes(minutes: float | None) -> None:
    """Raises ValueError for a training time that is none; None is no limit."""
    if minutes is not None and not 0 < minutes < math.inf:
        raise invalid("PipelineConfig", "minutes", "more than 0", minutes)


def demo_config() -> PipelineConfig:
    """The embedded synthetic catalogue: about 6.5 minutes of training on 2 cores."""
    alignment = {"query_to_sid": 0.5, "title_to_sid": 1.0, "sid_to_category": 0.5}
    return PipelineConfig(
        stages=(
            StageConfig("alignment", alignment, epochs=2, max_minutes=0.75),
            StageConfig("cooccurrence", {"query_to_item": 1.0}, epochs=6, max_minutes=1.75),
            StageConfig(
                "personalisation", {"search": 1.0, "next_item": 0.25}, epochs=10, max_minutes=4.0
            ),
        ),
    )


def real_config(query_sids: bool = True) -> PipelineConfig:
    """A log of about 200,000 events: about 25 minutes of training on 2 cores.

    query_sids: off where queries are category paths, whose own SIDs say nothing more.
    """
    alignment = {"title_to_sid": 1.0, "sid_to_category": 0.5}
    if query_sids:
        alignment["query_to_sid"] = 0.5
    return PipelineConfig(
        prompts=PromptConfig(query_sids=query_sids),
        stages=(
            StageConfig("alignment", alignment, epochs=2, max_minutes=1.0),
            StageConfig("cooccurrence", {"query_to_item": 1.0}, epochs=4, max_minutes=5.0),
            StageConfig(
                "personalisation",
                {"search": 1.0, "next_item": 0.5},
                epochs=15,
                max_minutes=19.0,
                validations=8,
            ),
        ),
    )


def smoke_config() -> PipelineConfig:
    """The whole pipeline in seconds, for tests: too small to rank well, equal in every part."""
    alignment = {"title_to_sid": 1.0, "query_to_keywords": 0.2, "user_query_to_keywords": 0.1}
    stage = StageConfig("alignment", alignment, tokens_per_batch=1024, validations=1)
    return PipelineConfig(
        sid=SidConfig(text_dim=32, level_sizes=(16, 8), opq=(4, 4), iterations=5),
        model=ModelConfig(
            text_vocab_size=400,
            hidden_size=32,
            num_layers=2,
            num_heads=2,
            num_kv_heads=1,
            head_dim=16,
            intermediate_size=64,
        ),
        prompts=PromptConfig(max_history_events=5),
        stages=(
            stage,
            replace(stage, name="cooccurrence", tasks={"query_to_item": 1.0}),
            replace(
                stage,
                name="personalisation",
                tasks={"search": 1.0, "next_item": 0.5},
                epochs=2,
                objective=ObjectiveConfig(focal=Focal(), distillation=Distillation()),
            ),
        ),
        thoughts=ThoughtConfig(),
        precision="float32",
    )


def _build(cls: type[T], value: Any, where: str) -> T:
    """A dataclass from parsed JSON, nested ones included."""
    if not isinstance(value, Mapping):
        raise invalid(where, "value", "a JSON object", value)
    known = {one.name for one in fields(cls)}  # type: ignore[arg-type]
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=3, cutoff=0.4)
            remedy = f"did you mean {' or '.join(near)}?" if near else None
            raise invalid(where, str(key), f"one of {sorted(known)}", "an unknown key", remedy)
    hints = typing.get_type_hints(cls)
    parts = {key: _convert(hints[key], part, f"{where}.{key}") for key, part in value.items()}
    try:
        return cls(**parts)
    except TypeError as error:
        raise invalid(where, "value", "all required keys", str(error)) from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return _build(typing.cast(type, hint), value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (hint,) = [one for one in arguments if one is not type(None)]
        return _convert(hint, value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_convert(arguments[0], one, f"{where}[{i}]") for i, one in enumerate(value))
    if origin is Mapping and isinstance(value, Mapping):
        return {str(key): _convert(arguments[1], one, where) for key, one in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is not None or type(value) is not hint:
        name = getattr(hint, "__name__", str(hint))
        raise invalid(where.rpartition(".")[0], where.rpartition(".")[2], f"a {name}", value)
    return value
