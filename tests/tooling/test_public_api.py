"""What trainers and notebooks import: names and arguments that stay, with their order and defaults.

A function may get further arguments at its end, if they have defaults; nothing here may go or change.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect

import pytest

SIGNATURES = {
    "samplers.schedules.flux_mu": "image_tokens, base_shift=0.5, max_shift=1.15, base_tokens=256, max_tokens=4096",
    "samplers.schedules.flux_sigmas": "steps, image_tokens, base_shift=0.5, max_shift=1.15, shifted=True",
    "samplers.schedules.shifted_sigmoid_sigmas": "steps, shift",
    "samplers.schedules.flow_sigmas": "steps, shift=3.0, spacing='timesteps'",
    "samplers.schedules.ddim_timesteps": "steps, spacing='leading', offset=1, train_timesteps=1000",
    "samplers.schedules.alphas_cumprod": "beta_start=0.00085, beta_end=0.012, train_timesteps=1000, "
    "schedule='scaled_linear', zero_terminal_snr=False",
    "samplers.flow.euler_step": "x, velocity, sigma, sigma_next",
    "samplers.flow.ddim_step": "x, velocity, sigma, sigma_next, eta=0.0, noise=None",
    "samplers.flow.ancestral_step": "x, velocity, sigma, sigma_next, eta=1.0, s_noise=1.0, noise=None",
    "samplers.flow.churn": "x, sigma, steps, s_churn=0.0, s_tmin=0.0, s_tmax=inf, s_noise=1.0, noise=None",
    "samplers.flow.add_noise": "x0, noise, sigma",
    "samplers.diffusion.ddim_step": "x, model_output, t, t_prev, alphas_cumprod, eta=0.0, noise=None, "
    "prediction='epsilon', final_alpha_cumprod=None, clip_sample=False, clip_range=1.0, "
    "use_clipped_model_output=False, threshold=None",
    "samplers.diffusion.add_noise": "x0, noise, t, alphas_cumprod",
    "samplers.guidance.classifier_free": "cond, uncond, scale",
    "samplers.guidance.rescale": "guided, cond, phi",
    "samplers.guidance.dynamic_threshold": "x0, percentile, max_value=None",
    "samplers.flux_latents.patchify": "latent",
    "samplers.flux_latents.unpatchify": "tokens, height, width",
    "samplers.flux_latents.image_ids": "height, width, batch=1, index=0",
    "samplers.flux_latents.text_ids": "length, batch=1",
    "samplers.noise.noise_profile": "trainer, family, precision='bfloat16'",
    "samplers.noise.initial_noise": "profile, seed, batch, channels, height, width",
    "samplers.noise.latent_size": "family, width, height, trainer=None",
    "lora.find_checkpoints": "run_dir",
    "lora.select_checkpoint": "checkpoints, step, mode='exact'",
    "lora.read_lora": "path, family=None, alpha=None",
    "lora.to_host_keys": "lora",
    "lora.merged_delta": "lora, strength=1.0, base=None",
    "spec.read_spec": "source, trainer=None, family=None",
    "workflows.build": "spec, models=None, run=None, step=None, style='eri'",
}
ATTRIBUTES = {
    "samplers.flux_latents.Tokens": "tokens height width",
    "samplers.noise.NoiseProfile": "generator layout dtype",
    "lora.Checkpoint": "step path trainer run",
    "lora.Lora": "dialect family rank alpha step tensors ignored",
    "lora.LoraError": "path keys retryable",
    "spec.SampleItem": "index prompt prompt_2 prompt_3 negative_prompt width height seed steps cfg_scale guidance "
    "sampler lora_scale",
    "spec.SampleSpec": "items family variant trainer name trigger_word sample_every layout ignored",
    "workflows.Workflow": "api ui notes",
}


def found(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(f"comfyui_eridiffusion.{module}"), attribute)


def written(parameter: inspect.Parameter) -> str:
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_stay(name: str) -> None:
    function = found(name)
    assert callable(function)
    wanted = SIGNATURES[name].split(", ")
    parameters = list(inspect.signature(function).parameters.values())
    positional = [parameter for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    assert [written(parameter) for parameter in positional[: len(wanted)]] == wanted
    added = [parameter for parameter in parameters if parameter not in positional[: len(wanted)]]
    assert all(parameter.default is not parameter.empty for parameter in added)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_stay(name: str) -> None:
    kind = found(name)
    assert isinstance(kind, type)
    there = {*dir(kind), *getattr(kind, "__annotations__", ()), *vars(kind).get("__slots__", ())}
    if dataclasses.is_dataclass(kind):
        there |= {field.name for field in dataclasses.fields(kind)}
    if issubclass(kind, Exception):
        there |= set(inspect.signature(kind).parameters)
    assert set(ATTRIBUTES[name].split()) <= there


@pytest.mark.parametrize("package", ["lora", "spec", "workflows"])
def test_everything_public_is_described(package: str) -> None:
    """Each name that a package exports has a docstring of its own (a dataclass's generated one does not count)."""
    module = importlib.import_module(f"comfyui_eridiffusion.{package}")
    for name in module.__all__:
        member = getattr(module, name)
        if callable(member):
            assert (member.__doc__ or "").strip(), name
            assert not member.__doc__.startswith(f"{name}("), name
