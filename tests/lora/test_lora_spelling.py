"""Any known prefix before any known naming with any known ending, and two namings in one file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from comfyui_eridiffusion.families import FAMILIES
from comfyui_eridiffusion.lora import LoraError, merged_delta, read_lora
from comfyui_eridiffusion.lora.names.spelling import place_of
from comfyui_eridiffusion.lora.names.table import row_span
from comfyui_eridiffusion.tests.lora import dialect_files as files
from comfyui_eridiffusion.tests.lora import module_tables as tables
from comfyui_eridiffusion.tests.lora.lora_files import (
    Place,
    assert_same_changes,
    expected_changes,
    pairs_for,
    tensors_of,
    write,
)

_FLAT = ("lora_unet_", "lora_transformer_", "lycoris_")
PREFIXES = (
    *("", "base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.", "unet.", "module."),
    *("transformer.base_model.model.", "base_model.model.transformer.", "transformer._orig_mod.", "lora_transformer."),
    *("lora_unet.", *_FLAT),
)
ENDINGS = (
    *(files.AB, files.DOWN_UP, (".lora.down.weight", ".lora.up.weight"), ("_lora.down.weight", "_lora.up.weight")),
    *((".lora_A.default.weight", ".lora_B.default.weight"), (".lora_A", ".lora_B"), (".lora_down", ".lora_up")),
    *((".lora_a.weight", ".lora_b.weight"), (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight")),
)
NAMINGS: dict[str, tuple[str, Callable[[], list[Place]]]] = {
    "flux native": ("flux", lambda: files.NATIVE["flux"]),
    "flux diffusers": ("flux", lambda: files.DIFFUSERS["flux"]),
    "flux hybrid": ("flux", tables.flux_hybrid),
    "flux by number": ("flux", lambda: files.by_number(files.NATIVE["flux"])),
    "flux DiffSynth": ("flux", files.diffsynth),
    "flux mflux": ("flux", lambda: [replace(p, key=p.key.replace("net.0.proj", "linear1").replace("net.2", "linear2"))
                                    for p in files.DIFFUSERS["flux"]]),
    "sd35 native": ("sd35", lambda: files.NATIVE["sd35"]),
    "sd35 diffusers": ("sd35", lambda: files.DIFFUSERS["sd35"]),
    "sd35 by number": ("sd35", lambda: files.by_number(files.NATIVE["sd35"])),
    "sdxl native": ("sdxl", lambda: files.NATIVE["sdxl"]),
    "sdxl diffusers": ("sdxl", lambda: files.DIFFUSERS["sdxl"]),
    "sdxl processors": ("sdxl", lambda: [replace(p, key=p.key.removeprefix("unet."))
                                         for p in files.processors(tables.sdxl("diffusers"))]),
    "chroma native": ("chroma", lambda: files.NATIVE["chroma"]),
    "chroma diffusers": ("chroma", lambda: files.DIFFUSERS["chroma"]),
}  # fmt: skip


def changes(path: Path, family: str) -> dict[str, torch.Tensor]:
    return merged_delta(read_lora(path, family=family))


def spelled(places: list[Place], prefix: str) -> list[Place]:
    return tables.renamed(places, prefix, "_" if prefix in _FLAT else ".")


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_prefix_before_every_naming(naming: str) -> None:
    family, places_of = NAMINGS[naming]
    for prefix in PREFIXES:
        for place in spelled(places_of(), prefix):
            target = place_of(place.key, FAMILIES[family].names)
            assert target is not None, place.key
            first, whole = (0, place.shape[0]) if target.rows is None else row_span(target.rows, place.height)
            assert (target.weight, first, whole) == (place.weight, place.first, place.shape[0]), place.key
            assert (target.swap == "always") == place.swap or target.swap == "last block"


@pytest.mark.parametrize(("down", "up"), ENDINGS)
def test_every_ending_behind_every_naming(tmp_path: Path, down: str, up: str) -> None:
    for number, naming in enumerate(NAMINGS):
        family, places_of = NAMINGS[naming]
        places = spelled(places_of()[number::23], PREFIXES[(number + len(down)) % len(PREFIXES)])
        pairs = pairs_for(places, None, rank=1)
        path = write(tmp_path / "lora.safetensors", tensors_of(pairs, down, up))
        assert_same_changes(changes(path, family), expected_changes(places, pairs))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_name_means_two_things(family: str) -> None:
    """Neither dotted nor joined by underscores, where a point and an underscore are the same."""
    table = FAMILIES[family].names
    named = [*((rule.source, rule) for rule in (*table.native_rules, *table.diffusers_rules))]
    for separator in "._":
        seen: dict[str, object] = {}
        for source, rule in named:
            meant = seen.setdefault(source.replace(".", separator), (rule.rows, rule.swap, str(rule.native)))
            if isinstance(rule.native, str):
                assert meant == (rule.rows, rule.swap, rule.native), source
        others = {other.replace(".", separator) for other in table.others}
        assert len(others) == len(table.others)
        assert not others & seen.keys()


@pytest.mark.parametrize("prefix", ["lora_te1.", "lora_te1_", "text_encoder.", "clip_l.", "lora_te_", "te1."])
@pytest.mark.parametrize("model", ["transformer.", "lora_unet_", "lora_transformer.", "diffusion_model."])
def test_text_encoders_in_another_notation_than_the_model(tmp_path: Path, prefix: str, model: str) -> None:
    separator = "_" if prefix.endswith("_") else "."
    text = tables.text_encoder("clip_l", prefix, separator)
    flux = tables.renamed(files.DIFFUSERS["flux"][:6], model, "_" if model.endswith("_") else ".")
    pairs = pairs_for([*flux, *text], None, rank=1)
    path = write(tmp_path / "lora.safetensors", tensors_of(pairs, *files.AB))
    assert_same_changes(changes(path, "flux"), expected_changes([*flux, *text], pairs))


def test_two_namings_for_different_modules(tmp_path: Path) -> None:
    sdxl = [*tables.renamed(files.NATIVE["sdxl"][:4], "lora_unet_", "_"),
            *tables.renamed(files.DIFFUSERS["sdxl"][-4:], "lora_unet_", "_")]  # fmt: skip
    pairs = pairs_for(sdxl, 2.0)
    path = write(tmp_path / "lora.safetensors", tensors_of(pairs, *files.DOWN_UP, alpha_tensors=True))
    assert_same_changes(changes(path, "sdxl"), expected_changes(sdxl, pairs))


def test_a_second_copy_is_named_and_left_out(tmp_path: Path) -> None:
    """Fused under kohya's names, split under diffusers': one of the two is applied, as neither trainer applied both."""
    fused = tables.renamed([p for p in files.NATIVE["flux"] if ".img_attn.qkv" in p.key], "lora_unet_", "_")
    split = tables.renamed([p for p in files.DIFFUSERS["flux"] if p.weight.endswith("img_attn.qkv")], "transformer.")
    pairs = pairs_for([*split, *fused], None)
    lora = read_lora(write(tmp_path / "lora.safetensors", tensors_of(pairs, *files.DOWN_UP)))
    assert_same_changes(merged_delta(lora), expected_changes(fused, pairs))
    copy = {f"{place.key}{ending}" for place in split for ending in files.DOWN_UP}
    assert copy == set(lora.ignored)
    assert all("second copy" in reason for reason in lora.ignored.values())


def test_half_a_second_copy_is_refused(tmp_path: Path) -> None:
    fused = tables.renamed([files.NATIVE["flux"][0]], "lora_unet_", "_")
    part = tables.renamed([files.DIFFUSERS["flux"][0]], "lora_transformer_", "_")
    pairs = pairs_for([*fused, *part], None)
    with pytest.raises(LoraError, match="two names for the same weight"):
        read_lora(write(tmp_path / "lora.safetensors", tensors_of(pairs, *files.DOWN_UP)))


def test_slices_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    """q of another height than k: half of such a file would land in the wrong rows."""
    places = tables.renamed(files.DIFFUSERS["flux"][:2], "transformer.")
    pairs = pairs_for(places, None)
    narrow = pairs[places[0].key]
    pairs[places[0].key] = replace(narrow, up=narrow.up[:96])
    with pytest.raises(LoraError, match="do not agree"):
        read_lora(write(tmp_path / "lora.safetensors", tensors_of(pairs, *files.AB)), family="flux")


@pytest.mark.parametrize(("width", "family"), [(3072, "flux"), (1536, "sd35")])
def test_diffsynths_names_of_two_models_are_told_by_the_width(tmp_path: Path, width: int, family: str) -> None:
    name = "blocks.0.attn.a_to_qkv.lora_{}.default.weight"
    tensors = {name.format("A"): torch.ones(1, width), name.format("B"): torch.ones(3 * width, 1)}
    lora = read_lora(write(tmp_path / "lora.safetensors", tensors))
    assert (lora.dialect, lora.family) == ("diffsynth", family)


def test_a_few_known_names_among_others_are_another_format(tmp_path: Path) -> None:
    """What is left of such a file would be another LoRA than the trained one."""
    known = tables.renamed(files.DIFFUSERS["flux"][:1], "transformer.")
    foreign = [replace(known[0], key=f"transformer.stack.{i}.unit") for i in range(10)]
    pairs = pairs_for([*known, *foreign], None)
    with pytest.raises(LoraError, match="only 1 of its 11 modules"):
        read_lora(write(tmp_path / "lora.safetensors", tensors_of(pairs, *files.AB)), family="flux")


def test_a_scale_under_another_name_of_its_module(tmp_path: Path) -> None:
    places = tables.renamed(files.DIFFUSERS["sdxl"][:3], "lora_unet_", "_")
    pairs = pairs_for(places, 2.0)
    tensors = tensors_of(pairs, *files.DOWN_UP)
    tensors |= {f"unet.{p.key}.alpha": torch.tensor(2.0) for p in files.DIFFUSERS["sdxl"][:3]}
    assert_same_changes(changes(write(tmp_path / "lora.safetensors", tensors), "sdxl"), expected_changes(places, pairs))


def test_alpha_under_the_name_of_its_option(tmp_path: Path) -> None:
    """`….lora_alpha` beside the pair: alpha / rank, as for `….alpha`."""
    pairs = pairs_for(files.DIFFUSERS["flux"][:3], 2.0)
    written = tensors_of(pairs, *files.AB, alpha_tensors=True)
    tensors = {name.replace(".alpha", ".lora_alpha"): value for name, value in written.items()}
    found = changes(write(tmp_path / "lora.safetensors", tensors), "flux")
    assert_same_changes(found, expected_changes(files.DIFFUSERS["flux"][:3], pairs))
