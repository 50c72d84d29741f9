"""The report's pictures: samples with their captions, and bars of what was counted. Drawn with Pillow alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..formats import RawSample
from ..grid import INK, PAPER, grid
from ..images import Decode

CELL = 256
"""Pixels of the longer side of a picture on the sheet."""
COLUMNS, LINES = 4, 4
BAR, OVER, LIGHT = (70, 120, 190), (205, 80, 60), (225, 225, 225)
FONT, ROW, MARGIN = 15, 24, 24
LABELS, BARS, COUNTS = 150, 360, 90
"""Widths of the three columns of a chart, in pixels."""


def sheet(samples: Sequence[RawSample], decode: Decode) -> Image.Image:
    """Lay samples out in a grid, each with its size and caption below it."""
    pictures, captions = [], []
    for sample in samples:
        picture = decode(sample["image"])
        scale = CELL / max(picture.width, picture.height)
        width, height = (max(1, round(side * scale)) for side in (picture.width, picture.height))
        pictures.append(picture.resize(width, height))
        captions.append(f"{picture.width}x{picture.height}: {sample['caption'][:1000] or '(no caption)'}")
    return Image.fromarray(grid(pictures, captions, COLUMNS, LINES))


def charts(report: Mapping[str, Any]) -> Image.Image:
    """Draw aspect ratios, shorter sides and the lengths of captions, one chart below the other."""
    resolution = report["buckets"]["resolution"]
    drawn = [
        bars(
            "aspect ratio, width : height",
            [(entry["ratio"], entry["samples"], False) for entry in report["aspect_ratios"]],
        ),
        bars(
            f"shorter side in pixels (red: below {resolution})",
            _binned(report["sizes"]["shorter_side"]["histogram"], below=resolution),
        ),
    ]
    for name, entry in report["captions"].items():
        if isinstance(entry, Mapping):
            limit = entry.get("limit")
            over = f" (red: above {limit})" if limit else ""
            drawn.append(bars(f"captions in {name}{over}", _binned(entry["histogram"], above=limit)))
    width, height = max(chart.width for chart in drawn), sum(chart.height for chart in drawn)
    page = Image.new("RGB", (width, height), PAPER)
    top = 0
    for chart in drawn:
        page.paste(chart, (0, top))
        top += chart.height
    return page


def _binned(
    histogram: Sequence[Mapping[str, int]], below: int | None = None, above: int | None = None
) -> list[tuple[str, int, bool]]:
    """Label, count, and whether all of the bin lies beyond the limit."""
    return [
        (
            f"{entry['from']} - {entry['to'] - 1}" if entry["to"] - entry["from"] > 1 else str(entry["from"]),
            entry["samples"],
            (below is not None and entry["to"] <= below) or (above is not None and entry["from"] > above),
        )
        for entry in histogram
    ]


def bars(title: str, rows: Sequence[tuple[str, int, bool]]) -> Image.Image:
    """Draw horizontal bars: a label, the bar, its count; the marked ones are red."""
    font = ImageFont.load_default(FONT)
    most = max((count for _, count, _ in rows), default=0) or 1
    chart = Image.new("RGB", (LABELS + BARS + COUNTS + 2 * MARGIN, ROW * (len(rows) + 2) + MARGIN), PAPER)
    pen = ImageDraw.Draw(chart)
    pen.text((MARGIN, MARGIN // 2), title, INK, font)
    for number, (label, count, marked) in enumerate(rows):
        top = MARGIN // 2 + ROW * (number + 1) + ROW // 4
        left = MARGIN + LABELS
        pen.text((left - 12, top + ROW // 2), label, INK, font, anchor="rm")
        pen.rectangle((left, top + 3, left + BARS, top + ROW - 3), LIGHT)
        if count:
            end = left + max(1, round(BARS * count / most))
            pen.rectangle((left, top + 3, end, top + ROW - 3), OVER if marked else BAR)
        pen.text((left + BARS + 12, top + ROW // 2), str(count), INK, font, anchor="lm")
    return chart


def write(samples: Sequence[RawSample], report: Mapping[str, Any], decode: Decode, folder: Path) -> list[Path]:
    """Write ``grid.png`` and ``plots.png``; return the paths. Without usable samples, those of an earlier check go."""
    paths = [folder / "grid.png", folder / "plots.png"]
    if not samples:
        for path in paths:
            path.unlink(missing_ok=True)
        return []
    for path, picture in zip(paths, (sheet(samples, decode), charts(report)), strict=True):
        picture.save(path)
    return paths
