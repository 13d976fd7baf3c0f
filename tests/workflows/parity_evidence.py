"""Per trainer and step of the way: where the trainer's own code says it, and the test that holds ours against it.

`markdown` makes docs/parity.md's second table of it; tests are named as "file below tests::function".
"""

from __future__ import annotations

from typing import Final

COLUMNS: Final = ("read", "resolved", "noise", "sigmas", "tokens", "layout")
REPOSITORIES: Final = {
    "native": "the pack's own form; the families' own code",
    "eridiffusion": "CodeAlexx/EriDiffusion",
    "eridiffusion-v2": "CodeAlexx/EriDiffusionV2",
    "ai-toolkit": "ostris/ai-toolkit",
    "kohya": "kohya-ss/sd-scripts",
    "simpletuner": "bghira/SimpleTuner",
    "onetrainer": "Nerogar/OneTrainer",
    "musubi": "kohya-ss/musubi-tuner",
}
_NOISE: Final = "workflows/test_parity.py::test_noise_is_drawn_as_the_trainer_draws_it"
_TOKENS: Final = "workflows/test_parity.py::test_t5_lengths_are_the_trainers"
_FLUX: Final = "workflows/test_parity.py::test_flux_sigmas_differ_by_the_figure"
_SD35: Final = "workflows/test_parity.py::test_sd35_sigmas_differ_by_the_figure"
_SDXL: Final = "workflows/test_parity.py::test_ddim_timesteps_are_equal"
_NOT_CLAIMED: Final = "workflows/test_parity.py::test_nothing_of_v1s_schedule_or_noise_is_claimed"
_NAMES: Final = "images/test_layouts.py::test_names"

#: trainer -> one (source in its repository, tests) per column.
EVIDENCE: Final[dict[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "native": (
        ("docs/native-spec.schema.json", ("spec/test_spec_schema.py::test_a_filled_in_form_is_valid_and_read",)),
        ("docs/native-spec.md", ("spec/test_spec_model.py::test_written_by_hand",)),
        ("torch.randn", (_NOISE, "samplers/test_noise.py::test_float32_noise_on_the_cpu_is_the_hosts")),
        ("flux sampling.py::get_schedule; diffusers", (_FLUX, _SD35, _SDXL)),
        ("the host's text encoders", (_TOKENS,)),
        ("images/layouts.py", (_NAMES,)),
    ),
    "eridiffusion": (
        ("src/config/trainer_config.rs", ("spec/test_spec_eridiffusion.py::test_layout_a_flux",)),
        ("src/trainers/mod.rs::detect_model_type", ("spec/test_spec_eridiffusion.py::test_family",)),
        ("src/inference/*_sampling.rs::prepare_latents: differs", (_NOT_CLAIMED,)),
        ("src/inference/*_sampling.rs: differs", (_NOT_CLAIMED,)),
        ("not to be told from its code", ("spec/test_spec_eridiffusion.py::test_t5_length_has_no_meaning_for_sdxl",)),
        ("trainers/sampling/generator.rs", (_NAMES,)),
    ),
    "eridiffusion-v2": (
        ("training/features/sample_library.rs", ("spec/test_spec_eridiffusion_v2.py::test_library",)),
        ("bin/sample_sd35.rs, train_sd35.rs", ("spec/test_spec_eridiffusion_v2.py::test_sample_command",)),
        ("rand 0.8 StdRng", (_NOISE, "samplers/test_noise_generators.py::test_box_muller_is_rusts_within_rounding")),
        ("bin/sample_sd35.rs; Flux' and SDXL's are not published", (_SD35,)),
        ("bin/sample_sd35.rs, sample_flux.rs", (_TOKENS,)),
        ("bin/sample_*.rs", (_NAMES,)),
    ),
    "ai-toolkit": (
        ("toolkit/config_modules.py::SampleConfig", ("spec/test_spec_ai_toolkit.py::test_flux_file",)),
        (
            "config_modules.py::GenerateImageConfig",
            ("spec/test_spec_ai_toolkit.py::test_random_sections_follow_the_restated_rules",),
        ),
        ("jobs/process/BaseSDTrainProcess.py::sample", (_NOISE,)),
        ("toolkit/sampler.py::get_sampler", (_FLUX, _SD35, _SDXL)),
        ("diffusers' pipelines", (_TOKENS,)),
        ("BaseSDTrainProcess.py::sample", (_NAMES,)),
    ),
    "kohya": (
        ("library/train_util.py::load_prompts", ("spec/test_spec_kohya.py::test_a_line_with_every_flag",)),
        (
            "train_util.py::line_to_prompt_dict",
            ("spec/test_spec_kohya.py::test_lines_are_read_by_the_trainers_rules",),
        ),
        ("flux_train_utils.py, sd3_train_utils.py, train_util.py", (_NOISE,)),
        ("flux_train_utils.py, sd3_train_utils.py, train_util.py", (_FLUX, _SD35, _SDXL)),
        ("t5xxl_max_token_length", (_TOKENS,)),
        ("train_util.py::sample_image_inference", (_NAMES,)),
    ),
    "simpletuner": (
        (
            "helpers/training/validation.py::prepare_validation_prompt_list",
            ("spec/test_spec_simpletuner.py::test_the_three_notations_say_the_same",),
        ),
        ("MultiaspectImage._round_to_nearest_multiple", ("spec/test_spec_simpletuner.py::test_resolution",)),
        ("helpers/training/validation.py", (_NOISE,)),
        ("the base model's scheduler, diffusers", (_FLUX, _SD35, _SDXL)),
        ("helpers/configuration/cmd_args.py", (_TOKENS,)),
        ("helpers/training/validation.py", (_NAMES,)),
    ),
    "onetrainer": (
        (
            "modules/util/config/SampleConfig.py",
            ("spec/test_spec_onetrainer.py::test_any_sample_is_read_as_the_trainer_does",),
        ),
        (
            "modules/util/config/BaseConfig.py::from_dict",
            ("spec/test_spec_onetrainer.py::test_sizes_are_rounded_to_the_nearest",),
        ),
        ("modules/modelSampler/*Sampler.py", (_NOISE,)),
        ("modules/modelSampler/*Sampler.py", (_FLUX, _SD35, _SDXL)),
        ("modules/util/config/TrainConfig.py", (_TOKENS,)),
        ("modules/trainer/GenericTrainer.py", (_NAMES,)),
    ),
    "musubi": (
        ("training/sampling_prompts.py", ("spec/test_spec_musubi.py::test_defaults_and_flags",)),
        ("training/trainer_base.py::sample_image_inference", ("spec/test_spec_musubi.py::test_flow_shift",)),
        ("flux_kontext_train_network.py::do_inference", (_NOISE,)),
        ("flux_kontext_train_network.py::do_inference", (_FLUX,)),
        ("flux_kontext_train_network.py", (_TOKENS,)),
        ("training/trainer_base.py::sample_image_inference", (_NAMES,)),
    ),
}


def markdown() -> str:
    """One row per trainer; a cell names the source and, below it, the tests."""
    lines = [f"| trainer | {' | '.join(COLUMNS)} |", "|" + "---|" * (len(COLUMNS) + 1)]
    for trainer, cells in EVIDENCE.items():
        written = [f"{source}<br>" + ", ".join(f"`{name.split('::')[1]}`" for name in tests) for source, tests in cells]
        lines.append(f"| `{trainer}`<br>{REPOSITORIES[trainer]} | {' | '.join(written)} |")
    return "\n".join(lines) + "\n"


def files() -> str:
    """Which file each of the named tests is in, one line per file."""
    names = {name for cells in EVIDENCE.values() for _, tests in cells for name in tests}
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        file, _, function = name.partition("::")
        found.setdefault(file, []).append(f"`{function}`")
    return "".join(f"- `tests/{file}`: {', '.join(functions)}\n" for file, functions in found.items())
