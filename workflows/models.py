"""Where a graph's MODEL, CLIP and VAE come from: files the host offers, any loader nodes, or named placeholders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..configs.tree import decode, read_file
from ..configs.yaml_tree import parse_yaml
from ..errors import SpecError, WorkflowError
from ..families import CLIP_LOADERS, ENCODERS, FAMILIES, Family
from ..spec import SampleSpec
from .chain import Loaded
from .graph import Graph, Link, Literal
from .named import lora_in, named_parts, names_part, same_model

#: A model description as documented: `{family, files}` or `{family, loaders}`, or a YAML file holding one.
Models = Mapping[str, Any] | str | Path | None

_FILE_KEYS: Final = ("unet", "checkpoint", *ENCODERS, "vae", "weight_dtype")


def read_models(models: Models, spec: SampleSpec) -> tuple[Mapping[str, Any], list[str]]:
    """The description as a dict with `files` or `loaders`, and notes on what was assumed.

    models: the documented dict, the path of a YAML file with it, or None = the family's usual file names.
    Raises WorkflowError where it is not of that form or is for another family.
    """
    if models is None:
        return _placeholders(spec)
    description = models if isinstance(models, Mapping) else read_description(Path(models))
    family = description.get("family", spec.family)
    if family != spec.family:
        named = repr(family) if isinstance(family, str) else f"a {type(family).__name__}"
        raise WorkflowError(
            f"the models are for {named}, the config samples {spec.family!r}",
            field="models.family",
            remedy=f"Name a model description for {spec.family}.",
        )
    unknown = sorted(str(key) for key in description if key not in ("family", "files", "loaders"))
    if unknown or ("files" in description) == ("loaders" in description):
        raise WorkflowError(
            f"unknown entries {unknown}" if unknown else "exactly one of 'files' and 'loaders' is needed",
            field="models",
            remedy="Write 'family' and either 'files' (names that ComfyUI offers) or 'loaders' (loader nodes).",
        )
    return description, []


def read_description(path: Path) -> Mapping[str, Any]:
    """The mapping that a YAML file holds; its form is not looked at. Raises WorkflowError naming the file."""
    import yaml

    try:
        text = decode(read_file(path), str(path))
        parse_yaml(text, str(path), [])  # refuses tags and enormous aliases, on which the next line breaks
        document = yaml.safe_load(text)
    except SpecError as error:
        raise WorkflowError(
            f"cannot read {error.place}: {error.problem}",
            field="models",
            remedy="Give a YAML file that names model files.",
        ) from error
    # a date that is none, 2026-13-01; a number in sixties without end, 1:59:59.5
    except (ValueError, ArithmeticError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise WorkflowError(f"{path} is no YAML: {reason}", field="models", remedy="Correct the file.") from error
    if not isinstance(document, Mapping):
        raise WorkflowError(f"{path} holds no mapping", field="models", remedy="Start it with 'family: flux'.")
    return document


def usual_files(spec: SampleSpec) -> dict[str, str]:
    """The files that a graph loads where nothing is known of a host: those that the config names, else the usual ones.

    What names no single file, such as a repository, is kept under the name of its published file, or under its own. An
    encoder or a VAE that is named by a whole model's repository is that model's usual one.
    """
    family, named = FAMILIES[spec.family], named_parts(spec)
    files = {part: file.name for part, file in family.files.items()}
    variant = family.variant(spec.variant)
    if variant is not None:
        files[family.main] = variant.file.name
    if "model" in named:
        files[family.main] = named["model"].file
    for part, name in named.items():
        if part != "model" and (part in files or part == "vae") and names_part(part, name):
            files[part] = name.file
    return files


def _placeholders(spec: SampleSpec) -> tuple[Mapping[str, Any], list[str]]:
    files = usual_files(spec)
    named = {name.file for name in named_parts(spec).values()}
    asked = [file for file in files.values() if file in named]
    usual = [file for file in files.values() if file not in named]
    notes = [f"As the config names them: {', '.join(asked)}."] if asked else []
    if usual:
        notes.append(f"No models were named; the usual file names are used: {', '.join(usual)}.")
    return {"family": spec.family, "files": files}, notes


def instead_of(description: Mapping[str, Any], spec: SampleSpec) -> list[str]:
    """Sentences on a base model or a VAE that is loaded in place of the one that the config names.

    description: as `read_models` gives it.
    """
    named = named_parts(spec)
    files = description.get("files")
    told = []
    for part, title, keys in (("model", "Base model", ("unet", "checkpoint")), ("vae", "VAE", ("vae",))):
        if part not in named or (part == "vae" and not names_part(part, named[part])):
            continue
        if isinstance(files, Mapping):
            loaded = [str(files[key]) for key in keys if files.get(key)][:1] or ["the checkpoint's own"]
        else:
            inputs = description.get("loaders", {}).get(part, {}).get("inputs", {})
            loaded = [value for value in inputs.values() if isinstance(value, str)]
        found = [same_model(named[part], name) for name in loaded]
        if loaded and "exact" not in found and "copy" not in found:
            kind = ", a copy of it in fewer bits" if "quantised" in found else ", as chosen by hand"
            told.append(f"{title}: {', '.join(loaded)} is loaded instead of {named[part].text}{kind}.")
    return told


def add_loaders(graph: Graph, description: Mapping[str, Any], family: str) -> Loaded:
    """Add the loader nodes ("model", "clip", "vae") and return their links.

    Raises WorkflowError naming the entry that is missing or of the wrong kind.
    """
    if "loaders" in description:
        loaders = _mapping(description["loaders"], "models.loaders")
        return Loaded(
            model=_custom_loader(graph, loaders, "model", "Load model"),
            clip=_custom_loader(graph, loaders, "clip", "Load text encoders"),
            vae=_custom_loader(graph, loaders, "vae", "Load VAE"),
        )
    files = _files(description["files"])
    return Loaded(model=_model(graph, files), clip=_clip(graph, files, FAMILIES[family]), vae=_vae(graph, files))


def add_loras(graph: Graph, loaded: Loaded, spec: SampleSpec, offered: Sequence[str]) -> Loaded:
    """Add a loader for each further LoRA of the config's base model; one that is not offered is asked for.

    offered: the host's LoRA files.
    """
    for number, (text, strength) in enumerate(spec.loras.items(), 1):
        file = lora_in(text, offered)
        suffix = "" if number == 1 else f"_{number}"
        node = graph.add(
            f"base_lora{suffix}", "LoraLoader", "LoRA in the base model", model=loaded.model, clip=loaded.clip,
            lora_name=file, strength_model=strength, strength_clip=strength,
        )  # fmt: skip
        loaded = replace(loaded, model=node.out("model"), clip=node.out("clip"))
    return loaded


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise WorkflowError(
            f"a mapping is needed, not {type(value).__name__}",
            field=where,
            remedy="Its form is in docs/command-line.md, under Model files.",
        )
    return value


def _files(value: object) -> dict[str, str]:
    """The `files` mapping, its names checked; entries left empty count as absent."""
    files: dict[str, str] = {}
    for key, name in _mapping(value, "models.files").items():
        if key not in _FILE_KEYS:
            raise WorkflowError(
                f"unknown entry {key!r}", field="models.files", remedy=f"Known are: {', '.join(_FILE_KEYS)}."
            )
        if name is None:
            continue
        if not isinstance(name, str) or not name:
            raise WorkflowError(
                "a file name is needed", field=f"models.files.{key}", remedy="Write the name as ComfyUI lists it."
            )
        files[key] = name
    return files


def _custom_loader(graph: Graph, loaders: Mapping[str, Any], part: str, title: str) -> Link:
    where = f"models.loaders.{part}"
    if part not in loaders:
        raise WorkflowError("the loader is missing", field=where, remedy="Give its class_type, inputs and output.")
    entry = _mapping(loaders[part], where)
    class_type, output = entry.get("class_type"), entry.get("output", 0)
    if not isinstance(class_type, str) or isinstance(output, bool) or not isinstance(output, int) or output < 0:
        raise WorkflowError(
            "class_type must be a node's name and output a slot from 0", field=where, remedy="Correct the entry."
        )
    inputs: dict[str, Literal] = {}
    for name, value in _mapping(entry.get("inputs", {}), f"{where}.inputs").items():
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
            raise WorkflowError(
                "text, a finite number or true/false is needed",
                field=f"{where}.inputs.{name}",
                remedy="Correct the value.",
            )
        inputs[str(name)] = value
    for known in graph.nodes.values():  # e.g. one checkpoint loader named for all three parts
        if known.class_type == class_type and dict(known.inputs) == inputs:
            return Link(known.id, output)
    graph.add(part, class_type, title, **inputs)
    return Link(part, output)


def _model(graph: Graph, files: Mapping[str, str]) -> Link:
    if "unet" in files:
        dtype = files.get("weight_dtype", "default")
        node = graph.add("model", "UNETLoader", "Load model", unet_name=files["unet"], weight_dtype=dtype)
        return node.out("model")
    if "checkpoint" in files:
        return graph.add("model", "CheckpointLoaderSimple", "Load model", ckpt_name=files["checkpoint"]).out("model")
    raise WorkflowError("no model is named", field="models.files", remedy="Add 'unet' or 'checkpoint'.")


def _clip(graph: Graph, files: Mapping[str, str], family: Family) -> Link:
    """The encoders by their own files; without any, the checkpoint's. Some families run with a part of them."""
    names = [files[encoder.id] for encoder in family.encoders if encoder.id in files]
    if not names and "checkpoint" in files:
        return Link("model", 1)
    if len(names) < family.fewest_encoders:
        missing = ", ".join(encoder.id for encoder in family.encoders if encoder.id not in files)
        raise WorkflowError(f"text encoders are missing: {missing}", field="models.files", remedy="Name their files.")
    inputs = {"clip_name": names[0]} if len(names) == 1 else {f"clip_name{i}": name for i, name in enumerate(names, 1)}
    if len(names) < len(CLIP_LOADERS):  # the one for three is for one family only
        inputs["type"] = family.clip_type
    return graph.add("clip", CLIP_LOADERS[len(names) - 1], "Load text encoders", **inputs).out("clip")


def _vae(graph: Graph, files: Mapping[str, str]) -> Link:
    if "vae" in files:
        return graph.add("vae", "VAELoader", "Load VAE", vae_name=files["vae"]).out("vae")
    if "checkpoint" in files:
        return Link("model", 2)
    raise WorkflowError("no VAE is named", field="models.files", remedy="Add 'vae'.")
