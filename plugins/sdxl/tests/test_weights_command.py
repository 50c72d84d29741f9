"""``mindloom weights``: what each action writes and says, with real files of the tiny preset."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom import cli
from mindloom_sdxl.layouts.opening import open_weights
from mindloom_sdxl.layouts.safe import write
from safetensors import safe_open
from safetensors.numpy import load_file

Weigh = Callable[..., tuple[int, str, str]]


@pytest.fixture
def weigh(capsys: pytest.CaptureFixture[str]) -> Weigh:
    """Run ``mindloom weights`` in this process; gives exit code, output and errors."""

    def run(*argv: object) -> tuple[int, str, str]:
        try:
            code = cli.main(["weights", *map(str, argv)])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, as the command makes them."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    assert cli.main(["weights", "init", str(path), "--preset", "tiny", "--seed", "5"]) == 0
    return path


def bits(path: Path) -> dict[str, tuple[str, bytes]]:
    return {name: (tensor.dtype, tensor.read().tobytes()) for name, tensor in open_weights(path).tensors.items()}


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("layout", ["diffusers", "ckpt"])
def test_there_and_back_gives_the_same_bytes_for_every_tensor(
    tmp_path: Path, tiny: Path, weigh: Weigh, layout: str, dtype: str
) -> None:
    start, there, back = tmp_path / "a.safetensors", tmp_path / "there.ckpt", tmp_path / "b.safetensors"
    assert weigh("convert", tiny, start, "--to", "single", "--dtype", dtype)[0] == 0
    assert weigh("convert", start, there, "--to", layout)[0] == 0
    assert weigh("convert", there, back, "--to", "single")[0] == 0
    assert len(bits(start)) == 584
    assert bits(start) == bits(back)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors", "there.ckpt"]


def test_mindspore_reads_the_ckpt_that_is_written(tmp_path: Path, tiny: Path, weigh: Weigh) -> None:
    assert weigh("convert", tiny, tmp_path / "a.ckpt", "--to", "ckpt")[0] == 0
    found, wanted = ms.load_checkpoint(str(tmp_path / "a.ckpt")), load_file(tiny)
    assert len(found) == len(wanted)
    second = "conditioner.embedders.1.model"
    for new, old in {
        "model.diffusion_model.out.0.gamma": "model.diffusion_model.out.0.weight",
        f"{second}.token_embedding.embedding_table": f"{second}.token_embedding.weight",
        f"{second}.logit_scale": f"{second}.logit_scale",
    }.items():
        np.testing.assert_array_equal(found[new].asnumpy(), wanted[old])


def test_single_file_says_what_it_is_in_modelspec(tmp_path: Path, tiny: Path, weigh: Weigh) -> None:
    assert weigh("convert", tiny, tmp_path / "a.safetensors", "--to", "single", "--prediction", "v_prediction")[0] == 0
    with safe_open(tmp_path / "a.safetensors", "numpy") as file:
        metadata = file.metadata()
    assert metadata["modelspec.sai_model_spec"] == "1.0.0"
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-tiny"
    assert metadata["modelspec.prediction_type"] == "v"
    assert weigh("convert", tmp_path / "a.safetensors", tmp_path / "d", "--to", "diffusers")[0] == 0
    scheduler = json.loads((tmp_path / "d" / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "v_prediction"
    assert weigh("convert", tmp_path / "d", tmp_path / "b.safetensors", "--to", "single")[0] == 0
    assert open_weights(tmp_path / "b.safetensors").metadata["modelspec.prediction_type"] == "v"


def test_inspect_counts_and_names_the_model(tiny: Path, weigh: Weigh, tmp_path: Path) -> None:
    code, out, _ = weigh("inspect", tiny, "--json")
    report = json.loads(out)
    assert (code, report["model"], report["layout"], report["complete"]) == (0, "tiny", "single", True)
    assert report["tensors"] == 584
    assert report["bytes"] == 4 * report["parameters"] == 4 * sum(v.size for v in load_file(tiny).values())
    assert report["parts"]["unet"]["tensors"] == 330
    part = {name: t for name, t in open_weights(tiny).tensors.items() if name.startswith("model.")}
    write(tmp_path / "unet.safetensors", part, {})
    out = weigh("inspect", tmp_path / "unet.safetensors")[1]
    assert "model tiny (not all of it)" in out
    assert "254 missing: conditioner" in out


def test_init_repeats_with_its_seed_only(tmp_path: Path, tiny: Path, weigh: Weigh) -> None:
    for seed in (5, 6):
        assert weigh("init", tmp_path / f"{seed}.safetensors", "--preset", "tiny", "--seed", seed)[0] == 0
    assert bits(tmp_path / "5.safetensors") == bits(tiny)
    assert bits(tmp_path / "6.safetensors") != bits(tiny)


def changed(tiny: Path, out: Path, name: str, by: float) -> None:
    tensors = open_weights(tiny).tensors
    read = tensors[name].read
    write(out, {**tensors, name: tensors[name].shaped(tensors[name].shape, lambda v: v + np.float32(by))}, {})
    assert not np.array_equal(read(), open_weights(out).tensors[name].read())


def test_diff_finds_the_block_that_changed(tmp_path: Path, tiny: Path, weigh: Weigh) -> None:
    name = "model.diffusion_model.middle_block.0.in_layers.0.weight"
    changed(tiny, tmp_path / "b.safetensors", name, 0.5)
    code, out, _ = weigh("diff", tiny, tmp_path / "b.safetensors", "--json")
    report: dict[str, Any] = json.loads(out)
    assert code == 0
    touched = {name: block for name, block in report["blocks"].items() if block["changed"]}
    assert list(touched) == ["model.diffusion_model.middle_block"]
    assert touched["model.diffusion_model.middle_block"]["max_abs"] == 0.5
    everything = open_weights(tiny).tensors
    norm = sum(float(np.square(t.read()).sum()) for n, t in everything.items() if ".middle_block." in n) ** 0.5
    width = everything[name].size
    assert touched["model.diffusion_model.middle_block"]["relative"] == pytest.approx(0.5 * width**0.5 / norm, rel=1e-5)
    assert "middle_block" in weigh("diff", tiny, tmp_path / "b.safetensors")[1]


def test_merge_weighs_its_models_and_leaves_equal_tensors_alone(tmp_path: Path, tiny: Path, weigh: Weigh) -> None:
    name = "model.diffusion_model.out.2.weight"
    other, out = tmp_path / "b.safetensors", tmp_path / "c.safetensors"
    changed(tiny, other, name, 1.0)
    assert weigh("merge", tiny, other, out, "--shares", "0.7,0.3")[0] == 0
    found, wanted = load_file(out), load_file(tiny)
    np.testing.assert_allclose(found[name], wanted[name] + 0.3, atol=1e-6)
    assert all(np.array_equal(found[n], v) for n, v in wanted.items() if n != name)
    number = "conditioner.embedders.1.model.logit_scale"
    changed(tiny, other, number, 1.0)
    assert weigh("merge", tiny, other, out, "--force")[0] == 0
    np.testing.assert_allclose(load_file(out)[number], wanted[number] + 0.5, atol=1e-6)
    assert "they sum to 5" in weigh("merge", tiny, other, tmp_path / "d.safetensors", "--shares", "2,3")[2]
    assert "give 2 numbers" in weigh("merge", tiny, other, tmp_path / "d.safetensors", "--shares", "1")[2]


def test_merge_completes_a_part_and_replaces_the_vae(tmp_path: Path, tiny: Path, weigh: Weigh) -> None:
    assert weigh("init", tmp_path / "other.safetensors", "--preset", "tiny")[0] == 0
    other = open_weights(tmp_path / "other.safetensors").tensors
    part = tmp_path / "unet.safetensors"
    write(part, {name: t for name, t in other.items() if name.startswith("model.")}, {})
    code, _, error = weigh("convert", part, tmp_path / "d", "--to", "diffusers")
    assert (code, "weights merge PART OUT --base FULL" in error) == (2, True)
    argv = ("merge", part, tmp_path / "whole.safetensors", "--base", tiny, "--vae", tmp_path / "other.safetensors")
    assert weigh(*argv)[0] == 0
    found, base, trained = (bits(p) for p in (tmp_path / "whole.safetensors", tiny, tmp_path / "other.safetensors"))
    expected = {n: base[n] if n.startswith("conditioner.") else trained[n] for n in base}
    assert found == expected


def test_nothing_is_overwritten_without_force_and_a_failed_write_leaves_nothing(
    tmp_path: Path, tiny: Path, weigh: Weigh
) -> None:
    out = tmp_path / "a.safetensors"
    out.write_text("mine")
    code, _, error = weigh("convert", tiny, out, "--to", "single")
    assert (code, "--force" in error, out.read_text()) == (2, True, "mine")
    broken = tmp_path / "cut.safetensors"
    tensors = dict(open_weights(tiny).tensors)
    first = next(iter(tensors))
    write(broken, {**tensors, first: tensors[first].shaped(tensors[first].shape, lambda v: v * np.float32(1e30))}, {})
    code, _, error = weigh("convert", broken, out, "--to", "single", "--dtype", "fp16", "--force")
    assert (code, "do not fit into F16" in error, out.read_text()) == (2, True, "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "cut.safetensors"]
    assert weigh("convert", tiny, out, "--to", "single", "--force")[0] == 0
    assert bits(out) == bits(tiny)
    (tmp_path / "mine").mkdir()
    assert "no diffusers model" in weigh("convert", tiny, tmp_path / "mine", "--to", "diffusers", "--force")[2]
    for _ in range(2):
        assert weigh("convert", tiny, tmp_path / "d", "--to", "diffusers", "--force")[0] == 0


@pytest.mark.parametrize(
    ("out", "vae"), [("a.safetensors", ""), ("link.safetensors", ""), ("d", "d/vae"), ("d/vae", "d")]
)
def test_what_is_read_is_never_written_over(tmp_path: Path, tiny: Path, weigh: Weigh, out: str, vae: str) -> None:
    source = tmp_path / "a.safetensors"
    source.write_bytes(tiny.read_bytes())
    (tmp_path / "link.safetensors").symlink_to(source)
    assert weigh("convert", source, tmp_path / "d", "--to", "diffusers")[0] == 0
    argv = ["merge", source, tmp_path / out, "--vae", tmp_path / vae] if vae else ["convert", source, tmp_path / out]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, _, error = weigh(*argv, "--to", "diffusers" if vae else "single", "--force")
    assert (code, error.count("\n")) == (2, 1)
    assert f"OUT {tmp_path / out} would take the place of {tmp_path / vae if vae else source}, which is read" in error
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("layout", "ending"), [("single", ".safetensors"), ("ckpt", ".ckpt")])
def test_files_are_named_by_what_they_are(tmp_path: Path, tiny: Path, weigh: Weigh, layout: str, ending: str) -> None:
    code, _, error = weigh("convert", tiny, tmp_path / "a.bin", "--to", layout)
    assert code == 2
    assert f"a.bin must end in {ending}, by which --to {layout} is known: choose such a name" in error
    assert not list(tmp_path.iterdir())


def test_a_vocabulary_that_is_not_there_is_told_with_what_to_give(tmp_path: Path, tiny: Path, weigh: Weigh) -> None:
    argv = ("convert", tiny, tmp_path / "d", "--to", "diffusers", "--tokenizer", tmp_path / "t")
    advice = "give a folder with vocab.json and merges.txt, or the file bpe_simple_vocab_16e6.txt.gz, or leave it out"
    assert f"there is nothing at --tokenizer {tmp_path / 't'}: {advice}" in weigh(*argv)[2]
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "vocab.json").write_text("{}")
    code, _, error = weigh(*argv)
    assert (code, f"there is no vocabulary in --tokenizer {tmp_path / 't'}: {advice}" in error) == (2, True)
    assert not (tmp_path / "d").exists()


def test_mindspore_is_not_imported(tmp_path: Path, tiny: Path) -> None:
    code = (
        "import sys; from mindloom import cli; "
        "assert all(cli.main(['weights', *argv.split()]) == 0 for argv in sys.argv[1:]); "
        "assert 'mindspore' not in sys.modules and 'torch' not in sys.modules"
    )
    actions = [
        f"inspect {tiny}",
        f"convert {tiny} {tmp_path}/d --to diffusers",
        f"convert {tmp_path}/d {tmp_path}/a.ckpt --to ckpt",
    ]
    subprocess.run([sys.executable, "-c", code, *actions], check=True, capture_output=True)


def test_wrong_use_is_one_line(weigh: Weigh) -> None:
    for argv in (["nothing"], ["convert", "a", "b"], ["merge", "a"], ["inspect", "/nowhere"]):
        code, _, error = weigh(*argv)
        assert code == 2
        assert error.startswith("mindloom: error:")
        assert error.count("\n") == 1
