import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onesearch_fast.data.prompts import Templates
from onesearch_fast.data.split import leave_last_out
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.files import write_json
from onesearch_fast.sid.alignment_config import AlignmentConfig
from onesearch_fast.train.config import PipelineConfig

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KEY = "search/shop"


@pytest.fixture(scope="module")
def beauty_table():
    spec = importlib.util.spec_from_file_location("beauty_table", BENCHMARKS / "beauty_table.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_seeds_are_averaged_case_by_case(beauty_table):
    rng = np.random.default_rng(0)
    shape = (60, len(beauty_table.METRICS))
    seeds = [
        {f"{system}|{KEY}": rng.integers(0, 2, shape).astype(float) for system in systems}
        for systems in [("onesearch", "item_knn")] * 3
    ]
    found = beauty_table.table(seeds)
    ours, theirs = (
        np.mean([one[f"{system}|{KEY}"] for one in seeds], axis=0)
        for system in ("onesearch", "item_knn")
    )
    for place, metric in enumerate(beauty_table.METRICS):
        value, low, high = found["systems"][KEY]["onesearch"][metric]
        assert value == pytest.approx(ours[:, place].mean(), abs=1e-5) and low < value < high
        gap = found["onesearch_minus_system"][KEY]["item_knn"][metric]
        assert gap[0] == pytest.approx((ours - theirs)[:, place].mean(), abs=1e-5)
    assert set(found["onesearch_minus_system"][KEY]) == {"item_knn"}


def test_an_encoder_of_another_log_or_config_is_refused(beauty_table, tmp_path, monkeypatch):
    log = leave_last_out(make_synthetic(seed=3, num_items=200, num_users=60).dataset).log
    monkeypatch.setattr(beauty_table, "ALIGNMENT", AlignmentConfig(steps=2))
    beauty_table.align(log, tmp_path / "encoder")
    beauty_table.align(log, tmp_path / "encoder")
    with pytest.raises(ValueError, match=r"with the same train_log, .*new folder"):
        beauty_table.align(replace(log, shown=log.shown[1:]), tmp_path / "encoder")
    monkeypatch.setattr(beauty_table, "ALIGNMENT", AlignmentConfig(steps=3))
    with pytest.raises(ValueError, match="with the same alignment, "):
        beauty_table.align(log, tmp_path / "encoder")


def test_an_evaluation_with_other_settings_is_refused(beauty_table, tmp_path, monkeypatch):
    monkeypatch.setattr(beauty_table, "run_pipeline", lambda *_, **__: None)
    about = {**beauty_table.evaluation_settings(), "machine": "then"}
    (tmp_path / "seed_0").mkdir()
    write_json(tmp_path / "seed_0" / "about.json", about)
    assert beauty_table.evaluate_seed(None, tmp_path, 0)["machine"] == "then"
    monkeypatch.setattr(beauty_table, "NUM_BEAMS", 7)
    with pytest.raises(ValueError, match="with the same num_beams, "):
        beauty_table.evaluate_seed(None, tmp_path, 0)


def test_a_served_folder_without_counts_is_refused(beauty_table, served_folder):
    with pytest.raises(ValueError, match=r"expected a trie that keeps item scores.*remove "):
        beauty_table.evaluate(None, served_folder, 0)


def test_a_table_of_two_seeds_is_a_quick_one(beauty_table, capsys):
    beauty_table.show({"seeds": [{}, {}], "systems": {}})
    assert capsys.readouterr().out == "quick table (2 seeds)\n"


def test_its_config_is_sound(beauty_table):
    config = beauty_table.make_config(Path("encoder"), seed=3)
    assert PipelineConfig.from_json(config.to_json()) == config
    assert all(stage.max_minutes is None for stage in config.stages)  # a seed gives its weights
    Templates.load(config.prompts.template)
