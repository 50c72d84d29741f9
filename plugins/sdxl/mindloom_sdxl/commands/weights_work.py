"""What the actions of ``mindloom weights`` do."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mindloom import UserError
from mindloom.survey.progress import shown

from ..layouts import shapes
from ..layouts.drawing import drawn
from ..layouts.fitting import nearest
from ..layouts.mixing import changes, completed, mixed, with_vae
from ..layouts.names import part_of
from ..layouts.opening import Weights, open_weights
from ..layouts.saving import ENDINGS, Wish, guess_layout, save
from ..layouts.tensors import Lazy
from ..presets import PRESETS


def inspect(given: dict[str, Any]) -> int:
    """Tell what a file holds."""
    report = described(open_weights(given["path"]))
    print(json.dumps(report, indent=2) if given["json"] else _told(report))
    return 0


def described(weights: Weights) -> dict[str, Any]:
    """Layout, model, parts with counts, dtypes and bytes, and what differs from the model, as JSON."""
    name, misfit = nearest(weights.shapes)
    parts: dict[str, dict[str, Any]] = {}
    for key, tensor in weights.tensors.items():
        part = parts.setdefault(part_of(key) or "other", {"tensors": 0, "parameters": 0, "bytes": 0, "dtypes": {}})
        part["tensors"] += 1
        part["parameters"] += tensor.size
        part["bytes"] += tensor.nbytes
        part["dtypes"][tensor.dtype] = part["dtypes"].get(tensor.dtype, 0) + 1
    return {
        "path": str(weights.path),
        "layout": weights.layout,
        "model": name,
        "complete": bool(name) and not misfit,
        "tensors": len(weights.tensors),
        "parameters": sum(part["parameters"] for part in parts.values()),
        "bytes": sum(part["bytes"] for part in parts.values()),
        "parts": parts,
        "differences": dict(misfit.kinds),
        "metadata": weights.metadata,
    }


def _told(report: dict[str, Any]) -> str:
    model = report["model"] or "none that is known"
    lines = [
        f"{report['path']}",
        f"layout {report['layout']}, model {model}{'' if report['complete'] else ' (not all of it)'}",
        "",
        f"{'part':<16}{'tensors':>8}{'parameters':>16}{'MB':>10}  dtypes",
    ]
    whole = {key: report[key] for key in ("tensors", "parameters", "bytes")} | {"dtypes": {}}
    for name, part in [*report["parts"].items(), ("all", whole)]:
        kinds = ", ".join(f"{dtype} {count}" for dtype, count in part["dtypes"].items())
        row = f"{name:<16}{part['tensors']:>8}{part['parameters']:>16,}{part['bytes'] / 1e6:>10.1f}  {kinds}"
        lines.append(row.rstrip())
    for kind, names in report["differences"].items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(f"{len(names)} {kind}: {', '.join(list(names)[:3])}{more}")
    lines += [f"{key}: {value:.100}" for key, value in report["metadata"].items()]
    return "\n".join(lines)


def convert(given: dict[str, Any]) -> int:
    """Write weights in another layout."""
    return _written(open_weights(given["path"]), given, [given["path"]])


def init(given: dict[str, Any]) -> int:
    """Write random weights."""
    preset = PRESETS[given["preset"]]
    tensors = drawn(shapes.of(preset), preset, given["seed"])
    return _written(Weights(Path(f"preset {preset.name}"), "single", tensors), given, [])


def merge(given: dict[str, Any]) -> int:
    """Mix models, complete a part, or replace the VAE."""
    *paths, out = given["paths"]
    if not paths:
        raise UserError("give at least one IN, and OUT behind it")
    opened = [open_weights(path) for path in paths]
    tensors = mixed(opened, _shares(given["shares"], len(paths)))
    source, trained = opened[0], opened[0].trained
    if given["base"]:
        source = open_weights(given["base"])
        tensors = completed(tensors, source, paths[0])
    tensors = with_vae(tensors, given["vae"], "")
    merged = Weights(paths[0], "single", tensors, source.metadata, source.folder, trained)
    read = [*paths, *(Path(more) for more in (given["base"], given["vae"]) if more)]
    return _written(merged, {**given, "out": out}, read)


def _shares(text: str, count: int) -> list[float]:
    """As typed, or equal ones.

    Raises:
        UserError: not as many as there are models, no numbers, or their sum is not 1.
    """
    if not text:
        return [1 / count] * count
    try:
        found = [float(share) for share in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count or not all(map(math.isfinite, found)):
        raise UserError(f"--shares {text}: give {count} numbers with commas between them, one for each IN")
    if not math.isclose(sum(found), 1, abs_tol=1e-6):
        raise UserError(f"--shares {text}: they sum to {sum(found):g}, but shares of one whole sum to 1")
    return found


def _check_out(out: Path, layout: str, read: Sequence[Path]) -> None:
    """Refuse an OUT that would mislead by its name, or take the place of what is read.

    Raises:
        UserError: it would.
    """
    ending = ENDINGS.get(layout, "")
    if ending and out.suffix != ending:
        raise UserError(f"OUT {out} must end in {ending}, by which --to {layout} is known: choose such a name")
    place = out.resolve()
    for path in read:
        source = path.expanduser().resolve()
        if place == source or place in source.parents or (source in place.parents and out.exists()):
            raise UserError(f"OUT {out} would take the place of {path}, which is read: choose another OUT")


def _written(weights: Weights, given: dict[str, Any], read: Sequence[Path]) -> int:
    out: Path = given["out"].expanduser()
    layout = given["to"] or guess_layout(out)
    _check_out(out, layout, read)
    wish = Wish(layout, given["dtype"], given["prediction"], given["tokenizer"], given["force"], _progress)
    for note in save(weights, out, wish):
        print(f"note: {note}", file=sys.stderr)
    print(f"{weights.path} ({len(weights.tensors)} tensors) -> {out} ({layout}{', ' * bool(wish.dtype)}{wish.dtype})")
    return 0


def _progress(tensors: Iterable[tuple[str, Lazy]]) -> Iterable[tuple[str, Lazy]]:
    listed = list(tensors)
    return shown(listed, len(listed), "tensors written")


def diff(given: dict[str, Any]) -> int:
    """Compare two models block by block."""
    report = changes(open_weights(given["first"]), open_weights(given["second"]), shown)
    if given["json"]:
        print(json.dumps(report, indent=2))
        return 0
    width = max([len(name) for name in report["blocks"]], default=5)
    print(f"{'block':<{width}}{'tensors':>9}{'changed':>9}{'max |a - b|':>13}{'|a - b| / |a|':>15}")
    for name, block in report["blocks"].items():
        counts = f"{block['tensors']:>9}{block['changed']:>9}"
        print(f"{name:<{width}}{counts}{block['max_abs']:>13.3g}{block['relative']:>15.3g}")
    for kind, names in report["differences"].items():
        print(f"{len(names)} {kind}: {', '.join(list(names)[:3])}{', ...' if len(names) > 3 else ''}")
    return 0
