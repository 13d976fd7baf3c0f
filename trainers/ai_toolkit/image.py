"""One ai-toolkit sample: trigger word, inline flags, size rounding, seed (`GenerateImageConfig.__init__`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ...configs.fields import Reading
from ...configs.tree import Node
from ...errors import SpecError
from ...spec.model import MAX_PIXELS, MAX_SEED, MAX_STEPS, MIN_SEED, SampleItem
from .prompt import FlagError, ParsedPrompt, parse_prompt
from .sampling import SIZES

#: Settings of inline flags that a SampleItem has no place for.
_UNUSED: Final = frozenset(
    ("adapter_conditioning_scale", "refiner_start_at", "extra_values", "num_frames", "fps", "ctrl_img", "ctrl_idx")
)


@dataclass(frozen=True)
class Settings:
    """What a sample entry says, after inheritance. seed: its own one only."""

    width: int
    height: int
    negative: str
    guidance: float
    steps: int
    multiplier: float
    seed: int | None = None


@dataclass(frozen=True)
class Rules:
    """What holds for all images of a config."""

    family: str
    use_flux_cfg: bool
    rescale: float
    sampler: str
    trigger: str | None


@dataclass(frozen=True)
class Prompt:
    """A prompt as written, flags included, and its place."""

    text: str
    node: Node
    path: str


def make_item(reading: Reading, rules: Rules, prompt: Prompt, settings: Settings, index: int, seed: int) -> SampleItem:
    """The image the trainer makes for one prompt: flags override the entry's settings, then sizes are rounded.

    seed: after the config's seed rules, -1 = random. Raises SpecError naming the prompt's field.
    """
    try:
        parsed = parse_prompt(_templated(prompt.text, rules.trigger))
    except FlagError as error:
        raise _error(reading, prompt, str(error), "Correct it; the trainer stops on it.") from None
    flags = parsed.settings
    _report_flags(reading, rules, prompt, parsed)
    steps = flags.get("steps", settings.steps)
    if not 1 <= steps <= MAX_STEPS:
        raise _error(reading, prompt, f"{steps} steps are out of range", f"Write 1 to {MAX_STEPS}.")
    scale = float(flags.get("guidance_scale", settings.guidance))
    true_cfg = rules.family != "flux" or rules.use_flux_cfg
    return SampleItem(
        index=index,
        prompt=parsed.prompt,
        width=_pixels(reading, prompt, "width", flags.get("width", settings.width), rules.family),
        height=_pixels(reading, prompt, "height", flags.get("height", settings.height), rules.family),
        steps=steps,
        negative_prompt=flags.get("negative_prompt", settings.negative),
        seed=_seed(reading, prompt, seed, flags.get("seed")),
        cfg_scale=_cfg(reading, scale) if true_cfg else 1.0,
        guidance=None if true_cfg else scale,
        sampler=rules.sampler,
        lora_scale=float(flags.get("network_multiplier", settings.multiplier)),
    )


def _templated(prompt: str, trigger: str | None) -> str:
    """`inject_trigger_into_prompt(add_if_not_present=False)`: only with a trigger word, which may be ""."""
    if trigger is None:
        return prompt
    return prompt.replace("[name]", trigger).replace("[trigger]", trigger)


def _report_flags(reading: Reading, rules: Rules, prompt: Prompt, parsed: ParsedPrompt) -> None:
    for part in parsed.dropped:
        reading.note(f"{prompt.path}: the trainer drops {part!r} from the prompt (every '--' starts a flag there).")
    for meant in parsed.meant:
        reading.note(f"{prompt.path}: {meant!r} stays in the prompt: a flag begins with two plain hyphens.")
    for name in sorted(_UNUSED & parsed.settings.keys()):
        reading.note(f"{prompt.path}: the inline flag for {name} is not used.")
    if rules.trigger is None and "[trigger]" in parsed.prompt:
        reading.note("[trigger] stays in the prompts as text: the config has no trigger_word.")
    if "prompt_2" in parsed.settings:
        reading.note(f"{prompt.path}: --p2 has no effect, the trainer overwrites it with the prompt.")
    if "negative_prompt_2" in parsed.settings:
        reading.note(f"{prompt.path}: --n2 has no effect, the trainer overwrites it with the entry's neg.")
    if rules.family != "sdxl":
        return
    if "negative_prompt" in parsed.settings:
        reading.note(f"{prompt.path}: in the trainer --n reaches CLIP-L only, CLIP-G gets the entry's neg; here both.")
    if parsed.settings.get("guidance_rescale"):
        reading.note(f"{prompt.path}: --gr is not part of an item: set the rescale on the model by hand.")


def _cfg(reading: Reading, scale: float) -> float:
    """True CFG; at 1 and below the pipelines run one pass."""
    if scale < 1.0:
        reading.note(f"A guidance scale of {scale:g} means no guidance to the pipelines: it is read as CFG 1.")
    return max(scale, 1.0)


def _pixels(reading: Reading, prompt: Prompt, name: str, value: int, family: str) -> int:
    """A side as the trainer rounds it; diffusers' SD 3 refuses what 16 does not divide."""
    if value > MAX_PIXELS:
        raise _error(reading, prompt, f"{name} {value} is too large", f"Write at most {MAX_PIXELS}.")
    try:
        size = SIZES[family].pixels(value)
    except ValueError as error:
        below = value - value % SIZES[family].multiple
        raise _error(
            reading,
            prompt,
            f"{name} {value} stops the trainer: Stable Diffusion 3 {error}",
            f"Write {below} or {below + SIZES[family].multiple}.",
        ) from error
    if size != value:
        reading.note(f"{name} {value} is rounded to {size} as in the trainer.")
    return size


def _seed(reading: Reading, prompt: Prompt, seed: int, inline: int | None) -> int | None:
    """Seed of torch's generator, None = random.

    -1 means random in the config only: an inline `--d -1` is set after that test and reaches `torch.manual_seed`,
    which takes negative numbers modulo 2^64.
    """
    if inline is None and seed == -1:
        return None
    value = seed if inline is None else inline
    if not MIN_SEED <= value <= MAX_SEED:
        raise _error(reading, prompt, f"the seed {value} is out of range", f"Write 0 to {MAX_SEED}, or -1.")
    if value < 0:
        reading.note(f"{prompt.path}: the seed {value} is {value % 2**64} to the generator.")
    return value % 2**64


def _error(reading: Reading, prompt: Prompt, problem: str, remedy: str) -> SpecError:
    return reading.error(problem, prompt.node, prompt.path, remedy)
