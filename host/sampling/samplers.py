"""Sampler functions for comfy.samplers.KSAMPLER, with the arguments of ComfyUI's own and the steps of `samplers`."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import comfy.model_management
import comfy.model_sampling
import comfy.samplers
import torch
from torch import Tensor
from tqdm.auto import trange

from ...errors import NodeInputError
from ...samplers import diffusion, flow
from ...samplers.ddim_plan import Plan, plan
from ...samplers.step_noise import NoiseStream
from ...spec.model import DTYPES

#: What ComfyUI draws its noise with.
OWN_NOISE: Final = "torch-cpu/nchw/float32"

#: How `sample_flow_euler` steps.
FLOW_METHODS: Final = ("euler", "dpmpp_2m")

Callback = Callable[[dict[str, Any]], None]


class StepNoise:
    """Noise for the steps of one run, on the CPU, from the run's seed.

    It starts after as many values as the initial noise has, as in diffusers, where one torch generator draws first the
    latent and then each step's noise. The global generator is not touched.

    Args:
        like: the latent.
        seed: the run's.
        profile: of the initial noise, see samplers.noise.NoiseProfile.
        dtype: what the steps' noise is drawn in, None = as the profile says.
    """

    def __init__(self, like: Tensor, seed: int | None, profile: str = OWN_NOISE, dtype: str | None = None) -> None:
        if seed is None:
            raise NodeInputError(
                "the steps draw noise, but the run has no seed to draw it from. Give it a NOISE with a seed (Trainer "
                "Noise, RandomNoise), or set eta and s_churn to 0."
            )
        self._like, self._dtype = like, dtype
        self._stream = NoiseStream(profile, seed, tuple(like.shape))

    def __call__(self, *_: Any) -> Tensor:
        """The next standard normal tensor, with the latent's shape, dtype and device."""
        return self._stream.draw(self._dtype).to(self._like)


def check_step_noise(profile: str) -> None:
    """Raise NodeInputError, naming the input `noise`, for a profile of which it is not known how it goes on."""
    try:
        NoiseStream(profile, 0, (1, 1, 1, 1))
    except ValueError as error:
        raise NodeInputError(f"noise is {profile!r}: {error}. Choose another profile.") from error


def flow_euler(
    noise: str = OWN_NOISE, latent_dtype: str = "float32", method: str = FLOW_METHODS[0], **options: float
) -> Any:
    """SAMPLER of `sample_flow_euler`; NodeInputError for another method or dtype, and for noise that no step has."""
    for name, chosen, known in (("latent_dtype", latent_dtype, DTYPES), ("method", method, FLOW_METHODS)):
        if chosen not in known:
            raise NodeInputError(f"{name} is {chosen!r}. Choose one of: {', '.join(known)}.")
    draws = options.get("eta", 0.0) > 0 or options.get("s_churn", 0.0) > 0
    if draws and method != FLOW_METHODS[0]:
        raise NodeInputError(f"method {method} draws no noise. Set eta and s_churn to 0, or choose euler.")
    if draws:
        check_step_noise(noise)
    words = {"noise": noise if draws else "", "latent_dtype": latent_dtype, "method": method}
    return comfy.samplers.KSAMPLER(sample_flow_euler, {**options, **words})


@torch.no_grad()
def sample_flow_euler(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
    eta: float = 0.0,
    noise: str = OWN_NOISE,
    latent_dtype: str = "float32",
    method: str = FLOW_METHODS[0],
) -> Tensor:
    """Sample with flow-matching Euler. With eta and s_churn 0 it is bit-equal to ComfyUI's `euler`.

    Args, beside those of every sampler of ComfyUI (model(x, sigma [B], **extra_args) -> x0; x [B, C, H, W]; sigmas [n +
    1]): s_churn: adds noise before a step, with the right variance for x = (1 - sigma) x0 + sigma eps; see
    `samplers.flow.churn`. s_tmin, s_tmax: the sigmas within which noise is added. s_noise: scales the drawn noise. eta:
    above 0 every step goes below its sigma and adds noise up to it, as ComfyUI's `euler_ancestral`. noise: profile of
    the initial noise, with whose generator the steps go on. latent_dtype: what the latent is rounded to between the
    steps, and with Flux the timestep too, as in Flux' own code; "float32" rounds nothing. method: "dpmpp_2m" takes
    second-order steps instead, see `samplers.flow.dpmpp_2m_from_denoised`.

    Raises NodeInputError for noise on a model that is no flow model, and for sigmas from which no step can be made.
    """
    extra_args = extra_args or {}
    drawn_by = "s_churn" if s_churn > 0 else "eta" if eta > 0 else None
    check_levels(model, sigmas, drawn_by)
    if drawn_by and not _is_flow(model):
        raise NodeInputError(
            f"{drawn_by} works on flow models (Flux, SD 3.5). Set it to 0, or use EriTrainerSampler for this model."
        )
    fresh = StepNoise(x, extra_args.get("seed"), noise) if drawn_by else None
    half = None if latent_dtype == "float32" else getattr(torch, latent_dtype)
    before: tuple[Tensor, Tensor] | None = None
    ones = x.new_ones([x.shape[0]])
    steps = len(sigmas) - 1
    for i in trange(steps, disable=disable):
        comfy.model_management.throw_exception_if_processing_interrupted()
        sigma = sigmas[i]
        if fresh is not None and s_churn > 0:
            x, sigma = flow.churn(x, sigma, steps, s_churn, s_tmin, s_tmax, s_noise, fresh())
        level = sigma if half is None else _model_level(model, sigma, half)
        denoised = model(x, level * ones, **extra_args)
        _report(callback, x, i, sigmas[i], sigma, denoised)
        if method != FLOW_METHODS[0]:
            x = flow.dpmpp_2m_from_denoised(x, denoised, sigma, sigmas[i + 1], before)
            x, before = (x if half is None else x.to(half).to(x)), (denoised, sigma)
        elif half is not None and eta == 0:
            x = flow.half_step(x, (x - denoised) / level, sigma, sigmas[i + 1], half)
        elif fresh is None or eta == 0:
            x = flow.euler_from_denoised(x, denoised, sigma, sigmas[i + 1])
        else:
            x = _ancestral(x, denoised, sigma, sigmas[i + 1], eta, s_noise, fresh)
    return x


def _model_level(model: Any, sigma: Tensor, dtype: torch.dtype) -> Tensor:
    """The sigma at which Flux's own code, that keeps timesteps in `dtype`, runs its model; others take float32."""
    if float(_sampling(model).timestep(torch.ones(()))) != 1.0:
        return sigma
    return (1000.0 * sigma.to(dtype)).to(sigma) / 1000.0


def _ancestral(
    x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor, eta: float, s_noise: float, fresh: StepNoise
) -> Tensor:
    if sigma_next == 0:
        return denoised
    try:
        return flow.ancestral_from_denoised(x, denoised, sigma, sigma_next, eta, s_noise, fresh())
    except ValueError as error:
        raise NodeInputError(f"{error}. Set eta to 1 or less.") from error


@torch.no_grad()
def sample_ddim(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    eta: float = 0.0,
    clip_sample: bool = False,
    clip_range: float = 1.0,
    use_clipped_model_output: bool = False,
    spacing: str = "auto",
    offset: int = 1,
) -> Tensor:
    """DDIM (Song et al. 2021; eta 1: DDPM) on epsilon, v and flow models.

    On VP models sigmas from EriDDIMSchedule follow diffusers' DDIMScheduler exactly, its previous timesteps and final
    alpha included, and an empty latent starts from the noise itself (unit variance) as there; other sigmas are
    stepped from each to the next. On flow models eta 0 equals Euler. With a noise mask, what lies outside comes back
    as it was, although such a schedule may end above sigma 0.

    Args, beside those of every sampler of ComfyUI (eta: share of fresh noise in every step):
        clip_sample, clip_range: whether and where to clamp x0.
        use_clipped_model_output: recompute the noise from the clamped x0.
        spacing, offset: those of the schedule, see samplers.ddim_plan.plan; unused on flow models.

    Raises NodeInputError for other models, sigmas that no step can be made of, and those of another spacing.
    """
    extra_args = extra_args or {}
    check_levels(model, sigmas, "eta" if eta > 0 else None)
    noise = StepNoise(x, extra_args.get("seed")) if eta > 0 else None
    clip = clip_range if clip_sample else None
    if _is_flow(model):
        return _flow_ddim(model, x, sigmas, extra_args, callback, disable, eta, clip, noise)
    todo, prediction = _planned(model, sigmas, spacing, offset)
    x = _start(model, x, float(sigmas[0]))
    ones = x.new_ones([x.shape[0]])
    for i in trange(len(todo.steps), disable=disable):
        comfy.model_management.throw_exception_if_processing_interrupted()
        step = todo.steps[i]
        asked = x * math.sqrt(1.0 + step.model_sigma**2)
        denoised = model(asked, step.model_sigma * ones, **extra_args)
        _report(callback, asked, i, sigmas[i], sigmas[i], denoised)
        x, _ = diffusion.ddim_step(
            x,
            raw_output(asked, denoised, step.model_sigma, prediction),
            0,
            -1,
            torch.tensor([step.alpha], dtype=torch.float64),
            eta=eta,
            noise=noise() if noise else None,
            prediction=prediction,
            final_alpha_cumprod=step.alpha_next,
            clip_sample=clip_sample,
            clip_range=clip_range,
            use_clipped_model_output=use_clipped_model_output,
        )
    if not todo.ends:  # a further sampler goes on from ComfyUI's own scaling
        return x * math.sqrt(1.0 + float(sigmas[-1]) ** 2)
    return keep_unmasked(model, x, denoised, sigmas, extra_args)


def _planned(model: Any, sigmas: Tensor, spacing: str, offset: int) -> tuple[Plan, str]:
    """The DDIM steps, and what the VP model predicts. Raises NodeInputError for other models, and see `plan`."""
    sampling, prediction = vp_sampling(model)
    todo = plan(sigmas, sampling.sigmas, spacing, offset)
    if prediction == "epsilon" and any(step.alpha == 0 for step in todo.steps):
        raise NodeInputError(
            "Zero terminal SNR starts from pure noise, where an epsilon model says nothing about the picture. "
            "Use a v-prediction model (ModelSamplingDiscrete: v_prediction), or switch zero_terminal_snr off."
        )
    return todo, prediction


def _flow_ddim(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any],
    callback: Callback | None,
    disable: bool | None,
    eta: float,
    clip: float | None,
    noise: StepNoise | None,
) -> Tensor:
    ones = x.new_ones([x.shape[0]])
    for i in trange(len(sigmas) - 1, disable=disable):
        comfy.model_management.throw_exception_if_processing_interrupted()
        denoised = model(x, sigmas[i] * ones, **extra_args)
        if clip is not None:
            denoised = denoised.clamp(-clip, clip)
        _report(callback, x, i, sigmas[i], sigmas[i], denoised)
        if noise is None:
            x = flow.euler_from_denoised(x, denoised, sigmas[i], sigmas[i + 1])
        else:
            velocity = (x - denoised) / sigmas[i]
            x = flow.ddim_step(x, velocity, sigmas[i], sigmas[i + 1], eta, noise())
    return x


def _report(callback: Callback | None, x: Tensor, i: int, sigma: Tensor, sigma_hat: Any, denoised: Tensor) -> None:
    if callback is not None:
        callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma_hat, "denoised": denoised})


def _sampling(model: Any) -> Any:
    return model.inner_model.inner_model.model_sampling


def _is_flow(model: Any) -> bool:
    return isinstance(_sampling(model), comfy.model_sampling.CONST)


def vp_sampling(model: Any, works: str = "EriDDIMSampler works on epsilon, v and flow models") -> tuple[Any, str]:
    """ComfyUI's model_sampling of a VP model, and what it predicts; NodeInputError, which begins with `works`, for
    other models."""
    sampling = _sampling(model)
    discrete = isinstance(sampling, comfy.model_sampling.ModelSamplingDiscrete)
    prediction = _prediction(sampling)
    if not discrete or prediction is None:
        raise NodeInputError(
            f"{works} with 1000 trained timesteps, not on "
            f"{type(sampling).__mro__[1].__name__}. Use a stock sampler for this model."
        )
    return sampling, prediction


def _prediction(sampling: Any) -> str | None:
    kinds = comfy.model_sampling
    if isinstance(sampling, kinds.EDM) or not isinstance(sampling, kinds.EPS):
        return None
    if isinstance(sampling, kinds.X0):
        return "sample"
    return "v_prediction" if isinstance(sampling, kinds.V_PREDICTION) else "epsilon"


def raw_output(asked: Tensor, denoised: Tensor, sigma: float, prediction: str) -> Tensor:
    """The (guided) raw output that ComfyUI turned into `denoised` at sigma."""
    if prediction == "epsilon":
        return (asked - denoised) / sigma
    if prediction == "v_prediction":
        return (asked / (1.0 + sigma**2) - denoised) * (math.sqrt(1.0 + sigma**2) / sigma)
    return denoised


def _start(model: Any, x: Tensor, sigma: float) -> Tensor:
    """The VP latent to begin with: x / sqrt(1 + sigma^2), but for an empty latent the noise as it is.

    ComfyUI scales noise by sigma, so its variance is below 1 unless sigma is the model's largest. DDIM pipelines start
    from noise of variance 1 at whatever timestep comes first.
    """
    if starts_empty(model) and model.noise.shape == x.shape:
        noise: Tensor = model.noise
        return noise.to(x)
    return x / math.sqrt(1.0 + sigma**2)


def starts_empty(model: Any) -> bool:
    """Whether the run makes a picture from nothing but noise."""
    latent, noise = getattr(model, "latent_image", None), getattr(model, "noise", None)
    if latent is None or noise is None:
        return False
    return bool(torch.count_nonzero(latent) == 0) and bool(torch.count_nonzero(noise) > 0)


def keep_unmasked(model: Any, x: Tensor, denoised: Tensor, sigmas: Tensor, extra_args: dict[str, Any]) -> Tensor:
    """The end of an inpainting run: outside the mask the last x0, which is the latent that came in.

    It matters only when the last step leaves noise in (alpha[0]) or clamps x0. A mask that changes with the noise level
    (Differential Diffusion) is taken as it was at the last step, as ComfyUI does.
    """
    mask = extra_args.get("denoise_mask")
    if mask is None:
        return x
    change = extra_args.get("model_options", {}).get("denoise_mask_function")
    if change is not None:
        level = sigmas[-2] * x.new_ones([x.shape[0]])
        mask = change(level, mask, extra_options={"model": model.inner_model, "sigmas": sigmas})
    return x * mask + denoised * (1.0 - mask)


def check_levels(model: Any, sigmas: Tensor, drawn_by: str | None = None) -> None:
    """Raise NodeInputError for sigmas from which no step can be made on this model; stock nodes pass on any sigmas.

    Rising sigmas are allowed (inversion) unless an option that draws noise, `drawn_by`, is on.
    """
    values = [float(value) for value in sigmas]
    if len(values) < 2:
        raise NodeInputError(f"sigmas hold {len(values)} values; a step needs two. Set steps to 1 or more.")
    if not all(math.isfinite(value) and value >= 0 for value in values) or min(values[:-1]) == 0:
        raise NodeInputError(
            f"sigmas must be finite and above 0, only the last may be 0, got {shown(values)}. Use a scheduler node; "
            "for flipped sigmas put SetFirstSigma before the sampler."
        )
    if drawn_by is not None and any(after > before for before, after in pairwise(values)):
        raise NodeInputError(f"sigmas rise, got {shown(values)}: set {drawn_by} to 0 or use falling sigmas.")
    check_flow_range(_sampling(model), values)
    check_flow_start(_sampling(model), values[0], lambda: starts_empty(model))


def check_flow_range(sampling: Any, values: list[float]) -> None:
    """Raise NodeInputError for sigmas above 1 on a flow model. sampling: ComfyUI's model_sampling."""
    if isinstance(sampling, comfy.model_sampling.CONST) and max(values) > 1.0 + 1e-4:
        raise NodeInputError(
            f"sigmas start at {values[0]:.4g}, but this is a flow model, whose sigmas lie in 0..1. Use EriFluxSchedule "
            "or EriFlowSchedule instead of an SDXL schedule."
        )


def check_flow_start(sampling: Any, first: float, starts_empty: Callable[[], bool]) -> None:
    """Raise NodeInputError for a flow schedule on another model's empty latent, where most of the noise would stay.

    Args:
        sampling: ComfyUI's model_sampling.
        first: the first sigma.
        starts_empty: says whether the run starts from an empty latent; it is called only when the answer matters.
    """
    if first == 1.0 and not isinstance(sampling, comfy.model_sampling.CONST) and starts_empty():
        raise NodeInputError(
            "sigmas start at 1, as a flow model's do, but this model's noise goes up to "
            f"{float(sampling.sigma_max):.4g}: most of it would stay in. Use EriDDIMSchedule."
        )


def shown(values: list[float]) -> str:
    """The first few of `values`, for an error."""
    return ", ".join(f"{value:.4g}" for value in values[:6]) + (", …" if len(values) > 6 else "")
