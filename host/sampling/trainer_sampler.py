"""The samplers that trainers build from diffusers, as a SAMPLER and SIGMAS of ComfyUI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Final

import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.patcher_extension
import comfy.samplers
import torch
from comfy.k_diffusion import sampling as host
from torch import Tensor

from ...errors import NodeInputError
from ...families.profile import ANCESTRAL
from ...samplers import borrowed_flow, diffusion, flow, multistep
from ...samplers.ddim_plan import alphas_from
from ...samplers.trainer_levels import ALGORITHMS, SCHEDULERS, Levels, levels, timestep_of
from .samplers import (
    OWN_NOISE,
    Callback,
    StepNoise,
    check_levels,
    check_step_noise,
    keep_unmasked,
    raw_output,
    starts_empty,
    vp_sampling,
)

#: ComfyUI's own samplers, where they give the scheduler's numbers.
_STOCK: Final[Mapping[str, Callable[..., Tensor]]] = {
    "euler": host.sample_euler,
    "euler_a": host.sample_euler_ancestral,
    "heun": host.sample_heun,
    "dpm_2": host.sample_dpm_2,
    "dpm_2_a": host.sample_dpm_2_ancestral,
    "ddpm": host.sample_ddpm,
    "dpmsolver++": host.sample_dpmpp_2m,
    "sde-dpmsolver++": host.sample_dpmpp_2m_sde,
}
_OWN: Final = {"lms": multistep.lms, "dpmsingle": multistep.dpm_single, "unipc": multistep.unipc}
#: Steps of flow models, on what the model predicts of latents of unit variance: (x, output, timestep, next, alphas).
_FLOWS: Final[Mapping[str, Callable[[Tensor, Tensor, float, float, Tensor], Tensor]]] = {
    "flowmatch": borrowed_flow.euler,
    "mean_flow": borrowed_flow.mean_flow,
    "perflow": borrowed_flow.perflow,
}
_RELATIVE: Final = 1e-6  # what float32 rounds of a sigma


@dataclass(frozen=True)
class TrainerSampler:
    """Which scheduler, and with which arguments; see samplers.trainer_levels.

    Args:
        sampler, steps, spacing, offset, karras, start: see `levels`.
        clip_sample: clamp the predicted latent to -1 .. 1 in every step.
        noise: profile of the initial noise, with whose generator the steps go on.
        eta: share of fresh noise in every step of euler_a, dpm_2_a and sde-dpmsolver++.
        s_churn, s_tmin, s_tmax: noise added before the steps of euler, see `samplers.diffusion.churn`.
        s_noise: scales the noise of either kind.
    """

    sampler: str
    steps: int
    spacing: str = "linspace"
    offset: int = 0
    karras: bool = False
    clip_sample: bool = False
    noise: str = OWN_NOISE
    eta: float = 1.0
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = 1000.0
    s_noise: float = 1.0
    start: str = SCHEDULERS

    def levels(self, sampling: Any) -> Levels:
        """Where it asks the model, from ComfyUI's model_sampling; NodeInputError for what it cannot have."""
        if not isinstance(sampling, comfy.model_sampling.ModelSamplingDiscrete):
            raise NodeInputError(
                "model has no discrete noise table (it is a flow model such as Flux or SD 3.5?). EriTrainerSampler is "
                "for SDXL; use EriFlowEulerSampler with EriFluxSchedule or EriFlowSchedule."
            )
        try:
            return levels(sampling.sigmas, self.sampler, self.steps, self.spacing, self.offset, self.karras, self.start)
        except ValueError as error:
            raise NodeInputError(f"{error}.") from error

    def build(self, model: Any) -> tuple[Any, Tensor]:
        """SAMPLER and SIGMAS for a MODEL."""
        made = self.levels(model.get_model_object("model_sampling"))
        if self.s_churn > 0 and self.sampler != "euler":
            raise NodeInputError(f"s_churn acts on euler, not on {self.sampler}. Set it to 0, or choose euler.")
        if self.eta != 1.0 and self.sampler not in ANCESTRAL:
            raise NodeInputError(
                f"eta acts on {', '.join(ANCESTRAL)}, not on {self.sampler}. Set it to 1, or choose one of those."
            )
        draws = bool(ALGORITHMS[self.sampler].draws) or self.s_churn > 0
        if draws:
            check_step_noise(self.noise)
        options = {**vars(self), "noise": self.noise if draws else "", "eta": self.eta if draws else 0.0}
        return comfy.samplers.KSAMPLER(sample_trainer, options), made.sigmas


@torch.no_grad()
def sample_trainer(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    **options: Any,
) -> Tensor:
    """Sample as the diffusers scheduler does that a trainer builds.

    options: the fields of TrainerSampler. An empty latent starts from noise of the scheduler's own level; the model is
    asked at the scheduler's timesteps, fractions too; the noise of the steps goes on from the initial noise. The sigmas
    are those of EriTrainerSampler, whole or a piece of them (a multistep sampler begins anew in each piece).

    Raises NodeInputError for models without a discrete noise table, and for other sigmas.
    """
    extra_args = extra_args or {}
    how = TrainerSampler(**options)
    table, prediction = vp_sampling(model, "EriTrainerSampler works on epsilon and v models")
    check_levels(model, sigmas)
    made = how.levels(table)
    begins = _place(sigmas, made.sigmas)
    if begins == 0 and starts_empty(model) and model.noise.shape == x.shape:
        x = model.noise.to(x) * made.start
    asked = _Asked(model, made, table, how.clip_sample)
    run = _Run(asked, x, sigmas, extra_args, callback, how, table, prediction)
    if how.sampler in ("pndm", "plms", *_FLOWS):
        if len(sigmas) != len(made.sigmas):
            raise NodeInputError(f"sigmas: {how.sampler} samples its whole schedule, not a piece of it.")
        return run.as_flow() if how.sampler in _FLOWS else run.pndm()
    drawn = ALGORITHMS[how.sampler].draws
    if how.s_churn > 0:
        return run.churned_euler()
    if how.sampler in _STOCK:
        dtype = "float32" if drawn == "float32" else None
        more: dict[str, Any] = {"eta": how.eta, "s_noise": how.s_noise} if how.sampler in ANCESTRAL else {}
        more |= {"noise_sampler": run.fresh(dtype)} if drawn else {}
        return _STOCK[how.sampler](asked, x, sigmas, extra_args, callback, disable, **more)
    if how.sampler == "dpmsolver":
        return run.dpmsolver(whole=begins + len(sigmas) == len(made.sigmas))
    if how.sampler in _OWN:
        return _OWN[how.sampler](run.ask, x, sigmas, run.told)
    timesteps = made.timesteps[begins : begins + len(sigmas) - 1]
    return multistep.lcm(run.ask, x, sigmas, run.told, timesteps, run.fresh())


@dataclass(frozen=True)
class _Run:
    """A run's arguments, and the samplers that ComfyUI does not have or that give other numbers there."""

    asked: _Asked
    x: Tensor
    sigmas: Tensor
    extra_args: dict[str, Any]
    callback: Callback | None
    how: TrainerSampler
    table: Any
    prediction: str

    def fresh(self, dtype: str | None = None) -> StepNoise:
        return StepNoise(self.x, self.extra_args.get("seed"), self.how.noise, dtype)

    def ask(self, x: Tensor, sigma: float) -> Tensor:
        """The predicted latent for all of a batch at one sigma."""
        return self.asked(x, x.new_full([x.shape[0]], sigma), **self.extra_args)

    def told(self, i: int, x: Tensor, denoised: Tensor) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if self.callback is not None:
            sigma = self.sigmas[i]
            self.callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})

    def kept(self, end: Tensor, seen: Tensor) -> Tensor:
        """The end of the run, and outside of a mask what came in."""
        return keep_unmasked(self.asked, end, seen, self.sigmas, self.extra_args)

    def dpmsolver(self, *, whole: bool) -> Tensor:
        """DPM-Solver, which ends above sigma 0: on a latent of unit variance, where the run goes to the end."""
        seen = self.x

        def report(i: int, latent: Tensor, denoised: Tensor) -> None:
            nonlocal seen
            seen = denoised
            self.told(i, latent, denoised)

        end = multistep.dpm_multi(self.ask, self.x, self.sigmas, report)
        return self.kept(end / float(1.0 + self.sigmas[-1] ** 2) ** 0.5, seen) if whole else end

    def churned_euler(self) -> Tensor:
        """ComfyUI's `euler` with churn, whose noise is the trainer's; its own draws from the global generator."""
        x, how, fresh = self.x, self.how, self.fresh()
        steps = len(self.sigmas) - 1
        for i, (sigma, after) in enumerate(pairwise(self.sigmas.tolist())):
            noise = fresh() if how.s_tmin <= sigma <= how.s_tmax else None
            x, raised = diffusion.churn(x, sigma, steps, how.s_churn, how.s_tmin, how.s_tmax, how.s_noise, noise)
            denoised = self.ask(x, raised)
            self.told(i, x, denoised)
            x = flow.euler_from_denoised(x, denoised, raised, after)
        return x

    def pndm(self) -> Tensor:
        """PNDM works on latents of unit variance, and may end above sigma 0 (alpha[0])."""
        alphas, seen = alphas_from(self.table.sigmas), self.x

        def predict(latent: Tensor, timestep: int) -> Tensor:
            nonlocal seen
            sigma = float(self.table.sigmas[timestep])
            scaled = latent * (1.0 + sigma**2) ** 0.5
            seen = self.ask(scaled, sigma)
            return raw_output(scaled, seen, sigma, self.prediction)

        timesteps = [int(timestep) for timestep in self.how.levels(self.table).timesteps]
        solver = multistep.PNDM(predict, self.prediction, alphas, len(alphas) // self.how.steps)
        unit = self.x / float(1.0 + self.sigmas[0] ** 2) ** 0.5
        end = solver.run(unit, timesteps, lambda i, latent, _: self.told(i, latent, seen), self.how.sampler == "pndm")
        return self.kept(end, seen)

    def as_flow(self) -> Tensor:
        """A flow model's steps on what the model predicts of latents of unit variance, whatever that is."""
        perflow = self.how.sampler == "perflow"
        if perflow and self.prediction != "epsilon":
            raise NodeInputError(
                "sampler: perflow is for models that predict the noise; SimpleTuner stops at others. Choose another."
            )
        alphas, times = alphas_from(self.table.sigmas), self.how.levels(self.table).timesteps
        # PeRFlow's last step goes nowhere: the trainer takes its timestep for the next one, too
        pairs = pairwise([*times, times[-1] if perflow else 0.0])
        unit = seen = self.x / float(1.0 + self.sigmas[0] ** 2) ** 0.5
        for i, (sigma, (here, after)) in enumerate(zip(self.sigmas.tolist(), pairs, strict=False)):
            scaled = unit * (1.0 + sigma**2) ** 0.5
            seen = self.ask(scaled, sigma)
            self.told(i, unit, seen)
            unit = _FLOWS[self.how.sampler](unit, raw_output(scaled, seen, sigma, self.prediction), here, after, alphas)
        return self.kept(unit, seen)


def _place(sigmas: Tensor, known: Tensor) -> int:
    """Where in the scheduler's sigmas these begin; NodeInputError where they are others."""
    given = sigmas.detach().cpu().to(known)
    for begin in range(len(known) - len(given) + 1):
        if torch.allclose(known[begin : begin + len(given)], given, rtol=_RELATIVE, atol=0.0):
            return begin
    raise NodeInputError(
        "sigmas are not those of this EriTrainerSampler on this model. Connect its own SIGMAS, whole or split."
    )


class _Asked:
    """ComfyUI's model, asked at a scheduler's own timesteps instead of the whole ones nearest to the sigmas."""

    def __init__(self, model: Any, made: Levels, table: Any, clip: bool) -> None:
        self._model, self._clip = model, clip
        self._known = dict(zip(made.sigmas.tolist(), made.timesteps, strict=False))
        self._table = table.sigmas.detach().cpu().double().numpy()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, x: Tensor, sigma: Tensor, model_options: Mapping[str, Any] | None = None, **more: Any) -> Tensor:
        level = float(sigma[0])
        timestep = self._known.get(level)
        if timestep is None:
            timestep = timestep_of(level, self._table)
        options = comfy.model_patcher.create_model_options_clone(dict(model_options or {}))
        comfy.patcher_extension.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL,
            "eridiffusion_timestep",
            partial(_at_timestep, timestep),
            options,
            is_model_options=True,
        )
        denoised: Tensor = self._model(x, sigma, model_options=options, **more)
        return denoised.clamp(-1.0, 1.0) if self._clip else denoised


def _at_timestep(timestep: float, executor: Any, x: Tensor, timesteps: Tensor, *args: Any, **more: Any) -> Any:
    return executor(x, torch.full_like(timesteps, timestep), *args, **more)
