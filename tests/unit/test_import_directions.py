"""Imports run one way, as the table of docs/design.md says; importing loads torch at most."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import onesearch_fast

PACKAGE = Path(onesearch_fast.__file__).parent
DESIGN = Path(__file__).parents[2] / "docs" / "design.md"
# Beside what its row names, any layer may import these, which import nothing of ours.
EVERYBODY = {"errors", "files", "__version__"}


def layers_named_in(cell: str) -> list[str]:
    return [name.split("/")[0] for name in re.findall(r"`([^`]+)`", cell)]


def design_table() -> dict[str, set[str]]:
    """Layer -> the layers that its row lets it import, and all that those may import in turn."""
    section = DESIGN.read_text(encoding="utf-8").split("## 2. Layers")[1]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    everything = {layer for layers, _, _ in rows for layer in layers_named_in(layers)}
    may_import: dict[str, set[str]] = {}
    for layers, _, allowed in rows:
        row = layers_named_in(layers)
        named = everything if allowed.strip() == "everything" else {*layers_named_in(allowed)}
        may_import |= {layer: named | {*row} for layer in row}
    for _ in may_import:
        for layer, allowed_layers in may_import.items():
            may_import[layer] = allowed_layers.union(*(may_import[a] for a in allowed_layers))
    return may_import


MAY_IMPORT = design_table()


def imported_layers(tree: ast.AST) -> Iterator[str]:
    """Our layers that the code imports when it runs, at module level or inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here, so that this test can read them"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            yield from imported_layers(node)
            continue
        parts = [name.split(".") for name in names]
        yield from (part[1] for part in parts if part[0] == "onesearch_fast" and len(part) > 1)


def violations(source: str, layer: str) -> set[str]:
    return set(imported_layers(ast.parse(source))) - MAY_IMPORT[layer] - EVERYBODY


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_run_one_way(path: Path) -> None:
    layer = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if layer != "__init__":
        assert violations(path.read_text(encoding="utf-8"), layer) == set()


def test_the_design_keeps_the_layers_apart() -> None:
    assert MAY_IMPORT["index"] == {"_C", "index"}
    assert "engine" not in MAY_IMPORT["models"] | MAY_IMPORT["ops"] | MAY_IMPORT["data"]
    below = MAY_IMPORT.keys() - {"cli", "__main__"}
    assert {"cli", "__main__"}.isdisjoint(set().union(*(MAY_IMPORT[layer] for layer in below)))


def test_violations_are_seen() -> None:
    assert violations("import onesearch_fast.engine.engine", "ops") == {"engine"}
    assert violations("from onesearch_fast import train", "index") == {"train"}
    assert violations("def f():\n    from onesearch_fast.cli.main import main", "sid") == {"cli"}
    assert violations("if TYPE_CHECKING:\n    from onesearch_fast.ops import x", "kernels") == set()


def test_the_package_loads_torch_at_most() -> None:
    heavy = "transformers", "tokenizers", "triton", "faiss", "sklearn", "pyarrow", "rich", "scipy"
    program = (
        "import sys, onesearch_fast, onesearch_fast.ops, onesearch_fast.index\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
