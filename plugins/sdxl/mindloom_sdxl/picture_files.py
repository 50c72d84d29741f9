"""Pictures as PNG files that say how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mindloom import UserError
from PIL import Image, PngImagePlugin

SAMPLERS = {"euler": {"Sampler": "Euler"}, "euler_karras": {"Sampler": "Euler", "Schedule type": "Karras"}}
"""Our schedulers as other tools say it."""


def save_png(pixels: np.ndarray, path: Path, facts: Mapping[str, Any]) -> None:
    """Write uint8 ``[height, width, 3]`` with two texts in it.

    ``parameters`` has the form that AUTOMATIC1111's web UI began and most tools read; ``mindloom`` holds all facts as
    JSON.

    Raises:
        UserError: it cannot be written.
    """
    texts = PngImagePlugin.PngInfo()
    # Pillow writes tEXt, and iTXt where a prompt is beyond Latin-1, which tEXt cannot hold.
    texts.add_text("parameters", parameters(facts))
    texts.add_text("mindloom", json.dumps(facts))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, "PNG", pnginfo=texts)
    except OSError as error:
        raise UserError(f"the picture {path} cannot be written ({error.strerror}): choose another --out") from None


def parameters(facts: Mapping[str, Any]) -> str:
    """Prompt, negative prompt, and the settings that matter in one line, "Key: value" each."""
    width, height = facts["size"]
    settings = {
        "Steps": facts["steps"],
        **SAMPLERS[facts["scheduler"]],
        "CFG scale": facts["guidance"],
        "Seed": facts["seed"],
        "Size": f"{width}x{height}",
        **({"Model hash": facts["weights_sha256"][:10]} if facts["weights_sha256"] else {}),
        "Model": Path(facts["weights"]).stem,
        "Version": f"mindloom {facts['versions']['mindloom']}",
    }
    negative = f"\nNegative prompt: {facts['negative']}" if facts["negative"] else ""
    return f"{facts['prompt']}{negative}\n" + ", ".join(f"{key}: {value}" for key, value in settings.items())
