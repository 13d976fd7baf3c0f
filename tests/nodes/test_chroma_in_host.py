"""Chroma through our nodes on ComfyUI's own model, beside diffusers' ChromaPipeline with the same random weights."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.samplers.schedules import flow_sigmas
from comfyui_eridiffusion.tests.nodes import chroma_models as chroma
from comfyui_eridiffusion.tests.nodes import sampling_helpers as h
from comfyui_eridiffusion.tests.nodes.batch_helpers import Calls
from comfyui_eridiffusion.tests.nodes.host_calls import outputs

WIDTH, HEIGHT, STEPS, SEED = 96, 64, 4, 42
LENGTH = 24  # tokens of a padded prompt; 512 in the pipeline
CLOSE = 1e-4  # of the largest value

#: What a scheduler of diffusers is made with -> our schedule with the same sigmas.
SCHEDULES: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "shift 3 (Chroma1-HD)": ({"shift": 3.0}, "EriFlowSchedule", {"shift": 3.0, "spacing": "linear"}),
    "shift 1 (Chroma1-Flash)": ({"shift": 1.0}, "EriFlowSchedule", {"shift": 1.0, "spacing": "linear"}),
    "by size (lodestones/Chroma, ai-toolkit)": (
        {"shift": 3.0, "use_dynamic_shifting": True},
        "EriFluxSchedule",
        {"width": WIDTH, "height": HEIGHT, "base_shift": 0.5, "max_shift": 1.15, "shifted": True},
    ),
}


@cache
def models() -> tuple[Any, Any]:
    """diffusers' transformer and ComfyUI's MODEL, of the same weights."""
    transformer = chroma.diffusers_model()
    return transformer, chroma.comfy_model(chroma.chroma_names(transformer.state_dict()))


def embedding(seed: int) -> Tensor:
    return torch.randn(1, LENGTH, chroma.CONTEXT, generator=torch.Generator().manual_seed(seed))


def kept(count: int) -> Tensor:
    """The mask of a prompt of `count` tokens, end token included: they and one padding token take part."""
    return torch.arange(LENGTH)[None] <= count


PROMPTS = (embedding(1), kept(9)), (embedding(2), kept(1))


def by_diffusers(scheduler: dict[str, Any], cfg: float, dtype: torch.dtype = torch.bool) -> Tensor:
    """The final latent of the pipeline. dtype: of the masks."""
    (positive, positive_mask), (negative, negative_mask) = PROMPTS
    given = {"prompt_embeds": positive, "prompt_attention_mask": positive_mask.to(dtype)}
    given |= {"negative_prompt_embeds": negative, "negative_prompt_attention_mask": negative_mask.to(dtype)}
    return by_pipeline(scheduler, cfg, given)


def by_pipeline(scheduler: dict[str, Any], cfg: float, prompts: dict[str, Any], encoder: Any = None) -> Tensor:
    """The final latent of the pipeline as its autoencoder gets it. encoder: T5 and its tokenizer for texts."""
    from diffusers import ChromaPipeline, FlowMatchEulerDiscreteScheduler

    text_encoder, tokenizer = encoder or (None, None)
    pipeline = ChromaPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**scheduler),
        vae=None,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=models()[0],
    )
    pipeline.set_progress_bar_config(disable=True)
    packed = pipeline(
        **prompts,
        width=WIDTH,
        height=HEIGHT,
        num_inference_steps=STEPS,
        guidance_scale=cfg,
        generator=torch.Generator().manual_seed(SEED),
        output_type="latent",
    ).images
    latents: Tensor = pipeline._unpack_latents(packed, HEIGHT, WIDTH, pipeline.vae_scale_factor)
    return latents / 0.3611 + 0.1159  # FLUX's autoencoder, which is Chroma's


def by_nodes(comfy_host: Any, sigmas: Tensor, cfg: float, prompts: Any, sampler: str = "EriSample") -> Tensor:
    """The final latent of our nodes; sampler: the sampling node, ours or the stock one."""
    # `pooled_output` is there and None, as ComfyUI's T5 alone gives it
    positive, negative = ([[cond, {"pooled_output": None, **extra}]] for cond, extra in prompts)
    noise = h.node(comfy_host, "EriTrainerNoise", seed=SEED, profile="torch-cpu/nchw/float32", family="auto")
    latent = h.node(comfy_host, "EmptySD3LatentImage", width=WIDTH, height=HEIGHT, batch_size=1)
    euler, model = h.flow_euler(comfy_host), models()[1]
    if sampler != "EriSample":
        guider = h.node(comfy_host, "CFGGuider", model=model, positive=positive, negative=negative, cfg=cfg)
        return h.advanced(comfy_host, guider, euler, sigmas, latent, noise)
    given = {"model": model, "positive": positive, "negative": negative, "noise": noise, "latent": latent}
    samples: Tensor = h.node(comfy_host, "EriSample", **given, sampler=euler, sigmas=sigmas, cfg=cfg)["samples"]
    return samples


def distance(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


def cut(prompts: Any = PROMPTS) -> list[tuple[Tensor, dict[str, Any]]]:
    """The tokens that take part, without a mask: what ComfyUI is given."""
    return [(cond[:, : int(mask.sum())], {}) for cond, mask in prompts]


@pytest.mark.parametrize("sampler", ["EriSample", "SamplerCustomAdvanced"])
@pytest.mark.parametrize("cfg", [1.0, 3.5])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_final_latent_is_diffusers(comfy_host: Any, name: str, cfg: float, sampler: str) -> None:
    """With masks that mask (bool), as the model was trained, and as kohya and OneTrainer sample. ComfyUI knows no mask:
    it gets the prompt's tokens and one padding token, which is the same."""
    scheduler, node, options = SCHEDULES[name]
    sigmas = h.node(comfy_host, node, steps=STEPS, **options)
    found = by_nodes(comfy_host, sigmas, cfg, cut(), sampler)
    assert distance(found, by_diffusers(scheduler, cfg)) < CLOSE


def test_padding_that_is_not_masked_is_another_picture(comfy_host: Any) -> None:
    """All padding tokens in, as EriDiffusion V2 samples: far from the pipeline, so the cut above matters."""
    scheduler, node, options = SCHEDULES["shift 3 (Chroma1-HD)"]
    sigmas = h.node(comfy_host, node, steps=STEPS, **options)
    found = by_nodes(comfy_host, sigmas, 3.5, [(cond, {}) for cond, _ in PROMPTS])
    assert distance(found, by_diffusers(scheduler, 3.5)) > 100 * CLOSE


def weighed(prompts: Any) -> list[tuple[Tensor, dict[str, Any]]]:
    """All tokens, and a mask that holds 1 between two that take part, which ComfyUI adds to the scores."""
    rows, columns = HEIGHT // 16, WIDTH // 16
    made = []
    for cond, mask in prompts:
        whole = torch.cat([mask.float(), torch.ones(1, rows * columns)], dim=1)
        extra = {"attention_mask": whole[:, :, None] * whole[:, None, :], "attention_mask_img_shape": (rows, columns)}
        made.append((cond, extra))
    return made


def test_masks_of_numbers_are_added_to_the_scores(comfy_host: Any) -> None:
    """diffusers' own `encode_prompt` gives masks in the embeddings' dtype, which attention adds instead of masking
    (huggingface/diffusers #12116, #13619; SimpleTuner's validation does the same). ComfyUI can be told to."""
    scheduler, node, options = SCHEDULES["shift 3 (Chroma1-HD)"]
    sigmas = h.node(comfy_host, node, steps=STEPS, **options)
    expected = by_diffusers(scheduler, 3.5, torch.float32)
    assert distance(by_nodes(comfy_host, sigmas, 3.5, weighed(PROMPTS)), expected) < CLOSE
    assert distance(by_nodes(comfy_host, sigmas, 3.5, cut()), expected) > 100 * CLOSE


def test_the_guidance_layer_gets_zero_unless_told(comfy_host: Any) -> None:
    """ComfyUI feeds 0 where the conditioning names none; a value (kohya's samples: 3.5 without `--g 0`) does act."""
    _, node, options = SCHEDULES["shift 3 (Chroma1-HD)"]
    sigmas = h.node(comfy_host, node, steps=STEPS, **options)
    plain = by_nodes(comfy_host, sigmas, 1.0, cut())
    zero = by_nodes(comfy_host, sigmas, 1.0, [(cond, {"guidance": 0.0}) for cond, _ in cut()])
    more = by_nodes(comfy_host, sigmas, 1.0, [(cond, {"guidance": 3.5}) for cond, _ in cut()])
    assert torch.equal(plain, zero)
    assert distance(more, plain) > CLOSE


def test_from_prompts_to_the_final_latent(comfy_host: Any) -> None:
    """The pipeline with its own way to texts, tokenizer and T5 included, beside the text node's "weighted"."""
    clip = chroma.chroma_clip()
    scheduler, node, options = SCHEDULES["shift 3 (Chroma1-HD)"]
    texts = {"prompt": "a lantern (in a harbour) at night", "negative_prompt": "blurry"}
    encoder = (chroma.transformers_t5(clip), clip.tokenizer.clip_t5xxl.tokenizer)
    expected = by_pipeline(scheduler, 3.5, {**texts, "max_sequence_length": LENGTH}, encoder)
    prompts = []
    for text in texts.values():
        asked = {"clip": clip, "prompt": text, "prompt_2": "", "prompt_3": "", "weighting": False, "empty": "encode"}
        size = {"t5_length": LENGTH, "width": WIDTH, "height": HEIGHT}
        prompts.append(h.node(comfy_host, "EriTripleTextEncode", **asked, **size, t5_padding="weighted")[0])
    sigmas = h.node(comfy_host, node, steps=STEPS, **options)
    assert distance(by_nodes(comfy_host, sigmas, 3.5, prompts), expected) < CLOSE


def test_pictures_of_a_batch_come_out_as_alone(comfy_host: Any) -> None:
    """Prompts of one length are sampled together, one of another length is not."""
    noises = [h.node(comfy_host, "RandomNoise", noise_seed=seed) for seed in range(3)]
    model = models()[1]
    given = {
        "positive": [[[embedding(row)[:, :tokens], {"pooled_output": None}]] for row, tokens in enumerate((5, 5, 9))],
        "negative": [[[embedding(9)[:, :3], {"pooled_output": None}]]] * 3,
        "noise": noises,
        "latent": [{"samples": torch.zeros(1, 16, HEIGHT // 8, WIDTH // 8)}] * 3,
        "sampler": [h.flow_euler(comfy_host)] * 3,
        "sigmas": [flow_sigmas(STEPS)] * 3,
        "cfg": [3.5] * 3,
    }
    calls = Calls(model)
    together = outputs(comfy_host, "EriSample", model=[calls.model] * 3, **given, batch_size=[8])[0]
    assert sorted(set(calls.images)) == [1, 2]
    for row, made in enumerate(together):
        one = {name: [values[row]] for name, values in given.items()}
        alone = outputs(comfy_host, "EriSample", model=[model], **one, batch_size=[1])[0][0]
        assert distance(made["samples"], alone["samples"]) < CLOSE
