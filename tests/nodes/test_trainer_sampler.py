"""EriTrainerSampler beside the diffusers schedulers that trainers build, on the same network, through ComfyUI."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import sampling_helpers as h
from comfyui_eridiffusion.tests.nodes.host_calls import outputs
from comfyui_eridiffusion.tests.nodes.sampling_helpers import DDIMCase, Diffusers

#: Up to here two final latents are the same one: a share of the largest value.
SAME = 1e-4
TABLE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


class Linear:
    """A trainer's own scheduler, of which was recorded what its `step` makes of a latent and of an output."""

    init_noise_sigma = 1.0

    def __init__(self, steps: list[tuple[float, float, float]]) -> None:
        self.timesteps = torch.tensor([t for t, _, _ in steps])
        self._shares = {float(t): shares for t, *shares in steps}

    def scale_model_input(self, x: Tensor, _: Tensor) -> Tensor:
        return x

    def step(self, output: Tensor, t: Tensor, x: Tensor) -> Any:
        of_latent, of_output = self._shares[float(t)]
        return SimpleNamespace(prev_sample=of_latent * x + of_output * output)


@dataclass(frozen=True)
class Case:
    """A scheduler as a trainer builds it, and EriTrainerSampler's words for it.

    made: arguments of the constructor beside the table. set_config: attributes that the trainer sets on its config.
    timesteps: those of a scheduler of the trainer's own, by the number of steps; its steps are this one's.
    """

    scheduler: str
    made: dict[str, Any]
    options: dict[str, Any]
    set_config: dict[str, Any] = field(default_factory=dict)
    timesteps: dict[int, list[int]] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join(map(str, (self.scheduler, *self.made.values(), *self.options.values())))

    def build(self, steps: int, prediction: str) -> Any:
        import diffusers

        if self.options["sampler"] == "flowmatch":  # toolkit/samplers/custom_flowmatch_sampler.py, shift 1
            flow = diffusers.FlowMatchEulerDiscreteScheduler()
            flow.set_timesteps(steps)
            flow.init_noise_sigma, flow.scale_model_input = 1.0, lambda x, _: x
            return flow
        if self.options["sampler"] == "perflow":
            return Linear(_PERFLOW[steps])
        if self.options["sampler"] == "mean_flow":
            flow = diffusers.FlowMatchEulerDiscreteScheduler()
            flow.set_timesteps(steps)
            return Linear([(t, 1.0, -1.0) for t in flow.timesteps.tolist()])
        scheduler = getattr(diffusers, self.scheduler)(**TABLE, prediction_type=prediction, **self.made)
        for name, value in self.set_config.items():
            setattr(scheduler.config, name, value)
        if self.timesteps:
            scheduler.set_timesteps(timesteps=self.timesteps[steps])
        else:
            scheduler.set_timesteps(steps)
        return scheduler


#: With algorithm_type dpmsolver diffusers takes no other end since 0.26. Before (sd-scripts was installed with 0.25.0)
#: there was no other end: 0.25.0's class gives the same bits as this one.
_TO_SIGMA_MIN: dict[str, Any] = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
#: sd-scripts library/train_util.py::get_my_scheduler, which leaves the rest to diffusers' defaults.
KOHYA = [
    Case("EulerDiscreteScheduler", {}, {"sampler": "euler"}),
    Case("EulerAncestralDiscreteScheduler", {}, {"sampler": "euler_a"}),
    Case("HeunDiscreteScheduler", {}, {"sampler": "heun", "clip_sample": True}, {"clip_sample": True}),
    Case("KDPM2DiscreteScheduler", {}, {"sampler": "dpm_2"}),
    Case("KDPM2AncestralDiscreteScheduler", {}, {"sampler": "dpm_2_a"}),
    Case("LMSDiscreteScheduler", {}, {"sampler": "lms"}),
    Case("PNDMScheduler", {}, {"sampler": "pndm", "spacing": "leading"}),
    Case("DDPMScheduler", {}, {"sampler": "ddpm", "spacing": "leading", "clip_sample": True}),
    Case("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}, {"sampler": "dpmsolver++"}),
    Case("DPMSolverSinglestepScheduler", {}, {"sampler": "dpmsingle"}),
    Case("DPMSolverMultistepScheduler", _TO_SIGMA_MIN, {"sampler": "dpmsolver"}),
]
_LEADING: dict[str, Any] = {"timestep_spacing": "leading", "steps_offset": 0}
_AS_LEADING: dict[str, Any] = {"spacing": "leading", "offset": 0}
_LCM: dict[str, Any] = {**_LEADING, "clip_sample": False, "set_alpha_to_one": False}
#: What toolkit/samplers/custom_lcm_scheduler.py (27a03a9) made of these numbers of steps.
_CUSTOM_LCM = {
    4: [999, 679, 359, 19],
    9: [999, 879, 759, 639, 519, 399, 279, 159, 19],
    20: [*(999, 959, 899, 859, 799, 759, 699, 639, 599, 539), *(499, 439, 399, 339, 279, 239, 179, 139, 79, 19)],
}
#: What helpers/training/custom_schedule.py::PeRFlowScheduler("epsilon") (bc8e6ab) makes of 1 and of 0: the timestep,
#: the latent's share and the output's.
_PERFLOW: dict[int, list[tuple[float, float, float]]] = {
    4: [
        (1000, 3.485786, -2.506379), (750, 2.21445, -1.300941), (500, 1.559649, -0.7558374), (250, 1, 0),
    ],
    9: [
        (1000, 1.835224, -0.8421433), (916, 1.44969, -0.4534148), (833, 1.310197, -0.3127668),
        (750, 1.607225, -0.6504707), (625, 1.37781, -0.4047166), (500, 1.279824, -0.3779187),
        (375, 1.218643, -0.2952895), (250, 1.108127, -0.3318778), (125, 1, 0),
    ],
    20: [
        (1000, 1.497157, -0.5012758), (950, 1.332068, -0.3348184), (900, 1.249287, -0.2513524),
        (850, 1.199544, -0.2011967), (800, 1.16635, -0.1677277), (750, 1.24289, -0.2601883),
        (700, 1.195424, -0.2093413), (650, 1.163476, -0.175119), (600, 1.140507, -0.1505136),
        (550, 1.123197, -0.1319708), (500, 1.11193, -0.1511675), (450, 1.100663, -0.1359506),
        (400, 1.091456, -0.123517), (350, 1.083793, -0.1131672), (300, 1.077315, -0.1044177),
        (250, 1.043251, -0.1327511), (200, 1.041458, -0.1272475), (150, 1.040604, -0.1246258),
        (99, 1.038254, -0.1174147), (49, 1, 0),
    ],
}  # fmt: skip
#: ai-toolkit toolkit/sampler.py::get_sampler: sd_config (leading, offset 0, no clipping, skip_prk_steps).
AI_TOOLKIT = [
    Case("EulerDiscreteScheduler", _LEADING, {"sampler": "euler", **_AS_LEADING}),
    Case(
        "EulerDiscreteScheduler",
        {**_LEADING, "use_karras_sigmas": True},
        {"sampler": "euler", "karras": True, **_AS_LEADING},
    ),
    Case("EulerAncestralDiscreteScheduler", _LEADING, {"sampler": "euler_a", **_AS_LEADING}),
    Case("HeunDiscreteScheduler", {**_LEADING, "clip_sample": False}, {"sampler": "heun", **_AS_LEADING}),
    Case("KDPM2DiscreteScheduler", _LEADING, {"sampler": "dpm_2", **_AS_LEADING}),
    Case("KDPM2AncestralDiscreteScheduler", _LEADING, {"sampler": "dpm_2_a", **_AS_LEADING}),
    Case("LMSDiscreteScheduler", _LEADING, {"sampler": "lms", **_AS_LEADING}),
    Case(
        "LMSDiscreteScheduler",
        {**_LEADING, "use_karras_sigmas": True},
        {"sampler": "lms", "karras": True, **_AS_LEADING},
    ),
    Case(
        "PNDMScheduler",
        {**_LEADING, "skip_prk_steps": True, "set_alpha_to_one": False},
        {"sampler": "plms", **_AS_LEADING},
    ),
    Case("DDPMScheduler", {**_LEADING, "clip_sample": False}, {"sampler": "ddpm", **_AS_LEADING}),
    Case(
        "DPMSolverMultistepScheduler",
        {**_LEADING, "algorithm_type": "dpmsolver++"},
        {"sampler": "dpmsolver++", **_AS_LEADING},
    ),
    Case(
        "DPMSolverMultistepScheduler",
        {**_LEADING, "algorithm_type": "dpmsolver++", "use_karras_sigmas": True},
        {"sampler": "dpmsolver++", "karras": True, **_AS_LEADING},
    ),
    Case("DPMSolverMultistepScheduler", {**_LEADING, **_TO_SIGMA_MIN}, {"sampler": "dpmsolver", **_AS_LEADING}),
    Case(
        "DPMSolverMultistepScheduler",
        {**_LEADING, **_TO_SIGMA_MIN, "use_karras_sigmas": True},
        {"sampler": "dpmsolver", "karras": True, **_AS_LEADING},
    ),
    Case("LCMScheduler", _LCM, {"sampler": "lcm", **_AS_LEADING}),
    Case("FlowMatchEulerDiscreteScheduler", {}, {"sampler": "flowmatch", **_AS_LEADING}),
    # toolkit/samplers/mean_flow_scheduler.py (27a03a9): FlowMatchEulerDiscreteScheduler's timesteps, steps of its own
    Case("MeanFlowScheduler", {}, {"sampler": "mean_flow", **_AS_LEADING}),
    Case("LCMScheduler", _LCM, {"sampler": "custom_lcm", **_AS_LEADING}, timesteps=_CUSTOM_LCM),
]
_SDE = {"algorithm_type": "sde-dpmsolver++"}
#: OneTrainer modules/util/create.py::create_noise_scheduler.
ONETRAINER = [
    Case("DPMSolverMultistepScheduler", _SDE, {"sampler": "sde-dpmsolver++"}),
    Case(
        "DPMSolverMultistepScheduler",
        {**_SDE, "use_karras_sigmas": True},
        {"sampler": "sde-dpmsolver++", "karras": True},
    ),
    Case("UniPCMultistepScheduler", {"steps_offset": 1}, {"sampler": "unipc", "offset": 1}),
    Case(
        "UniPCMultistepScheduler",
        {"steps_offset": 1, "use_karras_sigmas": True},
        {"sampler": "unipc", "offset": 1, "karras": True},
    ),
    Case(
        "EulerDiscreteScheduler",
        {"steps_offset": 1, "use_karras_sigmas": True},
        {"sampler": "euler", "offset": 1, "karras": True},
    ),
    Case(
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "steps_offset": 1, "use_karras_sigmas": True},
        {"sampler": "dpmsolver++", "offset": 1, "karras": True},
    ),
]
_TRAILING: dict[str, Any] = {"timestep_spacing": "trailing", "steps_offset": 1}
_AS_TRAILING: dict[str, Any] = {"spacing": "trailing", "offset": 1}
#: SimpleTuner helpers/training/validation.py::setup_scheduler, on the scheduler config of SDXL base.
SIMPLETUNER = [
    Case("EulerDiscreteScheduler", _TRAILING, {"sampler": "euler", **_AS_TRAILING}),
    Case("EulerAncestralDiscreteScheduler", _TRAILING, {"sampler": "euler_a", **_AS_TRAILING}),
    Case("UniPCMultistepScheduler", _TRAILING, {"sampler": "unipc", **_AS_TRAILING}),
    Case("DDPMScheduler", {**_TRAILING, "clip_sample": False}, {"sampler": "ddpm", **_AS_TRAILING}),
    Case("DPMSolverMultistepScheduler", _TRAILING, {"sampler": "dpmsolver++", **_AS_TRAILING}),
    Case("PeRFlowScheduler", {}, {"sampler": "perflow"}),
]
CASES = [
    *(pytest.param(case, id=f"kohya-{case}") for case in KOHYA),
    *(pytest.param(case, id=f"ai-toolkit-{case}") for case in AI_TOOLKIT),
    *(pytest.param(case, id=f"onetrainer-{case}") for case in ONETRAINER),
    *(pytest.param(case, id=f"simpletuner-{case}") for case in SIMPLETUNER),
]
_PLAIN = {"spacing": "linspace", "offset": 0, "karras": False, "clip_sample": False, "noise": "torch-cpu/nchw/float32"}


def built(comfy_host: Any, model: Any, steps: int, **options: Any) -> tuple[Any, Tensor]:
    sampler, sigmas = outputs(comfy_host, "EriTrainerSampler", model=model, steps=steps, **{**_PLAIN, **options})
    return sampler, sigmas


def ours(comfy_host: Any, model: Any, steps: int, noise: Tensor, cfg: float = 1.0, **options: Any) -> Tensor:
    """The final latent in the model's own scale."""
    sampler, sigmas = built(comfy_host, model, steps, **options)
    assert len(sigmas) == steps + 1
    guider = h.cfg_guider(comfy_host, "sdxl", cfg, model)
    latent = {"samples": torch.zeros_like(noise)}
    out: Tensor = h.advanced(comfy_host, guider, sampler, sigmas, latent, h.FixedNoise(noise))
    return model.model.process_latent_in(out)


@torch.no_grad()
def theirs(model: Any, scheduler: Any, noise: Tensor, cfg: float = 1.0) -> Tensor:
    """diffusers' own loop, as its SDXL pipeline has it, around the bare network."""
    predict = Diffusers(model, DDIMCase("leading", 1, "1", False, 1)).network((noise.shape[2], noise.shape[3]))
    _, positive, negative, _ = h.inputs_for("sdxl")
    generator = torch.Generator().manual_seed(h.SEED)
    torch.randn(noise.shape, generator=generator)  # the initial noise came from the same generator
    more = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    x = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        asked = scheduler.scale_model_input(x, t)
        output = predict(asked, t.float(), positive)
        if cfg != 1.0:
            uncond = predict(asked, t.float(), negative)
            output = uncond + cfg * (output - uncond)
        x = scheduler.step(output, t, x, **more).prev_sample
    return x


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    ("prediction", "steps"), [("epsilon", 4), ("epsilon", 9), ("epsilon", 20), ("v_prediction", 9)]
)
@pytest.mark.parametrize("case", CASES)
def test_final_latent_is_the_schedulers(comfy_host: Any, case: Case, prediction: str, steps: int) -> None:
    model = h.inputs_for("sdxl-v" if prediction == "v_prediction" else "sdxl")[0]
    noise = h.start_noise(torch.zeros(1, 4, 4, 8))
    cfg = 2.0 if steps == 9 else 1.0
    if case.scheduler == "PeRFlowScheduler" and prediction != "epsilon":  # an AssertionError of its constructor
        with pytest.raises(ValueError, match="perflow is for models that predict the noise"):
            ours(comfy_host, model, steps, noise, cfg, **case.options)
        return
    expected = theirs(model, case.build(steps, prediction), noise, cfg)
    assert bool(torch.isfinite(expected).all())
    assert apart(ours(comfy_host, model, steps, noise, cfg, **case.options), expected) < SAME


@pytest.mark.parametrize("sampler", ["euler", "euler_a", "heun", "dpm_2"])
def test_split_sigmas_in_two_samplers_end_where_one_does(comfy_host: Any, sampler: str) -> None:
    """For one-step samplers; where noise is drawn, the second run draws other noise than one whole run."""
    model, noise = h.inputs_for("sdxl")[0], h.start_noise(torch.zeros(1, 4, 4, 8))
    made, sigmas = built(comfy_host, model, 9, sampler=sampler)
    high, low = outputs(comfy_host, "SplitSigmas", sigmas=sigmas, step=4)
    guider = h.cfg_guider(comfy_host, "sdxl", 1.0, model)
    first = h.advanced(comfy_host, guider, made, high, {"samples": torch.zeros_like(noise)}, h.FixedNoise(noise))
    second = h.advanced(comfy_host, guider, made, low, {"samples": first}, h.node(comfy_host, "DisableNoise"))
    whole = ours(comfy_host, model, 9, noise, sampler=sampler)
    same = apart(model.model.process_latent_in(second), whole) < SAME
    assert same is (sampler != "euler_a")


def test_pndm_samples_its_whole_schedule(comfy_host: Any) -> None:
    model, noise = h.inputs_for("sdxl")[0], h.start_noise(torch.zeros(1, 4, 4, 8))
    made, sigmas = built(comfy_host, model, 9, sampler="pndm")
    guider = h.cfg_guider(comfy_host, "sdxl", 1.0, model)
    with pytest.raises(ValueError, match="sigmas: pndm samples its whole schedule"):
        h.advanced(comfy_host, guider, made, sigmas[:4], {"samples": torch.zeros_like(noise)}, h.FixedNoise(noise))


def test_the_model_keeps_its_own_timesteps_afterwards(comfy_host: Any) -> None:
    """Nothing of the run is left on the model: a stock sampler gives the same bits before and after."""
    import comfy.samplers

    model, noise = h.inputs_for("sdxl")[0], h.start_noise(torch.zeros(1, 4, 4, 8))
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "karras", 4)

    def stock() -> Tensor:
        guider = h.cfg_guider(comfy_host, "sdxl", 1.0, model)
        latent = {"samples": torch.zeros_like(noise)}
        return h.advanced(comfy_host, guider, comfy.samplers.ksampler("euler"), sigmas, latent, h.FixedNoise(noise))

    before = stock()
    ours(comfy_host, model, 4, noise, sampler="dpm_2")
    assert stock().equal(before)


def test_every_word_is_held_against_its_scheduler() -> None:
    from comfyui_eridiffusion.samplers.trainer_levels import ALGORITHMS

    every = [*KOHYA, *AI_TOOLKIT, *ONETRAINER, *SIMPLETUNER]
    assert {case.options["sampler"] for case in every} == set(ALGORITHMS)
    for case in every:
        assert case.timesteps or ALGORITHMS[case.options["sampler"]].scheduler.split()[0] == case.scheduler
