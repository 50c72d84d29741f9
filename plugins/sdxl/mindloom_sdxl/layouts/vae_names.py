"""The VAE's names: diffusers counts the decoder's levels from the coarsest, and its attention has linear layers."""

from __future__ import annotations

import re
from collections.abc import Iterable

PLACES = {
    "mid.block_1": "mid_block.resnets.0", "mid.block_2": "mid_block.resnets.1", "mid.attn_1": "mid_block.attentions.0",
}  # fmt: skip
ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
LAYERS = {"norm_out": "conv_norm_out", "nin_shortcut": "conv_shortcut"}
OLDER = {"query": "q", "key": "k", "value": "v", "proj_attn": "proj_out"}
"""What diffusers called the attention's layers before version 0.15."""
PLACES_BACK = {new: old for old, new in PLACES.items()}
ATTENTION_BACK = {new: old for old, new in ATTENTION.items()} | OLDER
LAYERS_BACK = {new: old for old, new in LAYERS.items()}


def is_projection(name: str) -> bool:
    """Whether an official name is a weight that is a 1x1 convolution here and a linear layer in diffusers."""
    return bool(re.search(r"\.mid\.attn_1\.(q|k|v|proj_out)\.weight$", name))


class VAENames:
    """Both directions for one VAE.

    Args:
        names: all of its names, official or diffusers', from which the number of its levels is read.
    """

    def __init__(self, names: Iterable[str]) -> None:
        levels = [re.search(r"decoder\.(?:up|up_blocks)\.(\d+)\.", name) for name in names]
        self.last = max((int(found[1]) for found in levels if found), default=0)

    def diffusers(self, name: str) -> str:
        """Official -> diffusers."""
        for old, new in PLACES.items():
            head, found, rest = name.partition(f".{old}.")
            if found:
                return f"{head}.{new}.{self._layer(rest, ATTENTION if 'attn' in old else LAYERS)}"
        name = re.sub(r"\.up\.(\d+)\.", lambda m: f".up_blocks.{self.last - int(m[1])}.", name)
        name = re.sub(r"\.down\.(\d+)\.", r".down_blocks.\1.", name)
        name = re.sub(r"\.block\.(\d+)\.", r".resnets.\1.", name)
        name = re.sub(r"\.(up|down)sample\.", r".\1samplers.0.", name)
        return self._layers(name, LAYERS)

    def official(self, name: str) -> str:
        """diffusers -> official."""
        for old, new in PLACES_BACK.items():
            head, found, rest = name.partition(f".{old}.")
            if found:
                return f"{head}.{new}.{self._layer(rest, ATTENTION_BACK if 'attn' in new else LAYERS_BACK)}"
        name = re.sub(r"\.up_blocks\.(\d+)\.", lambda m: f".up.{self.last - int(m[1])}.", name)
        name = re.sub(r"\.down_blocks\.(\d+)\.", r".down.\1.", name)
        name = re.sub(r"\.resnets\.(\d+)\.", r".block.\1.", name)
        name = re.sub(r"\.(up|down)samplers\.0\.", r".\1sample.", name)
        return self._layers(name, LAYERS_BACK)

    def _layer(self, rest: str, table: dict[str, str]) -> str:
        layer, _, last = rest.rpartition(".")
        return f"{table.get(layer, layer)}.{last}"

    def _layers(self, name: str, table: dict[str, str]) -> str:
        head, _, rest = name.rpartition(".")
        path, _, layer = head.rpartition(".")
        return ".".join(filter(None, [path, table.get(layer, layer), rest]))
