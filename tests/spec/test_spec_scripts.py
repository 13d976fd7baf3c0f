"""Launch scripts as people have them: what the shells themselves make of them, and the config that they name.

The values are those that bash 5.2 and cmd.exe hand to a program for these lines (Bash Reference Manual 3.1.2, 3.2, 3.5;
Microsoft's `set`, `if`, about_Quoting_Rules, about_Parsing and "Parsing C command-line arguments").
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from comfyui_eridiffusion.configs.command_line import Script
from comfyui_eridiffusion.configs.script import Opened, no_file
from comfyui_eridiffusion.configs.second_file import Folders
from comfyui_eridiffusion.spec import SpecError, read_spec, read_text
from comfyui_eridiffusion.tests.waiting import PATIENCE
from comfyui_eridiffusion.workflows.run_overview import find_configs

PROMPTS = {"p.txt": "a fox --d 3"}
FLUX = "accelerate launch flux_train_network.py --ae a.sft --sample_prompts p.txt"


def words(text: str, suffix: str, opened: Opened = no_file) -> list[str]:
    """The words of the last command of a script."""
    return [str(word.text) for word in Script(text, suffix, opened).commands[-1].words]


BASH = {
    "a last backslash": ("f a \\", ["f", "a"]),
    "a variable": ('A="b c"\nf $A "$A" x$A', ["f", "b", "c", "b c", "xb", "c"]),
    "a comment": ("A=b # it's (one)\nf $A # x", ["f", "b"]),
    "export and ;": ("export A=b B='c d'; f \"$A$B\"", ["f", "bc d"]),
    "what export sees": ('A=1\nexport A=2 B=$A "C=3 4"\nD=5 E=$D\nf $B "$C" $E', ["f", "1", "3 4", "5"]),
    "empty": ('A=""\nf $A "$A" b', ["f", "", "b"]),
    "default": ('A=""\nf ${A:-b c} ${A-d} "${Z:=e}" $Z ${A:+g} ${Z:+h}', ["f", "b", "c", "e", "e", "h"]),
    "an array": ('A=(--b "c d" # x\n e)\nA+=(g)\nf "${A[@]}" ${A[@]}', ["f", "--b", "c d", "e", "g", "--b", *"cdeg"]),
    "an empty array": ('A=()\nf "${A[@]}" b', ["f", "b"]),
    "longer": ("A=b\nA+=c\nf $A", ["f", "bc"]),
    "a condition": ('X=1\nif [ $X == 1 ]; then A=b; else A=c; fi\nf $A', ["f", "b"]),
    "another": ('X=1\nif [[ $X == 2 ]]; then\n A=b\nelif [[ $X -eq 1 ]]; then\n A=d\nelse A=c; fi\nf $A', ["f", "d"]),
    "and, or": ('X=""\n[ -n "$X" ] && A=b || A=c\n[[ -z $X ]] && B=d\nf $A $B', ["f", "c", "d"]),
    "not": ('if ! [ a = b ]; then A=1; else A=2; fi\n! [[ a == a ]] || B=3\ntrue || f 4\nf $A $B', ["f", "1", "3"]),
    "nested": ('if [ a = b ]; then if [ a = a ]; then A=1; fi; A=2; fi\nA=${A:-3}\nf $A', ["f", "3"]),
    "a here-document": ("cat > x <<'E O'\nit's $A \"\nE O\nf b", ["f", "b"]),
    "a function": ("g() {\n  f \"b\" > /dev/null\n}\ng", ["g"]),
    "quotes in quotes": ('A="b"\nf "${A}"\'$A\'"$(echo "c d")" ', ["f", 'b$A$(echo "c d")']),
    "eval": ('C="f --a \'b c\'"\neval "$C"', ["f", "--a", "b c"]),
    "ansi": (r"f $'a\tb' $'it\'s'", ["f", "a\tb", "it's"]),
    "a redirection": ("f a > log 2>&1 < /dev/null", ["f", "a"]),
    "a redirection to a program": ("f a > >(cat)", ["f", "a"]),
    "a loop": ("for i in 1 2; do f $i; done", ["f", "$i"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BASH)
def test_bash(name: str) -> None:
    text, expected = BASH[name]
    assert words(text, ".sh") == expected


@pytest.mark.parametrize("name", [name for name in BASH if name not in ("quotes in quotes", "a loop", "a function")])
def test_bash_itself_says_so(name: str, tmp_path: Path) -> None:
    """The words above are its own, but for what only the running script knows."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    text, expected = BASH[name]
    script = tmp_path / "t.sh"
    script.write_text(f'f() {{ printf "%s\\0" f "$@" > words; }}\n{text}', encoding="utf-8")
    subprocess.run(["bash", script.name], cwd=tmp_path, check=True, capture_output=True, timeout=PATIENCE)
    assert (tmp_path / "words").read_text(encoding="utf-8").split("\0")[:-1] == expected


SOURCED = {
    ".sh": ("A=b\n[ -z \"$B\" ] && B='c d'\nexport PATH=/x", 'A=z\n. "$PWD/vars.sh"\nsource ./none.sh\nf $A "$B"'),
    ".bat": ('@echo off\nset A=b\nset "B=c d"', 'call vars.bat\nf %A% "%B%"'),
    ".ps1": ("$A = 'b'\n$B = 'c ' + 'd'", '. "$PSScriptRoot\\vars.ps1"\nf $A $B'),
}


@pytest.mark.parametrize("suffix", SOURCED)
def test_variables_of_a_file_that_the_script_takes_them_from(suffix: str, tmp_path: Path) -> None:
    """bash itself says so for its own; a text that came without files opens none."""
    variables, script = SOURCED[suffix]
    (tmp_path / f"vars{suffix}").write_text(variables, encoding="utf-8")
    folders = Folders(tmp_path)
    assert words(script, suffix, folders.sourced) == ["f", "b", "c d"]
    assert tmp_path / f"vars{suffix}" in folders.opened
    assert words(script, suffix, Folders(given={f"vars{suffix}": variables}).sourced) == ["f", "b", "c d"]
    assert "b" not in words(script, suffix, Folders(tmp_path, roots=[]).sourced)
    assert "b" not in words(script, suffix)
    if suffix == ".sh" and shutil.which("bash") is not None:
        (tmp_path / "t.sh").write_text(f'f() {{ printf "%s\\0" f "$@" > words; }}\n{script}', encoding="utf-8")
        subprocess.run(["bash", "t.sh"], cwd=tmp_path, check=True, capture_output=True, timeout=PATIENCE)
        assert (tmp_path / "words").read_text(encoding="utf-8").split("\0")[:-1] == ["f", "b", "c d"]


BATCH = {
    "lines joined": ("f --a ^\n  --b ^\r\n\t--c\"x\"^\n --d", ["f", "--a", "--b", "--cx", "--d"]),
    "variables": ('set A=b c\nset "B=d"\nf %A% "%a%" %B%', ["f", "b", "c", "b c", "d"]),
    "quotes in a value": ('set A="b"\nset C="%A%_x"\nf --n=%C%', ["f", "--n=b_x"]),
    "its folder": ("f %~dp0p.txt 100%%", ["f", ".\\p.txt", "100%"]),
    "comments": ("REM f (x\n:: g\nf b\n", ["f", "b"]),
    "backslashes": ('f C:\\a\\b "C:\\x y\\z" "say \\"hi\\""', ["f", "C:\\a\\b", "C:\\x y\\z", 'say "hi"']),
    "blocks": (
        'if not exist "x" (\n  echo (no)\n  exit /b 1\n) else (\n set A=b\n)\nif "1"=="1" set C=d\nf %C%',
        ["f", "d"],
    ),
    "no argument": ('set A=b\nif not "%~1"=="" set "A=%~1"\nf %A%', ["f", "b"]),
    "redirection": ("f a > log.txt 2>&1", ["f", "a"]),
    "unknown": ("f %A%\\x", ["f", "%A%\\x"]),
    "another shell": ('set A=b\nstart "t" /wait cmd /c "f %A% c"', ["f", "b", "c"]),
    "caret": ('f a^&b "c^&d"', ["f", "a&b", "c^&d"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BATCH)
def test_cmd(name: str) -> None:
    text, expected = BATCH[name]
    assert words(text, ".bat") == expected


POWERSHELL = {
    "lines joined": ("f --a `\n  --b `\r\n  c", ["f", "--a", "--b", "c"]),
    "variables": (
        "$a = \"b c\"\n$n = 3\n$Env:X = 'y'\nf --a=$a \"$a-$n\" '$a' $env:X",
        ["f", "--a=b c", "b c-3", "$a", "y"],
    ),
    "escapes": ('f "a `"b`" ""c""" \'it\'\'s\' `$x', ["f", 'a "b" "c"', "it's", "$x"]),
    "comments": ("<# f\n x #>\nf b # c 'd", ["f", "b"]),
    "a list": (
        '$x = [System.Collections.ArrayList]::new()\n[void]$x.Add("--a")\n[void]$x.Add("--b=" + "c")\nf $x',
        ["f", "--a", "--b=c"],
    ),
    "arrays": ("$x = @(\n '--a', # 1\n \"b c\"\n)\n$x += \"--d\",\"e\"\nf @x", ["f", "--a", "b c", "--d", "e"]),
    "conditions": (
        "$m = 'xl'\nif ($m -eq 'no') {\n $s = 'b'\n}\nelseif ($m -eq 'XL') { $s = 'c' }\nelse {\n $s = 'd'\n}\nf $s",
        ["f", "c"],
    ),
    "one line": (
        '$n = 0\nif ($n) { $x = "a" } else { $x = "b" }\n$y = if ($n -ne 0) { "c" } else { "d" }\nf $x $y',
        ["f", "b", "d"],
    ),
    "like and or": (
        '$m = "Flux_Lora"\n$s = "a"\n'
        'if ($m -ilike "x*" -or ($m -ilike "flux*" -and -not ($m -eq "b"))) { $s = "c" + $s }\nf $s',
        ["f", "ca"],
    ),
    "a comment behind a text": ('$a = ""# no\nf "b"$a# x', ["f", "b#", "x"]),
    "a call": ('$py = "C:\\v\\python.exe"\n& $py "a b"', ["&", "C:\\v\\python.exe", "a b"]),
    "unknown": ("f $a/x", ["f", "$a/x"]),
    "a text that is run": ("$c = 'f a \"b c\"'\nInvoke-Expression -Command $c", ["f", "a", "b c"]),
    "a started process": ('Start-Process -FilePath f -ArgumentList "a", "b=c,d"', ["Start-Process", "-FilePath", "f",
                          "-ArgumentList", "a", "b=c,d"]),
    "a joined path": ("$p = Join-Path $PSScriptRoot 'a b'\nf $p", ["f", "./a b"]),
    "parameters": (
        "param(\n  [Parameter(Mandatory=$false)][string]$A = 'b, c', # x\n  [int] $N=3,\n  [switch]$S\n)\nf $a $n $s",
        ["f", "b, c", "3", "$s"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", POWERSHELL)
def test_powershell(name: str) -> None:
    text, expected = POWERSHELL[name]
    assert words(text, ".ps1") == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.sh", f"#!/bin/bash\n# flux_train_network.py (a note)\n# {FLUX} --x\n{FLUX} \\\n  --output_name zorp \\"),
        ("t.bat", f"@echo off\r\nREM flux_train_network.py\r\nset N=zorp\r\n{FLUX} ^\r\n  --output_name %N% ^\r\n"),
        ("t.bat", f"{FLUX.replace(' --sample', ' ^--sample')} ^\r\n  --output_name zorp ^"),  # as fluxgym writes it
        ("t.ps1", f"$n = \"zorp\"\n{FLUX} `\n  --output_name=$n"),
        ("t.sh", f"N=zorp\nC=({FLUX})\nif [ -f x ]; then C+=(--output_name $N); fi\n\"${{C[@]}}\""),
        ("t.cmd", "set P=C:\\sd\\flux_train_network.py\npython %P% --sample_prompts C:\\m\\p.txt --output_name zorp"),
        ("", "C:\\v\\acc.EXE launch C:\\sd\\flux_train_network.py --sample_prompts C:/m/p.txt --output_name zorp"),
    ],
)  # fmt: skip
def test_scripts_of_every_shell(name: str, text: str) -> None:
    spec = read_text(text, source=name or "<text>", files=PROMPTS)
    assert (spec.trainer, spec.family, spec.name, spec.items[0].seed) == ("kohya", "flux", "zorp", 3)


def test_what_the_environment_may_change_is_noted() -> None:
    every = f"{FLUX} --sample_every_n_steps ${{EVERY:-10}} --output_name ${{NAME:-zorp}}"
    spec = read_text(every, files=PROMPTS)
    assert (spec.sample_every, spec.name) == (10, "zorp")
    assert any("EVERY" in note for note in spec.notes)
    spec = read_text(f"{FLUX} --sample_every_n_steps $EVERY", files=PROMPTS)
    assert spec.sample_every is None
    assert any("EVERY" in note for note in spec.notes)
    assert not any("makes no samples" in note for note in spec.notes)
    with pytest.raises(SpecError, match="which the shell replaces") as caught:
        read_text(f"{FLUX} --t5xxl_max_token_length $N", files=PROMPTS)
    assert caught.value.field == "t5xxl_max_token_length"


def test_options_that_are_not_known_are_named() -> None:
    spec = read_text(f'{FLUX} --output_name zorp $EXTRA "$@"', files=PROMPTS)
    assert spec.name == "zorp"
    assert {"$EXTRA", "$@"} <= set(spec.ignored)


def test_a_remark_in_another_code_page_is_no_part_of_the_command(tmp_path: Path) -> None:
    """lora-scripts' own train_by_toml.ps1 is in GBK; Windows reads scripts in its code page."""
    (tmp_path / "p.txt").write_text("a fox\n")
    script = tmp_path / "t.ps1"
    text = f'$n = "zorp" # \u8bad\u7ec3\n{FLUX} --output_name $n\n'
    script.write_bytes(text.encode("gbk"))
    assert read_spec(script).name == "zorp"
    script.write_bytes(text.replace("zorp", "\u8bad").encode("gbk"))
    with pytest.raises(SpecError, match="not UTF-8"):
        read_spec(script)


def test_a_batch_systems_job_is_a_script(tmp_path: Path) -> None:
    job = tmp_path / "train.job"
    job.write_text("#!/bin/bash\n#SBATCH --gpus 1\nN=zorp\nsrun " + FLUX + " --output_name $N\n")
    (tmp_path / "p.txt").write_text("a fox\n")
    assert read_spec(job).name == "zorp"


def test_fluxgyms_folder_is_told_by_its_script(tmp_path: Path) -> None:
    """cocktailpeanut/fluxgym app.py:453-486 writes train.sh with a last backslash, dataset.toml and the prompts."""
    (tmp_path / "dataset.toml").write_text("[general]\nkeep_tokens = 1\n[[datasets]]\nresolution = 512\n")
    (tmp_path / "sample_prompts.txt").write_text("a fox --d 3\n")
    started = FLUX.replace("p.txt", '"/app/fluxgym/outputs/zorp/sample_prompts.txt"')
    lines = [started, "  --output_name zorp", "  --loss_type l2 "]
    (tmp_path / "train.sh").write_text(" \\\n".join(lines) + "\\")
    (found,) = find_configs(tmp_path).read.values()
    assert (found.name, found.items[0].seed) == ("zorp", 3)


@pytest.mark.parametrize(
    ("name", "text", "said", "instead"),
    [
        ("t.sh", "cd x\nbash train.sh --name a\n", "train.sh", ""),
        ("t.sh", "source venv/bin/activate\npython run.py config/a.yaml\n", "run.py", "config/a.yaml"),
        ("t.bat", "call venv\\activate.bat\r\npython scripts\\go.py --config-path a.json\r\n", "go.py", "a.json"),
        ("t.sh", "python a.py --out m.json\npython train_it.py --in m.json\n", "train_it.py", "--config_file"),
        ("t.sh", "MODE=a\nbash train_$MODE.sh\n", "train_a.sh", ""),
        ("t.ps1", ".\\venv\\Scripts\\activate\n& .\\start.ps1 -x 1", "start.ps1", ""),
    ],
)
def test_a_script_that_starts_something_else_says_so(name: str, text: str, said: str, instead: str) -> None:
    with pytest.raises(SpecError, match="script starts") as caught:
        read_text(text, source=name)
    assert said in caught.value.problem
    assert instead in str(caught.value.remedy)


TOML = """
[model]
pretrained_model_name_or_path = "pony_xl.safetensors"
[training]
output_name = "from_file"
mixed_precision = "fp16"
clip_skip = 2
sample_every_n_epochs = 2
[samples]
sample_prompts = "/workspace/run/p.txt"
sample_sampler = "euler"
"""


def test_the_config_file_of_a_command_line_lies_under_it() -> None:
    """kohya-ss/sd-scripts@48d368f library/train_util.py:4700-4764: sections merged, `.toml` added, the line wins."""
    line = "accelerate launch --config_file acc.yaml sdxl_train_network.py --config_file=conf/x --output_name line"
    spec = read_text(line, files={**PROMPTS, "x.toml": TOML})
    assert (spec.family, spec.name, spec.precision, spec.items[0].sampler) == ("sdxl", "line", "float16", "euler")
    assert spec.model_files["pretrained_model_name_or_path"] == "pony_xl.safetensors"
    assert spec.ignored == ["training.clip_skip"]
    with pytest.raises(SpecError, match="sample_every_n_epochs") as caught:
        read_text(line, files={**PROMPTS, "x.toml": TOML.replace("epochs = 2", "epochs = 'x'")})
    assert (caught.value.source, caught.value.line) == ("x.toml", 8)
    with pytest.raises(SpecError, match=r"'conf/x\.toml'") as caught:
        read_text(line, files=PROMPTS)
    assert caught.value.told_to("canvas").remedy == "Drop x.toml together with it."
    short = line.replace("--config_file=conf", "--config conf")  # argparse takes what begins one option only
    assert read_text(short, files={**PROMPTS, "x.toml": TOML}).items == spec.items
    kontext = "python flux_kontext_train_network.py --config_file x.toml"
    toml = "dit = 'k.sft'\nsample_prompts = 'p.txt'\noutput_name = 'k'"
    spec = read_text(kontext, files={"p.txt": "a", "x.toml": toml})
    assert (spec.trainer, spec.name, spec.model_files["dit"]) == ("musubi", "k", "k.sft")


def test_files_of_another_machine_are_found_beside_the_config(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "lists").mkdir(parents=True)
    (folder / "lists" / "p.txt").write_text("a fox\n")
    for named in ("/workspace/run/lists/p.txt", "C:\\Users\\me\\lists\\p.txt", "$(pwd -P)/lists/p.txt"):
        script = folder / "t.sh"
        script.write_text(f'accelerate launch flux_train_network.py --sample_prompts "{named}"\n')
        spec = read_spec(script)
        assert [item.prompt for item in spec.items] == ["a fox"]
        assert any(f"{named} is not on this machine" in note for note in spec.notes)
    for line in ('P="x$1"\nP="$P$2"', 'P=a\nif [ -f b ]; then P=b; fi'):
        (folder / "u.sh").write_text(f'{line}\naccelerate launch flux_train_network.py --sample_prompts "$P"\n')
        with pytest.raises(SpecError, match="not known here"):
            read_spec(folder / "u.sh")
    (folder / "lists" / "p.txt").unlink()
    with pytest.raises(SpecError, match=r"p\.txt beside the config"):
        read_spec(script)


def test_the_trainers_own_folder_is_above_the_config(tmp_path: Path) -> None:
    """SimpleTuner and OneTrainer are started in their own folder, and configs lie in folders of it."""
    folder = tmp_path / "config" / "mine"
    folder.mkdir(parents=True)
    (tmp_path / "config" / "library.json").write_text('{"x": "a fox"}')
    config = folder / "config.json"
    config.write_text('{"model_family": "flux", "user_prompt_library": "config/library.json"}')
    spec = read_spec(config)
    assert spec.items[1].prompt == "a fox"
    assert not any("not on this machine" in note for note in spec.notes)


SIMPLETUNER = """
export MODEL_NAME="{name}"   # the base
export RESOLUTION=1024
export OUTPUT_DIR="${{BASE_DIR}}/harbour"
export VALIDATION_PROMPT='a "red" fox' VALIDATION_SEED=3 # both
export VALIDATION_RESOLUTION=$RESOLUTION
export MIXED_PRECISION="bf16"                # might not be supported
export TRAINER_EXTRA_ARGS="${{TRAINER_EXTRA_ARGS}} --i_know_what_i_am_doing"
export TRAINER_EXTRA_ARGS="${{TRAINER_EXTRA_ARGS}} --tokenizer_max_length=200"
[ -z "$STEPS" ] && export VALIDATION_NUM_INFERENCE_STEPS=17
"""


@pytest.mark.parametrize(
    ("switch", "name", "family"),
    [
        ("FLUX=true", "black-forest-labs/FLUX.1-dev", "flux"),
        ("STABLE_DIFFUSION_3=true\nexport FLUX=false", "stabilityai/stable-diffusion-3-medium-diffusers", "sd35"),
        ("FLUX=false", "stabilityai/stable-diffusion-xl-base-1.0", "sdxl"),
        ("MODEL_FAMILY=flux\nexport FLUX=false", "black-forest-labs/FLUX.1-dev", "flux"),
    ],
)
def test_simpletuners_sourced_variables(switch: str, name: str, family: str) -> None:
    """bghira/SimpleTuner@bc8e6ab simpletuner/train.sh:9-10 sources it; in 2024 it made `--flux` of `FLUX=true`."""
    spec = read_text(f"export {switch}\n{SIMPLETUNER.format(name=name)}", source="config.env")
    assert (spec.trainer, spec.family, spec.precision, spec.name) == ("simpletuner", family, "bfloat16", "harbour")
    item = spec.items[1]
    assert (item.prompt, item.seed, item.width, item.steps) == ('a "red" fox', 3, 1024, 17)
    assert spec.t5_length == (200 if family == "sd35" else None)
    assert any("${BASE_DIR}" in note for note in spec.notes)
    with pytest.raises(SpecError, match="pixart_sigma"):
        read_text("export PIXART_SIGMA=true\nexport VALIDATION_PROMPT=a\n", source="config.env")
    with pytest.raises(SpecError, match="VALIDATION_SEED") as caught:
        read_text(f"export {switch}\nexport VALIDATION_PROMPT=a VALIDATION_SEED=$SEED\n", source="config.env")
    assert caught.value.line == switch.count("\n") + 2


EXPORTED = """
model_train_type = "flux-lora"
pretrained_model_name_or_path = "./sd-models/flux1-dev.safetensors"
output_name = "zorp"
positive_prompts = "an owl\\na fox --d 9"
negative_prompts = "bad"
sample_cfg = 1
sample_steps = 20
sample_every_n_epochs = 2
"""


def test_what_lora_scripts_exports() -> None:
    """What its `get_sample_prompts` (mikazuki/app/api.py:88-118 @fdefba9), run on these fields, gives load_prompts."""
    spec = read_text(EXPORTED, source="x.toml")
    assert (spec.trainer, spec.family, spec.name) == ("kohya", "flux", "zorp")
    first, second = spec.items
    assert (first.prompt, first.width, first.seed, first.steps) == ("an owl", 512, None, 20)
    assert (second.prompt, second.width, second.height, second.seed, second.cfg_scale) == ("a fox", 512, 512, 2333, 1.0)
    assert second.negative_prompt.strip() == "bad"
    spec = read_text(f"{EXPORTED}prompt_file = ' /data/p.txt'\n", source="x.toml", files=PROMPTS)
    assert [item.prompt for item in spec.items] == ["a fox"]
    with pytest.raises(SpecError, match="Stable Diffusion 1"):
        read_text(EXPORTED.replace("flux-lora", "sd-lora"), source="x.toml")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("t.sh", "echo starts flux_train_network.py\ncd lists\n"),
        ("t.sh", "pushd ./x/../lists > /dev/null\n"),
        ("t.bat", "cd /d lists\n"),
        ("t.ps1", "Set-Location lists\n"),
    ],
)
def test_the_folder_that_the_script_goes_into(name: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "p.txt").write_text("a fox\n")
    (tmp_path / "p.txt").write_text("not this one\n")
    (tmp_path / name).write_text(line + FLUX)
    assert read_spec(tmp_path / name).items[0].prompt == "a fox"
