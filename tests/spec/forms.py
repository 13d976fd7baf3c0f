"""One good config for each reader and notation, with slots for what may go wrong in it.

«P» prompt, «W» width or size, «S» steps, «F» family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PROMPT = "a fox in fog"
GOOD = {"«P»": PROMPT, "«W»": "1024", "«S»": "28"}


@dataclass(frozen=True)
class Form:
    """A config that samples one image.

    family: text of the slot «F» in it; other_family: one that is not supported. options: further arguments of
    `read_text`. files: texts of the files that it names. none: (text, replacement) pairs that take its prompts away.
    """

    suffix: str
    template: str
    none: tuple[tuple[str, str], ...]
    family: str = ""
    other_family: str = "lumina"
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def text(self, **slots: str) -> str:
        """The config, with some slots (P, W, S, F) filled otherwise than well."""
        return self._filled(self.template, slots)

    def arguments(self, **slots: str) -> dict[str, Any]:
        """Arguments of `read_text` beside the text; the files that the config names have slots, too."""
        files = {name: self._filled(text, slots) for name, text in self.files.items()}
        return {**self.options, **({"files": files} if files else {})}

    def without_prompts(self) -> tuple[str, dict[str, Any]]:
        """Text and arguments of the same config without any prompt."""
        text, files = self.text(), self.arguments().get("files", {})
        for old, new in self.none:
            text, files = text.replace(old, new), {name: text.replace(old, new) for name, text in files.items()}
        return text, {**self.options, **({"files": files} if files else {})}

    def has(self, slot: str) -> bool:
        """Whether the config says anything of this kind."""
        return any(f"«{slot}»" in text for text in (self.template, *self.files.values()))

    def _filled(self, template: str, slots: Mapping[str, str]) -> str:
        values = GOOD | {"«F»": self.family} | {f"«{name}»": value for name, value in slots.items()}
        for name, value in values.items():
            template = template.replace(name, value)
        return template


_FLUX = {"family": "flux"}
_LINE = "«P» --w «W» --s «S» --d 3\n"
_PROCESS = """\
job: extension
config:
  name: zorp
  process:
  - type: sd_trainer
    model: {name_or_path: %s, arch: «F»}
    sample:
      sampler: flowmatch
      sample_every: 50
      prompts: ["«P»"]
      width: «W»
      height: 768
      seed: 5
      guidance_scale: 4
      sample_steps: «S»
%s"""
_SAMPLE_JSON = '{"prompt": "«P»", "width": «W», "height": 768, "seed": 3, %s: «S»}'

FORMS: dict[str, Form] = {
    "native-json": Form(
        ".json",
        '{"eri_spec": 1,\n "family": "«F»",\n "items": [\n  ' + _SAMPLE_JSON % '"steps"' + "\n ]\n}\n",
        (('[\n  {"prompt": "a fox in fog", "width": 1024, "height": 768, "seed": 3, "steps": 28}\n ]', "[]"),),
        "flux",
    ),
    "native-yaml": Form(
        ".yaml",
        "eri_spec: 1\nfamily: «F»\nitems:\n- prompt: «P»\n  width: «W»\n  height: 768\n  steps: «S»\n",
        (("- prompt: a fox in fog\n  width: 1024\n  height: 768\n  steps: 28\n", ""),),
        "sd35",
    ),
    "eridiffusion-process": Form(
        ".yaml",
        _PROCESS % ("/models/x.safetensors", "    low_vram: true\n"),
        (('["a fox in fog"]', "[]"),),
        "sd35",
    ),
    "eridiffusion-sample": Form(
        ".yaml",
        "name: zorp\nmodel: {arch: «F»}\nsample:\n  prompts:\n  - «P»\n  width: «W»\n  height: 768\n"
        "  guidance_scale: 4\n  sample_steps: «S»\n",
        (("\n  - a fox in fog", " []"),),
        "flux",
    ),
    "eridiffusion-validation": Form(
        ".yml",
        "model:\n  type: «F»\ndataset:\n  resolution: «W»\nvalidation:\n  prompts:\n  - «P»\n"
        "  num_inference_steps: «S»\n  guidance_scale: 3.5\n",
        (("\n  - a fox in fog", ""),),
        "sd35",
    ),
    "eridiffusion-v2-command": Form(
        ".sh",
        "#!/bin/sh\n./sample_flux --transformer t.sft \\\n  --prompt '«P»' --size «W» \\\n  --steps «S» --seed 3\n",
        (("--prompt 'a fox in fog' ", ""),),
    ),
    "eridiffusion-v2-json": Form(
        ".json",
        '{"model_type": "«F»",\n "validation_prompts_file": "p.json", "validation_every_steps": 0\n}\n',
        (('"prompt"', '"no"'),),
        "FluxDev1",
        files={"p.json": '{"prompts": [\n {"prompt": "«P»", "seeds": [3], "size": «W»}\n]}\n'},
    ),
    "eridiffusion-v2-library": Form(
        ".json",
        '{"prompts": [\n {"prompt": "«P»", "negative": "grey", "seeds": [3], "size": «W»}\n]\n}\n',
        (('\n {"prompt": "a fox in fog", "negative": "grey", "seeds": [3], "size": 1024}\n', ""),),
        options={"trainer": "eridiffusion-v2", **_FLUX},
    ),
    "eridiffusion-v2-lines": Form(
        ".txt", "# mine\n«P»\n", (("a fox in fog", ""),), options={"trainer": "eridiffusion-v2", **_FLUX}
    ),
    "ai-toolkit-yaml": Form(
        ".yaml",
        _PROCESS % ("a/b", "      format: png\n"),
        (('["a fox in fog"]', "[]"),),
        "flux",
    ),
    "ai-toolkit-json": Form(
        ".json",
        '{"job": "extension", "config": {"name": "zorp", "process": [{\n "type": "diffusion_trainer",\n'
        ' "model": {"name_or_path": "a/b", "arch": "«F»"},\n "sample": {"sampler": "flowmatch", "width": «W»,\n'
        '  "samples": [{"prompt": "«P»", "seed": 3}],\n  "sample_steps": «S»}\n}]}\n}\n',
        (('"prompt": "a fox in fog", ', ""),),
        "flux",
    ),
    "kohya-config": Form(
        ".toml",
        "[model]\nae = 'ae.sft'\nnetwork_module = \"«F»\"\n[samples]\nsample_prompts = 'p.txt'\n",
        (("a fox in fog --w 1024 --s 28 --d 3", "# nothing"),),
        "networks.lora_flux",
        files={"p.txt": _LINE},
    ),
    "kohya-command": Form(
        ".sh",
        'accelerate launch «F».py --ae ae.sft \\\n  --sample_prompts="p.txt" --output_name zorp\n',
        (("a fox in fog --w 1024 --s 28 --d 3", "# nothing"),),
        "flux_train_network",
        "train_network",
        files={"p.txt": _LINE},
    ),
    "kohya-gui": Form(
        ".json",
        '{"LoRA_type": "Flux1",\n "«F»": true,\n'
        ' "sample_prompts": "«P» --w «W» --s «S» --d 3",\n "max_resolution": "512,512"\n}\n',
        (("a fox in fog --w 1024 --s 28 --d 3", ""),),
        "flux1_checkbox",
        "lumina_checkbox",
    ),
    "kohya-lines": Form(".txt", "# mine\n" + _LINE, (("a fox in fog --w 1024 --s 28 --d 3", ""),), options=_FLUX),
    "kohya-toml": Form(
        ".toml",
        '[prompt]\nheight = 768\n[[prompt.subset]]\nprompt = "«P»"\nwidth = «W»\nsample_steps = «S»\n',
        (('[[prompt.subset]]\nprompt = "a fox in fog"\nwidth = 1024\nsample_steps = 28', "subset = []"),),
        options=_FLUX,
    ),
    "kohya-json": Form(
        ".json",
        "[\n " + _SAMPLE_JSON % '"sample_steps"' + "\n]\n",
        (('\n {"prompt": "a fox in fog", "width": 1024, "height": 768, "seed": 3, "sample_steps": 28}\n', ""),),
        options=_FLUX,
    ),
    "simpletuner-json": Form(
        ".json",
        '{"model_family": "«F»", "validation_disable_unconditional": true,\n "validation_prompt": "«P»",\n'
        ' "validation_resolution": «W», "validation_num_inference_steps": «S»\n}\n',
        (('"a fox in fog"', "null"),),
        "flux",
    ),
    "simpletuner-toml": Form(
        ".toml",
        'model_family = "«F»"\nvalidation_disable_unconditional = true\nvalidation_prompt = "«P»"\n'
        "validation_resolution = «W»\nvalidation_num_inference_steps = «S»\n",
        (('validation_prompt = "a fox in fog"\n', ""),),
        "sd3",
    ),
    "simpletuner-env": Form(
        ".env",
        "export MODEL_FAMILY='«F»'\nVALIDATION_DISABLE_UNCONDITIONAL=true\nVALIDATION_PROMPT='«P»'\n"
        "VALIDATION_RESOLUTION=«W»\nVALIDATION_NUM_INFERENCE_STEPS=«S»\n",
        (("VALIDATION_PROMPT='a fox in fog'\n", ""),),
        "sdxl",
    ),
    "onetrainer-config": Form(
        ".json",
        '{"training_method": "LORA", "model_type": "«F»",\n "samples": [\n  '
        + _SAMPLE_JSON % '"diffusion_steps"'
        + "\n ]\n}\n",
        (
            (
                '[\n  {"prompt": "a fox in fog", "width": 1024, "height": 768, "seed": 3, "diffusion_steps": 28}\n ]',
                "[]",
            ),
        ),
        "STABLE_DIFFUSION_35",
    ),
    "onetrainer-samples": Form(
        ".json",
        "[\n " + _SAMPLE_JSON % '"diffusion_steps"' + "\n]\n",
        (('\n {"prompt": "a fox in fog", "width": 1024, "height": 768, "seed": 3, "diffusion_steps": 28}\n', ""),),
        options=_FLUX,
    ),
    "musubi-config": Form(
        ".toml",
        "dit = 'kontext.sft'\nnetwork_module = \"«F»\"\nsample_prompts = 'p.txt'\n",
        (("a fox in fog --w 1024 --s 28 --d 3", "# nothing"),),
        "networks.lora_flux",
        files={"p.txt": _LINE},
    ),
    "musubi-lines": Form(".txt", _LINE, (("a fox in fog --w 1024 --s 28 --d 3", ""),), options={"trainer": "musubi"}),
}
