"""The configuration: layers and their origins, typed sections, and errors that say what, where and what to do."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from typing import Any

import pytest
from mindloom import Plugin, UserError
from mindloom.config import build
from mindloom.discovery import Found
from mindloom.flags import apply_flags
from mindloom.layers import Layers
from mindloom.schema import CHOICES, RANGES, Config, DataConfig, DeviceConfig, OptimConfig, setting
from mindloom.session import check_values, configure
from omegaconf import DictConfig
from omegaconf.errors import ReadonlyConfigError

SINK = Found("sink", "sink:Sink", "1", "", "test", "", (("data_sink", "sink"), ("sink_size", "sink:size")))
BOARD = Found("board", "board:Board", "1", "", "test")
AVAILABLE = {"sink": SINK, "board": BOARD}


@dataclass
class Inner:
    depth: int = setting(1, "nested")


@dataclass
class Section:
    size: int = setting(100, "steps in a dispatch")
    weights: dict[str, float] = setting({}, "free keys")
    inner: Inner = field(default_factory=Inner)


class Sized(Plugin):
    """Has settings."""

    Config = Section  # type: ignore[assignment]


def stack(*files: Mapping[str, Any], **typed: Any) -> Layers:
    """Layers of files ``file1``, ``file2``, ... and of a command line."""
    layers = Layers()
    for number, content in enumerate(files, 1):
        layers.add(f"file{number}", content)
    apply_flags(layers, typed, AVAILABLE)
    return layers


def built(layers: Layers) -> DictConfig:
    cfg = build(layers, dict.fromkeys(layers.enabled, Section))
    check_values(cfg)
    return cfg


def refusal(*files: Mapping[str, Any], **typed: Any) -> tuple[str, str]:
    """The error's message, and where the setting that it blames was set."""
    layers = stack(*files, **typed)
    with pytest.raises(UserError) as caught:
        built(layers)
    assert "\n" not in str(caught.value)
    return str(caught.value), layers.origin(caught.value.setting)


def test_later_layers_win_and_the_origin_of_every_value_is_known() -> None:
    layers = stack(
        {"max_steps": 1, "seed": 1, "optim": {"lr": 1.0, "eps": 1e-3}, "per_batch_size": 1},
        {"max_steps": 2, "optim": {"lr": 2.0}},
        overrides=["max_steps=3", "log_interval=5"],
        per_batch_size="8",
    )
    cfg = built(layers)
    assert (cfg.max_steps, cfg.seed, cfg.log_interval, cfg.per_batch_size) == (3, 1, 5, 8)
    assert (cfg.optim.lr, cfg.optim.eps, cfg.optim.weight_decay) == (2.0, 1e-3, 0.01)
    origins = [layers.origin(key) for key in ("max_steps", "seed", "optim.lr", "optim.eps", "per_batch_size")]
    assert origins == ["command line", "file1", "file2", "file1", "flag"]
    assert layers.origin("optim.weight_decay") == "default"


def test_flags_beat_key_value_whatever_their_order() -> None:
    assert built(stack(overrides=["seed=1"], seed="2")).seed == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"max_stepz": 1}, "no setting max_stepz: did you mean 'max_steps'"),
        ({"optim": {"lrr": 1}}, "no setting optim.lrr: did you mean 'lr'"),
        ({"plugins": {"sink": {"sise": 1}}}, "no setting plugins.sink.sise: did you mean 'size'"),
        ({"plugins": {"sink": {"inner": {"dept": 1}}}}, "no setting plugins.sink.inner.dept: did you mean 'depth'"),
        ({"xyzzy": 1}, "no setting xyzzy: known: data, device"),
    ],
)
def test_an_unknown_key_suggests_the_nearest_and_tells_where_it_was_set(content: Any, words: str) -> None:
    message, origin = refusal(content)
    assert words in message
    assert origin == "file1"


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"max_steps": "many"}, "max_steps"),
        ({"max_steps": 1.5}, "max_steps"),
        ({"max_steps": True}, "max_steps"),
        ({"max_steps": None}, "max_steps"),
        ({"max_steps": {"a": 1}}, "max_steps"),
        ({"optim": 3}, "optim"),
        ({"optim": {"betas": 0.9}}, "optim.betas"),
        ({"optim": {"betas": ["x", 1]}}, "optim.betas"),
        ({"save_path": ["a"]}, "save_path"),
        ({"plugins": {"sink": {"size": "big"}}}, "plugins.sink.size"),
    ],
)
def test_a_value_of_the_wrong_type_names_the_key_and_where_it_was_set(content: Any, key: str) -> None:
    message, origin = refusal(content)
    assert message.startswith(f"{key}")
    assert origin == "file1"


@pytest.mark.parametrize(
    ("value", "example"),
    [("pictures", "[pictures]"), ({"path": "a"}, "[{'path': 'a'}]"), (3, "[3]"), (None, "[] for none")],
)
def test_a_list_is_asked_for_in_words_of_the_config(value: Any, example: str) -> None:
    message, origin = refusal({"data": {"mix": value}})
    assert message == f"data.mix must be a list, not {value!r}: write it in brackets, such as {example}"
    assert origin == "file1"


@pytest.mark.parametrize("key", RANGES)
def test_values_outside_their_range_are_refused(key: str) -> None:
    low, high = RANGES[key]
    message, _ = refusal(overrides=[f"{key}={int(low) - 1}"])
    assert message.startswith(f"{key} must be from")
    cfg = built(stack(overrides=[f"{key}={int(low)}"]))
    assert cfg is not None
    assert high > low


def test_nan_is_in_no_range() -> None:
    assert "optim.lr must be from" in refusal(overrides=["optim.lr=.nan"])[0]


@pytest.mark.parametrize("key", CHOICES)
def test_values_that_are_no_choice_are_refused_naming_the_choices(key: str) -> None:
    message, _ = refusal(overrides=[f"{key}=nonsense"])
    assert message.startswith(f"{key} must be one of ")
    assert CHOICES[key][-1] in message


def test_ranges_and_choices_name_settings_that_exist() -> None:
    cfg = build(Layers(), {})
    for key in [*RANGES, *CHOICES]:
        node: Any = cfg
        for part in key.split("."):
            node = node[part]


def test_flags_of_the_reference_recipe_set_what_they_say() -> None:
    cfg = built(
        stack(
            weight="w.safetensors",
            data_path="2024",
            save_path="~/out",
            save_path_with_time="False",
            per_batch_size="2",
            device_target="CPU",
            ms_mode="1",
            jit_level="O1",
            max_device_memory="59GB",
            seed="7",
            gradient_accumulation_steps="4",
            max_grad_norm="1e-1",
            log_interval="3",
        )
    )
    assert (cfg.weight, cfg.data.path, cfg.save_path, cfg.save_path_with_time) == (
        "w.safetensors",
        "2024",
        "~/out",
        False,
    )
    assert (cfg.per_batch_size, cfg.seed, cfg.gradient_accumulation_steps, cfg.log_interval) == (2, 7, 4, 3)
    assert (cfg.device.mode, cfg.device.jit_level, cfg.device.max_memory) == ("pynative", "O1", "59GB")
    assert cfg.optim.max_grad_norm == 0.1
    assert built(stack(clip_grad="False")).optim.max_grad_norm == 0.0
    assert built(stack(clip_grad="True")).optim.max_grad_norm == 1.0
    assert built(stack(ms_mode="0")).device.mode == "graph"


def test_free_dictionaries_of_a_plugin_take_any_key() -> None:
    cfg = built(stack({"plugins": {"sink": {"weights": {"unet.in": 0.5}}}}))
    assert cfg.plugins.sink.weights == {"unet.in": 0.5}


def test_an_empty_section_changes_nothing() -> None:
    assert built(stack({"data": None, "optim": {}})).optim == build(Layers(), {}).optim


def test_a_plugins_setting_without_default_must_be_set() -> None:
    @dataclass
    class Needy:
        place: str

    layers = stack({"plugins": {"sink": True}})
    with pytest.raises(UserError, match=r"plugins\.sink\.place has no default and must be set"):
        build(layers, {"sink": Needy})


def test_a_config_class_that_cannot_be_typed_blames_its_plugin() -> None:
    @dataclass
    class Odd:
        what: complex = 1j

    for schema in (Odd, int):
        with pytest.raises(UserError, match="plugin 'sink': its Config"):
            build(Layers(), {"sink": schema})


@pytest.mark.parametrize(
    ("kind", "default", "words"),
    [
        ("Foo", None, "its field 'what': name 'Foo' is not defined: write types that its module has"),
        (object, None, "its field 'what': Unexpected type annotation: object"),
        (int, "x", "its field 'what': Value 'x' of type 'str' could not be converted to Integer"),
    ],
)
def test_a_field_that_cannot_be_typed_is_named(kind: Any, default: Any, words: str) -> None:
    odd = make_dataclass("Odd", [("fine", int, 0), ("what", kind, default)])
    with pytest.raises(UserError) as caught:
        build(Layers(), {"sink": odd})
    assert str(caught.value) == f"plugin 'sink': its Config cannot be used: {words}"


def refused_by(look: Callable[[Any], None], **settings: Any) -> str:
    @dataclass
    class Careful:
        size: int = 0
        weight: float = math.nan

        def __post_init__(self) -> None:
            look(self)

    try:
        assert build(stack({"plugins": {"sink": settings or True}}), {"sink": Careful}).plugins.sink.size == 3
    except UserError as error:
        return str(error)
    return ""


def test_post_init_of_a_config_looks_at_the_settings_and_may_refuse_them() -> None:
    def positive(config: Any) -> None:
        if config.size < 1:
            raise ValueError("size must be at least 1")

    def grow(config: Any) -> None:
        config.size += 1

    assert refused_by(positive) == "plugin 'sink': size must be at least 1"
    assert refused_by(positive, size=3) == ""
    assert "changes settings: do that in on_configure" in refused_by(grow, size=3)
    assert "its Config fails: AttributeError" in refused_by(lambda config: config.sise, size=3)


def test_settings_may_refer_to_other_settings_and_are_resolved_at_once() -> None:
    cfg = built(stack({"save_path": "runs/${seed}", "plugins": {"sink": {"size": "${max_steps}"}}, "max_steps": 9}))
    assert (cfg.save_path, cfg.plugins.sink.size) == ("runs/42", 9)


def test_a_reference_to_nothing_or_to_the_wrong_type_is_refused() -> None:
    assert refusal({"save_path": "${nothing}"}) == ("save_path: Interpolation key 'nothing' not found", "file1")
    assert refusal({"seed": "${save_path}"})[0].startswith("seed: ")


@pytest.mark.parametrize(
    "value", ["${oc.env:HOME}", "a${oc.env:HOME}", "${${seed}:x}", ["${oc.decode:1}"], {"a": "${oc.env:HOME}"}]
)
def test_resolvers_are_refused_because_config_files_are_data(value: Any) -> None:
    for content in ({"save_path": value}, {"plugins": {"sink": {"size": value}}}):
        with pytest.raises(UserError, match=r"file1: .* is not allowed"):
            stack(content)
    with pytest.raises(UserError, match="is not allowed"):
        stack(data_path="${oc.env:HOME}")


def test_the_config_is_read_only_after_on_configure() -> None:
    cfg, registry = configure(Layers(), {"plain": Sized})
    for section, key in ((cfg, "seed"), (cfg.optim, "lr"), (registry.plugins["plain"].cfg, "size")):
        with pytest.raises(ReadonlyConfigError):
            section[key] = 5


def test_every_setting_has_a_help_text() -> None:
    for part in (Config, DeviceConfig, DataConfig, OptimConfig):
        for entry in fields(part):
            assert entry.metadata.get("help") or entry.default_factory is not MISSING, f"{part.__name__}.{entry.name}"
