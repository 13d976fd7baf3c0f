"""Files that must not be loaded silently: each is refused with its name, the keys concerned and what to do."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from comfyui_eridiffusion.lora import LoraError, find_checkpoints, load_report, merged_delta, read_lora, to_host_keys
from comfyui_eridiffusion.tests.lora.lora_files import eridiffusion_header, write

PROJ = "double_blocks.0.img_attn.proj"


def pair(module: str = PROJ, rank: int = 2, width: int = 8, height: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        f"{module}.lora_A.weight": torch.randn(rank, width, generator=generator),
        f"{module}.lora_B.weight": torch.randn(height, rank, generator=generator),
    }


def refused(path: Path, *words: str, retryable: bool = False, **arguments: Any) -> LoraError:
    """Reading raises; the text names the file and holds all the words."""
    with pytest.raises(LoraError) as caught:
        read_lora(path, **arguments)
    text = str(caught.value)
    assert str(path) in text
    for word in words:
        assert word in text
    assert caught.value.retryable is retryable
    return caught.value


@pytest.mark.parametrize("share", ["0 bytes", "4 bytes", "8 bytes", "header", "all but one byte"])
def test_half_written_files_may_be_retried(tmp_path: Path, share: str) -> None:
    whole = write(tmp_path / "a.safetensors", pair(), {"note": "x" * 200}).read_bytes()
    lengths = {"0 bytes": 0, "4 bytes": 4, "8 bytes": 8, "header": 60, "all but one byte": len(whole) - 1}
    path = tmp_path / "flux_lora_step5.safetensors"
    path.write_bytes(whole[: lengths[share]])
    refused(path, "wait a moment", retryable=True)
    path.write_bytes(whole)
    assert read_lora(path).rank == 2


def test_every_proper_start_of_a_file_is_half_written(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.safetensors", pair(rank=1, width=4, height=4)).read_bytes()
    path = tmp_path / "b.safetensors"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refused(path, retryable=True)


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04" + b"\0" * 50, b"\xff" * 64, b"\0" * 64, b"\x08\0\0\0\0\0\0\0not json"]
)
def test_other_formats_are_not_worth_waiting_for(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    refused(path, "safetensors")


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".bin", ".pth"])
def test_pickles_are_refused_unopened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"lora{suffix}"
    path.write_bytes(b"not even looked at")
    refused(path, "run code", ".safetensors")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none.safetensors", "no such file")
    (tmp_path / "folder.safetensors").mkdir()
    refused(tmp_path / "folder.safetensors", "folder")


@pytest.mark.parametrize(
    ("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinite"), (-float("inf"), "infinite")]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nan_and_infinity(tmp_path: Path, value: float, word: str, dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in pair().items()}
    tensors[f"{PROJ}.lora_B.weight"][3, 1] = value
    error = refused(write(tmp_path / "a.safetensors", tensors), word, "a flux LoRA by its names", "earlier checkpoint")
    assert error.keys == (f"{PROJ}.lora_B.weight",)


def test_nan_in_optimizer_state_does_not_matter(tmp_path: Path) -> None:
    tensors = {**pair(), f"__opt__/adamw/m/{PROJ}.lora_A.weight": torch.full((2, 8), float("nan"))}
    assert read_lora(write(tmp_path / "a.safetensors", tensors)).rank == 2


def test_shapes_that_do_not_fit(tmp_path: Path) -> None:
    tensors = pair()
    tensors[f"{PROJ}.lora_B.weight"] = torch.zeros(8, 3)
    error = refused(write(tmp_path / "a.safetensors", tensors), "[8, 3]", "[2, 8]", "do not fit", "a flux LoRA")
    assert error.keys == (PROJ,)


@pytest.mark.parametrize(("kept", "missing"), [("A", "up"), ("B", "down")])
def test_half_a_pair(tmp_path: Path, kept: str, missing: str) -> None:
    tensors = {name: tensor for name, tensor in pair().items() if f"lora_{kept}" in name}
    other = pair("double_blocks.1.img_attn.proj")
    refused(write(tmp_path / "a.safetensors", {**tensors, **other}), f"without its {missing} matrix", PROJ)


NOT_LORAS = {
    "full checkpoint": {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)},
    "embedding": {"emb_params": torch.zeros(2, 8)},
    "VAE": {"encoder.conv_in.weight": torch.zeros(1), "decoder.conv_in.weight": torch.zeros(1)},
    "optimizer": {"state.0.exp_avg": torch.zeros(1)},
    "low-rank pair": {"something.weight": torch.zeros(1)},
}


@pytest.mark.parametrize("kind", NOT_LORAS)
def test_files_that_are_no_loras(tmp_path: Path, kind: str) -> None:
    refused(write(tmp_path / "a.safetensors", NOT_LORAS[kind]), "not a LoRA", kind)


def test_unknown_names_list_the_known_dialects(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.safetensors", pair("stack.0.unit.to_q")), "eridiffusion-v2", "kohya", "peft", "stack.0")


def test_another_familys_file(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.safetensors", pair()), "for flux, not for sdxl", PROJ, family="sdxl")


def test_unknown_family_argument(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.safetensors", pair()), "unknown family 'sd15'", "flux, sd35, sdxl", family="sd15")


def test_ambiguous_family_asks(tmp_path: Path) -> None:
    """`transformer_blocks.0.attn.to_q` is a module of Flux and of SD 3.5; only their widths differ."""
    module = "transformer.transformer_blocks.0.attn.to_q"
    refused(write(tmp_path / "a.safetensors", pair(module)), "more than one family", "Name the family")
    assert read_lora(tmp_path / "a.safetensors", family="sd35").family == "sd35"
    for width, family in ((3072, "flux"), (1536, "sd35"), (2432, "sd35")):
        path = write(tmp_path / f"{width}.safetensors", pair(module, width=width, height=width))
        assert read_lora(path).family == family


@pytest.mark.parametrize(("key", "value", "family"), [
    ("ss_base_model_version", "flux1", "flux"),
    ("ss_base_model_version", "sd3m", "sd35"),
    ("ss_base_model_version", "sd_3", "sd35"),
    ("modelspec.architecture", "flux-1-dev/lora", "flux"),
    ("modelspec.architecture", "stable-diffusion-3-medium/lora", "sd35"),
])  # fmt: skip
def test_metadata_settles_the_family(tmp_path: Path, key: str, value: str, family: str) -> None:
    path = write(tmp_path / "a.safetensors", pair("transformer.transformer_blocks.0.attn.to_q"), {key: value})
    assert read_lora(path).family == family


@pytest.mark.parametrize(("width", "model"), [(768, "Stable Diffusion 1.5"), (1024, "Stable Diffusion 2")])
def test_older_models_share_sdxls_names(tmp_path: Path, width: int, model: str) -> None:
    module = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    tensors = {f"{module}.lora_down.weight": torch.zeros(2, width), f"{module}.lora_up.weight": torch.zeros(8, 2)}
    refused(write(tmp_path / "a.safetensors", tensors), model)


def test_other_models_of_eridiffusion(tmp_path: Path) -> None:
    """Klein has Flux's block names but is another model; the header says so."""
    path = write(tmp_path / "a.safetensors", pair(), eridiffusion_header("train_klein", 5, 2, 2.0))
    refused(path, "train_klein")


def test_modules_that_do_not_exist_match_nothing(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.safetensors", pair("double_blocks.0.img_attn.to_x")), "none of its", "to_x")


def test_unmatched_keys_are_named_when_others_match(tmp_path: Path) -> None:
    tensors = {**pair(), **pair("double_blocks.0.img_attn.to_x")}
    lora = read_lora(write(tmp_path / "a.safetensors", tensors))
    assert set(lora.unmatched) == set(pair("double_blocks.0.img_attn.to_x"))
    report = load_report(lora, to_host_keys(lora).keys())
    assert report.parts["model"].matched == 2
    assert "to_x" in report.as_text()


def test_two_names_of_one_weight(tmp_path: Path) -> None:
    tensors = {**pair("transformer.x_embedder"), **pair("base_model.model.x_embedder"),
               **pair("transformer.single_transformer_blocks.0.proj_out")}  # fmt: skip
    refused(write(tmp_path / "a.safetensors", tensors), "two names for the same weight", "img_in")


def test_report_refuses_when_the_host_took_nothing(tmp_path: Path) -> None:
    lora = read_lora(write(tmp_path / "a.safetensors", pair()))
    with pytest.raises(LoraError, match=r"no key of this native LoRA for flux.* Load a flux model") as caught:
        load_report(lora, {"diffusion_model.input_blocks.1.0.op"})
    assert caught.value.keys == tuple(pair())
    assert str(lora.path) in str(caught.value)


def test_report_says_everything(tmp_path: Path) -> None:
    """Matched and unmatched per part, what was left out and why, the norm of the change; JSON-ready."""
    clip = "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1"
    moments = {f"__opt__/adamw/m/{PROJ}.lora_A.weight": torch.zeros(2, 8)}
    header = eridiffusion_header("train_flux", 40, 2, 1.0)
    lora = read_lora(write(tmp_path / "flux_lora_step40.safetensors", {**pair(), **pair(clip), **moments}, header))
    report = load_report(lora, {f"diffusion_model.{PROJ}"})
    assert (report.family, report.rank, report.alpha, report.step) == ("flux", 2, 1.0, 40)
    assert (report.parts["model"].matched, report.parts["clip_l"].matched) == (2, 0)
    assert set(report.unmatched) == set(pair(clip))
    product = 0.5 * pair()[f"{PROJ}.lora_B.weight"].double() @ pair()[f"{PROJ}.lora_A.weight"].double()
    assert report.norms["double_blocks"] == pytest.approx(product.norm().item(), rel=1e-5)
    text = report.as_text()
    for word in ("step 40", "rank 2", "alpha 1", "header", "clip_l: 0 of 2", clip, "optimizer state: 1"):
        assert word in text
    assert "\n" in text
    assert json.loads(json.dumps(report.as_dict()))["parts"]["model"]["matched"] == 2


def test_reading_leaves_the_file_free(tmp_path: Path) -> None:
    """Tensors are copies: overwriting the file afterwards changes nothing that was read."""
    path = write(tmp_path / "a.safetensors", pair())
    lora = read_lora(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert all(torch.equal(lora.tensors[name], tensor) for name, tensor in pair().items())


def test_conversion_leaves_the_lora_alone(tmp_path: Path) -> None:
    lora = read_lora(write(tmp_path / "a.safetensors", pair()))
    to_host_keys(lora)
    merged_delta(lora, 0.3)
    assert all(torch.equal(lora.tensors[name], tensor) for name, tensor in pair().items())


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        f"{PROJ}.lora_A.weight",
        f"{PROJ}.lora_B.weight",
        f"{PROJ}.alpha",
        "lora_unet_x.lora_up.weight",
        "__metadata__",
        "a",
    ]
)
ENTRIES = st.fixed_dictionaries({"dtype": st.sampled_from(["F32", "F8_E4M3", "X"]), "shape": JSON_VALUES,
                                 "data_offsets": st.just([0, 0]) | JSON_VALUES})  # fmt: skip


@settings(max_examples=75, deadline=None)
@given(
    header=JSON_VALUES | st.dictionaries(NAMES, JSON_VALUES | ENTRIES, max_size=4),
    data=st.binary(max_size=16),
    metadata=st.none() | st.dictionaries(st.sampled_from(["__eridiffusion_ckpt__", "ss_steps"]), JSON_VALUES),
)
def test_no_header_whatever_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, header: Any, data: bytes, metadata: dict[str, Any] | None
) -> None:
    """Anything may lie under this name; the answer is a LoRA or a LoraError, never another exception."""
    if isinstance(header, dict) and metadata is not None:
        header["__metadata__"] = {key: json.dumps(value) for key, value in metadata.items()}
    text = json.dumps(header).encode()
    path = tmp_path_factory.mktemp("any") / "flux_lora_step3.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    assert [entry.step for entry in find_checkpoints(path.parent)] == [3]
    with contextlib.suppress(LoraError):
        assert read_lora(path).adapters


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, comfyui_eridiffusion.lora as l; l.find_checkpoints; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
