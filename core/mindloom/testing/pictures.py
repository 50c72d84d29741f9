"""A task that looks at pictures, for tests of dataset formats; pictures for it; and a plugin that notes samples."""

from __future__ import annotations

import io
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..framing import frame
from ..images import PillowPicture
from ..plugin import Plugin, hookimpl
from ..schema import setting
from ..task import Draw, Sample, Task


class Pictures(Plugin):
    """Learn the mean colour of pictures: compiles in about a second for each shape of pictures."""

    @dataclass
    class Config:
        size: int = setting(32, "side of the square in pixels")
        random_crop: bool = setting(False, "crop anywhere instead of at the centre")
        flip: float = setting(0.0, "share of pictures mirrored")

    @hookimpl
    def make_task(self) -> Task:
        """The task."""
        return PictureTask(self.cfg)


class PictureTask(Task):
    """Three weights, one for each colour; every column depends on picture, caption or position."""

    columns = ("pixels", "number", "noise")

    def __init__(self, cfg: Any) -> None:
        import mindspore as ms
        from mindspore import Parameter, nn
        from mindspore import ops as P

        class Colours(nn.Cell):
            def __init__(self) -> None:
                super().__init__()
                self.weight = Parameter(ms.Tensor(np.ones((1, 3, 1, 1), np.float32)))

        class Loss(nn.Cell):
            """Mean squared distance of weighted pixels from a number that only noise and caption know."""

            def __init__(self, model: nn.Cell) -> None:
                super().__init__()
                self.model, self.mean, self.reshape = model, P.ReduceMean(), P.Reshape()

            def construct(self, pixels: ms.Tensor, number: ms.Tensor, noise: ms.Tensor) -> ms.Tensor:
                wanted = self.reshape(noise + number.astype(ms.float32) / 2.0**32, (-1, 1, 1, 1))
                error = self.model.weight * pixels.astype(ms.float32) / 255.0 - wanted
                return self.mean(error * error)

        self.cfg, self.resolution = cfg, cfg.size
        self.model = Colours()
        self.loss = Loss(self.model)

    def transform(self, sample: Sample, draw: Draw) -> dict[str, np.ndarray]:
        height, width = sample.get("frame", (self.cfg.size, self.cfg.size))
        framed = frame(sample["image"], height, width, draw, self.cfg.random_crop, self.cfg.flip)
        number = np.array(zlib.crc32(sample["caption"].encode()) >> 1, np.int32)
        return {"pixels": framed.pixels, "number": number, "noise": draw("noise").standard_normal((), np.float32)}

    def example(self) -> dict[str, np.ndarray]:
        from PIL import Image

        from ..plan import draws

        picture = PillowPicture(Image.new("RGB", (self.cfg.size, self.cfg.size)))
        return self.transform({"image": picture, "caption": "", "id": ""}, draws(0, 0))

    def load_weights(self, path: Path) -> None:
        import mindspore as ms

        self.model.weight.set_data(ms.Tensor(np.load(path, allow_pickle=False)))


class Painted(Plugin):
    """Captioned pictures out of thin air, as the format ``painted``; ``data.path`` only has to exist."""

    @dataclass
    class Config:
        samples: int = setting(12, "pictures in an epoch")

    @hookimpl
    def add_formats(self) -> dict[str, Any]:
        """Offer them."""
        return {"painted": lambda path, world: Paintings(self.cfg.samples)}


class Paintings:
    """So many pictures of noise, 24 x 20 pixels, each with another caption."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self.__getitem__, range(self.count))

    def __getitem__(self, index: int) -> dict[str, Any]:
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (24, 20, 3), np.uint8)).save(file, "PNG")
        return {"image": file.getvalue(), "caption": f"a {'very ' * index}red circle", "id": f"painting-{index}"}


class Watch(Plugin):
    """Notes one column of every batch that a dispatch took, such as the numbers that stand for captions."""

    @dataclass
    class Config:
        column: int = setting(1, "place of the column in Task.columns")

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.taken: list[list[Any]] = []
        self.shapes: list[tuple[int, ...]] = []

    @hookimpl(wrapper=True)
    def make_dataset(self) -> Generator[None, Any, Any]:
        """Look over the dataset's shoulder."""
        dataset = yield
        inner = dataset.batches

        def batches(first: int, last: int) -> Iterator[Any]:
            for batch in inner(first, last):
                self.taken.append(batch.columns[self.cfg.column].ravel().tolist())
                self.shapes.append(batch.columns[0].shape)
                yield batch

        dataset.batches = batches
        return dataset
