"""``make bench``: the driver runs real subjects, keeps what they found, and does not hide a failure."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.together

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import run

    return run


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--quick", "--subjects", "sink", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "[1/1] sink" in done.stderr
    assert "1 of 1 subjects done" in done.stderr
    return out


def test_a_quick_subject_is_measured_and_indexed_with_its_figure(measured: Path) -> None:
    data = json.loads((measured / "sink.json").read_text())
    assert [row["driver"] for row in data["rows"]] == ["no sink", "sink, 10 steps a dispatch"]
    assert all(float(row["ms a step"]) > 0 for row in data["rows"])
    assert {"date", "processor", "memory", "load before", "processors busy elsewhere"} <= data["machine"].keys()
    assert data["headline"] in (measured / "sink.md").read_text()
    line = f"| [sink](sink.md) | {data['headline']} | {data['machine']['date']} |"
    assert line in (measured / "README.md").read_text()


def test_a_subject_that_takes_too_long_is_ended_and_named_beside_what_an_earlier_run_found(
    measured: Path, driver: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ["run.py", "--quick", "--subjects", "sink", "--out", str(measured), "--limit", "0.001"]
    monkeypatch.setattr(sys, "argv", asked)
    assert driver.main() == 1
    assert "0 of 1 subjects done" in capfd.readouterr().err
    headline = json.loads((measured / "sink.json").read_text())["headline"]
    assert f"| **took more than 0.001 minutes** {headline} |" in (measured / "README.md").read_text()


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("sys.exit(3)", "failed (exit code 3)"),
        ("pass", "wrote no result"),
        ("open(sys.argv[2] + '/sink.json', 'w').write('{}'); sys.exit(1)", "missed a mark or a part (exit code 1)"),
        ("open(sys.argv[2] + '/sink.json', 'w').write('{}')", ""),
    ],
)
def test_how_a_script_ended_is_told(
    source: str, problem: str, driver: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sink.py").write_text(f"import sys\n{source}\n")
    monkeypatch.setattr(driver, "HERE", tmp_path)
    assert driver.measure("sink", tmp_path, quick=False, limit=1).problem == problem


def test_every_benchmark_is_a_subject_or_a_part_of_one(driver: ModuleType) -> None:
    scripts = {path.stem: ast.parse(path.read_text()) for path in BENCHMARKS.glob("*.py")}
    imported = {node.module for tree in scripts.values() for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert set(driver.SUBJECTS) <= scripts.keys()
    assert scripts.keys() - {"run", *driver.SUBJECTS} <= imported
    for name in driver.SUBJECTS:
        assert "write" in {alias.name for node in scripts[name].body if isinstance(node, ast.ImportFrom)
                           for alias in node.names}, name  # fmt: skip


def test_the_results_that_are_committed_can_be_indexed(driver: ModuleType, tmp_path: Path) -> None:
    shutil.copytree(BENCHMARKS / "results", tmp_path, dirs_exist_ok=True)
    driver.index(tmp_path, {})
    lines = (tmp_path / "README.md").read_text().splitlines()
    found = [path.stem for path in tmp_path.glob("*.json")]
    assert found
    for name in found:
        assert (tmp_path / f"{name}.md").exists()
        assert any(line.startswith(f"| [{name}]({name}.md) |") for line in lines)


def test_make_offers_it() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^bench: \$\(VENV\)/.test-ready$", makefile, re.MULTILINE)
    assert "make bench" in makefile
