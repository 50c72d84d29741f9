"""All benchmarks, one after another, and an index of what they found.

    make bench                                          # everything, into benchmarks/results
    make bench SUBJECTS="unet sink"                     # only these
    make bench QUICK=1                                  # all of them in minutes, into build/benchmarks: for a first try

Each subject is a script of its own, which may be run alone (``python benchmarks/sink.py --help``), in a process of its
own. When one fails, the others are measured all the same; the exit code is 1 at the end. The index has a line for every
result in the folder, also of earlier runs: each line has its date, and how busy the machine was with other things.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import page
from report import LOAD, RESULTS, ROOT, arguments, machine, markdown, own

HERE = Path(__file__).resolve().parent
BUSY = 0.5
"""Load of a machine on which figures are noise."""
ELSEWHERE = "processors busy elsewhere"
SUBJECTS = {
    "unet": 4,
    "recompute": 2,
    "kernels": 2,
    "attention": 3,
    "curves": 5,
    "resume": 2,
    "recipe": 2,
    "data": 3,
    "sink": 1,
    "hooks": 2,
    "checkpoint": 2,
    "weights": 3,
    "check": 2,
}
"""Name of the script -> minutes that it takes on two processors."""


@dataclass(frozen=True)
class Outcome:
    """How a subject went.

    Attributes:
        problem: what went wrong; empty if nothing did.
        minutes: by the clock.
        processor: minutes that all its processes computed.
    """

    problem: str
    minutes: float
    processor: float


def measure(subject: str, out: Path, quick: bool, limit: float) -> Outcome:
    """Run one subject to its end, or for at most ``limit`` minutes."""
    command = [sys.executable, str(HERE / f"{subject}.py"), "--out", str(out), *(["--quick"] if quick else [])]
    began, spent, result = time.monotonic(), own(), out / f"{subject}.json"
    before = result.stat().st_mtime_ns if result.exists() else 0
    # A session of its own, so that all its processes can be ended together.
    process = subprocess.Popen(command, start_new_session=True, env={**os.environ, "BENCH_LOAD": str(LOAD)})
    try:
        code: int | None = process.wait(60 * limit)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    written = result.exists() and result.stat().st_mtime_ns != before
    problem = "" if written else "wrote no result"
    if code is None:
        problem = f"took more than {limit:g} minutes"
    elif code:
        problem = f"missed a mark or a part (exit code {code})" if written else f"failed (exit code {code})"
    return Outcome(problem, (time.monotonic() - began) / 60, (own() - spent) / 60)


def index(out: Path, outcomes: dict[str, Outcome]) -> None:
    """Write ``README.md``: a line for every result in the folder, and for what failed just now."""
    rows = []
    for subject in SUBJECTS:
        file, outcome = out / f"{subject}.json", outcomes.get(subject)
        problem = f"**{outcome.problem}** " if outcome and outcome.problem else ""
        if file.is_file():
            data = json.loads(file.read_text())
            about = data["machine"]
            figure = problem + (data.get("headline") or data["title"])
            rows.append([f"[{subject}]({subject}.md)", figure, about["date"], about.get(ELSEWHERE, "?")])
        elif problem:
            rows.append([subject, problem, machine()["date"], ""])
    said = ", ".join(f"{key} {value}" for key, value in machine().items())
    table = markdown(["subject", "result", "date", ELSEWHERE], rows)
    text = "Measured by `make bench`, which writes this page; each table tells its machine, versions and ranges."
    (out / "README.md").write_text(f"# Measurements\n\n{text}\n\n{table}\n\nLast run: {said}.\n")


def tell(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Measure what was asked for; 1 if anything failed."""
    parser = arguments(__doc__)
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), metavar="NAME", help="some")
    parser.add_argument("--limit", type=float, default=30, metavar="MINUTES", help="for one subject")
    given = parser.parse_args()
    out = quick_folder(given) if given.quick else given.out
    out.mkdir(parents=True, exist_ok=True)
    tell(f"{len(given.subjects)} subjects into {out}, load {LOAD:.1f} on {os.cpu_count()} processors")
    if LOAD > BUSY:
        tell("the machine is BUSY with something else: take these figures for noise, and measure again when it rests")
    outcomes: dict[str, Outcome] = {}
    for number, subject in enumerate(given.subjects, 1):
        about = "quick" if given.quick else f"about {SUBJECTS[subject]} min"
        tell(f"[{number}/{len(given.subjects)}] {subject} ({about}) ...")
        outcomes[subject] = measure(subject, out.resolve(), given.quick, given.limit)
        done = outcomes[subject]
        tell(f"{subject}: {done.problem or 'done'}, {done.minutes:.1f} min, {done.processor:.1f} min of processors")
        index(out, outcomes)  # what is there is not lost when the rest is interrupted
        if out == RESULTS:
            page.main()
    problems = {subject: done.problem for subject, done in outcomes.items() if done.problem}
    for subject, problem in problems.items():
        tell(f"{subject} {problem}")
    minutes = sum(done.minutes for done in outcomes.values())
    tell(f"{len(outcomes) - len(problems)} of {len(outcomes)} subjects done in {minutes:.0f} min: {out / 'README.md'}")
    return int(bool(problems))


def quick_folder(given: argparse.Namespace) -> Path:
    """Noise does not take the place of measurements."""
    return ROOT / "build" / "benchmarks" if given.out == RESULTS else given.out


if __name__ == "__main__":
    sys.exit(main())
