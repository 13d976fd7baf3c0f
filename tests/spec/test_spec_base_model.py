"""What trainers do to the base model, and whose weights they sample: applied, or counted as a difference.

Places in the trainers' sources stand beside the cases; ai-toolkit@27a03a9, sd-scripts@48d368f, musubi-tuner@30c658c,
OneTrainer@23df383, SimpleTuner@bc8e6ab.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfyui_eridiffusion.spec import SampleSpec, SpecError, read_text
from comfyui_eridiffusion.workflows import build
from comfyui_eridiffusion.workflows.parity import explain

PROMPTS = {"p.txt": "a pier --w 512 --h 512 --d 1"}


Fields = dict[str, Any]


def aitk(model: Fields, train: Fields | None = None, sample: Fields | None = None) -> SampleSpec:
    family = "is_xl" if model.get("is_xl") else "is_flux"
    process = {
        "type": "sd_trainer",
        "model": {"name_or_path": "a/b", family: True, **model},
        "train": {"dtype": "bf16", **(train or {})},
        "sample": {"sampler": "ddpm" if family == "is_xl" else "flowmatch", "prompts": ["a pier"], **(sample or {})},
    }
    return read_text(json.dumps({"job": "extension", "config": {"name": "n", "process": [process]}}))


def kohya(family: str, **args: Any) -> SampleSpec:
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in args.items())
    return read_text(f"{text}sample_prompts = 'p.txt'\nsample_every_n_steps = 9\n", "kohya", family, files=PROMPTS)


def onetrainer(kind: str = "FLUX_DEV_1", **fields: Any) -> SampleSpec:
    base = {"training_method": "LORA", "model_type": kind, "base_model_name": "m", "train_dtype": "BFLOAT_16"}
    return read_text(json.dumps({**base, "samples": [{"prompt": "a pier"}], **fields}))


def tuner(family: str = "flux", **options: Any) -> SampleSpec:
    return read_text(json.dumps({"model_family": family, "validation_prompt": "a pier", **options}))


#: The spec, the field that acts, and the topic in which the pictures differ.
DIFFERENT = {
    # stable_diffusion_model.py:794-799, :822 (the encoders with it); config_modules.py `quantize_te`
    "aitk quantize": (lambda: aitk({"quantize": True, "qtype": "qint4"}), "quantize", "model"),
    "aitk quantize_te": (lambda: aitk({"quantize_te": True}), "quantize_te", "model"),
    # train_tools.py:569
    "aitk masks": (lambda: aitk({"attn_masking": True}), "attn_masking", "token lengths"),
    # stable_diffusion_model.py:1364-1381, 1537-1541; 0.5 is SampleConfig's default
    "aitk refiner": (lambda: aitk({"is_xl": True, "refiner_name_or_path": "r"}), "refiner_name_or_path", "model"),
    "aitk rescale": (lambda: aitk({"is_xl": True}, sample={"guidance_rescale": 1.5}), "guidance_rescale", "guidance"),
    # flux_train_network.py:102-118, train_network.py (SDXL's U-Net)
    "kohya fp8": (lambda: kohya("flux", fp8_base=True), "fp8_base", "model"),
    "kohya fp8 sdxl": (lambda: kohya("sdxl", fp8_base=True), "fp8_base", "model"),
    "kohya masks": (lambda: kohya("flux", apply_t5_attn_mask=True), "apply_t5_attn_mask", "token lengths"),
    # modules/util/enum/DataType.py `is_quantized`
    "onetrainer nf4": (
        lambda: onetrainer(transformer={"weight_dtype": "NFLOAT_4"}), "transformer.weight_dtype", "model",
    ),
    "onetrainer int8": (
        lambda: onetrainer(text_encoder_2={"weight_dtype": "INT_W8A8"}), "text_encoder_2.weight_dtype", "model",
    ),
    "onetrainer old form": (lambda: onetrainer(transformer_weight_dtype="FLOAT_8"), "weight_dtype", "model"),
    # modules/modelSampler/FluxSampler.py: a picture and a mask
    "onetrainer fill": (lambda: onetrainer("FLUX_FILL_DEV_1", base_model_name="x"), "FLUX_FILL_DEV_1", "model"),
    "onetrainer inpainting": (
        lambda: onetrainer(samples=[{"prompt": "a", "sample_inpainting": True}]), "sample_inpainting", "noise",
    ),
    # helpers/models/flux/model.py:438-449
    "simpletuner kontext": (lambda: tuner(model_flavour="kontext"), "kontext", "model"),
    # GenerateImageConfig: the second negative prompt is the entry's
    "aitk --n": (lambda: aitk({"is_xl": True}, sample={"prompts": ["a --n b"]}), "--n", "negative"),
    "onetrainer embeddings": (
        lambda: onetrainer(additional_embeddings=[{"placeholder": "<x>"}]), "additional_embeddings", "token lengths",
    ),
    # helpers/training/quantisation/__init__.py:1306
    "simpletuner int8": (lambda: tuner(base_model_precision="int8-quanto"), "base_model_precision", "model"),
    "simpletuner t5": (lambda: tuner(text_encoder_2_precision="int4-quanto"), "text_encoder_2_precision", "model"),
    "simpletuner masks": (
        lambda: tuner(flux_attention_masked_training=True), "flux_attention_masked_training", "token lengths",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_is_counted(name: str) -> None:
    make, field, topic = DIFFERENT[name]
    spec = make()
    text, *_ = [text for text in spec.differences[topic] if field in text]
    assert text in spec.notes
    assert not [path for path in spec.ignored if path.endswith(field)]
    kinds = {match.kind for match in explain(spec) if match.topic == topic}
    assert kinds == {"different"}
    again = read_text(spec.to_json())
    assert (again.differences, again.loras) == (spec.differences, spec.loras)


@pytest.mark.parametrize(
    "make",
    [
        lambda: aitk({"quantize": False, "attn_masking": False, "lora_path": None}),
        lambda: aitk({"quantize": True, "quantize_te": False}, sample={"refiner_start_at": 0.8}),
        lambda: aitk({"is_xl": True, "refiner_name_or_path": "r"}, sample={"refiner_start_at": 1.0}),
        lambda: kohya("sdxl", fp8_base=False, v_parameterization=False),
        lambda: onetrainer(transformer={"weight_dtype": "BFLOAT_16"}, ema="OFF"),
        lambda: tuner(base_model_precision="no_change", lora_alpha=16, use_ema=False),
        lambda: tuner(use_ema=True, ema_validation="none"),
        lambda: tuner(lora_alpha=1, lora_rank=32, lora_type="lycoris"),
    ],
)
def test_what_is_off_does_not_count(make: Any) -> None:
    spec = make()
    counted = [text for texts in spec.differences.values() for text in texts]
    assert not [text for text in counted if "model.quantize (" not in text]


@pytest.mark.parametrize(
    ("spec", "loras"),
    [
        # stable_diffusion_model.py:1070-1073, 1174-1178; the Hub's file is always pytorch_lora_weights.safetensors
        (lambda: aitk({"inference_lora_path": "someone/turbo-lora"}), {"turbo-lora.safetensors": 1.0}),
        # :727-792
        (lambda: aitk({"lora_path": "C:/loras/base_fix.safetensors"}), {"base_fix.safetensors": 1.0}),
        # sampled with -1 where it was fused in: nothing is left of it (:718-725, 1165-1172)
        (lambda: aitk({"assistant_lora_path": "ostris/FLUX.1-schnell-training-adapter"}), {}),
        # train_network.py:646-661
        (
            lambda: kohya("sdxl", base_weights=["/l/a.safetensors", "/l/b.safetensors"], base_weights_multiplier=[0.5]),
            {"a.safetensors": 0.5, "b.safetensors": 1.0},
        ),
    ],
)
def test_further_loras_are_loaded(spec: Any, loras: dict[str, float]) -> None:
    read = spec()
    for style in ("eri", "stock"):
        graph = build(read, style=style).api()
        nodes = [node for node in graph.values() if node["class_type"] == "LoraLoader"]
        assert {node["inputs"]["lora_name"]: node["inputs"]["strength_model"] for node in nodes} == loras
        if loras:
            last = list(graph)[list(graph.values()).index(nodes[-1])]
            fed = [node["class_type"] for node in graph.values() if node["inputs"].get("clip") == [last, 1]]
            assert fed, "the text encoders behind it are used"
    offered = {"loras": ["deep/Turbo_LoRA.safetensors"]}
    if "turbo-lora.safetensors" in loras:
        assert build(read, offered=offered).api()["base_lora"]["inputs"]["lora_name"] == "deep/Turbo_LoRA.safetensors"


@pytest.mark.parametrize(
    "spec",
    [
        lambda: aitk({"is_xl": True, "is_v_pred": True}),  # stable_diffusion_model.py:154, 1208-1221
        lambda: kohya("sdxl", v_parameterization=True),  # train_util.py:6231, 6424
        lambda: tuner("sdxl", prediction_type="v_prediction"),  # validation.py `setup_scheduler`
        # StableDiffusionXLLoRASetup.py: `force_v_prediction` with zero terminal SNR
        lambda: onetrainer("STABLE_DIFFUSION_XL_10_BASE", rescale_noise_scheduler_to_zero_terminal_snr=True),
    ],
)
def test_v_prediction_is_in_the_graph(spec: Any) -> None:
    graph = build(spec()).api()
    node = graph["prediction"]
    assert (node["class_type"], node["inputs"]["sampling"]) == ("ModelSamplingDiscrete", "v_prediction")
    last = graph.get("guided", graph["sample"])  # what stands between the two rescales the guidance
    assert last["inputs"]["model"] == ["prediction", 0]
    schedule = graph.get("sigmas", graph["sampler"])
    assert schedule["inputs"]["model"] == ["prediction", 0]
    assert build(spec()).ui()["nodes"]
    stock = build(spec(), style="stock").api()
    assert stock["sample"]["inputs"]["model"] == ["prediction", 0]


@pytest.mark.parametrize(
    "spec",
    [
        lambda: aitk({"is_xl": True}, sample={"guidance_rescale": 0.7}),  # diffusers' SDXL pipeline
        lambda: tuner("sdxl", validation_guidance_rescale=0.7),  # helpers/models/sdxl/pipeline.py:119, 1679
        # StableDiffusionXLSampler.py:160-166
        lambda: onetrainer("STABLE_DIFFUSION_XL_10_BASE", rescale_noise_scheduler_to_zero_terminal_snr=True),
    ],
)
def test_rescaled_guidance_is_in_the_graph(spec: Any) -> None:
    assert build(spec()).api()["guided"]["inputs"]["rescale"] == 0.7
    assert {match.kind for match in explain(spec()) if match.topic == "guidance"} == {"as its source says"}


def test_alpha_of_files_that_hold_none() -> None:
    """alpha / rank of the config, in place of 1; SimpleTuner of 2024-08, train.py:658, save_hooks.py:217-242."""
    spec = tuner(lora_alpha=1, lora_rank=32)
    assert not {"lora_alpha", "lora_rank"} & set(spec.ignored)
    assert build(spec, run="my_run", step=1).api()["lora"]["inputs"]["scale"] == 1 / 32
    assert "lora_scale" not in tuner(lora_alpha=16).sampling


def test_flow_models_have_no_prediction_type() -> None:
    assert "v_parameterization" in kohya("flux", v_parameterization=True).ignored
    assert "prediction" not in build(aitk({"is_v_pred": True})).api()


@pytest.mark.parametrize(("flavour", "steps"), [("fluxbooru", 20), ("libreflux", 40)])
def test_flavours_that_raise_steps_and_guidance(flavour: str, steps: int) -> None:
    """helpers/models/flux/model.py:1175-1203."""
    spec = tuner(model_flavour=flavour, validation_num_inference_steps=steps, flux_attention_masked_training=True)
    item = spec.items[-1]
    assert (item.steps, item.cfg_scale) == (max(steps, 28), 6.0)
    assert ("token lengths" in spec.differences) == (flavour == "libreflux")
    assert tuner(model_flavour=flavour, validation_guidance_real=3.0).items[0].cfg_scale == 3.0


def test_averaged_weights() -> None:
    """ai-toolkit BaseSDTrainProcess.py:369, 509; OneTrainer GenericTrainer.py:313-340, 496, `__backup`."""
    average = aitk({}, {"ema_config": {"use_ema": True, "ema_decay": 0.99}})
    assert any("averaged weights" in note for note in average.notes)
    assert not {"train.ema_config", "train.ema_config.use_ema"} & set(average.ignored)
    plain = aitk({}, {"ema_config": {"use_ema": False}})
    assert not any("averaged" in note for note in plain.notes)
    both = " ".join(onetrainer(ema="GPU").notes)
    assert "averaged" in both
    assert "no-ema" in both
    assert "no-ema" not in " ".join(onetrainer(ema="CPU", non_ema_sampling=False).notes)


@pytest.mark.parametrize(
    ("chosen", "made"),
    [(None, [False, True]), ("comparison", [False, True]), ("ema_only", [True]), ("none", [False])],
)
def test_simpletuners_averaged_weights_are_loaded(chosen: str | None, made: list[bool]) -> None:
    """validation.py `_validation_types` (comparison is the default), save_hooks.py:803-824 (`ema/` in a checkpoint)."""
    options = {"ema_validation": chosen} if chosen else {}
    spec = tuner(use_ema=True, validation_disable_unconditional=True, **options)
    assert [item.ema for item in spec.items] == made
    assert len({item.index for item in spec.items}) == len(made)
    assert read_text(spec.to_json()).items == spec.items
    runs = {"my_run/ema" if averaged else "my_run" for averaged in made}
    graph = build(spec, run="my_run", step=500).api()
    assert {node["inputs"]["run"] for node in graph.values() if node["class_type"] == "EriLoraAtStep"} == runs
    file = "my_run/checkpoint-500/pytorch_lora_weights.safetensors"
    stock = build(spec, run=file, style="stock").api()
    files = {file.replace("/py", "/ema/py") if averaged else file for averaged in made}
    assert {node["inputs"]["lora_name"] for node in stock.values() if node["class_type"] == "LoraLoader"} == files


def test_bad_values() -> None:
    with pytest.raises(SpecError, match="base_weights_multiplier"):
        kohya("sdxl", base_weights=["a"], base_weights_multiplier=["x"])
    document = json.loads(aitk({}).to_json())
    with pytest.raises(SpecError, match="no topic 'taste'"):
        read_text(json.dumps({**document, "differences": {"taste": ["x"]}}))
