"""From a sample spec to a graph: loaders, LoRA at a training step, one chain per group of items, savers."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ..errors import WorkflowError
from ..families import FAMILIES
from ..families.profile import Profile, Remark
from ..protocol.control_images import UPLOADS
from ..spec import SampleItem, SampleSpec
from ..spec.model import draw_seeds
from ..trainers import TRAINERS
from ..trainers.profiles import profile_for
from .batch import MAX_BATCH, check_batch, of_batch
from .canvas.ui import write
from .chain import Chain, Loaded
from .choose import Described, Offered, choose_models
from .graph import Graph, Link
from .models import Models, add_loaders, add_loras, instead_of, read_models
from .parity import explain, statements, untold
from .run_overview import name_run
from .stock import add_stock, averaged, lora_file
from .verdict import verdict

STYLES: Final = ("eri", "stock")


@dataclass(frozen=True)
class Workflow:
    """A finished graph. spec: what it samples, every seed drawn. notes: sentences on what was assumed or cannot match.

    saves: id of each saving node -> indices of the items it saves, in the order of its images.
    instead: sentences on what is loaded in place of what the config names; they are the first notes, too.
    labels: what tells the chains' groups apart on the canvas, by chain; in style stock the samples' titles, by number.
    beside: what the canvas's note says instead of `notes`, worked out when it is asked for: how far this agrees with
    the trainer, as `eri explain` tells it, and those notes that say something else; style "eri".
    """

    graph: Graph
    spec: SampleSpec
    notes: list[str] = field(default_factory=list)
    saves: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    instead: Sequence[str] = ()
    labels: Mapping[int, str] = field(default_factory=dict)
    beside: Callable[[], Sequence[str]] = tuple
    style: str = "eri"

    @property
    def trainer(self) -> str:
        """What people call the trainer."""
        return TRAINERS[self.spec.trainer].title

    def api(self) -> dict[str, dict[str, Any]]:
        """The host's `/prompt` JSON; a new dict each time, free to change: `api["lora"]["inputs"]["step"] = 500`."""
        return self.graph.api()

    def ui(self, object_info: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The canvas's JSON (UI format 0.4): laid out in titled groups, with the models' download metadata.

        object_info: the host's `/object_info`; only needed for loader nodes that this pack's table does not know.
        Raises WorkflowError.
        """
        note, more = self._note()
        box = f"Sample as {self.trainer} does" if self.style == "eri" else ""
        return write(self.graph, object_info=object_info, note=note, more=more, labels=self.labels, box=box)

    def _note(self) -> tuple[str, str]:
        """What a person reads beside the graph: what it samples, how well and with what instead; and the rest."""
        count, spec = len(self.spec.items), self.spec
        kind = f"{FAMILIES[spec.family].title}{f' {spec.variant}' if spec.variant else ''}"
        head = f"**{spec.name}**: {count} sample{'s' if count != 1 else ''} ({kind}), as {self.trainer} makes them."
        notes = dict.fromkeys(self.beside() or self.notes)
        short = dict.fromkeys([*list(notes)[:1], *self.instead])
        return "\n\n".join([head, *short]), "\n\n".join(f"- {note}" for note in notes if note not in short)


def build(
    spec: SampleSpec,
    models: Models = None,
    run: str | Path | None = None,
    step: int | None = None,
    style: str = "eri",
    *,
    offered: Offered | None = None,
    described: Described | None = None,
    batch: int = 1,
) -> Workflow:
    """The graph that samples `spec` as its trainer would.

    models: description of the base model's files or loaders (dict, YAML path), None = the usual file names.
    run: folder or file under the host's LoRA folders; None with a step > 0 = a folder named as the config's run.
    step: training step of the checkpoint, 0 = the model before training, None = the newest checkpoint of `run`. Without
    a run, 0 and None sample the base model and the graph has no "lora" node. Open seeds are drawn here and noted.
    style: "eri" (compact, list-driven), "stock" (ComfyUI's own nodes only; the notes say what it cannot match).
    offered: the host's files by model folder, chosen among without `models`; described: the descriptions beside them.
    batch: the most samples to denoise at once, 1..MAX_BATCH, AUTO_BATCH = as many as fit; other than 1 only in style
    "eri".
    Raises WorkflowError naming the field at fault.
    """
    if style not in STYLES:
        raise WorkflowError(f"unknown style {style!r}", field="style", remedy=f"Known styles: {', '.join(STYLES)}.")
    if step is not None and step < 0:
        raise WorkflowError(f"step is {step}", field="step", remedy="Give 0 (no LoRA) or a training step.")
    if spec.family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise WorkflowError(f"unknown family {spec.family!r}", field="spec.family", remedy=f"Known families: {known}.")
    check_batch(batch, style)
    _check_items(spec)
    if models is None and offered is not None:
        models, model_notes = choose_models(spec, offered, described)
    else:
        models, model_notes = read_models(models, spec)
    instead = instead_of(models, spec)
    model_notes = [note for note in model_notes if note not in instead]
    spec, seed_notes = draw_seeds(spec)
    if run is None and step:
        run = spec.name
        model_notes.append(f"No run was named; the run folder is taken to be called {run!r}, as in the config.")
    elif run is None and step is None:
        _check_lora(spec)
        model_notes.append("No run was named, so no LoRA is loaded: this samples the model before training.")
    spec = spec if run is not None else _without_average(spec)
    graph = Graph()
    loaded = add_loras(graph, add_loaders(graph, models, spec.family), spec, (offered or {}).get("loras", ()))
    notes = [*instead, *spec.notes, *_ignored(spec), *model_notes, *seed_notes, *_control_images(spec)]
    if style == "stock":
        file = None if run is None else lora_file(str(run), step, offered)
        stock_notes, stock_saves = add_stock(graph, spec, loaded, file)
        labels = {number: _sample_title(item) for number, item in enumerate(spec.items)} if spec.items[1:] else {}
        return Workflow(graph, spec, [*notes, *stock_notes], stock_saves, instead, labels, style=style)
    notes += of_batch(batch)
    workflow = _compact(graph, spec, loaded, None if run is None else str(run), step, notes, batch)
    return replace(workflow, instead=instead)


def _without_average(spec: SampleSpec) -> SampleSpec:
    """The spec for the model before training, whose averaged weights are its own: each picture once."""
    plain = [item for item in spec.items if not item.ema]
    return spec.part(plain) if plain else spec


def _sample_title(item: SampleItem) -> str:
    """What names a sample on the canvas: its number and the beginning of its prompt."""
    return f"Sample {item.index}: {_beginning(item.prompt)}"


def _beginning(text: str) -> str:
    """As much of a text as a title has room for."""
    words = " ".join(text[:200].split())
    return f"{words[:44]}{'…' if words[44:] else ''}"


def _compact(
    graph: Graph, spec: SampleSpec, loaded: Loaded, run: str | None, step: int | None, notes: list[str], batch: int
) -> Workflow:
    """Style "eri": one chain per group of items that can share one."""
    labels: dict[int, str] = {}
    saves = {}
    remarks: dict[Remark, None] = {}
    for number, items in enumerate(_groups(spec)):
        profile = profile_for(spec, items[0].sampler, items[0].shift)
        chain = _start(graph, spec.part(items), profile, loaded, number)
        save_id = _finish(chain, loaded, run, step, batch)
        labels[number] = chain.label
        saves[save_id] = tuple(item.index for item in items)
        remarks |= dict.fromkeys(profile.remarks)
    beside = functools.partial(_beside, spec, notes, list(remarks))
    texts = [*notes, *(remark.text for remark in remarks)]
    return Workflow(graph, spec, texts, saves, labels=labels, beside=beside)


def _beside(spec: SampleSpec, notes: list[str], remarks: list[Remark]) -> list[str]:
    matches = explain(spec)
    told = {text for texts in spec.differences.values() for text in texts}
    others = [note for note in notes if note not in told]
    return [f"{verdict(spec, matches).text}.", *statements(matches), *others, *untold(remarks, matches)]


def _check_lora(spec: SampleSpec) -> None:
    """Refuse a config that samples with its LoRA where no checkpoint is named."""
    if spec.sampling.get("use_lora"):
        problem = "use_lora is true, but no run was named, so there is no LoRA to load"
        raise WorkflowError(problem, field="use_lora", remedy=name_run(spec.name))


def _check_items(spec: SampleSpec) -> None:
    if not spec.items:
        raise WorkflowError("the config samples nothing", field="spec.items", remedy="Give it at least one prompt.")
    family = FAMILIES[spec.family]
    smallest, multiple = family.smallest_side, family.size_multiple
    for item in spec.items:
        for name, value in (("width", item.width), ("height", item.height)):
            if value < smallest or value % multiple:
                raise WorkflowError(
                    f"{value} pixels cannot be made; latents are cells of {multiple} pixels",
                    field=f"items[{item.index}].{name}",
                    remedy=f"Use {max(smallest, value - value % multiple)} or another multiple of {multiple} from "
                    f"{smallest} on.",
                )


def _ignored(spec: SampleSpec) -> list[str]:
    return [f"Config fields without effect on these samples: {', '.join(spec.ignored)}."] if spec.ignored else []


def _looked_for(spec: SampleSpec) -> list[str]:
    """The images that samples follow and that no client brings."""
    every = (item.control_image for item in spec.items if item.control_image is not None)
    return list(dict.fromkeys(name for name in every if not name.startswith(f"{UPLOADS}/")))


def _control_images(spec: SampleSpec) -> list[str]:
    """Where the images that samples follow have to be."""
    named = _looked_for(spec)
    if not named:
        return []
    return [
        f"Control images, which ComfyUI looks for beside the config and in its input folder: {', '.join(named)}. Copy "
        "those that lie elsewhere into the input folder."
    ]


def _groups(spec: SampleSpec) -> list[list[SampleItem]]:
    """Items that can share one chain: same LoRA, strength, sampler, shift, and guidance and control image or none."""
    groups: dict[tuple[object, ...], list[SampleItem]] = {}
    for item in spec.items:
        key = (item.lora_scale, item.sampler, item.shift, item.guidance is None, item.control_image is None, item.ema)
        groups.setdefault(key, []).append(item)
    return list(groups.values())


def config_text(spec: SampleSpec) -> str:
    """The spec's JSON with one field, and one item, per line: legible on the canvas, and fast for many items.

    Graphs and pictures are passed on, so the config is there by its name alone, unless images are looked for beside it.
    """
    document = spec.to_dict()
    if not _looked_for(spec):
        document["source"] = Path(spec.source).name
    items = ",\n  ".join(json.dumps(item, ensure_ascii=False) for item in document.pop("items"))
    fields = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in document.items()]
    return "{\n" + ",\n".join([*fields, f' "items": [\n  {items}\n ]']) + "\n}"


def _start(graph: Graph, spec: SampleSpec, profile: Profile, loaded: Loaded, number: int) -> Chain:
    """Begin a chain with the node that carries the resolved spec."""
    suffix = f"_{number + 1}" if number else ""
    first, last = spec.items[0].index, spec.items[-1].index
    span = f"{first}" if first == last else f"{first}–{last}"
    label = f" ({span})" if number else ""
    source = graph.add(
        f"spec{suffix}", "EriSampleSpec", f"Samples of {_beginning(spec.name)}{label}", config=config_text(spec),
        family="auto", trainer="auto", trigger_word="", items="",
    )  # fmt: skip
    graph.bands[source.id] = number
    family = FAMILIES[spec.family]
    return Chain(
        graph, spec, family, profile, source, loaded.model, loaded.clip, loaded.vae, suffix, label, number
    )  # fmt: skip


def _with_lora(
    chain: Chain, loaded: Loaded, run: str | None, step: int | None
) -> tuple[Chain, int | Link, dict[str, Link]]:
    """The chain behind a LoRA node (as it is without a run), the step to save under, and the saver's report input."""
    if run is None:
        return chain, step or 0, {}
    run = averaged(run) if chain.spec.items[0].ema else run
    lora = chain.add(
        "lora",
        "EriLoraAtStep",
        "LoRA at training step",
        model=loaded.model,
        clip=loaded.clip,
        run=run,
        step=step or 0,
        mode="latest" if step is None else "exact",
        strength_model=chain.spec.items[0].lora_scale,
        strength_clip=chain.spec.items[0].lora_scale,
        start=0.0,
        end=1.0,
        wait=30.0,
        apply="beside the weights",
        scale=chain.profile.lora_scale,
    )
    behind = replace(chain, model=lora.out("model"), clip=lora.out("clip"))
    return behind, lora.out("found_step"), {"report": lora.out("details")}


def _as_trainer(chain: Chain) -> Chain:
    """The chain with the model as the profile says that the trainer runs it."""
    if not chain.profile.swapped_heads:
        return chain
    node = chain.add(
        "trainers_model",
        "EriTrainerModel",
        "Trainer's model",
        second_attention="heads and head size swapped",
        model=chain.model,
    )
    return replace(chain, model=node.out("model"))


def _with_memory(chain: Chain) -> Chain:
    """The chain's models behind the memory switches that the config asks for."""
    profile = chain.profile
    for number, mode in enumerate(profile.memory_modes, 1):
        node = chain.add(
            "memory" if number == 1 else f"memory{number}",
            "EriMemoryPolicy",
            "Memory",
            mode=mode,
            slice_size=profile.slice_size,
            tile_size=512,
            model=chain.model,
            clip=chain.clip,
            vae=chain.vae,
        )
        chain = replace(chain, model=node.out("model"), clip=node.out("clip"), vae=node.out("vae"))
    return chain


def _guided(chain: Chain, model: Link) -> Link:
    """The model, with what the profile says of classifier-free guidance where some item has it."""
    profile = chain.profile
    late = profile.cfg_from_step
    if all(item.cfg_scale == 1.0 for item in chain.spec.items) or not (profile.zero_star or late or profile.rescale):
        return model
    guidance = chain.add(
        "guided",
        "EriGuidance",
        "Trainer's guidance",
        rescale=profile.rescale,
        threshold_percentile=0.0,
        threshold_max=0.0,
        mode="cfg",
        model=model,
        zero_star=profile.zero_star,
        zero_steps=int(profile.zero_star),
        cfg_from_step=late,
    )
    return guidance.out("model")


def _finish(chain: Chain, loaded: Loaded, run: str | None, step: int | None, batch: int) -> str:
    """Add LoRA, conditioning, sampling, decoding and the saver; returns the saver's id."""
    chain, saved_step, loaded_lora = _with_lora(chain, loaded, run, step)
    chain = _with_memory(_as_trainer(chain))
    parts = chain.family.sampling(chain)
    noise = chain.add(
        "noise",
        "EriTrainerNoise",
        "Noise",
        seed=chain.source.out("seed"),
        profile=chain.profile.noise,
        family=chain.spec.family,
        walk="one draw",
        file="",
    )
    sample = chain.add(
        "sample",
        "EriSample",
        "Sample",
        model=_guided(chain, parts.model or chain.model),
        positive=parts.positive,
        **({} if parts.negative is None else {"negative": parts.negative}),
        noise=noise.out("noise"),
        sampler=parts.sampler,
        sigmas=parts.sigmas,
        latent=parts.latent,
        cfg=chain.source.out("cfg"),
        batch_size=batch and max(batch, min(chain.profile.batch_size, MAX_BATCH)),
    )
    decode = chain.add("decode", "VAEDecode", "Decode", samples=sample.out("latent"), vae=chain.vae)
    return chain.add(
        "save",
        "EriSaveSamples",
        "Save samples",
        images=decode.out("image"),
        name=chain.source.out("name"),
        spec=chain.source.out("spec"),
        step=saved_step,
        layout=chain.spec.layout,
        format="auto",
        existing="overwrite",
        rounding=chain.profile.rounding,
        run="",
        template="",
        quality=95,
        prompt_file="auto",
        **loaded_lora,
    ).id
