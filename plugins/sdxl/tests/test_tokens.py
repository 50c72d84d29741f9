"""Captions become the ids that each encoder was trained on."""

from __future__ import annotations

import gzip
import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from mindloom import UserError
from mindloom_sdxl.tokens import TINY_ASSETS, CaptionTokenizer, load_tokenizer
from mindloom_sdxl.vocabulary import clip_vocabulary


@pytest.fixture(scope="module")
def tiny() -> CaptionTokenizer:
    return load_tokenizer("", "tiny")


def test_common_words_are_single_tokens_of_the_tiny_vocabulary(tiny: CaptionTokenizer) -> None:
    caption = "a small striped teal star on a dark blue background"
    tokens = tiny.encode(caption)
    assert tokens.eot_index == 1 + len(caption.split())
    assert tokens.ids_1[0] == 1022
    assert tokens.ids_1[tokens.eot_index] == 1023


def test_first_encoder_is_padded_with_end_tokens_and_the_second_with_zeros(tiny: CaptionTokenizer) -> None:
    ids_1, ids_2, eot_index = tiny.encode("a red circle")
    assert ids_1.dtype == ids_2.dtype == eot_index.dtype == np.int32
    assert ids_1.shape == ids_2.shape == (77,)
    assert eot_index.shape == ()
    assert (ids_1[:5] == ids_2[:5]).all()
    assert (ids_1[5:] == 1023).all()
    assert (ids_2[5:] == 0).all()


def test_empty_caption_is_start_and_end(tiny: CaptionTokenizer) -> None:
    assert tiny.encode("").ids_2.tolist() == [1022, 1023, *[0] * 75]


@pytest.mark.parametrize("caption", ["red " * 300, "Größe 漢字 🙂 \x00 " * 30])
def test_any_text_encodes_and_long_text_keeps_its_end_token(tiny: CaptionTokenizer, caption: str) -> None:
    tokens = tiny.encode(caption)
    assert tokens.eot_index == 76
    assert tokens.ids_1[76] == tokens.ids_2[76] == 1023
    assert (tokens.ids_1[1:76] < 1022).all()


def test_an_end_token_written_in_a_caption_is_where_pooling_happens(tiny: CaptionTokenizer) -> None:
    assert tiny.encode("red <|endoftext|> circle").eot_index == 2


def test_long_captions_go_on_in_chunks_with_start_and_end_of_their_own() -> None:
    long = load_tokenizer("", "tiny", chunks=3)
    ids_1, ids_2, eot_index = long.encode("red " * 100)
    assert ids_1.shape == ids_2.shape == (3, 77)
    assert eot_index.tolist() == [76, 26, 1]
    assert (ids_1[:, 0] == 1022).all()
    whole = np.concatenate((ids_1[0, 1:76], ids_1[1, 1:26]))
    assert (whole == whole[0]).all()
    assert (ids_1[1, 26:] == 1023).all()
    assert ids_2[1, 26:].tolist() == [1023, *[0] * 50]
    assert (long.seen, long.cut) == (1, 0)


@pytest.mark.parametrize(("chunks", "advice"), [(1, "long_captions=true"), (2, "raise plugins.sdxl.caption_chunks")])
def test_captions_that_are_cut_are_counted(chunks: int, advice: str) -> None:
    counting = load_tokenizer("", "tiny", chunks=chunks)
    for words in (75 * chunks, 75 * chunks + 1, 1):
        counting.encode("red " * words)
    assert counting.report().startswith(f"1 of 3 captions so far were cut after {75 * chunks} tokens")
    assert advice in counting.report()


def test_threads_get_what_one_thread_gets(tiny: CaptionTokenizer) -> None:
    captions = [f"a {word} circle" * repeats for word in ("red", "teal") for repeats in range(1, 60)]
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(tiny.encode, captions))
    for caption, tokens in zip(captions, threaded, strict=True):
        assert (tiny.encode(caption).ids_1 == tokens.ids_1).all()


def test_clip_ids_of_a_known_caption() -> None:
    """Ids from ``openai/clip-vit-large-patch14``; needs the vocabulary that the open_clip package ships."""
    if importlib.util.find_spec("open_clip") is None:
        pytest.skip("open_clip is not installed")
    tokens = load_tokenizer("", "base").encode("a red disc on a light background")
    assert tokens.ids_1[:9].tolist() == [49406, 320, 736, 10712, 525, 320, 1395, 5994, 49407]
    assert tokens.eot_index == 8


@pytest.mark.parametrize("name", ["", "vocab.json"])
def test_folder_or_vocabulary_file_may_be_named(name: str, tiny: CaptionTokenizer) -> None:
    assert (load_tokenizer(str(TINY_ASSETS / name), "base").encode("teal").ids_1 == tiny.encode("teal").ids_1).all()


def test_merges_alone_rebuild_the_vocabulary(tmp_path: Path, tiny: CaptionTokenizer) -> None:
    lines = (TINY_ASSETS / "merges.txt").read_text(encoding="utf-8")
    with gzip.open(tmp_path / "merges.txt.gz", "wt", encoding="utf-8") as file:
        file.write(lines)
    rebuilt = load_tokenizer(str(tmp_path / "merges.txt.gz"), "base")
    assert (rebuilt.encode("a teal star").ids_1 == tiny.encode("a teal star").ids_1).all()
    merges = [(left, right) for left, right in (line.split() for line in lines.splitlines()[1:])]
    assert clip_vocabulary(merges) == json.loads((TINY_ASSETS / "vocab.json").read_text(encoding="utf-8"))


def test_installed_open_clip_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gzip.open(tmp_path / "bpe_simple_vocab_16e6.txt.gz", "wt", encoding="utf-8") as file:
        file.write((TINY_ASSETS / "merges.txt").read_text(encoding="utf-8"))
    spec = importlib.machinery.ModuleSpec("open_clip", None)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    assert load_tokenizer("", "base").size == 1024


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("saved_by_transformers", [False, True])
def test_vocabulary_beside_the_weights_is_found(
    tmp_path: Path, tiny: CaptionTokenizer, single: bool, saved_by_transformers: bool
) -> None:
    """A diffusers folder, or a single file where one lies; transformers 5 saves the tokenizer in one file."""
    if saved_by_transformers:
        tiny.clip.save_pretrained(tmp_path / "tokenizer")
    else:
        shutil.copytree(TINY_ASSETS, tmp_path / "tokenizer")
    weight = tmp_path / "model.safetensors" if single else tmp_path
    found = load_tokenizer("", "base", str(weight))
    assert found.fingerprint == tiny.fingerprint


def test_no_vocabulary_is_one_line_that_lists_the_four_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    ways = r"set plugins\.sdxl\.tokenizer.*tokenizer/ folder.*pip install.*hub:openai/clip-vit-large-patch14"
    with pytest.raises(UserError, match=ways) as caught:
        load_tokenizer("", "base", str(tmp_path / "model.safetensors"))
    assert "\n" not in str(caught.value)


HUB = """
from mindloom import UserError
from mindloom_sdxl.tokens import load_tokenizer
print(load_tokenizer("hub:some/clip", "base").size)
try:
    load_tokenizer("hub:other/clip", "base")
except UserError as error:
    print(error)
"""


def test_hub_is_asked_through_transformers_and_its_cache_serves_without_a_network(tmp_path: Path) -> None:
    model = tmp_path / "hub" / "models--some--clip"
    shutil.copytree(TINY_ASSETS, model / "snapshots" / "abc")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc")
    offline = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    env = {**offline, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", HUB], env=env, capture_output=True, text=True, check=True, timeout=60)
    size, error = done.stdout.splitlines()
    assert size == "1024"
    assert error.startswith("plugins.sdxl.tokenizer: the vocabulary of other/clip cannot be had from the hub")


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', "\x00"])
def test_damaged_vocabulary_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "vocab.json").write_text(content)
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(UserError, match=r"vocab\.json") as caught:
        load_tokenizer(str(tmp_path), "base")
    assert "\n" not in str(caught.value)
