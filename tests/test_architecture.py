"""Proves the direction of imports: app -> models -> renderers, never back, imports inside functions included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {"renderers": 0, "models": 1, "assets": 1, "app": 2}
ALLOWED_AT_TOP = {
    "app", "renderers", "models", "assets", "tests", "pyproject.toml", "README.md", "LICENSE", "build", "dist",
}  # fmt: skip


def _sources() -> list[Path]:
    return [path for top in FLOORS for path in sorted((ROOT / top).rglob("*.py"))]


def _imported(path: Path) -> list[tuple[int, str]]:
    """(line, absolute module) of every import in a file, relative ones resolved."""
    package = ["h3d", *path.relative_to(ROOT).parent.parts]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level > 0 else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found += [(node.lineno, module)] + [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


@pytest.mark.parametrize("path", _sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_runs_upward(path: Path):
    floor = FLOORS[path.relative_to(ROOT).parts[0]]
    for line, module in _imported(path):
        parts = module.split(".")
        if parts[0] == "h3d" and len(parts) > 1:
            assert FLOORS[parts[1]] <= floor, f"{path.relative_to(ROOT)}:{line} imports {module}, which is above it"


def test_the_walk_sees_relative_and_inner_imports(tmp_path: Path):
    # The check above would prove nothing if it overlooked these.
    modules = [module for path in _sources() if path.name == "drawing.py" for _, module in _imported(path)]
    assert "h3d.app.figures.images" in modules
    inner = [module for path in _sources() if path.name == "cli.py" for _, module in _imported(path)]
    assert "h3d.app.viewer" in inner


def test_importing_the_doors_loads_no_screen_and_no_cuda():
    import subprocess
    import sys

    heavy = ("viser", "gsplat", "open3d")
    code = f"import sys, h3d.renderers, h3d.models.gaussians; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_top_level_holds_the_promised_folders_only():
    names = {
        path.name for path in ROOT.iterdir() if not path.name.startswith(".") and not path.name.endswith(".egg-info")
    }
    assert names <= ALLOWED_AT_TOP, f"unexpected at the top level: {sorted(names - ALLOWED_AT_TOP)}"
