"""The tables of trainers in the documentation, and the JSON Schema that lists them, made from the registry; the fields
that the canvas hides for a family, made from the families.

    python -m comfyui_eridiffusion.dev.trainer_tables

writes them anew. In a page, a table stands between `<!-- NAME: made by dev/trainer_tables.py -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ..families import FAMILIES, Family
from ..images.layouts import LAYOUTS, SampleFile, relative_path
from ..samplers.trainer_levels import ALGORITHMS
from ..spec import SampleItem, SampleSpec
from ..trainers import LISTED, TRAINERS, Trainer
from ..trainers.claims import TOPICS
from ..trainers.profiles import profile_for
from ..trainers.trainer import SOURCES, Change, Sizes, Way
from ..workflows.parity import Match, explain
from .native_schema import native_schema

ROOT: Final = Path(__file__).parents[1]
_PAGES: Final = ("docs/parity.md", "docs/trainers.md", "web/docs/EriSaveSamples.md")
_SCHEMA: Final = "docs/native-spec.schema.json"
_SCRIPT: Final = "web/js/fields.js"
_HIDDEN: Final = re.compile(r"(?<=const UNUSED = \{\n).*?(?=\};)", re.DOTALL)
#: Written by tests/parity/test_trainer_runs.py.
_MEASURED: Final = "tests/parity/measured.json"
_MARK: Final = re.compile(r"(<!-- (\w+): made by dev/trainer_tables\.py -->\n)(.*?)(?=<!-- end -->)", re.DOTALL)
_GENERATORS: Final = {
    "torch-cpu": "CPU",
    "torch-cuda": "CUDA",
    "rust-stdrng-ziggurat": "Rust StdRng, ziggurat",
    "rust-stdrng-box-muller": "Rust StdRng, Box–Muller",
    "rust-stdrng-box-muller-1e-6": "Rust StdRng, Box–Muller",
}
_ROUNDED: Final = {"floor": "down to {}", "ceil": "up to {}", "round": "nearest {}", "exact": "{}, else refused"}


def made() -> dict[str, str]:
    """Text of every file that holds something made here, by its path from the root."""
    pages = {name: (ROOT / name).read_text(encoding="utf-8") for name in _PAGES}
    found = {name: _MARK.sub(lambda match: match[1] + TABLES[match[2]](), text) for name, text in pages.items()}
    hidden = "".join(f"  {family.id}: {json.dumps(unused_fields(family))},\n" for family in FAMILIES.values())
    found[_SCRIPT] = _HIDDEN.sub(hidden, (ROOT / _SCRIPT).read_text(encoding="utf-8"))
    return found | {_SCHEMA: json.dumps(native_schema(), indent=2) + "\n"}


def main() -> None:
    """Write them."""
    for name, text in made().items():
        (ROOT / name).write_text(text, encoding="utf-8")


def unused_fields(family: Family) -> list[str]:
    """Inputs of Triple Text Encode that mean nothing to a family's text encoders."""
    encoders = {encoder.tokens for encoder in family.encoders}
    t5_alone = encoders == {"t5xxl"}
    sized = family.size_ids or t5_alone  # how much padding the model sees can depend on the picture's size
    unused = {
        "prompt_2": len(encoders) < 2,
        "prompt_3": len(encoders) < 3,
        "width": not sized,
        "height": not sized,
        "t5_length": "t5xxl" not in encoders,
        "missing": family.fewest_encoders == len(encoders),
        "long_prompt": t5_alone,
        "text_rules": t5_alone,
        "t5_padding": not t5_alone,
    }
    return [name for name, without_use in unused.items() if without_use]


def default_spec(trainer: str, family: str) -> SampleSpec:
    """One seeded item of 1024 × 1024 in bfloat16, with the trainer's defaults."""
    guidance, cfg = (3.5, 1.0) if FAMILIES[family].embedded_guidance else (None, 5.0)
    item = SampleItem(0, "a cat", 1024, 1024, 20, seed=42, guidance=guidance, cfg_scale=cfg)
    return SampleSpec(family, trainer, [item], layout=trainer, precision="bfloat16")


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def _listed() -> list[Trainer]:
    return [TRAINERS[name] for name in LISTED]


def _ways() -> list[tuple[Trainer, Way]]:
    return [(trainer, way) for trainer in _listed() for way in trainer.ways]


def claims() -> str:
    """What is claimed of each trainer and family, by topic."""
    rows = []
    for trainer, way in _ways():
        found = explain(default_spec(trainer.id, way.family))
        cells = ["; ".join(map(_claimed, (one for one in found if one.topic == topic))) for topic in TOPICS]
        rows.append([f"`{trainer.id}`", way.family, *cells])
    return _table(("trainer", "family", *TOPICS), rows)


def _claimed(match: Match) -> str:
    words = {"as its source says": "source", "as documented": "documented", "not checked": "–"}
    return words.get(match.kind, match.kind) + (f" ({match.difference})" if match.kind == "close" else "")


def evidence() -> str:
    """Which tests hold what is claimed to be exact or close."""
    rows = []
    for trainer, way in _ways():
        names: dict[str, None] = {}
        for claim in (*way.claims, *((trainer.layout_claim,) if trainer.layout_claim else ())):
            names |= dict.fromkeys(claim.evidence)
        tests = dict.fromkeys(re.sub(r"^.*::|\[.*", "", name) for name in names)
        shown = ", ".join(f"`{name}`" for name in tests)
        rows.append([f"`{trainer.id}`", way.family, shown or "nothing was run"])
    return _table(("trainer", "family", "run"), rows)


def measured() -> str:
    """How far pictures were from those that the trainers' own code made, by the version of ComfyUI."""
    cells = json.loads((ROOT / _MEASURED).read_text(encoding="utf-8"))
    hosts = sorted({host for cell in cells.values() for host in cell["apart"]}, key=_numbers)
    rows = []
    for tag, cell in cells.items():
        sampler = f"`{cell['sampler']}`" if cell["sampler"] else "its own"
        lora = "yes" if cell["lora"] else "no"
        row = [f"`{tag}`", f"`{cell['trainer']}`", cell["family"], sampler, lora, cell["noise"]]
        for latent, pixel, mean in (cell["apart"][host] for host in hosts):
            row += [latent, f"{pixel} / {mean}"]
        rows.append(row)
    heads = (f"{host}: {what}" for host in hosts for what in ("latent", "pixels"))
    return _table(("cell", "trainer", "family", "sampler", "LoRA", "noise", *heads), rows)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def sources() -> str:
    """Where each trainer's source says how it samples."""
    rows = [
        [f"`{trainer.id}`<br>{trainer.repository}", *(trainer.sources[part] for part in SOURCES)]
        for trainer in _listed()
    ]
    return _table(("trainer", *SOURCES), rows)


def files() -> str:
    """What is read of each trainer."""
    rows = [[trainer.title, f"`{trainer.id}`", trainer.files, trainer.family_told_by] for trainer in _listed()]
    return _table(("trainer", "id", "files", "family told by"), rows)


def sampling() -> str:
    """What a graph carries for each trainer and family."""
    rows = []
    for trainer, way in _ways():
        profile = profile_for(default_spec(trainer.id, way.family))
        padding = "" if profile.t5_padding == "all" else f", padding {profile.t5_padding}"
        tokens = f"{profile.t5_length}{padding}" if profile.t5_length else "–"
        schnell = way.variants.get("schnell")
        if schnell is not None and schnell.values.get("t5_length"):
            tokens += f" (schnell {schnell.values['t5_length']})"
        rounded = {"round": "rounded", "truncate": "truncated"}[profile.rounding]
        schedule = _schedule(way, profile)
        rows.append([f"`{trainer.id}`", way.family, _noise(way), schedule, tokens, way.negative, rounded])
    return _table(("trainer", "family", "noise", "schedule", "T5", "negative", "bytes"), rows)


def _noise(way: Way) -> str:
    if not way.noise.in_graphs:
        return "CPU, float32 (its own is not known)"
    drawn = {"precision": "dtype of the run", "float32 then precision": "float32, then the run's"}
    packed = ", packed" if way.noise.layout == "packed" else ""
    return f"{_GENERATORS[way.noise.generator]}{packed}, {drawn.get(way.noise.drawn, way.noise.drawn)}"


def _schedule(way: Way, profile: Any) -> str:
    family = FAMILIES[way.family]
    schedule = family.schedule(profile)
    if schedule == "timesteps":
        clipped = ", clipped" if profile.clip_sample else ""
        return f"{profile.spacing}, offset {profile.offset}{clipped}, ends on {profile.final_alpha}"
    if schedule == "shift":
        return f"{profile.spacing}, shift {profile.shift:g}"
    if family.variant("schnell") is None:
        return f"{profile.spacing}, mu {profile.base_shift:.4g}–{profile.max_shift:.4g}"
    schnell = way.variants.get("schnell")
    plain = schnell is not None and schnell.values.get("shifted") is False
    return f"{profile.spacing}, mu {profile.base_shift:.4g}–{profile.max_shift:.4g}{'' if plain else ', schnell too'}"


def words() -> str:
    """What each sampler word is sampled as with SDXL: diffusers' scheduler, and which words mean it."""
    ways = [way for _, way in _ways() if way.family == "sdxl"]
    found: dict[str, dict[str, list[str]]] = {}
    for way in ways:
        for word, change in way.samplers.words.items():
            found.setdefault(_sampled_as(word, change), {}).setdefault(way.trainer, []).append(f"`{word}`")
    rows = [[name, *(", ".join(by.get(way.trainer, ["–"])) for way in ways)] for name, by in found.items()]
    return _table(("scheduler", *(f"`{way.trainer}`" for way in ways)), rows)


def _sampled_as(word: str, change: Change) -> str:
    if change.values.get("sampler"):
        name = ALGORITHMS[change.values["sampler"]].scheduler
        return f"{name}, Karras" if change.values["karras"] else name
    return {"ddim": "DDIMScheduler", "euler": "EulerDiscreteScheduler", "ddpm": "DDPMScheduler"}[word]


def sizes() -> str:
    """How each trainer rounds sizes, and what its seeds are."""
    rows = []
    for trainer in _listed():
        by_rule: dict[Sizes, list[str]] = {}
        for way in trainer.ways:
            by_rule.setdefault(way.sizes, []).append(way.family)
        rules = [_rounding(rule) + (f" ({', '.join(of)})" if len(by_rule) > 1 else "") for rule, of in by_rule.items()]
        rows.append([f"`{trainer.id}`", "; ".join(rules), *trainer.seeds])
    return _table(("trainer", "rounding of sizes", "seed without one", "several prompts"), rows)


def _rounding(rule: Sizes) -> str:
    least = f", at least {rule.minimum}" if rule.minimum > rule.multiple else ""
    return _ROUNDED[rule.how].format(rule.multiple) + least


def layouts() -> str:
    """A file of each trainer's layout: run "run", step 500, sample 0."""
    moment = datetime(2026, 3, 4, 5, 6, 7).astimezone()
    sample = SampleFile("RUN", 500, 0, "NAME", 2, "PROMPT", 4242, 1024, 1024, moment)
    ms = str(int(sample.created.timestamp() * 1000))
    rows = []
    for layout, family in ((name, family) for name in LAYOUTS for family in ("", *LAYOUTS[name].families)):
        path = str(relative_path(layout, replace(sample, family=family)))
        path = re.sub(r"(?i)\b(run|name|prompt)(?=[/_.]|$)", lambda match: f"<{match[1].lower()}>", path)
        for value, word in (("4242", "seed"), ("20260304050607", "time"), ("2026-03-04_05-06-07", "time"), (ms, "ms")):
            path = path.replace(value, f"<{word}>")
        beside = ", prompt in a `.txt` beside it" if LAYOUTS[layout].of(family).prompt_file else ""
        rows.append([f"`{layout}`{f' {family}' if family else ''}", f"`{path}`{beside}"])
    return _table(("layout", "files"), rows)


TABLES: Final[dict[str, Callable[[], str]]] = {
    table.__name__: table for table in (claims, evidence, measured, sources, files, sampling, words, sizes, layouts)
}

if __name__ == "__main__":
    main()
