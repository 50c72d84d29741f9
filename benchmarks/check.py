"""What it takes to check the recipe's full-size training steps without their device: time, memory, nodes.

    python benchmarks/check.py                      # prints a table, writes benchmarks/results/check.md
    python benchmarks/check.py --out table.md my.yaml other.yaml

Each config runs as ``mindloom check --device_target Ascend --config FILE`` in a process of its own, one after the
other. Processor seconds tell more than the clock when others use the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = [ROOT / "configs" / "training" / f"sd_xl_base_finetune_910b{kind}.yaml" for kind in ("", "_fa")]
HEAD = "| config | accepted | parameters | nodes | device's own operators | s | processor s | peak GB |"


def check(config: Path, extra: list[str]) -> dict[str, Any]:
    """Run one check in a process of its own; its report, or its one line of complaint as ``error``."""
    command = [sys.executable, "-m", "mindloom", "check", "--device_target", "Ascend", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "core")}
    done = subprocess.run(
        [*command, "--config", str(config), *extra], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def row(config: Path, report: dict[str, Any]) -> str:
    if "error" in report:
        return f"| {config.stem} | no: {report['error']} | | | | | | |"
    only = ", ".join(f"{count} {name}" for name, count in report["device_only"].items()) or "none"
    return (
        f"| {config.stem} | yes | {report['trained'] / 1e6:.0f} of {report['parameters'] / 1e6:.0f} M train"
        f" | {report['nodes']} | {only} | {report['seconds']:.0f} | {report['cpu_seconds']:.0f}"
        f" | {report['peak_bytes'] / 1e9:.2f} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("configs", nargs="*", type=Path, default=CONFIGS, metavar="FILE", help="YAML files to check")
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="a setting for all of them")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "check.md", metavar="FILE")
    given = parser.parse_args()
    reports = [(config, check(config, given.set)) for config in given.configs]
    table = "\n".join([HEAD, "|" + " --- |" * HEAD.count(" | ") + " --- |", *(row(*found) for found in reports)])
    print(table)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(f"{table}\n", encoding="utf-8")
    return int(any("error" in report for _, report in reports))


if __name__ == "__main__":
    sys.exit(main())
