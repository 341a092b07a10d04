import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from onesearch_fast.data.prompts import Templates
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


def test_its_config_is_sound(beauty_table):
    config = beauty_table.make_config(Path("encoder"), seed=3)
    assert PipelineConfig.from_json(config.to_json()) == config
    assert all(stage.max_minutes is None for stage in config.stages)  # a seed gives its weights
    Templates.load(config.prompts.template)
