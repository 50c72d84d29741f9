"""The demo in small, through the front door: real pictures, the shipped base model, real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

pytestmark = pytest.mark.together

ROOT = Path(__file__).resolve().parents[1]
EXACT = '''
import json
from mindloom import Plugin, hookimpl

class Exact(Plugin):
    """Write every record with all digits."""

    @hookimpl
    def on_log(self, run, record):
        if "loss" in record:
            with open(run.path / "exact.jsonl", "a") as file:
                file.write(json.dumps({"step": record.step, "loss": record["loss"].hex()}) + chr(10))
'''
SMALL = ("max_steps=6", "per_batch_size=2", "gradient_accumulation_steps=2", "log_interval=1", "optim.warmup_steps=3",
         "optim.schedule=cosine", "optim.max_grad_norm=0.5", "save_path_with_time=false")  # fmt: skip


def train(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "train.py"), "--config", str(ROOT / "configs/demo.yaml"), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=500, env={**os.environ})
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def losses(folder: Path) -> dict[int, str]:
    rows = map(json.loads, (folder / "exact.jsonl").read_text().splitlines())
    return {row["step"]: row["loss"] for row in rows}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the demo's paths in it: drawn pictures, and the base model."""
    folder = tmp_path_factory.mktemp("demo")
    draw = [sys.executable, str(ROOT / "tools/draw_shapes.py"), str(folder / "data/demo"), "--theme", "demo"]
    subprocess.run([*draw, "--count", "20", "--holdout", "4"], check=True, timeout=120)
    (folder / "plugins").symlink_to(ROOT / "plugins")
    (folder / "exact.py").write_text(EXACT)
    return folder


@pytest.fixture(scope="module")
def whole(place: Path) -> subprocess.CompletedProcess[str]:
    """Six steps in one go, with everything on that the demo has."""
    return train("--plugins", "./exact.py", "save_path=whole", "plugins.sdxl.sample_steps=2",
                 "plugins.validate.samples=4", *SMALL, cwd=place)  # fmt: skip


@pytest.fixture(scope="module")
def halves(place: Path) -> None:
    """The same six steps without TensorBoard and validation, stopped after the third and resumed."""
    for more in (["stop_at=3"], ["--resume", "latest"]):
        plugins = "./exact.py,no:tensorboard,no:validate"
        train("--plugins", plugins, "save_path=halves", *more, *SMALL, cwd=place)


@pytest.mark.slow
def test_the_demo_leaves_checkpoints_curves_pictures_and_the_merged_config(whole: object, place: Path) -> None:
    run = place / "whole"
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000006"]
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))
    assert {"step-00000000.png", "step-00000006.png"} <= {path.name for path in (run / "samples").iterdir()}
    for picture in (run / "samples").iterdir():
        assert np.asarray(Image.open(picture)).std() > 1  # something is drawn
    assert "max_steps: 6" in (run / "config.yaml").read_text()


@pytest.mark.slow
def test_the_last_lines_say_where_everything_is_and_what_the_loss_did(
    whole: subprocess.CompletedProcess[str], place: Path
) -> None:
    tail = "\n".join(whole.stderr.strip().splitlines()[-6:])
    assert "validation loss" in tail
    assert "->" in tail
    assert "whole" in tail


@pytest.mark.slow
def test_without_tensorboard_there_are_no_event_files_and_the_losses_are_the_same_bits(
    whole: object, halves: None, place: Path
) -> None:
    assert not (place / "halves/tensorboard").exists()
    assert losses(place / "halves") == losses(place / "whole")
    assert set(losses(place / "whole")) == {1, 2, 3, 4, 5, 6}


@pytest.mark.slow
def test_a_run_stopped_and_resumed_ends_with_the_same_bits_as_one_in_one_go(
    whole: object, halves: None, place: Path
) -> None:
    for name in ("model.safetensors", "optimizer.safetensors"):
        one, two = (load_file(place / run / "checkpoints/step-00000006" / name) for run in ("whole", "halves"))
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[key], two[key]) for key in one), name


@pytest.mark.slow
def test_only_the_unet_was_trained(whole: object, place: Path) -> None:
    base = load_file(ROOT / "plugins/sdxl/mindloom_sdxl/assets/tiny.safetensors")
    tuned = load_file(place / "whole/checkpoints/step-00000006/model.safetensors")
    changed = {name for name in base if not np.array_equal(base[name].astype(np.float32), tuned[name])}
    assert changed
    assert all(name.startswith("model.diffusion_model.") for name in changed)
