"""The table of bad inputs: node x kind -> what goes in, which input the error names, what it tells to do.

Kinds: `family` another model family's, `missing` a model or encoder that is not there, `nan` NaN or infinite values,
`empty` an empty list or batch, `lengths` lists that do not fit each other, `steps` no steps, `sigmas` noise levels that
no step can be made of, `shape` another number of axes, channels or pixels, `range` a linked number out of range.
"""

# ruff: noqa: E501  # one case a line, to be read as a table
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from comfyui_eridiffusion.spec import SampleItem, SampleSpec
from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.bad_input_graphs import Linked, Noise, clip, good, linked

NAN, INFINITE = float("nan"), float("inf")
KONTEXT = SampleSpec("flux", "native", [SampleItem(0, "a", 64, 64, 2, seed=1, control_image="nowhere.png")], "kontext")


@dataclass(frozen=True)
class Case:
    """One bad input.

    says: pattern of the error, the wrong input's name first, then the remedy. given: inputs instead of good ones.
    family: of the good ones. before: the host refuses it before anything runs. user: the fault shows in the sampling
    node that gets what the node made, which is this one; use: inputs of that one instead of good ones.
    """

    node: str
    kind: str
    says: str
    given: Mapping[str, Any] = field(default_factory=dict)
    family: str = "flux"
    before: bool = False
    user: str = ""
    use: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.node}-{self.kind}-{'-'.join(self.given)}"


def other(family: str, name: str) -> Linked:
    """The good input `name` of another family."""
    return linked(lambda: good(family)[name]())


def latent(*shape: int, value: float = 1.0, **more: Any) -> Linked:
    return linked({"samples": torch.full(shape, value), **more})


def conditioning(value: float, pooled: float = 0.0, **more: Any) -> Linked:
    """Flux conditioning of one value."""
    width = small_models.CONTEXT
    tokens, vector = torch.full((1, 5, width), value), torch.full((1, width), pooled)
    return linked([[tokens, {"pooled_output": vector, **more}]])


def noise(make: Callable[..., torch.Tensor]) -> Linked:
    return linked(Noise(make))


def sigmas(*values: float) -> Linked:
    return linked(torch.tensor(values))


def pictures(*shape: int, value: float = 0.5) -> Linked:
    return linked(torch.full(shape, value))


def nan_clip() -> Any:
    """A CLIP that overflowed."""
    made = small_models.sd1_clip()
    with torch.no_grad():
        for parameter in made.cond_stage_model.parameters():
            parameter.fill_(NAN)
    return made


def clip_l_alone() -> Any:
    """What CLIP-L gives without the other encoders."""
    return clip("sd1").encode_from_tokens_scheduled(clip("sd1").tokenize("a red circle"))


def spec(**fields: Any) -> str:
    item = {"index": 0, "prompt": "x", "width": 64, "height": 64, "steps": 2, "seed": 1, **fields.pop("item", {})}
    head = {"eri_spec": 1, "family": "flux", "trainer": "native", "layout": "eridiffusion", "name": "n"}
    return json.dumps({**head, "items": [item], **fields})


SPEC = [
    Case("EriSampleSpec", "empty", "config is empty.*Paste", {"config": " "}),
    Case("EriSampleSpec", "empty", "items: there is no item.*Add at least one", {"config": spec(items=[])}),
    Case("EriSampleSpec", "empty", "prompts.*", {"config": "job: extension\nconfig:\n  name: n\n  process:\n  - type: sd_trainer\n    model: {name_or_path: black-forest-labs/FLUX.1-dev, is_flux: true}\n    sample: {prompts: []}\n"}),
    Case("EriSampleSpec", "missing", "there is no file 'nowhere.yaml'; tried input", {"config": "nowhere.yaml"}),
    *(Case("EriSampleSpec", "missing", "lies outside the folders that graphs may read: input, ", {"config": f"{name}/a.yaml"}) for name in ("/etc", "..", "a/../../..")),
    Case("EriSampleSpec", "missing", "the name is too long", {"config": f"{'n' * 300}.yaml"}),
    *(Case("EriLoraAtStep", "missing", "lies outside the folders", {"run": linked(name)}) for name in ("/etc", "..")),
    Case("EriSampleSpec", "steps", "steps.*1", {"config": spec(item={"steps": 0})}),
    Case("EriSampleSpec", "range", "items.*Its items are 0 to 0", {"config": spec(), "items": "7"}),
    Case("EriSampleSpec", "shape", "width", {"config": spec(item={"width": 0})}),
    Case("EriSampleSpec", "family", "family", {"config": spec(family="sd1")}),
]

LORA = [
    Case("EriLoraAtStep", "family", "sdxl|SDXL", family="sdxl"),
    Case("EriLoraAtStep", "empty", "run is empty.*Choose", {"run": linked("")}),
    Case("EriLoraAtStep", "missing", "step.*there are: 100", {"step": 7, "mode": "exact"}, before=True),
    Case("EriLoraAtStep", "missing", "nowhere.*loras.*Choose one that is there: ", {"run": linked("nowhere")}),
    Case("EriLoraAtStep", "range", "start is 0.5 and end 0.5.*Set 0", {"start": 0.5, "end": 0.5}),
    Case("EriLoraAtStep", "range", "step is -5.*0 or more", {"step": linked(-5)}),
    Case("EriLoraAtStep", "range", "apply is 'around'.*beside the weights", {"apply": linked("around")}),
    Case("EriLoraAtStep", "range", "scale is 101. Set it to 100 or less", {"scale": linked(101.0)}, family="sd35"),
    Case("EriLoraAtStep", "nan", "strength_model is nan.*-100 to 100", {"strength_model": linked(NAN)}, family="sd35"),
    Case("EriLoraSteps", "empty", "steps", {"steps": ""}, before=True),
    Case("EriLoraSteps", "empty", "run is empty.*Choose", {"run": linked("")}),
    Case("EriLoraSteps", "range", "steps.*100", {"steps": "7"}, before=True),
    Case("EriLoraSteps", "range", "strengths is 'strong'. Write numbers", {"strengths": "strong"}, before=True),
    Case("EriLoraSteps", "range", "at_most is -1.*0 or more", {"at_most": linked(-1)}),
]

TEXT = [
    Case("EriTripleTextEncode", "family", "clip has the text encoders .* Use the stock", {"clip": linked(lambda: other_encoder())}),
    Case("EriTripleTextEncode", "family", "prompt_3 holds a text.*Clear prompt_3", {"prompt_3": "more"}),
    Case("EriTripleTextEncode", "family", 'empty = "none".*Set empty', {"empty": "none"}),
    Case("EriTripleTextEncode", "missing", "clip is empty.*DualCLIPLoader", {"clip": linked(None)}),
    Case("EriTripleTextEncode", "nan", "clip gave NaN.*fp32-text-enc", {"clip": linked(nan_clip)}),
    Case("EriTripleTextEncode", "empty", "prompt is an empty list.*at least one", {"prompt": linked()}),
    Case("EriTripleTextEncode", "lengths", "prompt_2 has 2 entries, prompt has 3.*same length", {"prompt": linked("a", "b", "c"), "prompt_2": linked("a", "b")}),
    Case("EriTripleTextEncode", "range", "t5_length is -1.*0 or more", {"t5_length": linked(-1)}),
    Case("EriCacheConditioning", "empty", "conditioning is empty.*Connect", {"conditioning": linked()}),
    Case("EriCacheConditioning", "empty", "mode is an empty list", {"mode": linked()}),
    Case("EriCacheConditioning", "empty", "size_limit_mb is an empty list", {"size_limit_mb": linked()}),
    Case("EriCacheConditioning", "lengths", "mode has different values.*single", {"mode": linked("use", "off")}),
    Case("EriCacheConditioning", "lengths", "size_limit_mb has different values.*single", {"size_limit_mb": linked(1, 2)}),
    Case("EriCacheConditioning", "range", "size_limit_mb is 0.*1 or more", {"size_limit_mb": linked(0)}),
    Case("EriCacheConditioning", "nan", "conditioning.* holds NaN.*not be kept", {"conditioning": conditioning(NAN)}),
]

SCHEDULES = [
    *(Case(name, "steps", "smaller than min of 1.*steps", {"steps": 0}, before=True) for name in ("EriFluxSchedule", "EriFlowSchedule")),
    *(Case(name, "steps", "steps is 0.*Set it to 1", {"steps": linked(0)}) for name in ("EriFluxSchedule", "EriFlowSchedule")),
    Case("EriDDIMSchedule", "steps", "steps is 0.*Set it to 1", {"steps": linked(0)}, family="sdxl"),
    Case("EriDDIMSchedule", "steps", "steps is 1001.*1000 or less", {"steps": linked(1001)}, family="sdxl"),
    Case("EriDDIMSchedule", "steps", "smaller than min of 1.*steps", {"steps": 0}, family="sdxl", before=True),
    Case("EriFluxSchedule", "range", "shift is 3, but shifted is off.*Switch shifted on", {"shift": 3.0, "shifted": False}),
    *(Case(name, "range", "denoise is 0.*above 0", {"denoise": linked(0.0)}) for name in ("EriFluxSchedule", "EriFlowSchedule")),
    *(Case(name, "range", "denoise is nan", {"denoise": linked(NAN)}) for name in ("EriFluxSchedule", "EriFlowSchedule")),
    Case("EriDDIMSchedule", "range", "denoise is 0.*above 0", {"denoise": linked(0.0)}, family="sdxl"),
    Case("EriDDIMSchedule", "range", "offset.*at most", {"offset": 999, "steps": 30}, family="sdxl"),
    Case("EriFluxSchedule", "range", "width is 0.*16 or more", {"width": linked(0)}),
    Case("EriFluxSchedule", "range", "height is -8.*16 or more", {"height": linked(-8)}),
    Case("EriFluxSchedule", "nan", "max_shift is nan.*-10 to 10", {"max_shift": linked(NAN)}),
    Case("EriFlowSchedule", "range", "shift is 0.*0.01 or more", {"shift": linked(0.0)}),
    Case("EriFlowSchedule", "nan", "shift is nan.*to 100", {"shift": linked(NAN)}),
    *(Case("EriDDIMSchedule", "family", "model has no discrete noise table.*EriFl", family=family) for family in ("flux", "sd35")),
]

GUIDANCE = [
    Case("EriGuidance", "family", "mode is embedded.*Set mode to cfg", {"mode": "embedded"}, family="sdxl"),
    Case("EriGuidance", "family", "mode is bypass.*Set mode to cfg", {"mode": "bypass"}, family="sd35"),
    Case("EriGuidance", "range", "threshold_max.*at least 1", {"threshold_max": 0.5}),
    Case("EriGuidance", "range", "threshold_percentile is 1.5", {"threshold_percentile": linked(1.5)}),
    Case("EriGuidance", "range", "rescale is -1", {"rescale": linked(-1.0)}),
    Case("EriGuidance", "nan", "rescale is nan", {"rescale": linked(NAN)}),
    Case("EriControlImages", "range", "fit is 'other'.*Choose one of", {"fit": linked("other"), "spec": linked(lambda: KONTEXT)}),
    Case("EriControlImages", "missing", "follows 'nowhere.png', which is not there.*Copy it into", {"spec": linked(lambda: KONTEXT)}),
    *(Case("EriTrainerModel", "family", "only SD 3.5 Medium has.*as published", {"second_attention": "heads and head size swapped"}, family=family) for family in ("flux", "sdxl")),
    Case("EriTrainerModel", "range", "second_attention is .*Choose one of", {"second_attention": linked("swapped")}),
    Case("EriMemoryPolicy", "missing", "nothing to work on.*Connect"),
    Case("EriMemoryPolicy", "range", "slice_size is 0", {"mode": "attention slicing", "slice_size": linked(0), "model": other("flux", "model")}),
    Case("EriMemoryPolicy", "range", "tile_size is 0", {"mode": "VAE tiling", "tile_size": linked(0), "model": other("flux", "model")}),
]

SAMPLERS = [
    Case("EriFlowEulerSampler", "family", "s_churn works on flow.*Set it to 0", {"s_churn": 1.0}, family="sdxl", user="EriSample"),
    *(Case(name, "sigmas", "sigmas hold 1 values.*Set steps", user="SamplerCustom", use={"sigmas": sigmas(1.0)}) for name in ("EriFlowEulerSampler", "EriDDIMSampler")),
    *(Case(name, "sigmas", "sigmas must be finite and above 0.*SetFirstSigma", user="SamplerCustom", use={"sigmas": sigmas(*values)}) for name in ("EriFlowEulerSampler", "EriDDIMSampler") for values in ((0.0, 1.0), (1.0, NAN, 0.0), (1.0, 0.0, 0.0))),
    Case("EriFlowEulerSampler", "sigmas", "sigmas rise.*set s_churn to 0", {"s_churn": 1.0}, user="SamplerCustom", use={"sigmas": sigmas(0.2, 0.9)}),
    Case("EriDDIMSampler", "sigmas", "sigmas rise.*set eta to 0", {"eta": 0.5}, user="SamplerCustom", use={"sigmas": sigmas(0.2, 0.9)}),
    *(Case(name, "family", "sigmas start at 12.*EriFluxSchedule", user="SamplerCustom", use={"sigmas": sigmas(12.0, 4.0, 0.0)}) for name in ("EriFlowEulerSampler", "EriDDIMSampler")),
    *(Case(name, "family", "sigmas start at 1.*EriDDIMSchedule", user="SamplerCustom", use={"sigmas": sigmas(1.0, 0.5, 0.0)}, family="sdxl") for name in ("EriFlowEulerSampler", "EriDDIMSampler")),
    Case("EriFlowEulerSampler", "family", "eta works on flow.*EriTrainerSampler", {"eta": 1.0}, family="sdxl", user="EriSample"),
    Case("EriFlowEulerSampler", "range", "noise is 'rust.*another generator.*Choose another", {"eta": 1.0, "noise": "rust-stdrng-uniform/nchw/float32"}),
    Case("EriFlowEulerSampler", "range", "noise is 'torch-cpu/patches.*torch-cuda or rust-stdrng-box-muller in nchw", {"s_churn": 1.0, "noise": "torch-cpu/patches/float32"}),
    Case("EriFlowEulerSampler", "range", "eta: 5 is too large.*Set eta to 1 or less", {"eta": 5.0}, user="SamplerCustom", use={"sigmas": sigmas(0.9, 0.1, 0.0)}),
    Case("EriFlowEulerSampler", "range", "latent_dtype is 'int8'.*Choose one of", {"latent_dtype": linked("int8")}),
    Case("EriFlowEulerSampler", "range", "method is 'heun'.*Choose one of: euler, dpmpp_2m", {"method": linked("heun")}),
    Case("EriFlowEulerSampler", "range", "method dpmpp_2m draws no noise.*or choose euler", {"method": "dpmpp_2m", "eta": 1.0}),
    Case("EriFlowEulerSampler", "range", "s_churn is -1", {"s_churn": linked(-1.0)}),
    Case("EriFlowEulerSampler", "nan", "s_noise is nan", {"s_noise": linked(NAN)}),
    Case("EriDDIMSampler", "range", "eta is 2", {"eta": linked(2.0)}),
    Case("EriDDIMSampler", "nan", "eta is nan", {"eta": linked(NAN)}),
    Case("EriDDIMSampler", "range", "clip_range is 0", {"clip_sample": True, "clip_range": linked(0.0)}),
    *(Case("EriTrainerSampler", "family", "model has no discrete noise table.*EriFlowEulerSampler", family=family) for family in ("flux", "sd35")),
    Case("EriTrainerSampler", "steps", "steps is 0.*1 or more", {"steps": linked(0)}, family="sdxl"),
    Case("EriTrainerSampler", "steps", "steps is 1001.*1000 or less", {"steps": linked(1001)}, family="sdxl"),
    Case("EriTrainerSampler", "steps", "steps: pndm needs 4 or more, got 3", {"sampler": "pndm", "steps": 3}, family="sdxl"),
    Case("EriTrainerSampler", "range", "offset: 30 steps with offset 999 lead past", {"spacing": "leading", "offset": 999}, family="sdxl"),
    Case("EriTrainerSampler", "range", "karras: euler_a has no Karras sigmas.*dpmsolver", {"sampler": "euler_a", "karras": True}, family="sdxl"),
    Case("EriTrainerSampler", "range", "sampler: must be one of euler, ", {"sampler": linked("dpm++")}, family="sdxl"),
    Case("EriTrainerSampler", "range", "noise is 'rust.*another generator.*Choose another", {"sampler": "euler_a", "noise": "rust-stdrng-uniform/nchw/float32"}, family="sdxl"),
    Case("EriTrainerSampler", "range", "s_churn acts on euler, not on heun.*choose euler", {"sampler": "heun", "s_churn": 1.0}, family="sdxl"),
    Case("EriTrainerSampler", "range", "eta acts on euler_a.*not on euler.*Set it to 1", {"sampler": "euler", "eta": 0.5}, family="sdxl"),
    Case("EriTrainerSampler", "range", "start: must be one of scheduler, first sigma", {"start": linked("zero")}, family="sdxl"),
    Case("EriTrainerSampler", "sigmas", "sigmas are not those of this EriTrainerSampler.*Connect its own", user="SamplerCustom", use={"sigmas": sigmas(12.0, 4.0, 0.0)}, family="sdxl"),
    Case("EriTrainerNoise", "family", "set to sdxl.*Set family to auto", {"family": "sdxl"}, user="EriSample"),
    Case("EriTrainerNoise", "shape", "the file's noise is .*size the noise was written for", {"file": "noise.safetensors"}, user="EriSample", use={"latent": latent(1, 16, 4, 4)}),
    Case("EriTrainerNoise", "shape", "file holds noise for 1 picture.*batch_size", {"file": "noise.safetensors"}, user="EriSample", use={"latent": latent(2, 16, 8, 8)}),
    Case("EriTrainerNoise", "shape", r"image latents \[B, C, H, W\]", user="SamplerCustomAdvanced", use={"latent_image": latent(1, 16, 64)}),
    Case("EriTrainerNoise", "empty", "latent is an empty batch.*batch_size", user="SamplerCustomAdvanced", use={"latent_image": latent(0, 16, 8, 8)}),
    Case("EriTrainerNoise", "nan", "file: .*NaN", {"file": "bad_noise.safetensors"}),
    Case("EriTrainerNoise", "missing", "file: there is no", {"file": "nowhere.safetensors"}, before=True),
    Case("EriTrainerNoise", "range", "profile is .*nchw, packed, patches", {"profile": linked("torch-cpu/sideways/float32")}),
    Case("EriTrainerNoise", "range", "seed is -1.*0 or more", {"seed": linked(-1)}),
]

SAMPLE = [
    *(Case("EriSample", "family", f"{name} has .* wants .* family", {name: other("sd35", name)}) for name in ("positive", "negative")),
    Case("EriSample", "family", "latent has 4 channels.*own family", {"latent": latent(1, 4, 8, 8)}),
    Case("EriSample", "family", "latent has 16 channels.*own family", {"latent": latent(1, 16, 8, 8)}, family="sdxl"),
    Case("EriSample", "family", "sigmas start at 12.*EriFluxSchedule", {"sigmas": other("sdxl", "sigmas")}),
    Case("EriSample", "family", "sigmas start at 1.*EriDDIMSchedule", {"sigmas": other("flux", "sigmas")}, family="sdxl"),
    *(Case("EriSample", "nan", "latent holds NaN.*fp32-vae", {"latent": latent(1, 16, 8, 8, value=value)}) for value in (NAN, INFINITE)),
    Case("EriSample", "nan", "latent's noise_mask.* holds NaN", {"latent": latent(1, 16, 8, 8, noise_mask=torch.full((1, 8, 8), NAN))}),
    Case("EriSample", "nan", "positive.* holds NaN.*fp32-text-enc", {"positive": conditioning(NAN)}),
    Case("EriSample", "nan", "positive.* holds NaN", {"positive": conditioning(0.0, pooled=INFINITE)}),
    Case("EriSample", "nan", "positive.* holds NaN", {"positive": conditioning(0.0, reference_latents=[torch.full((1, 16, 8, 8), NAN)])}),
    Case("EriSample", "nan", "negative.* holds NaN", {"negative": conditioning(NAN)}),
    Case("EriSample", "nan", "noise.* holds NaN", {"noise": noise(lambda shape: torch.full(shape, NAN))}),
    Case("EriSample", "nan", "sigmas must be finite", {"sigmas": sigmas(1.0, NAN, 0.0)}),
    Case("EriSample", "nan", "cfg is nan", {"cfg": linked(NAN)}),
    Case("EriSample", "range", "cfg is -1.*0 or more", {"cfg": linked(-1.0)}),
    Case("EriSample", "range", "batch_size is -1.*0 or more", {"batch_size": linked(-1)}),
    Case("EriSample", "range", "batch_size is 65.*64 or less", {"batch_size": linked(65)}),
    Case("EriSample", "missing", "positive has tokens of width 64, .* wants 128.*text encoders", {"positive": linked(lambda: clip_l_alone())}, family="sdxl"),
    Case("EriSample", "empty", "positive is empty.*Connect", {"positive": linked([])}),
    Case("EriSample", "empty", "negative is empty.*set cfg to 1", {"negative": linked([])}),
    Case("EriSample", "empty", "latent is an empty batch.*batch_size", {"latent": latent(0, 16, 8, 8)}),
    Case("EriSample", "empty", "sigmas must hold at least two values, got 0.*Set steps", {"sigmas": sigmas()}),
    *(Case("EriSample", "empty", f"{name} is an empty list.*at least one", {name: linked()}) for name in ("positive", "noise", "cfg", "batch_size")),
    Case("EriSample", "lengths", "noise has 2 entries, positive has 3.*same length", {"positive": linked(*[lambda: good("flux")["positive"]()] * 3), "noise": linked(Noise(), Noise())}),
    Case("EriSample", "lengths", "batch_size has different values.*single", {"batch_size": linked(1, 2)}),
    Case("EriSample", "sigmas", "sigmas must hold at least two values, got 1.*Set steps", {"sigmas": sigmas(1.0)}),
    Case("EriSample", "sigmas", "sigmas must not rise.*SamplerCustomAdvanced", {"sigmas": sigmas(0.0, 0.5, 1.0)}),
    Case("EriSample", "sigmas", "sigmas: only the last may be 0.*SplitSigmas", {"sigmas": sigmas(1.0, 0.0, 0.0)}),
    Case("EriSample", "sigmas", "sigmas must be finite and not negative", {"sigmas": sigmas(1.0, -0.5)}),
    Case("EriSample", "sigmas", "sigmas", {"sigmas": linked(torch.ones(2, 2))}),
    Case("EriSample", "shape", "latent is .*EriFluxUnpatchify", {"latent": latent(1, 16, 64)}),
    Case("EriSample", "shape", "latent is .*VAE Encode", {"latent": latent(1, 16, 3, 8, 8)}),
    Case("EriSample", "shape", "noise has the shape.*noise node", {"noise": noise(lambda shape: torch.zeros(1, 4, 8, 8))}),
]

FLUX = [
    Case("EriFluxPatchify", "family", "latent is .1, 4, 8, 8.*EmptySD3LatentImage", {"latent": latent(1, 4, 8, 8)}),
    Case("EriFluxPatchify", "nan", "latent holds NaN", {"latent": latent(1, 16, 8, 8, value=NAN)}),
    Case("EriFluxPatchify", "empty", "latent is an empty batch", {"latent": latent(0, 16, 8, 8)}),
    Case("EriFluxPatchify", "shape", "latent is .1, 16, 64", {"latent": latent(1, 16, 64)}),
    Case("EriFluxPatchify", "range", "text_length is -1", {"text_length": linked(-1)}),
    Case("EriFluxUnpatchify", "family", "tokens are .1, 16, 16.*EriFluxPatchify", {"tokens": latent(1, 16, 16)}),
    Case("EriFluxUnpatchify", "nan", "tokens holds? NaN", {"tokens": latent(1, 16, 64, value=NAN)}),
    Case("EriFluxUnpatchify", "shape", "tokens are 16 per picture.*Set width", {"tokens": latent(1, 16, 64), "width": 128}),
    Case("EriFluxUnpatchify", "shape", "tokens are .1, 16, 8, 8", {"tokens": latent(1, 16, 8, 8)}),
    Case("EriFluxUnpatchify", "missing", "neither tokens nor file.*Connect"),
    Case("EriFluxUnpatchify", "missing", "file: there is no", {"file": "nowhere.safetensors"}, before=True),
    Case("EriFluxUnpatchify", "empty", "tokens are an empty batch.*Connect", {"tokens": latent(0, 16, 64)}),
    Case("EriFluxUnpatchify", "range", "width is 0", {"tokens": latent(1, 16, 64), "width": linked(0)}),
]

OUTPUT = [
    Case("EriSaveSamples", "nan", "images.*NaN.*fp32-vae", {"images": pictures(1, 16, 16, 3, value=NAN)}),
    Case("EriSaveSamples", "empty", "images is empty.*Connect", {"images": linked()}),
    *(Case("EriSaveSamples", "empty", f"{name} is an empty list", {name: linked()}) for name in ("name", "spec", "existing", "step", "report")),
    Case("EriSaveSamples", "lengths", "name has 2 entries for 1 images.*one per image", {"name": linked("a", "b")}),
    Case("EriSaveSamples", "lengths", "step has 2 different values.*single value", {"step": linked(1, 2)}),
    Case("EriSaveSamples", "lengths", "run has different values.*single value", {"run": linked("a", "b")}),
    Case("EriSaveSamples", "missing", "step is unknown.*Type the step", {"step": linked(-1)}),
    Case("EriSaveSamples", "shape", r"images.*got \[16, 16, 5\]", {"images": pictures(1, 16, 16, 5)}),
    Case("EriSaveSamples", "shape", r"images.*got \[16, 3\]", {"images": pictures(16, 16, 3)}),
    Case("EriSaveSamples", "range", "quality is 0.*1 or more", {"quality": linked(0), "format": "jpg"}),
    Case("EriImageEmbedding", "shape", "embedding holds .*one picture", {"embedding": linked({"image_embeds": torch.ones(2, 8)})}),
    Case("EriImageEmbedding", "nan", "embedding holds NaN.*Take another", {"embedding": linked({"image_embeds": torch.full((1, 8), NAN)})}),
    Case("EriContactSheet", "nan", "NaN.*fp32-vae", {"images": pictures(1, 16, 16, 3, value=NAN)}),
    Case("EriContactSheet", "empty", "images is an empty list", {"images": linked()}),
    *(Case("EriContactSheet", "empty", f"{name} is an empty list", {name: linked()}) for name in ("rows", "columns", "title", "cell")),
    Case("EriContactSheet", "lengths", "images do not fill", {"rows": linked("a", "b")}),
    Case("EriContactSheet", "lengths", "title has different values.*single", {"title": linked("a", "b")}),
    Case("EriContactSheet", "shape", r"image.*got \[16, 16, 5\]", {"images": pictures(1, 16, 16, 5)}),
    Case("EriContactSheet", "shape", r"image.*got \[16, 3\]", {"images": pictures(16, 16, 3)}),
    Case("EriContactSheet", "range", "cell is -1", {"cell": linked(-1)}),
]  # fmt: skip

CASES = [*SPEC, *LORA, *TEXT, *SCHEDULES, *GUIDANCE, *SAMPLERS, *SAMPLE, *FLUX, *OUTPUT]


def other_encoder() -> Any:
    """CLIP of a model that the pack does not know, as far as tokens go: the host's tokenizer of SD 2 (CLIP-H)."""
    import comfy.text_encoders.sd2_clip as sd2

    made = clip("sd1").clone()
    made.tokenizer = sd2.SD2Tokenizer()
    return made
