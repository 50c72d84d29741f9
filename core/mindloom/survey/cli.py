"""``mindloom data check`` and ``mindloom data convert``: what they take, and what they print."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..cli import Parser, complain, guarded, locating
from ..discovery import Found, discover
from ..errors import UserError, unknown
from ..flags import apply_flags
from ..layers import Layers
from ..parsing import nest

BUCKETS = 8
"""Shapes to suggest at the most, when data.buckets does not say."""
OUT = "data-check"

CHECK = """settings (key=value) are those of section data, and plugins.NAME.* of formats and of measures of captions.
The exit code is 0 when all is fine, 1 when samples are broken or the format warns of something (a shard that is cut
off), and 2 after wrong use.

examples:
  mindloom data check pictures/
  mindloom data check shards/ --limit 1000 --out report --json
  mindloom data check pictures/ --plugins ./my_format.py plugins.my_format.column=title"""
CONVERT = """settings (key=value) are those of section data, and plugins.NAME.* of formats.
The pictures' files are copied bit by bit. Broken samples are listed and left out, and the exit code is then 1, as
it is when the format warns of something (a shard that is cut off).

example:
  mindloom data convert pictures/ shards/ --to FORMAT"""


def main(argv: Sequence[str]) -> int:
    """Run ``mindloom data`` with what stands behind it; return the exit code."""
    name, rest = (argv[0], argv[1:]) if argv else ("", [])
    if name in ACTIONS:
        return ACTIONS[name][0](rest)
    if name and not name.startswith("-"):
        return complain(unknown(f"action {name!r} of mindloom data", name, ACTIONS), [], UserError.exit_code)
    parser = Parser(prog="mindloom data", description="Look after data sets.")
    listing = parser.add_subparsers(required=True, metavar="ACTION")
    for name, (_, about) in ACTIONS.items():
        listing.add_parser(name, help=about)
    parser.parse_args(argv)  # shows the help, or complains
    return 0


def main_check(argv: Sequence[str]) -> int:
    """``mindloom data check``."""
    parser = _parser("check", "Look over a data set, whatever its format.", CHECK)
    parser.add_argument("path", metavar="PATH", help="folder, file or pattern that holds the samples")
    _shared(parser)
    parser.add_argument("--out", default=OUT, metavar="DIR", help=f"for report.json, grid.png, plots.png [{OUT}]")
    parser.add_argument("--limit", type=_positive, default=0, metavar="N", help="look at the first N samples only")
    parser.add_argument(
        "--resolution", type=_positive, default=1024, metavar="N", help="side of the squares trained on [1024]"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return _guarded(run_check, vars(parser.parse_intermixed_args(argv)))


def main_convert(argv: Sequence[str]) -> int:
    """``mindloom data convert``."""
    parser = _parser("convert", "Write a data set in another format.", CONVERT)
    parser.add_argument("path", metavar="SRC", help="folder, file or pattern that holds the samples")
    parser.add_argument("destination", metavar="DST", help="folder to make; new or empty")
    parser.add_argument("--to", required=True, metavar="FORMAT", help="format to write")
    _shared(parser)
    return _guarded(run_convert, vars(parser.parse_intermixed_args(argv)))


ACTIONS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "check": (main_check, "look over a data set: sizes, captions, duplicates, broken samples, buckets"),
    "convert": (main_convert, "write a data set in another format"),
}


def _parser(name: str, about: str, epilog: str) -> Parser:
    raw = argparse.RawDescriptionHelpFormatter
    return Parser(
        prog=f"mindloom data {name}", description=about, epilog=epilog, formatter_class=raw, allow_abbrev=False
    )


def _shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of formats")
    parser.add_argument("--format", default="", metavar="NAME", help="format to read; found by itself if left out")
    parser.add_argument("--plugins", action="append", metavar="A,./B.py,no:C", help="formats to have, or not to have")
    parser.add_argument("--workers", type=_positive, default=_processors(), metavar="N", help="threads that decode")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return int(text)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _guarded(work: Callable[[dict[str, Any], Layers, dict[str, Found]], int], arguments: dict[str, Any]) -> int:
    def run() -> int:
        available, layers = discover(), Layers()
        layers.set(nest("data.shuffle", False), "default")  # samples in the order that the data set has
        apply_flags(layers, arguments, available)
        layers.set(nest("data.path", arguments["path"]), "default")  # everybody knows where this was set
        with locating(layers):
            return work(arguments, layers, available)

    return guarded(run, arguments["debug"])


def run_check(arguments: dict[str, Any], layers: Layers, available: dict[str, Found]) -> int:
    """Look over a data set and report."""
    from ..images import decoder
    from . import plots
    from .check import Tally
    from .finding import opened
    from .measures import load_measures
    from .progress import shown
    from .reading import read
    from .report import as_text, write_json

    out = outside(arguments["out"], arguments["path"], "--out")
    measures, notes = load_measures(layers, available)
    with opened(arguments["path"], arguments["format"], layers, available) as data:
        decode = decoder(data.cfg.data.decoder, data.cfg.data.max_pixels)
        total = min(len(data.source), arguments["limit"] or len(data.source))
        tally = Tally(total, measures)
        for look in shown(read(data.source, decode, arguments["workers"], total), total, "checked"):
            tally.add(look)
        found = tally.report(arguments["resolution"], data.cfg.data.bucket_step, data.cfg.data.buckets or BUCKETS)
        report = {"path": data.path, "format": data.format, "announced": len(data.source), **found}
        report |= {"warnings": list(data.warned.messages), "notes": notes}
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(report, out / "report.json")
        written = [out / "report.json", *plots.write(tally.shown, report, decode, out)]
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}: choose another folder with --out") from None
    print(json.dumps(report, indent=2) if arguments["json"] else f"{as_text(report)}\n")
    print(f"written: {', '.join(map(str, written))}", file=sys.stderr)
    return 1 if tally.broken_count or report["warnings"] else 0


def run_convert(arguments: dict[str, Any], layers: Layers, available: dict[str, Found]) -> int:
    """Write a data set in another format."""
    from ..images import decoder
    from .convert import convert, free
    from .finding import opened
    from .progress import shown
    from .reading import read
    from .report import printable, told

    path = free(outside(arguments["destination"], arguments["path"], "DST"))
    with opened(arguments["path"], arguments["format"], layers, available, arguments["to"]) as data:
        write = data.formats[arguments["to"]].write
        if write is None:
            able = ", ".join(sorted(name for name, known in data.formats.items() if known.write)) or "none"
            raise UserError(f"the format {arguments['to']!r} cannot be written, only read; those that can: {able}")
        decode = decoder(data.cfg.data.decoder, data.cfg.data.max_pixels)
        total = len(data.source)
        looks = shown(read(data.source, decode, arguments["workers"]), total, "converted")
        count, broken = convert(looks, write, path)
        complaints = list(data.warned.messages)
    for sample in broken:
        print(f"left out: {told(vars(sample))}", file=sys.stderr)
    for complaint in complaints:
        print(f"warning: {printable(complaint, 300)}", file=sys.stderr)
    if not count:
        raise UserError(f"none of the {total} samples of {data.path} can be used, so nothing was written")
    print(f"{count} of {total} samples: {data.path} ({data.format}) -> {path} ({arguments['to']})")
    return 1 if broken or complaints else 0


def outside(folder: str, data: str, name: str) -> Path:
    """A folder to write to.

    Raises:
        UserError: it lies in the data set.
    """
    path, read = Path(folder).expanduser(), Path(data).expanduser()
    if read.is_dir() and path.resolve().is_relative_to(read.resolve()):
        raise UserError(f"{path} lies in {read}, where formats look for samples: choose another {name}")
    return path
