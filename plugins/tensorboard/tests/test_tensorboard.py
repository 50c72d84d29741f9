"""The event files, read back by TensorBoard's own reader."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from mindloom import Plugin, TrainingError, UserError, hookimpl
from mindloom.run import Run
from mindloom.testing import Fitted, Shelf, fit
from mindloom_tensorboard import Tensorboard
from PIL import Image

PICTURE = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)


class Publisher(Plugin):
    """Publishes one of everything."""

    @hookimpl
    def on_step_end(self, run: Run) -> None:
        """Publish at step 2."""
        if run.step == 2:
            run.publish(values={"own/value": 2.5}, images={"own/picture": PICTURE}, texts={"own/text": "**hello**"})


class Crash(Plugin):
    """Dies at step 5, one step after a checkpoint."""

    @hookimpl
    def on_step_end(self, run: Run) -> None:
        """Ask for a checkpoint at 4."""
        if run.step == 4:
            run.request_checkpoint("crash")

    @hookimpl
    def on_log(self, run: Run) -> None:
        """Fail once step 6 is in the event file."""
        if run.step == 6:
            raise RuntimeError("killed")


def read(folder: Path) -> Any:
    # After mindspore, like the plugin: see there.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    return events.Reload()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit(tmp_path_factory.mktemp("events"), [Tensorboard, Publisher], steps=4)


def test_every_scalar_of_every_record_is_a_point_of_its_curve(fitted: Fitted) -> None:
    events = read(fitted.path / "tensorboard")
    assert {"loss", "lr", "grad_norm", "epoch", "own/value"} <= set(events.Tags()["scalars"])
    for tag in events.Tags()["scalars"]:
        logged = [(step, np.float32(r[tag])) for step, r in enumerate(fitted.records, 1) if tag in r]
        assert [(point.step, np.float32(point.value)) for point in events.Scalars(tag)] == logged


def test_pictures_decode_to_the_published_pixels(fitted: Fitted) -> None:
    (image,) = read(fitted.path / "tensorboard").Images("own/picture")
    assert image.step == 2
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.encoded_image_string))), PICTURE)


def test_config_and_published_texts_are_there_once(fitted: Fitted) -> None:
    events = read(fitted.path / "tensorboard")
    (config,) = events.Tensors("config/text_summary")
    markdown = config.tensor_proto.string_val[0].decode()
    assert markdown.startswith("```yaml\nmax_steps: 4\n")
    assert markdown.endswith("```")
    (text,) = events.Tensors("own/text/text_summary")
    assert text.tensor_proto.string_val[0] == b"**hello**"


def test_an_interrupted_and_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="killed"):
        fit(tmp_path, {"tensorboard": Tensorboard, "shelf": Shelf, "crash": Crash}, steps=8)
    folder = tmp_path / "run" / "tensorboard"
    assert [point.step for point in read(folder).Scalars("loss")][-1] == 6
    fit(tmp_path, [Tensorboard, Shelf], steps=8, resume="latest")
    events = read(folder)
    assert len(list(folder.iterdir())) == 2
    assert [point.step for point in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(events.Tensors("config/text_summary")) == 1


def test_a_fresh_run_in_a_used_folder_withdraws_the_old_curves(tmp_path: Path) -> None:
    fit(tmp_path, [Tensorboard], steps=6)
    fit(tmp_path, [Tensorboard], steps=2, optim={"lr": 0.5})
    assert [point.step for point in read(tmp_path / "run" / "tensorboard").Scalars("loss")] == [1, 2]


def test_each_log_is_on_disk_before_the_next_step(tmp_path: Path) -> None:
    seen: list[int] = []

    class Reader(Plugin):
        """Reads the file of the living run; asked after tensorboard."""

        after = ("tensorboard",)

        @hookimpl
        def on_log(self, run: Run) -> None:
            """Count the points."""
            seen.append(len(read(run.path / "tensorboard").Scalars("loss")))

    fit(tmp_path, [Reader, Tensorboard], steps=3)
    assert seen == [1, 2, 3]


def test_losses_do_not_depend_on_it(tmp_path: Path, fitted: Fitted) -> None:
    assert fit(tmp_path, steps=4).losses == fitted.losses


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    plugin, run = Tensorboard(), SimpleNamespace(world=SimpleNamespace(is_main=False), path=tmp_path)
    plugin.on_train_start(cast(Run, run))
    plugin.close()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="event files cannot be written"):
        fit(tmp_path, [Tensorboard], plugins={"tensorboard": {"folder": str(tmp_path / "file")}})


def test_a_missing_package_is_named_before_anything_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install tensorboardX"):
        fit(tmp_path, [Tensorboard])


def test_the_plugin_leaves_protobuf_to_mindspore() -> None:
    loaded = "import sys, mindloom_tensorboard; print(any(name.startswith('google.protobuf') for name in sys.modules))"
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True, env=env)
    assert result.stdout == "False\n"
