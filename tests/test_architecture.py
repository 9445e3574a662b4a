"""The house's rules, checked by machine."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "vitpose"
FILES = sorted(SOURCE.rglob("*.py"))

MAX_FILE, MAX_FUNCTION = 400, 60


def test_files_stay_readable() -> None:
    lengths = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE} == {}


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield f"{path.relative_to(SOURCE)}:{node.name}", node


def test_functions_stay_short() -> None:
    def body(node: ast.FunctionDef) -> int:
        """Lines from the first statement after the docstring: long explanations are welcome."""
        first = node.body[1] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body[0]
        return (node.end_lineno or 0) - first.lineno + 1

    assert {name: body(node) for name, node in functions() if body(node) > MAX_FUNCTION} == {}


def test_public_functions_take_no_kwargs() -> None:
    allowed = {"core/poses.py:empty", "pipeline/estimator.py:with_options"}  # both hand on to a checked dataclass
    found = {name for name, node in functions() if node.args.kwarg is not None and not node.name.startswith("_")}
    assert found - allowed == set()


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("__init__.py")), ids=lambda path: str(path.parent.name))
def test_only_the_root_exports_names(path: Path) -> None:
    if path.parent == SOURCE:
        return
    nodes = ast.parse(path.read_text()).body
    assert len(nodes) <= 1, "a sub-package's __init__ is its docstring and nothing else"
    assert nodes, "a sub-package's __init__ says what the layer is"


def test_classes_do_not_build_towers() -> None:
    """A class of ours inherits from a library's or from a protocol, never from another class of ours."""
    allowed = {"VitPoseError"}
    ours: set[str] = set()
    bases: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                ours.add(node.name)
                bases[node.name] = [ast.unparse(base) for base in node.bases]
    protocols = {name for name, parents in bases.items() if "Protocol" in parents}
    towers = {name: parents for name, parents in bases.items() if set(parents) & (ours - allowed - protocols)}
    assert towers == {}


def run_python(code: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_nothing_slow_and_changes_nothing() -> None:
    code = """
import json, logging, os, sys, warnings
before = dict(os.environ), len(logging.getLogger().handlers), list(warnings.filters)
import vitpose
after = dict(os.environ), len(logging.getLogger().handlers), list(warnings.filters)
print(json.dumps([before == after, sorted(m for m in sys.modules if m.split(".")[0] in
    {"torch", "transformers", "numpy", "cv2", "supervision", "typer", "pydantic"})]))
"""
    unchanged, slow = json.loads(run_python(code))
    assert unchanged
    assert slow == []


def test_the_help_page_needs_no_torch() -> None:
    code = """
import sys
from typer.testing import CliRunner
from vitpose.cli.main import app
result = CliRunner().invoke(app, ["--help"])
assert result.exit_code == 0, result.output
print([m for m in ("torch", "transformers", "supervision", "cv2", "pyarrow") if m in sys.modules])
"""
    assert run_python(code).strip() == "[]"


def test_no_work_at_import_of_any_module() -> None:
    code = f"""
import importlib, os, pathlib, threading
root = pathlib.Path({str(SOURCE)!r})
before = dict(os.environ), threading.active_count()
for path in sorted(root.rglob("*.py")):
    if path.name != "__main__.py":
        name = ".".join(("vitpose", *path.relative_to(root).with_suffix("").parts))
        importlib.import_module(name.removesuffix(".__init__"))
changed = {{key for key in set(before[0]) | set(os.environ) if before[0].get(key) != os.environ.get(key)}}
print(changed - {{"KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK", "LD_LIBRARY_PATH"}} or "nothing")  # torch's and OpenCV's
"""
    assert run_python(code).strip() == "nothing"
