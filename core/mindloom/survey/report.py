"""The report on a data set: as text that people read, as JSON that programs read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

BAR = 30
"""Characters of the longest bar."""
TOLD = 10
"""Broken samples and duplicates that the text shows; the JSON report has more."""


def printable(text: str, limit: int = 100) -> str:
    """A text in one line that any terminal takes: no control characters, no half surrogate pairs, not too long."""
    line = "".join(c if c.isprintable() else " " for c in text.encode(errors="backslashreplace").decode())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def as_text(report: Mapping[str, Any]) -> str:
    """Everything that matters, in about a page."""
    return "\n".join(_lines(report))


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    samples = report["samples"]
    yield f"{printable(report['path'], 200)}: format {report['format']}, {report['announced']} samples"
    left = "" if samples["checked"] == report["announced"] else " (of these only)"
    size = samples["bytes"] / 1e6
    yield f"checked {samples['checked']}{left}: {samples['usable']} usable, {samples['broken']} broken, {size:.1f} MB"
    if samples["usable"]:
        yield from _pictures(report)
        yield from _captions(report["captions"])
        yield from _duplicates(report["duplicates"])
        yield from _buckets(report["buckets"])
    yield from _broken(report["broken"], samples["broken"])
    yield from (f"warning: {printable(warning, 300)}" for warning in report["warnings"])
    yield from (f"note: {note}" for note in report["notes"])


def _pictures(report: Mapping[str, Any]) -> Iterator[str]:
    sizes = report["sizes"]
    rows = [(name, sizes[name.replace(" ", "_")]) for name in ("width", "height", "shorter side")]
    yield from _spreads("pictures, in pixels", rows)
    below = ", ".join(f"{count} below {limit}" for limit, count in sizes["shorter_side_below"].items())
    yield f"  shorter side: {below}; what is smaller than the frame is enlarged"
    yield from ("", "aspect ratios, width : height")
    most = max(entry["samples"] for entry in report["aspect_ratios"])
    for entry in report["aspect_ratios"]:
        if entry["samples"]:
            bar = "#" * max(1, round(BAR * entry["samples"] / most))
            yield f"  {entry['ratio']:<14} {entry['samples']:>8}  {bar}"


def _captions(captions: Mapping[str, Any]) -> Iterator[str]:
    measures = [(name, entry) for name, entry in captions.items() if isinstance(entry, Mapping)]
    yield from _spreads("captions", measures)
    parts = [f"{captions['empty']} empty"]
    parts += [f"{m['over_limit']} longer than {m['limit']} {name}" for name, m in measures if "limit" in m]
    yield f"  {', '.join(parts)}"


def _spreads(title: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    yield ""
    yield f"{title:<24}{'min':>8}{'median':>10}{'max':>8}"
    for name, entry in rows:
        yield f"  {name:<22}{entry['min']:>8}{entry['median']:>10g}{entry['max']:>8}"


def _duplicates(duplicates: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"duplicates: {duplicates['same_picture']} copies of pictures, {duplicates['same_id']} ids used again"
    for group in duplicates["pictures"][:TOLD]:
        more = f" and {len(group) - 3} more" if len(group) > 3 else ""
        yield f"  same picture: {', '.join(printable(id, 60) for id in group[:3])}{more}"
    for id, count in list(duplicates["ids"].items())[:TOLD]:
        yield f"  {count} times the id {printable(id, 60)}"


def _buckets(buckets: Mapping[str, Any]) -> Iterator[str]:
    side = buckets["resolution"]
    yield ""
    yield (
        f"suggested buckets for the area of {side} x {side}: {100 * buckets['cropped']:.1f} % cropped away, "
        f"{100 * buckets['cropped_by_one_shape']:.1f} % with one shape"
    )
    yield f"  set data.buckets={len(buckets['shapes'])} data.bucket_step={buckets['step']}"
    yield f"  {'width x height':<14} {'pictures':>9} {'cropped':>9}"
    for shape in buckets["shapes"]:
        frame = f"{shape['width']} x {shape['height']}"
        yield f"  {frame:<14} {shape['samples']:>9} {100 * shape['cropped']:>7.1f} %"


def _broken(broken: Sequence[Mapping[str, str]], count: int) -> Iterator[str]:
    if not count:
        return
    yield ""
    yield f"broken samples: {count}"
    for entry in broken[:TOLD]:
        yield f"  {told(entry)}"
    if count > TOLD:
        yield f"  ... and {count - TOLD} more"


def told(entry: Mapping[str, str]) -> str:
    """One broken sample in one line."""
    where = entry["where"]
    place = f" ({printable(where)})" if where and where != entry["id"] else ""
    return f"{printable(entry['id'], 60)}{place}: {printable(entry['reason'], 200)}"


def write_json(report: Mapping[str, Any], path: Path) -> None:
    """Write the report; nobody sees half of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
