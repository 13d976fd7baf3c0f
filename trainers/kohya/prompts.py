"""kohya's prompt files (.txt, .toml, .json) and what its configs are written in, which musubi-tuner shares.

Sources: kohya-ss/sd-scripts `library/train_util.py::load_prompts`, kohya-ss/musubi-tuner
`training/sampling_prompts.py::load_prompts`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from ...configs.command_line import PROGRAM
from ...configs.fields import Reading, Section, is_null
from ...configs.parse import Notations, Programs
from ...configs.prompt_flags import KOHYA, MUSUBI, Grammar, parse_prompt_line
from ...configs.script import Unexpanded
from ...configs.tree import Document, Node, find
from ..reading import no_prompt

#: Training scripts of sd-scripts and musubi-tuner; without one of their TOML configs the arguments stand here. Those of
#: other models are read as well, to be refused by their names.
_SCRIPTS: Final = re.compile(
    r"(?<![\w-])((?:(?:flux|sd3|sdxl|flux_kontext|anima|lumina|hv|qwen_image|zimage|hidream_o1)_)?train"
    r"|\w+_train_network(?:_self_flow)?|train_network)\.py(?![\w.-])"
)

NOTATIONS: Final = Notations(toml=True, lines=True, any_txt=True, programs=Programs(_SCRIPTS, repeats=True))
#: Settings whose absence the trainers read with `dict.get`, so that null means the same as absent.
_NULLABLE: Final = frozenset(("seed", "negative_prompt", "discrete_flow_shift", "cfg_scale", "controlnet_image"))
_BOUND: Final = 2**70


@dataclass(frozen=True)
class Entry:
    """One image as a prompt file asks for it. settings: by the trainer's own names. path, node: its place."""

    prompt: str
    settings: dict[str, Any]
    path: str
    node: Node


def read_entries(reading: Reading, grammar: Grammar) -> list[Entry]:
    """All entries of a prompt file; SpecError when there are none or one is malformed."""
    document = reading.document
    if document.kind == "lines":
        entries = _of_lines(reading, grammar)
    elif isinstance(document.root.value, list):
        entries = [_of_json(reading, node, index, grammar) for index, node in enumerate(document.root.value)]
    else:
        entries = _of_toml(reading, grammar)
    if not entries:
        raise no_prompt(document.source, "Write at least one prompt.")
    return entries


def starts_sd_scripts(document: Document) -> bool:
    """True for a command line that starts one of the programs here."""
    program = find(document.root, PROGRAM)
    return program is not None and _SCRIPTS.fullmatch(f"{program.value}.py") is not None


def is_prompt_file(document: Document) -> bool:
    """True for the shapes above: lines, a JSON list, a TOML [prompt] with subsets."""
    if document.kind == "lines" or (isinstance(document.root.value, list) and document.kind == "json"):
        return True
    members = document.root.value
    prompt = members.get("prompt") if isinstance(members, dict) else None
    return prompt is not None and isinstance(prompt.value, dict) and "subset" in prompt.value


def looks_like_entries(listed: Node) -> bool:
    """True for a JSON list of which an entry is text or has a prompt's setting; other lists are no prompts.

    The trainer takes any list of objects; a list of data sets would be one empty picture for each.
    """
    known = {"prompt", *KOHYA.kinds, *MUSUBI.kinds}
    entries = listed.value if isinstance(listed.value, list) else []
    return not entries or any(
        not known.isdisjoint(entry.value) if isinstance(entry.value, dict) else isinstance(entry.value, str)
        for entry in entries
    )


def _of_lines(reading: Reading, grammar: Grammar) -> list[Entry]:
    """A line is a prompt unless it is blank or its very first character is '#'."""
    nodes = reading.document.root.value
    entries = []
    for node in nodes if isinstance(nodes, list) else []:
        line = str(node.value)
        if isinstance(node.value, Unexpanded) and not line.startswith("#"):
            problem = f"the script puts {line.strip()!r} here, of which a part is not known"
            raise reading.error(problem, node, None, "Write the value itself, or give the prompt file.")
        if line.strip() and not line.startswith("#"):
            entries.append(entry_of_text(reading, line.strip(), node, "", grammar))
    return entries


def entry_of_text(reading: Reading, text: str, node: Node, path: str, grammar: Grammar) -> Entry:
    """Entry of one prompt line; what the trainer drops from it is noted."""
    parsed = parse_prompt_line(text, grammar)
    if parsed.dropped or parsed.surprises:
        where = path or f"line {node.line}"
        for dropped in parsed.dropped:
            reading.note(f"{where}: the trainer drops {dropped!r} from the prompt.")
        for surprise in parsed.surprises:
            reading.note(f"{where}: {surprise}.")
    return Entry(parsed.prompt, parsed.settings, path, node)


def _of_json(reading: Reading, node: Node, index: int, grammar: Grammar) -> Entry:
    """A list entry: text is looked through for flags, a mapping is taken as it is."""
    path = f"[{index}]"
    if isinstance(node.value, str) and not node.plain:
        return entry_of_text(reading, node.value, node, path, grammar)
    if not isinstance(node.value, dict):
        raise reading.error("a prompt is text or a section of fields", node, path, 'Write {"prompt": "..."}.')
    return _of_section(Section(reading, node, path), grammar)


def _of_toml(reading: Reading, grammar: Grammar) -> list[Entry]:
    """One entry per [[prompt.subset]]; [prompt] gives what they share, and no key may be in both."""
    root = reading.root()
    shared = root.section("prompt")
    if shared is None:
        raise root.missing("prompt", "Write [prompt] and below it one [[prompt.subset]] for each image.")
    entries = []
    nodes = shared.items("subset")
    if nodes is None:
        raise shared.missing("subset", "Write one [[prompt.subset]] for each image.")
    common = {key: node for key, node in shared.members.items() if key != "subset"}
    used: set[str] = set()
    for index, node in enumerate(nodes):
        path = f"prompt.subset[{index}]"
        if not isinstance(node.value, dict):
            raise reading.error("a subset is a section of fields", node, path, "Write [[prompt.subset]].")
        subset = Section(reading, node, path)
        both = next((key for key in subset.members if key in shared.members), None)
        if both is not None:
            raise subset.error(
                both, "this field is in [prompt] as well, which stops the trainer", "Keep it in one of them."
            )
        own = subset.members
        subset.members = {**common, **own}
        entries.append(_of_section(subset, grammar))
        used |= subset.used
        subset.members = own
    shared.used |= used
    return entries


def _of_section(section: Section, grammar: Grammar) -> Entry:
    """A mapping's settings, typed; "prompt" is "" when absent."""
    settings: dict[str, Any] = {}
    for key, node in section.members.items():
        kind = grammar.kinds.get(key)
        if kind is None:
            continue
        if is_null(node) and key in _NULLABLE:
            section.used.add(key)
            settings[key] = None
        elif kind in ("int", "steps"):
            settings[key] = section.integer(key, -_BOUND, _BOUND)
        elif kind in ("float", "any float"):
            settings[key] = section.number(key)
        elif kind in ("path", "paths") and isinstance(node.value, list):
            section.used.add(key)
            settings[key] = [str(child.value) for child in node.value]
        else:
            settings[key] = section.text(key)
    prompt = section.text("prompt")
    if prompt is None and section.has("prompt"):
        raise section.error("prompt", "the prompt is empty (null), which stops the trainer", 'Write "" for none.')
    return Entry(prompt or "", settings, section.path, section.node)
