"""What recomputation costs and saves: a training step of the UNet with and without it.

    python benchmarks/recompute.py          # prints a table, writes benchmarks/results/recompute.{md,json}

Two processes take turns, as in ``unet.py``, both with the plugins native and flash_attn. R1 has many tokens and few
parameters, since parameters, gradients and moments are what recomputation cannot save; nor can it save the scratch
memory that oneDNN keeps for every convolution of a graph, of which a graph that computes twice has more. Ratios are to
training without it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from report import RESULTS, write
from unet import BATCH, WORKLOADS, measure

HEADINGS = ["workload", "who", "step s", "least to most", "ratio", "processor s", "first step s", "peak GB"]


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=["R1", "W2"])
    parser.add_argument("--blocks", type=int, default=5, help="how often each side has its turn")
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    kinds = ["recompute", "native"]
    rows = [row for name in args.workloads for row in measure(name, kinds, args.blocks, args.steps)]
    title = (
        f"One training step of the UNet with recomputation (recompute) and without (native), float32, batch {BATCH}: "
        f"{args.blocks} turns of {args.steps} steps."
    )
    write("recompute", title, HEADINGS, rows, args.out)


if __name__ == "__main__":
    main()
