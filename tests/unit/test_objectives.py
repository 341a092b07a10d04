"""The supervised objective against loops that follow the formulas one label at a time."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from onesearch_fast.data.prompts import Row
from onesearch_fast.train.backbones import backbone_of
from onesearch_fast.train.config import ObjectiveConfig, StageConfig
from onesearch_fast.train.losses.distillation import Distillation
from onesearch_fast.train.losses.fgm import Fgm
from onesearch_fast.train.losses.focal import Focal
from onesearch_fast.train.losses.r_drop import RDrop
from onesearch_fast.train.objectives import Supervised
from onesearch_fast.train.rows import TokenRows
from onesearch_fast.train.steps import PlannedSteps, TaskRows
from onesearch_fast.train.trainer import RunOptions, train_stage

VOCABULARY = 20
PLAIN = ObjectiveConfig()


def decoder(seed: int = 0):
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCABULARY,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            intermediate_size=24,
            tie_word_embeddings=True,
        )
    )


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_positions=32, n_embd=16, n_layer=1, n_head=2)
    )


def bart():
    torch.manual_seed(0)
    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=VOCABULARY,
            max_position_embeddings=32,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            decoder_start_token_id=2,
            forced_bos_token_id=None,
        )
    )


def row(*parts: tuple[list[int], bool]) -> Row:
    made = Row()
    for ids, learnt in parts:
        made.add(ids, learnt)
    return made


def taught_rows() -> TaskRows:
    """Two targets in the first row, one in the second; the teacher reads 18 19 before each."""
    student = [
        row(([3, 4], False), ([5, 6], True), ([7], False), ([8, 9], True)),
        row(([4, 4, 4], False), ([9, 5], True)),
    ]
    teacher = [
        row(([3, 4, 18, 19], False), ([5, 6], True), ([7, 18], False), ([8, 9], True)),
        row(([4, 4, 4, 19], False), ([9, 5], True)),
    ]
    return TaskRows(TokenRows.pack(student), TokenRows.pack(teacher))


def step_of(backbone, objective: ObjectiveConfig, rows: TaskRows):
    config = StageConfig("toy", {"toy": 1.0}, objective=objective)
    prepared = rows.prepared(backbone)
    everything = np.arange(len(prepared.student))
    (step,) = PlannedSteps(prepared, [everything], backbone, config)[0]
    return step


def losses_of(model, objective: ObjectiveConfig, rows: TaskRows) -> list[torch.Tensor]:
    backbone = backbone_of(model, pad_id=0)
    found = []
    for loss in Supervised(backbone, objective).losses(step_of(backbone, objective, rows)):
        loss.backward()
        found.append(loss.detach())
    return found


def label_logits(model, rows: TokenRows) -> tuple[torch.Tensor, list[int]]:
    """Row by row, unpadded: the logits that predict each label, and the labels."""
    found, labels = [], []
    for begin, end in zip(rows.begin[:-1], rows.begin[1:], strict=True):
        ids = torch.from_numpy(rows.ids[begin:end].astype(np.int64))
        places = np.flatnonzero(rows.learnt[begin:end])
        found.append(model(input_ids=ids[None]).logits[0, places - 1])
        labels += ids[places].tolist()
    return torch.cat(found), labels


def naive_kl(teacher: torch.Tensor, student: torch.Tensor) -> float:
    values = []
    for t, s in zip(teacher.softmax(-1).tolist(), student.softmax(-1).tolist(), strict=True):
        values.append(sum(p * math.log(p / q) for p, q in zip(t, s, strict=True)))
    return sum(values) / len(values)


def naive_focal(logits: torch.Tensor, labels: list[int]) -> float:
    chances = [one.softmax(-1)[label].item() for one, label in zip(logits, labels, strict=True)]
    return sum(2 * (1 - p) ** 3 * -math.log(p) for p in chances) / len(chances)


@pytest.mark.parametrize("make", [decoder, gpt2, bart])
def test_the_plain_loss_is_the_models_own(make):
    model = make().eval()
    rows = TokenRows.pack(
        [row(([3, 4, 6], False), ([5, 9], True)), row(([7], False), ([8, 2], True))]
    )
    (got,) = losses_of(model, PLAIN, TaskRows(rows))
    total, count = 0.0, 0
    for begin, end in zip(rows.begin[:-1], rows.begin[1:], strict=True):
        ids = torch.from_numpy(rows.ids[begin:end].astype(np.int64))[None]
        if model.config.is_encoder_decoder:
            own = model(input_ids=ids[:, :-2], labels=ids[:, -2:]).loss
        else:
            labels = torch.where(torch.from_numpy(rows.learnt[begin:end])[None], ids, -100)
            own = model(input_ids=ids, labels=labels).loss
        total, count = total + 2 * own.item(), count + 2
    assert got.item() == pytest.approx(total / count, rel=1e-5)


def test_self_distillation_teaches_where_labels_are_predicted():
    model, rows = decoder(), taught_rows()
    with torch.no_grad():
        student, labels = label_logits(model, rows.student)
        teacher, same = label_logits(model, rows.teacher)
    assert labels == same and len(labels) == 6, "the first code of every SID is among them"
    config = ObjectiveConfig(distillation=Distillation(), focal=Focal())
    (got,) = losses_of(model, config, rows)
    expected = naive_focal(student, labels) + 0.1 * naive_kl(teacher, student)
    assert got.item() == pytest.approx(expected, rel=1e-4)


def test_only_the_student_of_self_distillation_has_a_gradient():
    model, rows = decoder(), taught_rows()
    config = ObjectiveConfig(distillation=Distillation(weight=1.0))
    losses_of(model, config, rows)
    with torch.no_grad():
        teacher, labels = label_logits(model, rows.teacher)
    naive = copy.deepcopy(model)
    naive.zero_grad()
    student, _ = label_logits(naive, rows.student)
    loss = torch.nn.functional.cross_entropy(student, torch.tensor(labels))
    target, said = teacher.softmax(-1), student.log_softmax(-1)
    (loss + (target * (target.log() - said)).sum(-1).mean()).backward()
    for mine, other in zip(model.parameters(), naive.parameters(), strict=True):
        assert torch.allclose(mine.grad, other.grad, atol=1e-5)


def test_the_joint_teacher_learns_its_own_labels():
    model, rows = decoder(), taught_rows()
    config = ObjectiveConfig(distillation=Distillation(teacher="joint"))
    own, _ = losses_of(model, config, rows)
    with torch.no_grad():
        teacher, labels = label_logits(model, rows.teacher)
    expected = torch.nn.functional.cross_entropy(teacher, torch.tensor(labels))
    assert own.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_averaged_teacher_follows_once_a_step():
    model, rows = decoder(), taught_rows()
    backbone = backbone_of(model, pad_id=0)
    config = ObjectiveConfig(distillation=Distillation(teacher="ema", ema_decay=0.75))
    objective = Supervised(backbone, config)
    before = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1.0
    objective.after_step()
    (loss,) = [loss.item() for loss in objective.losses(step_of(backbone, config, rows))]
    with torch.no_grad():
        for parameter in before.parameters():
            parameter += 0.25
        teacher, labels = label_logits(before, rows.teacher)
        student, _ = label_logits(model, rows.student)
    plain = torch.nn.functional.cross_entropy(student, torch.tensor(labels)).item()
    assert loss == pytest.approx(plain + 0.1 * naive_kl(teacher, student), rel=1e-4)


def test_the_averaged_teacher_survives_an_interruption(tmp_path):
    backbone = backbone_of(decoder(), pad_id=0)
    config = ObjectiveConfig(distillation=Distillation(teacher="ema"))
    saved, loaded = (Supervised(backbone, config) for _ in range(2))
    with torch.no_grad():
        backbone.model.get_input_embeddings().weight += 1.0
    saved.after_step()
    saved.save(tmp_path)
    loaded.load(tmp_path)
    step = step_of(backbone, config, taught_rows())
    assert [one.item() for one in saved.losses(step)] == [one.item() for one in loaded.losses(step)]


def test_r_drop_compares_two_passes_and_averages_their_losses():
    model, rows = decoder(), TaskRows(taught_rows().student)
    config = ObjectiveConfig(r_drop=RDrop(), dropout=0.3)
    backbone = backbone_of(model, pad_id=0)
    step = step_of(backbone, config, rows)
    torch.manual_seed(5)
    (got,) = Supervised(backbone, config).losses(step)
    torch.manual_seed(5)
    twice = step.batch.repeated(2)
    first, second = backbone.logits(backbone.embed(twice), twice, 0.3).chunk(2)
    plain = [torch.nn.functional.cross_entropy(one, step.batch.labels) for one in (first, second)]
    between = 0.5 * (naive_kl(first, second) + naive_kl(second, first))
    assert between > 0
    expected = (plain[0] + plain[1]).item() / 2 + 0.5 * between
    assert got.item() == pytest.approx(expected, rel=1e-4)


def test_r_drop_without_dropout_is_refused():
    with pytest.raises(ValueError, match="both passes of R-Drop are the same"):
        Supervised(backbone_of(decoder(), pad_id=0), ObjectiveConfig(r_drop=RDrop()))


def test_fgm_adds_the_loss_at_the_worst_embeddings():
    model, rows = decoder(), TaskRows(taught_rows().student)
    config = ObjectiveConfig(fgm=Fgm())
    clean, worst = losses_of(model, config, rows)
    backbone = backbone_of(copy.deepcopy(model), pad_id=0)
    step = step_of(backbone, PLAIN, rows)
    embeddings = backbone.embed(step.batch).detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(
        backbone.logits(embeddings, step.batch), step.batch.labels
    )
    (gradient,) = torch.autograd.grad(loss, embeddings)
    moved = embeddings + torch.stack([0.6 * one / one.norm() for one in gradient])
    again = torch.nn.functional.cross_entropy(backbone.logits(moved, step.batch), step.batch.labels)
    assert clean.item() == pytest.approx(loss.item(), rel=1e-5)
    assert worst.item() == pytest.approx(again.item(), rel=1e-5)
    assert worst > clean


def test_everything_at_once_trains(tmp_path):
    config = StageConfig(
        "toy",
        {"toy": 1.0},
        epochs=30,
        learning_rate=1e-2,
        objective=ObjectiveConfig(0.1, Focal(), Distillation(), RDrop(), Fgm()),
    )
    curves = train_stage(
        decoder(), {"toy": taught_rows()}, config, RunOptions(0, precision="float32"), tmp_path
    )
    assert curves.points[-1]["loss"] < 0.5 * curves.points[0]["loss"]
    rows = taught_rows()
    student, teacher = rows.student.ids.size, rows.teacher.ids.size
    assert curves.forward_tokens == 30 * (3 * student + teacher)
    assert curves.backward_tokens == 30 * 3 * student


@pytest.mark.parametrize("make", [decoder, bart])
def test_parts_of_a_step_add_up_to_the_step(make, tmp_path):
    config = StageConfig("toy", {"toy": 1.0}, epochs=2, learning_rate=1e-2)
    models = []
    for parts in (1, 3):
        models.append(make())
        train_stage(
            models[-1],
            {"toy": TaskRows(taught_rows().student)},
            replace(config, parts=parts),
            RunOptions(0, precision="float32"),
            tmp_path / str(parts),
        )
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_checkpointed_layers_give_the_same_gradients(tmp_path):
    models = [decoder(), decoder()]
    for model, saves in zip(models, (False, True), strict=True):
        config = StageConfig("toy", {"toy": 1.0}, gradient_checkpointing=saves)
        rows = {"toy": TaskRows(taught_rows().student)}
        train_stage(model, rows, config, RunOptions(0, precision="float32"), tmp_path / str(saves))
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_teacher_of_other_labels_is_refused():
    one = TokenRows.pack([row(([1], False), ([2], True))])
    other = TokenRows.pack([row(([1], False), ([3], True))])
    with pytest.raises(ValueError, match=r"TaskRows: teacher: expected .* got other labels"):
        TaskRows(one, other)


def test_distillation_without_a_teacher_is_refused(tmp_path):
    config = StageConfig(
        "toy", {"toy": 1.0}, objective=ObjectiveConfig(distillation=Distillation())
    )
    rows = {"toy": TaskRows(taught_rows().student)}
    with pytest.raises(ValueError, match="mine keywords"):
        train_stage(decoder(), rows, config, RunOptions(0), tmp_path)
