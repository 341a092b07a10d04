import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPTNeoXConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from onesearch_fast.cli.main import main
from onesearch_fast.data.keyword_mining import mine_keywords
from onesearch_fast.data.prompts import Row, Templates
from onesearch_fast.data.split import Split, leave_last_out
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.engine.engine import Engine
from onesearch_fast.engine.served_model import ServedModel
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.sid.aligned_encoder import AlignedEncoder
from onesearch_fast.sid.keyword_encoder import KeywordEncoder
from onesearch_fast.sid.keywords import Keyword, KeywordDictionary
from onesearch_fast.sid.tfidf_encoder import TfidfEncoder
from onesearch_fast.train import stage_runs
from onesearch_fast.train.backbones import backbone_of
from onesearch_fast.train.config import smoke_config
from onesearch_fast.train.model import open_model
from onesearch_fast.train.pipeline import run_pipeline
from onesearch_fast.train.rows import TokenRows
from onesearch_fast.train.serve import export_served

STEPS = [
    "semantic_ids",
    "tokenizer",
    "thoughts",
    "initial_model",
    "stage_1_alignment",
    "stage_2_cooccurrence",
    "stage_3_personalisation",
    "served",
]


@pytest.fixture(scope="module")
def split() -> Split:
    return leave_last_out(make_synthetic(seed=3, num_items=250, num_users=120).dataset)


@pytest.fixture(scope="module")
def finished(split, tmp_path_factory):
    return run_pipeline(split, smoke_config(), tmp_path_factory.mktemp("run"))


def test_keywords_reach_the_served_encoder(split, tmp_path) -> None:
    config = replace(smoke_config(), sid_keywords="mined", stages=smoke_config().stages[:1])
    served = run_pipeline(split, config, tmp_path / "run").served_folder
    encoder = ServedModel.load(served).text_encoder
    brand = next(item.brand for item in split.log.items if item.brand)
    assert brand.lower() in {one.text for one in encoder.dictionary.keywords}


def test_only_runs_of_equal_keywords_share_steps(split, tmp_path) -> None:
    """Vectors, and so codes, are drawn to keywords, and a file of them may be edited."""
    path = tmp_path / "keywords.jsonl"
    mine_keywords(split.log).save(path)
    config = replace(smoke_config(), stages=(), thoughts=None, sid_keywords=str(path))
    run_pipeline(split, config, tmp_path / "first")

    def shares(name: str, config) -> bool:
        run_pipeline(split, config, tmp_path / name, fork_from=[tmp_path / "first"])
        one, other = (tmp_path / run / "semantic_ids/items.safetensors" for run in ("first", name))
        return one.samefile(other)

    assert shares("same", config)
    assert not shares("none", replace(config, sid_keywords=None))
    KeywordDictionary([Keyword("dress", "entity")]).save(path)
    assert not shares("edited", config)
    with pytest.raises(ValueError, match="differs in keywords"):
        run_pipeline(split, config, tmp_path / "first")


def test_an_encoder_that_was_aligned_to_another_log_is_refused(split, tmp_path) -> None:
    texts = [item.title for item in split.log.items]
    plain = TfidfEncoder.fit(texts, 4, 0)
    aligned = AlignedEncoder(plain, np.eye(4, dtype=np.float32), "hash of another log")
    KeywordEncoder(aligned, mine_keywords(split.log)).save(tmp_path / "encoder")
    smoke = smoke_config()
    config = replace(smoke, sid=replace(smoke.sid, encoder=str(tmp_path / "encoder")))
    with pytest.raises(ValueError, match=r"encoder: expected one that was aligned .*--order"):
        run_pipeline(split, config, tmp_path / "run")


def test_a_folder_made_anew_is_another_one(split, tmp_path) -> None:
    """By the same path: refused by the run that read it, and shared by none that reads it."""
    encoder, checkpoint = tmp_path / "encoder", tmp_path / "checkpoint"
    texts = [item.title for item in split.log.items]
    TfidfEncoder.fit(texts, 32).save(encoder)
    _plain_checkpoint(checkpoint)
    plain = smoke_config()
    config = replace(
        plain,
        sid=replace(plain.sid, encoder=str(encoder)),
        model=replace(plain.model, checkpoint=str(checkpoint)),
        prompts=replace(plain.prompts, template="english"),
        stages=(),
        thoughts=None,
    )
    run_pipeline(split, config, tmp_path / "first")

    def shares(name: str) -> list[bool]:
        run_pipeline(split, config, tmp_path / name, fork_from=[tmp_path / "first"])
        files = ("semantic_ids/items.safetensors", "tokenizer/tokenizer.json")
        return [(tmp_path / "first" / file).samefile(tmp_path / name / file) for file in files]

    assert shares("same") == [True, True]
    _plain_checkpoint(checkpoint, seed=1)
    assert shares("other_model") == [True, False]
    TfidfEncoder.fit(texts[::2], 32).save(encoder)
    assert shares("other_both") == [False, False]
    with pytest.raises(ValueError, match="differs in checkpoint, encoder"):
        run_pipeline(split, config, tmp_path / "first")


def weights(folder) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def assert_same_weights(one, other) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_a_run_makes_every_step_and_a_served_folder(finished, split):
    assert [step.name for step in finished.steps] == STEPS
    assert not any(step.reused for step in finished.steps)
    served = ServedModel.load(finished.served_folder)
    assert len(served.items) == len(split.log.items)
    assert served.trie.num_items == len(split.log.items)
    assert finished.semantic_id_quality["num_items"] == len(split.log.items)
    assert (finished.run_folder / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_the_curves_show_a_falling_loss_and_a_validation(finished):
    curves = json.loads((finished.run_folder / "curves.json").read_text())
    last = curves["stage_3_personalisation"]
    assert last["points"][-1]["loss"] < last["points"][0]["loss"]
    assert len(last["validations"]) == 1
    assert last["tokens"] > 0
    assert curves["stage_1_alignment"]["validations"] == []


def test_items_of_one_sid_come_by_popularity(finished, split):
    popularity = split.log.item_popularity()
    trie = SidTrie.load(finished.served_folder / "sid_trie.bin")
    rows, offsets = trie.items(np.arange(trie.num_sids))
    shared = [rows[a:b] for a, b in pairwise(offsets) if b - a > 1]
    assert shared, "the smoke config must make some items share a SID"
    for together in shared:
        assert (np.diff(popularity[together]) <= 0).all()


def test_transformers_opens_the_served_folder_as_it_is(finished):
    model = AutoModelForCausalLM.from_pretrained(finished.served_folder)
    tokenizer = AutoTokenizer.from_pretrained(finished.served_folder)
    first = model.config.code_token_offsets[0]
    assert tokenizer.convert_ids_to_tokens(first) == "<a_0>"
    ids = tokenizer("<task_next_item><item>", return_tensors="pt")["input_ids"]
    logits = model(input_ids=ids).logits[0, -1]
    assert logits.argmax() >= first, "after <item> the model must expect a code"


def test_calling_again_returns_what_is_there(finished, split, monkeypatch):
    monkeypatch.setattr(stage_runs, "train_stage", None)  # nothing may be trained again
    again = run_pipeline(split, smoke_config(), finished.run_folder)
    assert all(step.reused for step in again.steps)
    assert again.served_folder == finished.served_folder


def test_a_run_killed_between_steps_ends_alike(finished, split, tmp_path, monkeypatch):
    original = stage_runs.train_stage

    def killed(model, tasks, config, *args, **kwargs):
        if config.name == "cooccurrence":
            raise KeyboardInterrupt
        return original(model, tasks, config, *args, **kwargs)

    monkeypatch.setattr(stage_runs, "train_stage", killed)
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(split, smoke_config(), tmp_path)
    assert not (tmp_path / "stage_2_cooccurrence").exists()
    monkeypatch.undo()
    resumed = run_pipeline(split, smoke_config(), tmp_path)
    assert [step.reused for step in resumed.steps] == [True] * 5 + [False] * 3
    assert_same_weights(resumed.served_folder, finished.served_folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda config: replace(config, seed=1), "config.seed"),
        (
            lambda config: replace(config, model=replace(config.model, num_layers=3)),
            "config.model.num_layers",
        ),
    ],
)
def test_a_folder_of_another_config_is_refused(finished, split, change, named):
    with pytest.raises(ValueError, match=f"differs in {named}; choose another run folder"):
        run_pipeline(split, change(smoke_config()), finished.run_folder)


def test_an_edited_template_is_another_run(split, tmp_path):
    template = tmp_path / "template.json"
    value = Templates.load("compact").to_json()
    template.write_text(json.dumps(value))
    prompts = replace(smoke_config().prompts, template=str(template))
    config = replace(smoke_config(), prompts=prompts, stages=())
    run_pipeline(split, config, tmp_path / "run")
    value["personalised"]["next_item"]["turn"] = ["next: <item>"]
    template.write_text(json.dumps(value))
    with pytest.raises(ValueError, match=r"differs in template\.personalised\.next_item"):
        run_pipeline(split, config, tmp_path / "run")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (None, "expected an existing folder"),
        (
            GPTNeoXConfig(num_hidden_layers=1),
            "model_type: expected one of .*qwen3",
        ),
        (Qwen3Config(hidden_act="gelu"), "hidden_act: expected 'silu'"),
    ],
)
def test_a_checkpoint_that_cannot_be_served_is_refused_at_once(split, tmp_path, config, named):
    folder = tmp_path / "checkpoint"
    if config is not None:
        config.save_pretrained(folder)
        save_file({"weight": np.zeros(1, np.float32)}, folder / "model.safetensors")
    model = replace(smoke_config().model, checkpoint=str(folder))
    with pytest.raises(ValueError, match=named):
        run_pipeline(split, replace(smoke_config(), model=model), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_of_other_data_is_refused(finished):
    other = leave_last_out(make_synthetic(seed=4, num_items=250, num_users=120).dataset)
    with pytest.raises(ValueError, match="differs in data, validation; choose another"):
        run_pipeline(other, smoke_config(), finished.run_folder)


def test_a_folder_with_folders_of_others_is_refused(split, tmp_path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"one that holds .*served; choose another run folder"):
        run_pipeline(split, smoke_config(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["served"]


@pytest.mark.parametrize("content", ["[]", "{"])
def test_a_broken_run_file_is_refused(split, tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json"):
        run_pipeline(split, smoke_config(), tmp_path)


def test_a_folder_in_use_is_refused_without_resume(finished, split):
    with pytest.raises(ValueError, match="run_dir: expected no run, got"):
        run_pipeline(split, smoke_config(), finished.run_folder, resume=False)


def test_an_unknown_task_is_refused_before_anything_is_written(split, tmp_path):
    config = smoke_config()
    stage = replace(config.stages[0], tasks={"title_to_picture": 1.0})
    with pytest.raises(ValueError, match=r"got \['title_to_picture'\]"):
        run_pipeline(split, replace(config, stages=(stage,)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_export_writes_a_sound_folder_in_the_other_dtype(finished, tmp_path):
    out = tmp_path / "served"
    assert main(["export", str(finished.run_folder), "--out", str(out)]) == 0
    ServedModel.load(out)
    full, half = weights(finished.served_folder), weights(out)
    assert all(value.dtype == torch.bfloat16 for value in half.values())
    for name, value in full.items():
        assert torch.equal(value.bfloat16(), half[name])
    before = sorted(finished.run_folder.iterdir())
    assert main(["export", str(finished.run_folder), "--out", str(finished.run_folder)]) == 2
    assert sorted(finished.run_folder.iterdir()) == before
    with pytest.raises(ValueError, match="dtype: expected one of"):
        export_served(finished.run_folder, out, "int8")


def test_a_checkpoint_is_extended_with_code_tokens(finished, split, tmp_path):
    config = smoke_config()
    templates = replace(config.prompts, template="english")
    folder = tmp_path / "checkpoint"
    _plain_checkpoint(folder)
    model = replace(config.model, checkpoint=str(folder))
    run = replace(config, model=model, prompts=templates, stages=config.stages[:1])
    result = run_pipeline(split, run, tmp_path / "run")
    before = AutoModelForCausalLM.from_pretrained(folder).get_input_embeddings().weight
    initial = AutoModelForCausalLM.from_pretrained(result.run_folder / "initial_model")
    after = initial.get_input_embeddings().weight
    tokenizer = ServedModel.load(result.served_folder).prompts.tokenizer
    assert torch.equal(after[: len(before)], before)
    assert len(after) == tokenizer.vocab_size
    codes = load_file(result.run_folder / "semantic_ids" / "items.safetensors")["codes"]
    level = codes.shape[1] - 1
    with_code = [item for item, row in zip(split.log.items, codes, strict=True) if row[level] == 0]
    means = [after[tokenizer.encode_text(item.title)].mean(0) for item in with_code]
    begins = after[tokenizer.code_token_offsets[level]]
    assert torch.cosine_similarity(begins, torch.stack(means).mean(0), dim=0) > 0.95


@pytest.mark.parametrize("architecture", ["gpt2", "bart"])
def test_other_architectures_are_served_as_they_were_trained(split, tmp_path, architecture):
    config = smoke_config()
    model = replace(config.model, architecture=architecture)
    stage = replace(config.stages[2], tasks={"search": 1.0}, epochs=1)
    run = replace(config, model=model, stages=(stage,))
    served = ServedModel.load(run_pipeline(split, run, tmp_path).served_folder)
    backbone = backbone_of(open_model(served.folder).eval(), served.prompts.tokenizer.pad_id)
    prompt = served.prompts.next_item_prompt(None, [])
    codes = torch.tensor([[0] * len(served.trie.level_sizes)])
    row = Row()
    row.add(prompt, False)
    row.add(served.prompts.tokenizer.code_ids(codes[0]).tolist(), True)
    batch = backbone.make_batch(TokenRows.pack([row]), np.array([0]))
    with torch.no_grad():
        log_probs = backbone.logits(backbone.embed(batch), batch).log_softmax(-1)
    expected = log_probs.gather(1, batch.labels[:, None]).sum().item()
    engine = Engine.from_pretrained(served.folder, served.trie, dtype="float32")
    assert engine.score([prompt], codes, "vocab").item() == pytest.approx(expected, abs=1e-3)


def _plain_checkpoint(folder, seed: int = 0) -> None:
    """A small Qwen3 model with a byte-level tokenizer, laid out as a pretrained checkpoint is."""
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = ByteLevel()
    backend.train_from_iterator(
        ["red dress", "blue boots"],
        BpeTrainer(special_tokens=["</s>"], initial_alphabet=ByteLevel.alphabet()),
    )
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    hf.save_pretrained(folder)
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(hf),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=64,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
