"""EriLoraAtStep beside the weights: against the unmerged forward of PEFT's and kohya's modules in the same models."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.lora_runs import (
    RANK,
    folders,
    linear_weights,
    same,
    scaled_fp8,
    text_weights,
    weights,
    write_kohya,
    write_text_kohya,
)

FAMILIES = ("flux", "sd35", "sdxl")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "fp8": torch.float8_e4m3fn}
INTO = "into the weights"


@pytest.fixture
def loras(comfy_host: Any, tmp_path: Path) -> Iterator[Path]:
    with folders(loras=tmp_path / "loras"):
        yield tmp_path / "loras"


class Scene:
    """A family's small model with weights of `dtype`, computed with in bfloat16 where that is narrower; its LoRAs."""

    def __init__(self, comfy_host: Any, loras: Path, family: str = "flux", dtype: torch.dtype = torch.float32) -> None:
        self.host, self.loras, self.dtype = comfy_host, loras, dtype
        self.model, self.positive, self.negative, self.latent = small_models.inputs_for(family)
        if dtype != torch.float32:
            in_type(self.model.model, dtype)
        self.base = weights(self.model)

    def write(self, *steps: int, spread: float = 0.3) -> None:
        for step in steps:
            write_kohya(self.file(step), self.model, step, spread=spread)

    def file(self, step: int) -> Path:
        return self.loras / "run" / f"a-step{step:08d}.safetensors"

    def at(self, step: int, model: Any = None, **inputs: Any) -> Any:
        chosen = {"run": "run", "step": step, "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0, **inputs}
        model = self.model if model is None else model
        return self.host.nodes["EriLoraAtStep"].execute(model=model, **chosen).args[0]

    def sample(self, model: Any, steps: int = 3, look: Callable[[], None] | None = None) -> Tensor:
        """The final latent; `look` is called while the model is loaded, in the first step."""
        import comfy.samplers

        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(self.positive, self.negative)
        guider.set_cfg(2.0)
        noise = torch.randn(self.latent.shape, generator=torch.Generator().manual_seed(5))
        sampling = model.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", steps)

        def callback(step: int, *_: Any) -> None:
            if look is not None and step == 0:
                look()

        sampler = comfy.samplers.sampler_object("euler")
        return guider.sample(noise, self.latent, sampler, sigmas, callback=callback, disable_pbar=True)

    def base_is_untouched(self) -> bool:
        wrapped = any("forward" in vars(module) for module in self.model.model.modules())
        return same(weights(self.model), self.base) and not wrapped


def in_type(model: Any, dtype: torch.dtype) -> None:
    """Give the diffusion model's layers the host's casting ones with weights of `dtype`, as its loaders do."""
    import comfy.ops

    for name, module in list(model.diffusion_model.named_modules()):
        if isinstance(module, nn.Linear):
            with torch.no_grad():
                layer = comfy.ops.manual_cast.Linear(module.in_features, module.out_features, module.bias is not None)
                layer.load_state_dict(module.state_dict())
            model.diffusion_model.set_submodule(name, layer.to(dtype).requires_grad_(False))
    model.manual_cast_dtype = torch.bfloat16
    for parameter in model.diffusion_model.parameters():
        if parameter.dtype == torch.float32:
            parameter.data = parameter.data.bfloat16()


def modules_of(scene: Scene, step: int) -> Iterator[tuple[str, nn.Module, Tensor, Tensor]]:
    """Path and module of each layer that the LoRA of a step has, with its down and up matrix."""
    tensors = load_file(scene.file(step))
    for name in linear_weights(scene.model):
        key = "lora_unet_" + name.removeprefix("diffusion_model.").removesuffix(".weight").replace(".", "_")
        path = name.removesuffix(".weight")
        down, up = tensors[f"{key}.lora_down.weight"], tensors[f"{key}.lora_up.weight"]
        yield path, scene.model.model.get_submodule(path), down, up


def as_kohya(scene: Scene, step: int) -> None:
    """sd-scripts networks/lora_flux.py: each layer's forward replaced by LoRAModule.forward."""
    for _, module, down, up in modules_of(scene, step):

        def forward(x: Tensor, original: Any = module.forward, down: Tensor = down, up: Tensor = up) -> Tensor:
            inner = functional.linear(functional.linear(x, down.to(x.dtype)), up.to(x.dtype))
            return original(x) + inner * 1.0 * (2 * RANK / RANK)  # type: ignore[no-any-return]

        module.forward = forward  # type: ignore[method-assign]


def as_peft(scene: Scene, step: int) -> None:
    """Each layer within PEFT's own LoRA layer, its matrices of the type that the layer computes in."""
    import peft  # here: it takes seconds, which no other test should pay
    from peft.tuners.lora.layer import Linear

    compute = torch.float32 if scene.dtype == torch.float32 else torch.bfloat16
    for path, module, down, up in list(modules_of(scene, step)):
        config = peft.LoraConfig(r=RANK, lora_alpha=2 * RANK)
        layer = Linear(module, "default", config=config, r=RANK, lora_alpha=2 * RANK)
        layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data = down.to(compute), up.to(compute)
        scene.model.model.set_submodule(path, layer.requires_grad_(False))


@pytest.mark.parametrize("unmerged", [as_kohya, as_peft])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_sampling_equals_the_trainers_modules_bit_for_bit(
    comfy_host: Any, loras: Path, family: str, dtype: str, unmerged: Any
) -> None:
    ours, theirs = (Scene(comfy_host, loras, family, DTYPES[dtype]) for _ in range(2))
    ours.write(1)
    unmerged(theirs, 1)
    found = ours.sample(ours.at(1))
    assert torch.equal(found, theirs.sample(theirs.model))
    assert ours.base_is_untouched() or _released(ours)


def _released(scene: Scene) -> bool:
    import comfy.model_management

    comfy.model_management.unload_all_models()
    return scene.base_is_untouched()


@pytest.mark.parametrize("family", FAMILIES)
def test_in_float32_both_ways_are_the_same_picture(comfy_host: Any, loras: Path, family: str) -> None:
    """Also says that the host calls every layer: one whose weight it read by itself would miss its LoRA."""
    scene = Scene(comfy_host, loras, family)
    scene.write(1)
    base, beside, merged = (scene.sample(m) for m in (scene.model, scene.at(1), scene.at(1, apply=INTO)))
    assert (beside - merged).abs().max() < 2e-5 * merged.abs().max()
    assert (base - merged).abs().max() > 0.01 * merged.abs().max()


def test_narrow_weights_lose_nothing_of_a_small_lora(comfy_host: Any, loras: Path) -> None:
    """What the LoRA does to a picture, against the same in float32 weights: beside near, merged far from it."""
    for dtype, bound in ((torch.bfloat16, 3.0), (torch.float8_e4m3fn, 8.0)):
        scene = Scene(comfy_host, loras, "flux", dtype)
        scene.write(1, spread=0.004)
        truth = Scene(comfy_host, loras, "flux")
        for module, other in zip(truth.model.model.modules(), scene.model.model.modules(), strict=True):
            for name, value in module.named_parameters(recurse=False):
                value.data = getattr(other, name).data.float()
        change = truth.sample(truth.at(1)) - truth.sample(truth.model)

        def wrong(apply: str, scene: Scene = scene, change: Tensor = change) -> float:
            found = _double(scene, apply)
            return float((found - change).norm() / change.norm())

        beside, merged = wrong("beside the weights"), wrong(INTO)
        assert merged > bound * beside


def _double(scene: Scene, apply: str) -> Tensor:
    """What the LoRA changes with the scene's weights, computed with in float32."""
    scene.model.model.manual_cast_dtype = torch.float32
    return scene.sample(scene.at(1, apply=apply)) - scene.sample(scene.model)


def test_alternating_steps_neither_drift_nor_load_the_model_again(
    comfy_host: Any, loras: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty changes of step: each picture as the first of its step, every base weight the same bits all along."""
    import comfy.model_patcher

    scene = Scene(comfy_host, loras, dtype=torch.bfloat16)
    scene.write(1, 2)
    scene.sample(scene.model)
    loaded = scene.model.model.current_weight_patches_uuid
    patched: list[str] = []
    real = comfy.model_patcher.ModelPatcher.patch_weight_to_device

    def patch(self: Any, key: str, *args: Any, **kwargs: Any) -> Any:
        patched.append(key)
        return real(self, key, *args, **kwargs)

    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "patch_weight_to_device", patch)
    first: dict[int, Tensor] = {}
    for number in range(20):
        step = 1 + number % 2
        found = scene.sample(scene.at(step), look=lambda: assert_same(scene))
        assert torch.equal(found, first.setdefault(step, found))
        assert scene.model.model.current_weight_patches_uuid == loaded
    assert not torch.equal(first[1], first[2])
    assert not patched


def assert_same(scene: Scene) -> None:
    assert same(weights(scene.model), scene.base)


class StoppedError(Exception):
    """Stands for an interrupt in the middle of sampling."""


def test_an_interrupt_leaves_the_base(comfy_host: Any, loras: Path) -> None:
    scene = Scene(comfy_host, loras)
    scene.write(1)
    alone = scene.sample(scene.model)

    def stop() -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        scene.sample(scene.at(1), look=stop)
    assert torch.equal(scene.sample(scene.model), alone)
    assert scene.base_is_untouched()


def test_offloaded_weights(comfy_host: Any, loras: Path) -> None:
    """A model of which the host loads next to nothing: the same picture, and the same when it is loaded whole again."""
    import comfy.model_management

    scene = Scene(comfy_host, loras, dtype=torch.bfloat16)
    scene.write(1)
    model = scene.at(1)
    expected = scene.sample(model)
    comfy.model_management.unload_all_models()
    real = comfy.model_management.LoadedModel.model_load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            comfy.model_management.LoadedModel, "model_load", lambda self, *_, **kw: real(self, 0.1, **kw)
        )  # fmt: skip
        assert torch.equal(scene.sample(model), expected)
        assert scene.model.model.model_lowvram
    comfy.model_management.unload_all_models()
    assert torch.equal(scene.sample(model), expected)
    assert_same(scene)


def test_text_encoders(comfy_host: Any, loras: Path) -> None:
    """Their names are found as the stock loader finds them, and CLIP comes back as it was."""
    import nodes

    clip, model = small_models.sd35_clip(), small_models.sd35_model()
    base = weights(clip_model(clip))
    write_text_kohya(loras / "run" / "a-step00000001.safetensors", clip, 1)
    count = len(text_weights(clip))
    chosen = {"run": "run", "step": 1, "mode": "exact", "strength_model": 1.0, "strength_clip": 0.8, "model": model}
    _, ours, _, report, details = comfy_host.nodes["EriLoraAtStep"].execute(**chosen, clip=clip).args
    theirs = nodes.LoraLoader().load_lora(model, clip, "run/a-step00000001.safetensors", 1.0, 0.8)[1]
    assert f"beside the weights: {count} modules" in report
    assert json.loads(details)["apply"] == "beside the weights"
    assert not ours.patcher.patches
    plain, merged, beside = (encode(one) for one in (clip, theirs, ours))
    assert (beside - merged).abs().max() < 1e-4 * merged.abs().max()
    assert (plain - merged).abs().max() > 0.01 * merged.abs().max()
    assert torch.equal(encode(clip), plain)
    assert same(weights(clip_model(clip)), base)


def clip_model(clip: Any) -> Any:
    return type("Patcher", (), {"model": clip.cond_stage_model})


def encode(clip: Any) -> Tensor:
    cond: Tensor = clip.encode_from_tokens(clip.tokenize("a red circle"), return_pooled=False)
    return cond


def test_a_layer_that_keeps_its_weight_in_a_form_of_its_own(comfy_host: Any, loras: Path) -> None:
    """Scaled fp8, as older hosts load it: the layer's own forward, and kohya's beside it."""
    ours, theirs = Scene(comfy_host, loras), Scene(comfy_host, loras)
    ours.write(1)
    for scene in (ours, theirs):
        scaled_fp8(scene.model)
    as_kohya(theirs, 1)
    found = ours.sample(ours.at(1))
    assert torch.equal(found, theirs.sample(theirs.model))
    assert not torch.equal(found, ours.sample(ours.model))


def test_hooks_of_the_host_lie_on_top(comfy_host: Any, loras: Path) -> None:
    """A scheduled hook LoRA patches the encoders' weights while ours is beside them: as on one that is merged."""
    clip, model = small_models.sdxl_clip(), small_models.sdxl_model()
    base = weights(clip_model(clip))
    for step in (1, 2):
        write_text_kohya(loras / "run" / f"a-step{step:08d}.safetensors", clip, step)

    def run(node: str, **inputs: Any) -> Any:
        made = comfy_host.nodes[node]()
        return getattr(made, made.FUNCTION)(**inputs)[0]

    def scheduled(apply: str) -> list[Tensor]:
        chosen = {"run": "run", "step": 1, "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0}
        one = comfy_host.nodes["EriLoraAtStep"].execute(model=model, clip=clip, **chosen, apply=apply).args[1]
        name = "run/a-step00000002.safetensors"
        hooks = run("CreateHookLora", lora_name=name, strength_model=1.0, strength_clip=0.5)
        frames = run("CreateHookKeyframe", strength_mult=1.0, start_percent=0.4)
        hooks = run("SetHookKeyframes", hooks=hooks, hook_kf=frames)
        hooked = run("SetClipHooks", clip=one, apply_to_conds=True, schedule_clip=True, hooks=hooks)
        return [cond for cond, _ in run("CLIPTextEncode", clip=hooked, text="a red circle")]

    for found, expected in zip(scheduled("beside the weights"), scheduled(INTO), strict=True):
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    encode(clip)
    assert same(weights(clip_model(clip)), base)


def test_what_has_no_form_is_merged_and_named(comfy_host: Any, loras: Path) -> None:
    """A whole difference and a norm's beside a pair: the picture is that of all three merged, in float32."""
    scene = Scene(comfy_host, loras)
    scene.write(1)
    tensors = load_file(scene.file(1))
    generator, place = torch.Generator().manual_seed(3), "diffusion_model.img_in"
    extra = {
        f"{place}.{kind}": 0.1 * torch.randn(scene.base[f"{place}.{name}"].shape, generator=generator)
        for kind, name in (("diff", "weight"), ("diff_b", "bias"))
    }
    names = {key.replace("lora_unet_double_blocks_0_img_mod_lin", "diffusion_model.double_blocks.0.img_mod.lin"): value
             for key, value in tensors.items() if "double_blocks_0_img_mod_lin" in key}  # fmt: skip
    save_file({**names, **extra}, scene.file(2))
    chosen = {"run": "run", "step": 2, "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0}
    model, _, _, report, _ = comfy_host.nodes["EriLoraAtStep"].execute(model=scene.model, **chosen).args
    assert "beside the weights: 1 modules" in report
    assert "merged into the weights, a whole difference: 1 (" in report
    assert set(model.patches) == {"diffusion_model.img_in.weight"}
    beside, merged = scene.sample(model), scene.sample(scene.at(2, apply=INTO))
    assert (beside - merged).abs().max() < 2e-5 * merged.abs().max()
    scene.sample(scene.model)
    assert_same(scene)
