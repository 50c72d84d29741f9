"""The reference recipe: its three commands, its flags and its configs, as written but for paths, device and sizes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom import UserError, cli
from mindloom.config import build
from mindloom.discovery import discover
from mindloom.flags import SETTINGS
from mindloom.session import load_plugins
from mindloom_ddp import LAUNCHERS
from mindloom_ddp.testing import msrun
from PIL import Image

pytestmark = pytest.mark.together

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs" / "training").glob("*.yaml"))
FORMATS = {"wds": "webdataset", "wids": "wids"}


def typed(*argv: str) -> Any:
    """The config that a command line makes, without running anything."""
    available = discover()
    parser = cli.Parser(allow_abbrev=False)
    cli.settings_parser(parser, available)
    layers = cli.layers_of(vars(parser.parse_intermixed_args(argv)), available)
    return build(layers, {name: found.Config for name, found in load_plugins(layers, available).items()})


FLAGS = {
    "--weight w.ckpt": ("weight", "w.ckpt"),
    "--data_path /d": ("data.path", "/d"),
    "--save_path out": ("save_path", "out"),
    "--save_path_with_time False": ("save_path_with_time", False),
    "--per_batch_size 4": ("per_batch_size", 4),
    "--device_target Ascend": ("device.target", "Ascend"),
    "--ms_mode 0": ("device.mode", "graph"),
    "--ms_mode 1": ("device.mode", "pynative"),
    "--jit_level O2": ("device.jit_level", "O2"),
    "--max_device_memory 59GB": ("device.max_memory", "59GB"),
    "--seed 7": ("seed", 7),
    "--gradient_accumulation_steps 3": ("gradient_accumulation_steps", 3),
    "--clip_grad True optim.max_grad_norm=0": ("optim.max_grad_norm", 1.0),
    "--clip_grad True --max_grad_norm 0.5": ("optim.max_grad_norm", 0.5),
    "--clip_grad False --max_grad_norm 0.5": ("optim.max_grad_norm", 0.0),
    "--max_grad_norm 0.5": ("optim.max_grad_norm", 0.5),
    "--log_interval 3": ("log_interval", 3),
    "--plugins checkpoint --save_ckpt_interval 5": ("plugins.checkpoint.every", 5),
    "--plugins checkpoint --max_num_ckpt 2": ("plugins.checkpoint.keep", 2),
    "--resume_step 500": ("resume", "500"),
    "--resume_step 0": ("resume", ""),
    "--resume latest": ("resume", "latest"),
    "--data_sink True --sink_size 100": ("plugins.sink.size", 100),
    "--param_fp16 True": ("plugins.fp16.mode", "param"),
    "--is_parallel True": ("plugins.ddp.verify", True),
}


@pytest.mark.parametrize("flags", FLAGS)
def test_flags_of_the_recipe_set_what_they_say(flags: str) -> None:
    from omegaconf import OmegaConf

    key, value = FLAGS[flags]
    found = OmegaConf.select(typed(*flags.split()), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("flag", ["data_sink", "param_fp16", "is_parallel"])
def test_features_that_are_false_stay_off(flag: str) -> None:
    assert not typed(f"--{flag}", "False").plugins


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--resume_step -1", "--resume_step takes the number of a step, not '-1'"),
        ("--resume_step 3 --resume latest", "--resume and --resume_step both say where to go on"),
        ("--clip_grad perhaps", "--clip_grad takes True or False, not 'perhaps'"),
        ("--is_parallel 2", "--is_parallel takes True or False, not '2'"),
        ("--sink_size 5", "plugins.sink.size is set but the plugin 'sink' is off"),
    ],
)
def test_flags_that_make_no_sense_are_refused(argv: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        typed(*argv.replace(" -1", "=-1").split())
    assert message in str(caught.value)


def test_help_shows_every_flag_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        cli.main_train(["--help"])
    text = capsys.readouterr().out
    parts = text.partition("plugins' flags:")
    for title, flags in SETTINGS.items():
        assert f"{title}:" in parts[0]
        assert all(f"--{flag} " in parts[0] for flag in flags)
    for flag in ("data_sink", "sink_size", "param_fp16", "is_parallel", "save_ckpt_interval", "max_num_ckpt"):
        assert f"--{flag} " in parts[2]


def test_there_is_a_tiny_twin_of_every_config() -> None:
    full = [path.name for path in CONFIGS if not path.name.startswith("tiny_")]
    assert full == [f"sd_xl_base_finetune_910b{kind}.yaml" for kind in ("", "_fa", "_wds", "_wids")]
    assert sorted(f"tiny_{name}" for name in full) == [path.name for path in CONFIGS if path.name.startswith("tiny_")]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_hold_the_recipes_values_and_know_every_setting(path: Path) -> None:
    missing = FORMATS.get(path.stem.rpartition("_")[2])
    if missing and missing not in discover():
        with pytest.raises(UserError, match=f"there is no plugin {missing!r}") as caught:
            typed("--config", str(path))
        assert "\n" not in str(caught.value)
        return
    cfg = typed("--config", str(path))
    optim = cfg.optim
    assert (list(optim.betas), optim.eps, optim.weight_decay, optim.max_grad_norm) == ([0.9, 0.98], 1e-6, 0.01, 0)
    assert (cfg.seed, cfg.per_batch_size, optim.warmup_steps) == (42, 1, 0)
    assert ("flash_attn" in cfg.plugins) == path.stem.endswith("_fa")
    if not path.name.startswith("tiny_"):
        assert (cfg.device.target, cfg.plugins.sdxl.preset, optim.lr) == ("Ascend", "base", 1e-5)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with captions, and weights in MindSpore's own format."""
    import mindspore as ms
    from mindloom_sdxl import Sdxl
    from mindloom_sdxl.task import SdxlTask

    folder = tmp_path_factory.mktemp("recipe")
    (folder / "data").mkdir()
    rows = ["dir,text"]
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (72, 80, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "data" / f"{number}.png")
        rows.append(f"{number}.png,a red circle")
    (folder / "data" / "pictures.csv").write_text("\n".join(rows))
    ms.set_seed(0)
    ms.save_checkpoint(SdxlTask(Sdxl.Config(preset="tiny")).model, str(folder / "weights.ckpt"))
    return folder


def arguments(place: Path, config: str, *flags: str) -> list[str]:
    """``train.py`` and what the recipe gives it."""
    return [
        str(ROOT / "train.py"), "--config", str(ROOT / "configs" / "training" / config),
        "--weight", str(place / "weights.ckpt"), "--data_path", str(place / "data"), *flags, "--device_target", "CPU",
    ]  # fmt: skip


def steps_saved(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


@pytest.mark.slow
def test_vanilla_fine_tune(place: Path, tmp_path: Path) -> None:
    command = [sys.executable, *arguments(place, "tiny_sd_xl_base_finetune_910b.yaml", "--save_path", "runs")]
    environment = {**os.environ, "GLOG_v": "3"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert steps_saved(run) == ["step-00000002", "step-00000004"]


LAUNCH = ["--worker_num=2", "--local_worker_num=2", "--bind_core=True", "--join=True"]
ENDED = "all 2 processes have equal parameters at step-00000004"


@contextlib.contextmanager
def distributed(place: Path, folder: Path, logs: str, config: str, *flags: str) -> Iterator[str]:
    """Run a command of the recipe to its end; the output of the main process."""
    with msrun(folder, *arguments(place, config, *flags), options=[*LAUNCH, f"--log_dir={logs}"]) as launched:
        code = launched.wait(500)
        assert code == 0, launched.output(0) + launched.output(1)
        assert ENDED in launched.output(1)
        yield launched.output(0)


@pytest.mark.slow
@pytest.mark.extra  # the third command has all its flags, and more
def test_vanilla_fine_tune_for_distribute(place: Path, tmp_path: Path) -> None:
    flags = ["--max_device_memory", "59GB", "--param_fp16", "True", "--is_parallel", "True"]
    config = "tiny_sd_xl_base_finetune_910b.yaml"
    with distributed(place, tmp_path, "8p_bs1_sdxl_base_log", config, *flags) as output:
        assert "float16 parameters are not recommended" in output
        assert ENDED in output
    (run,) = (tmp_path / "runs").iterdir()
    assert steps_saved(run) == ["step-00000002", "step-00000004"]


@pytest.mark.slow
def test_data_sink_mode(place: Path, tmp_path: Path) -> None:
    flags = [
        "--save_path_with_time", "False", "--max_device_memory", "59GB", "--data_sink", "True", "--sink_size", "2",
        "--param_fp16", "True", "--is_parallel", "True",
    ]  # fmt: skip
    config = "tiny_sd_xl_base_finetune_910b_fa.yaml"
    with distributed(place, tmp_path, "8p_bs1_fa_sink_sdxl_base_log", config, *flags) as output:
        assert "make_stepper: sink" in output
        assert "flash_attn replaced" in output
    assert steps_saved(tmp_path / "runs") == ["step-00000002", "step-00000004"]


def test_is_parallel_without_a_launcher_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in LAUNCHERS:
            patch.delenv(name, raising=False)
        code = cli.main_train(["--config", str(CONFIGS[0]), "--data_path", str(tmp_path), "--is_parallel", "True"])
    assert code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("mindloom: error: ddp needs a launcher")


def test_a_device_that_this_mindspore_does_not_have_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train.py"), "--config", str(CONFIGS[-4]), "--data_path", str(tmp_path)]
    for target in ("Ascend", "GPU"):
        done = subprocess.run(
            [*command, "--device_target", target], cwd=tmp_path, env={**os.environ, "GLOG_v": "4"},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 2
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("mindloom: error: this MindSpore 2.8.0 cannot use")
