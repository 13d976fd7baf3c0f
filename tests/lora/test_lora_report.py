"""What is said about a load: parts, norms, warnings, and the error for a model of another shape. No host needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.lora import LoraError, change_norms, load_report, merged_delta, read_lora, to_host_keys
from comfyui_eridiffusion.lora.against import model_shapes, report_against
from comfyui_eridiffusion.lora.fit import check_fit, fitting, misfits
from comfyui_eridiffusion.lora.report import LoadReport
from comfyui_eridiffusion.tests.lora.lora_files import write

W = 24  # model width
PROJ = "double_blocks.0.img_attn.proj"
KEY = "transformer.single_transformer_blocks.1.attn.to_k"
MLP = "transformer.single_transformer_blocks.1.proj_mlp"
CLIP = "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1"
MODEL = {
    f"diffusion_model.{PROJ}.weight": (W, W),
    f"diffusion_model.{PROJ}.bias": (W,),
    "diffusion_model.double_blocks.0.img_attn.qkv.weight": (3 * W, W),
    "diffusion_model.single_blocks.1.linear1.weight": (7 * W, W),
    "diffusion_model.final_layer.adaLN_modulation.1.weight": (2 * W, W),
}


def rand(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def pair(module: str, out: int = W, width: int = W, rank: int = 2) -> dict[str, Tensor]:
    return {f"{module}.lora_A.weight": rand(rank, width), f"{module}.lora_B.weight": rand(out, rank)}


def report(path: Path, loaded: Any = None, **more: Any) -> LoadReport:
    lora = read_lora(path)
    return load_report(lora, to_host_keys(lora) if loaded is None else loaded, **more)


def test_norms_of_every_algorithm(tmp_path: Path) -> None:
    """Frobenius norm of the whole change, from factors where that is cheaper."""
    tensors = {
        **pair(PROJ),
        f"{PROJ}.alpha": torch.tensor(4.0),
        **{f"single_blocks.0.linear2.lokr_{k}": rand(*s) for k, s in
           {"w1": (4, 5), "w2_a": (W // 4, 3), "w2_b": (3, W)}.items()},
        "single_blocks.0.linear2.alpha": torch.tensor(6.0),
        **{f"final_layer.linear.hada_{k}": rand(*s) for k, s in
           {"w1_a": (8, 2), "w1_b": (2, W), "w2_a": (8, 2), "w2_b": (2, W)}.items()},
        "img_in.diff": rand(W, 64),
    }  # fmt: skip
    path = write(tmp_path / "a.safetensors", tensors)
    found = change_norms(read_lora(path))
    first, second = rand(4, 5), rand(W // 4, 3) @ rand(3, W)
    assert found["double_blocks"] == pytest.approx(float((2 * rand(W, 2) @ rand(2, W)).norm()), rel=1e-5)
    assert found["single_blocks"] == pytest.approx(float((2 * torch.kron(first, second)).norm()), rel=1e-5)
    hadamard = (rand(8, 2) @ rand(2, W)) * (rand(8, 2) @ rand(2, W))
    assert found["final_layer"] == pytest.approx(float(hadamard.norm()), rel=1e-5)
    assert found["img_in"] == pytest.approx(float(rand(W, 64).norm()), rel=1e-5)


def test_everything_dropped_is_a_warning(tmp_path: Path) -> None:
    tensors = {
        **pair(PROJ),
        **pair("double_blocks.0.img_attn.to_x"),
        **pair(CLIP),
        f"{PROJ}.something.else": rand(2),
        "double_blocks.7.img_attn.proj.alpha": torch.tensor(1.0),
        "bundle_emb.<token>.clip_l": rand(1, 4),
    }
    found = report(write(tmp_path / "a.safetensors", tensors), {f"diffusion_model.{PROJ}"})
    text = "\n".join(found.warnings)
    for word in ("to_x", "clip_l", CLIP, "something.else", "double_blocks.7.img_attn.proj.alpha"):
        assert word in text
        assert word in found.as_text()
    assert "token" not in text  # an embedding is rightly left out: named, but no warning
    assert "embedding: 1" in found.as_text()
    assert json.loads(json.dumps(found.as_dict()))["warnings"] == list(found.warnings)
    assert report(write(tmp_path / "b.safetensors", pair(PROJ))).warnings == ()


def test_magnitudes_of_ai_toolkit_are_named(tmp_path: Path) -> None:
    """The host cannot apply them; what loads is the plain LoRA."""
    module = "transformer.single_transformer_blocks.0.attn.to_q"
    tensors = {**pair(module), f"{module}.magnitude": rand(W)}
    path = write(tmp_path / "a.safetensors", tensors, {"training_info": '{"step": 5}'})
    found = report(path)
    assert (found.dialect, found.step, found.matched) == ("ai-toolkit", 5, 2)
    assert any("1 DoRA magnitudes of ai-toolkit" in warning for warning in found.warnings)
    (change,) = merged_delta(read_lora(path)).values()
    assert torch.allclose(change[:W], rand(W, 2) @ rand(2, W), atol=1e-5)


@pytest.mark.parametrize(("metadata", "rank", "told"), [
    ({"ss_network_args": '{"split_qkv": "True"}'}, 2, True),
    ({"ss_network_dim": "2"}, 6, True),
    ({"ss_network_dim": "6"}, 6, False),
    ({"ss_network_args": '{"split_qkv": "False"}', "ss_network_dim": "2"}, 6, False),
    ({}, 6, False),
])  # fmt: skip
def test_split_qkv_is_told(tmp_path: Path, metadata: dict[str, str], rank: int, told: bool) -> None:
    module = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {f"{module}.lora_down.weight": rand(rank, W), f"{module}.lora_up.weight": rand(3 * W, rank)}
    found = report(write(tmp_path / "a.safetensors", tensors, metadata))
    assert any("split_qkv" in warning for warning in found.warnings) is told


def test_gap_between_the_hosts_dora_and_the_trainers(tmp_path: Path) -> None:
    """W' = m (W + Δ) / |W + Δ| in training, / |W| in the host: the distance is computed from both."""
    weight, down, up = rand(3 * W, W), rand(2, W), 0.3 * rand(W, 2)
    module = "transformer.single_transformer_blocks.1.attn.to_k"
    base = {"diffusion_model.single_blocks.1.linear1.weight": torch.cat([weight, rand(4 * W, W)])}
    magnitude = weight[W : 2 * W].norm(dim=1)
    tensors = {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up,
               f"{module}.lora_magnitude_vector": magnitude}  # fmt: skip
    path = write(tmp_path / "a.safetensors", tensors)
    part = weight[W : 2 * W]
    changed = part + up @ down
    trainer = magnitude[:, None] * changed / changed.norm(dim=1, keepdim=True) - part
    host = magnitude[:, None] * changed / part.norm(dim=1, keepdim=True) - part
    expected = float((host - trainer).norm() / trainer.norm())
    merged = {module: "as chosen"}
    (told,) = [warning for warning in report(path, base=base, merged=merged).warnings if "up to" in warning]
    assert f"{expected:.2g} of the change ({module})" in told
    assert not any("up to" in warning for warning in report(path, merged=merged).warnings)
    assert report(path, base=base).warnings == ()  # beside the weight it is the trainer's


def test_how_it_is_applied(tmp_path: Path) -> None:
    """A whole difference is merged; an OFT has ComfyUI's squared strength only where it is merged."""
    blocks = rand(4, W // 4, W // 4)
    tensors = {**pair(PROJ), "img_in.diff": rand(W, 64), "double_blocks.1.img_attn.proj.oft_blocks": blocks}
    path = write(tmp_path / "a.safetensors", {f"diffusion_model.{name}": value for name, value in tensors.items()})
    found = report(path)
    assert (found.beside, set(found.merged.values())) == (2, {"a whole difference"})
    assert "beside the weights: 2 modules" in found.as_text()
    assert "merged into the weights, a whole difference: 1 (" in found.as_text()
    assert not found.warnings
    modules = [adapter.module for adapter in read_lora(path).adapters]
    merged = report(path, merged=dict.fromkeys(modules, "as chosen"))
    assert (merged.beside, len(merged.merged)) == (0, 3)
    assert "merged into the weights, as chosen: 3 (" in merged.as_text()
    assert any("strength twice" in warning for warning in merged.warnings)


FITTING = {
    "pair": pair(PROJ),
    "slice": pair(KEY) | pair(MLP, out=4 * W),
    "loha": {f"{PROJ}.hada_{k}": rand(*s) for k, s in
             {"w1_a": (W, 2), "w1_b": (2, W), "w2_a": (W, 2), "w2_b": (2, W)}.items()},
    "lokr": {f"{PROJ}.lokr_w1": rand(4, 6), f"{PROJ}.lokr_w2": rand(W // 4, W // 6)},
    "oft": {f"{PROJ}.oft_blocks": rand(4, W // 4, W // 4)},
    "diff": {f"{PROJ}.diff": rand(W, W), f"{PROJ}.diff_b": rand(W)},
    "dora": pair(PROJ) | {f"{PROJ}.dora_scale": rand(1, W)},
    "swapped": pair("transformer.norm_out.linear", out=2 * W) | pair(KEY),
}  # fmt: skip
MISFITS = {
    "too narrow": (pair(PROJ, width=W // 2), PROJ),
    "too high": (pair(PROJ, out=2 * W), PROJ),
    "slice of another width": (pair(KEY, out=W // 2), KEY),
    "mlp of another ratio": (pair(MLP, out=3 * W), MLP),
    "loha": ({f"{PROJ}.hada_{k}": rand(*s) for k, s in
              {"w1_a": (W, 2), "w1_b": (2, 8), "w2_a": (W, 2), "w2_b": (2, 8)}.items()}, PROJ),
    "lokr": ({f"{PROJ}.lokr_w1": rand(4, 6), f"{PROJ}.lokr_w2": rand(W, W)}, PROJ),
    "oft": ({f"{PROJ}.oft_blocks": rand(3, W // 4, W // 4)}, PROJ),
    "diff": ({f"{PROJ}.diff": rand(W, W + 1)}, PROJ),
    "bias": (pair(PROJ) | {f"{PROJ}.diff_b": rand(W + 1)}, PROJ),
    "no bias": (pair(PROJ) | {"double_blocks.0.img_attn.qkv.diff_b": rand(3 * W)}, "double_blocks.0.img_attn.qkv"),
    "magnitude": (pair(PROJ) | {f"{PROJ}.dora_scale": rand(1, W + 1)}, PROJ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FITTING)
def test_what_fits_passes(tmp_path: Path, kind: str) -> None:
    check_fit(read_lora(write(tmp_path / "a.safetensors", FITTING[kind])), MODEL)


@pytest.mark.parametrize("kind", MISFITS)
def test_another_shape_is_an_error(tmp_path: Path, kind: str) -> None:
    """The host would log it while sampling and leave the weight as it was."""
    tensors, module = MISFITS[kind]
    path = write(tmp_path / "a.safetensors", tensors)
    with pytest.raises(LoraError, match="does not fit the loaded model") as caught:
        check_fit(read_lora(path), MODEL)
    assert caught.value.keys == (module,)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", MISFITS)
def test_one_misfit_among_many_is_left_out_and_named(tmp_path: Path, kind: str) -> None:
    """ComfyUI leaves the one weight as it is and applies the rest."""
    tensors, module = MISFITS[kind]
    others = [f"double_blocks.1.{name}" for name in ("img_attn.proj", "txt_attn.proj")]
    shapes = {**MODEL, **{f"diffusion_model.{name}.weight": (W, W) for name in others}}
    diffusers = [f"transformer.transformer_blocks.1.attn.{name}" for name in ("to_out.0", "to_add_out")]
    named = diffusers if module.startswith("transformer.") else others
    path = write(tmp_path / "a.safetensors", {**tensors, **pair(named[0]), **pair(named[1])})
    lora = read_lora(path)
    misfits = check_fit(lora, shapes)
    assert [misfit.module for misfit in misfits] == [module]
    rest = to_host_keys(fitting(lora, misfits))
    assert not any(name.startswith(f"diffusion_model.{module}.") for name in rest)
    assert all(f"diffusion_model.{name}.lora_up.weight" in rest for name in others)
    found = report_against(lora, shapes)
    (adapter,) = [one for one in lora.adapters if one.module == module]
    assert list(found.misfits) == [module]
    assert set(adapter.keys) == set(found.unmatched)
    assert f"do not fit and were left out: 1 of {len(lora.adapters)}: {module} " in found.as_text()
    applied = len(lora.adapters) - 1
    assert found.headline.startswith(f"{applied} of {len(lora.adapters)} modules; strongest change in ")
    assert f"1 do not fit, the largest {module}: " in found.headline


@pytest.mark.parametrize("names", [
    {"img_in.lora_A.weight": "down", "img_in.lora_B.weight": "up",
     "double_blocks.0.img_attn.norm.key_norm.scale": "norm"},
    {"transformer.x_embedder.lora_A.weight": "down", "transformer.x_embedder.lora_B.weight": "up",
     "transformer.transformer_blocks.0.attn.norm_k.set_weight": "norm"},
    {"diffusion_model.img_in.lora_A.weight": "down", "diffusion_model.img_in.lora_B.weight": "up",
     "diffusion_model.img_in.reshape_weight": "shape",
     "diffusion_model.double_blocks.0.img_attn.norm.key_norm.set_weight": "norm"},
])  # fmt: skip
def test_control_loras(tmp_path: Path, names: dict[str, str]) -> None:
    """Black Forest Labs', diffusers' and ComfyUI's own form: the first layer for 128 channels, a norm that is set."""
    parts = {"down": rand(2, 128), "up": rand(W, 2), "norm": rand(8), "shape": torch.tensor([W, 128])}
    lora = read_lora(write(tmp_path / "a.safetensors", {name: parts[part] for name, part in names.items()}), "flux")
    keys = to_host_keys(lora)
    assert keys["diffusion_model.img_in.reshape_weight"].tolist() == [W, 128]
    assert torch.equal(keys["transformer.transformer_blocks.0.attn.norm_k.set_weight"], parts["norm"])
    first, norm = "diffusion_model.img_in.weight", "diffusion_model.double_blocks.0.img_attn.norm.key_norm.weight"
    for columns, fits in ((64, True), (128, True), (384, False)):  # Flux dev, Depth and Canny, Fill
        assert (misfits(lora, {first: (W, columns), norm: (8,)}) == ()) is fits
    changes = merged_delta(lora, 0.5, {first: rand(W, 64), norm: torch.ones(8)})
    assert torch.allclose(changes[first], 0.5 * parts["up"] @ parts["down"])
    assert torch.allclose(changes[norm], parts["norm"] - 1.0)


def checkpoint(path: Path, prefix: str, **more: Tensor) -> Path:
    """A model file: the modules of MODEL as zeros."""
    tensors = {prefix + name.removeprefix("diffusion_model."): torch.zeros(shape) for name, shape in MODEL.items()}
    return write(path, {**tensors, **more})


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_against_a_model_file(tmp_path: Path, prefix: str) -> None:
    lora = read_lora(write(tmp_path / "a.safetensors", pair(PROJ) | pair("double_blocks.5.img_attn.proj") | pair(CLIP)))
    shapes = model_shapes(checkpoint(tmp_path / "model.safetensors", prefix))
    assert shapes == MODEL
    found = report_against(lora, shapes)
    assert (found.parts["model"].matched, set(found.parts)) == (2, {"model"})
    assert set(found.unmatched) == set(pair("double_blocks.5.img_attn.proj"))
    assert any("clip_l was not looked at: its 2 keys" in note for note in found.notes)
    other = {name: (2 * shape[0], *shape[1:]) for name, shape in MODEL.items()}
    with pytest.raises(LoraError, match="does not fit"):
        report_against(lora, other)
    with pytest.raises(LoraError, match="no key of this"):
        report_against(lora, {"diffusion_model.input_blocks.4.1.proj_in.weight": (W, W)})


def test_a_model_file_with_its_text_encoder(tmp_path: Path) -> None:
    name = "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight"
    model = checkpoint(tmp_path / "m.safetensors", "model.diffusion_model.", **{name: torch.zeros(W, W)})
    found = report_against(read_lora(write(tmp_path / "a.safetensors", pair(PROJ) | pair(CLIP))), model_shapes(model))
    assert {name: part.matched for name, part in found.parts.items()} == {"model": 2, "clip_l": 2}


def test_packed_model_files(tmp_path: Path) -> None:
    """NVFP4: two numbers a byte, with scales beside them (ComfyUI comfy/ops.py); what else is packed is not judged."""
    name = f"diffusion_model.{PROJ}.weight"
    packed = torch.zeros(W, W // 2, dtype=torch.uint8)
    scales = {f"{PROJ}.weight_scale": torch.zeros(W, W // 16), f"{PROJ}.weight_scale_2": torch.zeros(())}
    model = write(tmp_path / "nvfp4.safetensors", {f"{PROJ}.weight": packed, **scales})
    assert model_shapes(model)[name] == MODEL[name] == (W, W)
    report_against(read_lora(write(tmp_path / "a.safetensors", pair(PROJ))), model_shapes(model))
    for other in (write(tmp_path / "nf4.safetensors", {f"{PROJ}.weight": packed}), tmp_path / "flux-Q8_0.gguf"):
        with pytest.raises(LoraError, match=r"only ComfyUI's loader .* --against http"):
            model_shapes(other)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = write(tmp_path / "vae.safetensors", {"encoder.conv_in.weight": rand(4, 4)})
    with pytest.raises(LoraError, match="holds no diffusion model"):
        model_shapes(path)
