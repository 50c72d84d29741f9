"""What recomputation costs and saves: a training step of the UNet with and without it.

    python benchmarks/recompute.py          # prints a table, writes benchmarks/results/recompute.{md,json}

Two processes take turns, as in ``unet.py``, both with the plugins native and flash_attn. R1 has many tokens and few
parameters, since parameters, gradients and moments are what recomputation cannot save; nor can it save the scratch
memory that oneDNN keeps for every convolution of a graph, of which a graph that computes twice has more. Ratios are to
training without it.
"""

from __future__ import annotations

from report import arguments, write
from unet import BATCH, WORKLOADS, measure

HEADINGS = ["workload", "who", "step s", "ratio", "processor s", "first step s", "with cache s", "peak GB"]


def main() -> None:
    """Measure and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS)
    parser.add_argument("--blocks", type=int, help="how often each side has its turn")
    parser.add_argument("--steps", type=int, default=2, help="steps in a turn")
    args = parser.parse_args()
    workloads, blocks = args.workloads or ["W0" if args.quick else "R1"], args.blocks or (2 if args.quick else 3)
    kinds = ["recompute", "native"]
    rows = [row for name in workloads for row in measure(name, kinds, blocks, args.steps)]
    title = (
        f"One training step of the UNet with recomputation (recompute) and without (native), float32, batch {BATCH}: "
        f"{blocks} turns of {args.steps} steps."
    )
    last = rows[-2:]
    said = f"recomputation on {last[0][0]}: {last[0][7]} GB instead of {last[1][7]}, {last[0][3].split()[0]} x the time"
    write("recompute", title, HEADINGS, rows, args.out, said)


if __name__ == "__main__":
    main()
