"""What it takes to check the recipe's full-size training step without its device: time, memory, nodes.

    python benchmarks/check.py                      # prints a table, writes benchmarks/results/check.{md,json}
    python benchmarks/check.py my.yaml other.yaml   # by default: the one with flash attention

Each config runs as ``mindloom check --device_target Ascend --config FILE`` in a process of its own, one after the
other. Processor seconds tell more than the clock when others use the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from report import ROOT, arguments, write

CONFIGS = [ROOT / "configs" / "training" / "sd_xl_base_finetune_910b_fa.yaml"]
QUICK = [ROOT / "configs" / "training" / "tiny_sd_xl_base_finetune_910b_fa.yaml"]
HEADINGS = ["config", "accepted", "parameters", "nodes", "device's own operators", "s", "processor s", "peak GB"]


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


def row(config: Path, report: dict[str, Any]) -> list[Any]:
    if "error" in report:
        return [config.stem, f"no: {report['error']}", *[""] * 6]
    only = ", ".join(f"{count} {name}" for name, count in report["device_only"].items()) or "none"
    parameters = f"{report['trained'] / 1e6:.0f} of {report['parameters'] / 1e6:.0f} M train"
    times = (f"{report[name]:.0f}" for name in ("seconds", "cpu_seconds"))
    return [config.stem, "yes", parameters, report["nodes"], only, *times, f"{report['peak_bytes'] / 1e9:.2f}"]


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("configs", nargs="*", type=Path, metavar="FILE", help="YAML files to check")
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="a setting for all of them")
    given = parser.parse_args()
    configs = given.configs or (QUICK if given.quick else CONFIGS)
    rows = [row(config, check(config, given.set)) for config in configs]
    said = "; ".join(f"{it[0]}: {f'{it[5]} s, {it[7]} GB' if it[5] else 'refused'}" for it in rows)
    title = "mindloom check: a training step compiled for its device, without it, up to the choice of kernels"
    write("check", title, HEADINGS, rows, given.out, said)
    return int(any(not found[5] for found in rows))


if __name__ == "__main__":
    sys.exit(main())
