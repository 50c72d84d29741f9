"""The UNet's names: generative-models numbers its blocks in one row, diffusers names level, kind and place in it.

With R residual blocks a level, ``input_blocks`` holds the first convolution, then R blocks and one for halving at each
level; ``output_blocks`` holds R + 1 at each level, the last of which doubles the size too.
"""

from __future__ import annotations

from collections.abc import Iterable

ENDS = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
}  # fmt: skip
RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
ENDS_BACK = {new: old for old, new in ENDS.items()}
RESNET_BACK = {new: old for old, new in RESNET.items()}


def split(name: str, table: dict[str, str]) -> tuple[str, str] | None:
    """Look the beginning of a name up; return what it is called there, and the rest."""
    for old, new in table.items():
        if name.startswith(f"{old}."):
            return new, name[len(old) + 1 :]
    return None


class UNetNames:
    """Both directions for one UNet.

    Args:
        names: all of its names, official or diffusers', from which its structure is read.
    """

    def __init__(self, names: Iterable[str]) -> None:
        every = [name.split(".") for name in names]
        # Official: the first level's halving, "op", stands right behind its residual blocks.
        halvings = [int(words[1]) for words in every if words[0] == "input_blocks" and words[2:4] == ["0", "op"]]
        counts = [int(words[3]) + 1 for words in every if words[0] == "down_blocks" and words[2] == "resnets"]
        self.res_blocks = min(halvings) - 1 if halvings else max(counts, default=2)
        self.attended = {words[1] for words in every if words[0] == "up_blocks" and words[2] == "attentions"}
        self.middle = any(words[:2] == ["mid_block", "attentions"] for words in every)

    def diffusers(self, name: str) -> str:
        """Official -> diffusers.

        Raises:
            ValueError: there is no such name.
        """
        if end := split(name, ENDS):
            return ".".join(end)
        arm, _, rest = name.partition(".")
        if arm == "middle_block":
            layer, rest = rest.split(".", 1)
            if resnet := split(rest, RESNET):
                return f"mid_block.resnets.{min(int(layer), 1)}.{'.'.join(resnet)}"
            return f"mid_block.attentions.0.{rest}"
        if arm not in ("input_blocks", "output_blocks"):
            raise ValueError(name)
        block, _, rest = rest.split(".", 2)
        level, place = divmod(int(block) - (arm == "input_blocks"), self.res_blocks + 1)
        side = "down" if arm == "input_blocks" else "up"
        if rest.startswith("op."):
            return f"down_blocks.{level}.downsamplers.0.conv.{rest[3:]}"
        if rest.startswith("conv."):
            return f"up_blocks.{level}.upsamplers.0.{rest}"
        if resnet := split(rest, RESNET):
            return f"{side}_blocks.{level}.resnets.{place}.{'.'.join(resnet)}"
        return f"{side}_blocks.{level}.attentions.{place}.{rest}"

    def official(self, name: str) -> str:
        """diffusers -> official.

        Raises:
            ValueError: there is no such name.
        """
        if end := split(name, ENDS_BACK):
            return ".".join(end)
        arm, _, rest = name.partition(".")
        if arm == "mid_block":
            kind, place, rest = rest.split(".", 2)
            if kind == "resnets":
                return f"middle_block.{int(place) * (1 + self.middle)}.{self._resnet(rest)}"
            return f"middle_block.1.{rest}"
        if arm not in ("down_blocks", "up_blocks"):
            raise ValueError(name)
        level, kind, place, rest = rest.split(".", 3)
        first = int(level) * (self.res_blocks + 1) + (arm == "down_blocks")
        if kind == "downsamplers":
            return f"input_blocks.{first + self.res_blocks}.0.op.{rest.removeprefix('conv.')}"
        if kind == "upsamplers":
            return f"output_blocks.{first + self.res_blocks}.{1 + (level in self.attended)}.{rest}"
        block = f"{'input' if arm == 'down_blocks' else 'output'}_blocks.{first + int(place)}"
        return f"{block}.0.{self._resnet(rest)}" if kind == "resnets" else f"{block}.1.{rest}"

    def _resnet(self, rest: str) -> str:
        found = split(rest, RESNET_BACK)
        if not found:
            raise ValueError(rest)
        return ".".join(found)
