"""Configs and prompts that a script or a notebook writes itself before it starts the trainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfyui_eridiffusion.spec import SpecError, read_spec, read_text

SCRIPT = """#!/bin/bash
OUT=${WORK:-/workspace}/out
TRIGGER="zorp"
cat > "$OUT/prompts.txt" << 'PROMPTS'
zorp, a cat --w 1024 --s 20
zorp, a "big" dog costs $5 --d 7
PROMPTS
echo "$TRIGGER at the beach --d 9" >> "$OUT/prompts.txt"
printf '%s\\n' "# no prompt" "an owl" >> $OUT/prompts.txt
cat <<CONFIG >$OUT/config.toml
pretrained_model_name_or_path = "/m/sd_xl_base_1.0.safetensors"
output_name = "${TRIGGER}_v1"
output_dir = "$ELSEWHERE"
sample_prompts = "$OUT/prompts.txt"
sample_sampler = "euler_a"
CONFIG
bash -c "accelerate launch sdxl_train_network.py --config_file $OUT/config"
"""


def test_here_documents(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("an old prompt")  # the script writes it anew
    (tmp_path / "train.sh").write_text(SCRIPT)
    for spec in (read_text(SCRIPT), read_spec(tmp_path / "train.sh")):
        assert (spec.trainer, spec.family, spec.name) == ("kohya", "sdxl", "zorp_v1")
        assert [item.prompt for item in spec.items] == [
            "zorp, a cat", 'zorp, a "big" dog costs $5', "zorp at the beach", "an owl",
        ]  # fmt: skip
        assert {item.sampler for item in spec.items} == {"euler_a"}
        assert any("config.toml is read as the script writes it" in note for note in spec.notes)


def test_what_the_script_does_not_say_is_refused() -> None:
    with pytest.raises(SpecError, match=r"puts '\$MOOD at the beach' here"):
        read_text(SCRIPT.replace("$TRIGGER at the beach --d 9", "$MOOD at the beach").replace("$5", "5"))
    with pytest.raises(SpecError, match="sample_prompts"):
        read_text(SCRIPT.replace('sample_prompts = "$OUT/prompts.txt"', 'sample_prompts = "$SOME/list.txt"'))


AI_TOOLKIT = """job: extension
config:
  name: zorp
  process:
  - type: sd_trainer
    model: {name_or_path: /m/flux1-dev.safetensors, is_flux: true}
    train: {noise_scheduler: flowmatch}
    sample: {sampler: flowmatch, prompts: ["a cat"], seed: 3}
"""


@pytest.mark.parametrize("start", ["python run.py", "!python run.py", "tmux send-keys -t 0 'python3 /w/run.py"])
def test_configs_of_ai_toolkit(start: str) -> None:
    """`run.py` tells ai-toolkit where the config alone would be EriDiffusion's, too."""
    end = "' C-m" if "'" in start else ""
    text = f"#!/bin/bash\ncat > /w/c.yaml <<EOF\n{AI_TOOLKIT}EOF\n{start} /w/c.yaml{end}\n"
    if start.startswith("!"):
        cells = [{"cell_type": "code", "source": f"%%writefile /w/c.yaml\n{AI_TOOLKIT}"},
                 {"cell_type": "markdown", "source": ["!python run.py other.yaml"]},
                 {"cell_type": "code", "source": ["%cd /w\n", f"{start} /w/c.yaml"]}]  # fmt: skip
        text = json.dumps({"cells": cells, "nbformat": 4})
    spec = read_text(text)
    assert (spec.trainer, spec.family, spec.name, spec.items[0].seed) == ("ai-toolkit", "flux", "zorp", 3)


CELL = """#@title Train
import os
root = "/content"  #@param {type:"string"}
model = f"{root}/sd_xl_base_1.0.safetensors"
steps = 20
if os.path.exists(root):
  name = "one"
prompts = os.path.join(root + "/", "p.txt")
%cd $root
!accelerate launch sdxl_train_network.py \\
  --pretrained_model_name_or_path={model} --max_train_steps $steps \\
  --sample_prompts='{prompts}' --output_name="$name" --vae={os.path.join(root, vae)}
"""


def test_cells_of_a_notebook(tmp_path: Path) -> None:
    """IPython puts its variables in, also between single quotes; what Python decides is not known."""
    spec = read_text(CELL, files={"p.txt": "a fox"})
    assert (spec.trainer, spec.family, spec.items[0].prompt) == ("kohya", "sdxl", "a fox")
    assert spec.model_files["pretrained_model_name_or_path"] == "/content/sd_xl_base_1.0.safetensors"
    assert "max_train_steps" in spec.ignored
    assert spec.name == "${name}"
    assert any("output_name" in note and "not known" in note for note in spec.notes)
    with pytest.raises(SpecError, match=r"/content/p\.txt") as caught:
        read_text(CELL)
    assert caught.value.line == 12
    (tmp_path / "p.txt").write_text("a fox")
    lines = CELL.splitlines(keepends=True)
    cells = [{"cell_type": "code", "source": part} for part in (lines[:8], ["%%time\n", *lines[8:]])]
    (tmp_path / "train.ipynb").write_text(json.dumps({"cells": cells}))
    assert read_spec(tmp_path / "train.ipynb").items == spec.items


JOB = """from collections import OrderedDict
name = "harbour"
job_to_run = OrderedDict([
    ('job', 'extension'),
    ('config', dict(name=f"{name}_v1", process=[OrderedDict([
        ('type', 'sd_trainer'), # ('trigger_word', 'x'),
        ('model', {'name_or_path': 'black-forest-labs/FLUX.1-dev', 'is_flux': True}),
        ('sample', OrderedDict([('prompts', ["a pier", "100$ " + name]), ('seed', 7), ('width', SIZE)])),
    ])])),
])
run_job(job_to_run)
"""


def test_the_job_that_ai_toolkits_notebooks_build(tmp_path: Path) -> None:
    """ostris/ai-toolkit notebooks/FLUX_1_dev_LoRA_Training.ipynb: an OrderedDict of pairs, no file."""
    known = JOB.replace("SIZE", "768")
    spec = read_text(known)
    assert (spec.trainer, spec.family, spec.name) == ("ai-toolkit", "flux", "harbour_v1")
    assert [(item.prompt, item.seed, item.width) for item in spec.items] == [
        ("a pier", 7, 768), ("100$ harbour", 7, 768)
    ]  # fmt: skip
    cells = [{"cell_type": "code", "source": part} for part in ("!nvidia-smi", known, "run_job(job_to_run)")]
    (tmp_path / "train.ipynb").write_text(json.dumps({"cells": cells}))
    assert read_spec(tmp_path / "train.ipynb").items == spec.items
    with pytest.raises(SpecError, match=r"width.*\$SIZE"):
        read_text(JOB)


def test_the_options_that_simpletuners_notebook_builds() -> None:
    """bghira/SimpleTuner notebook.ipynb: a dict for the trainer, with names of the cell before."""
    cells = ["model = 'black-forest-labs/FLUX.1-dev'\ntext = 'a pier'", """training_config = {
    "model_family": "flux", "pretrained_model_name_or_path": model, "validation_prompt": text, "seed": 42,
    "validation_resolution": "1024x1024", "push_to_hub": True, "validation_disable_unconditional": True}"""]
    spec = read_text(json.dumps({"cells": [{"cell_type": "code", "source": cell} for cell in cells]}))
    assert (spec.trainer, spec.variant, [item.prompt for item in spec.items]) == ("simpletuner", "dev", ["a pier"])


def test_a_command_that_starts_itself_ends() -> None:
    with pytest.raises(SpecError):
        read_text("#!/bin/bash\nX='bash -c \"$X\"'\nbash -c \"$X\"\n")
