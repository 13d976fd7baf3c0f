"""Command lines as people keep them in scripts: what the shell takes for itself, and what belongs to the program.

The words of a command are held against a real shell where there is one.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.spec import SpecError, read_text
from comfyui_eridiffusion.tests.waiting import PATIENCE

V2 = "sample_sd35 --prompt 'a fox' --seed 3 --steps 9"
KOHYA = "accelerate launch flux_train_network.py --ae a.sft --sample_prompts p.txt --output_name zorp"
PROMPTS = {"p.txt": "a fox --d 3"}

#: Written after a command; the shell keeps all of it from the program.
NOT_THE_PROGRAMS = [
    "> log.txt",
    ">> 'my log' 2>&1",
    "2>&1 | tee log",
    "&> log",
    "&& echo done --steps 5",
    "|| exit 1",
    "; echo --steps 5",
    "&",
    "# --steps 5 (it's enough)",
    "< /dev/null",
    "\n# or with --seed 4\necho --seed 4",
]


@pytest.mark.parametrize("after", NOT_THE_PROGRAMS)
def test_what_the_shell_takes_is_no_part_of_the_command(after: str) -> None:
    assert read_text(f"{V2} {after}\n").items == read_text(V2).items
    assert read_text(f"{KOHYA} {after}\n", files=PROMPTS).items == read_text(KOHYA, files=PROMPTS).items


def test_flags_after_a_redirection_count() -> None:
    (item,) = read_text("sample_sd35 --prompt 'a fox' 2> log --seed 3 > other --steps 9").items
    assert (item.prompt, item.seed, item.steps) == ("a fox", 3, 9)


Shell = Callable[[str], list[str] | None]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """The words that a real shell makes of what is written behind a command, None where it runs nothing of it."""
    if shutil.which("sh") is None:
        pytest.skip("needs a shell")
    words = tmp_path / "words"

    def made_of(written: str) -> list[str] | None:
        words.unlink(missing_ok=True)
        script = f'f() {{ printf "%s\\0" "$@" > {words}; exit; }}\nf {written}\n:\n'
        subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, check=False, timeout=PATIENCE)
        return words.read_text(encoding="utf-8").split("\0")[:-1] if words.exists() else None

    return made_of


@pytest.mark.parametrize("written", [
    "'a; b'", '"a > b | c && d"', r"a\;b", "'it''s'", '"a (b) #1"', "a#b", "'a'\"b\"c", r'"a \"b\" \\ c"', "a'('b",
    r'"6\" tall"', r"it\'s", "'a\nb'", "'a \\\n b'", '"a \\\n b"', "a\\\nb", "a \\\n", "a # it's", r'"a \# \n"', "''a",
    r"a\ #b", "a\\\n#b", "a 2> 'it''s'", "a$ ",
])  # fmt: skip
def test_texts_are_what_a_shell_makes_of_them(written: str, shell: Shell) -> None:
    """Those of the command itself; what stands in the lines after it is another one's."""
    (item,) = read_text(f"sample_sd35 --prompt {written}\necho and more\n").items
    assert [item.prompt] == shell(written)


PIECES = st.sampled_from(
    ["a", "\u00e9", " ", "\n", "\\\n", "\t", '"', "'", "\\", '\\"', "$ ", "`", "#", " #", ";", "|", "(", "="]
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.lists(PIECES, min_size=1, max_size=9).map("".join))
def test_what_is_read_is_what_a_shell_hands_over(written: str, shell: Shell) -> None:
    try:
        (item,) = read_text(f"sample_sd35 --prompt {written}\n:\n").items
    except SpecError:
        return
    assert shell(written) in ([item.prompt], None)  # None: a mistake in what follows the command


@pytest.mark.parametrize("path", ['"./target/release/sample_sd35"', '"$DIR/sample_sd35"', "'sample_sd35'"])
def test_the_programs_path_may_stand_in_quotes(path: str) -> None:
    (item,) = read_text(f"{path} --prompt 'a fox' --seed 3 --steps 9").items
    assert item == read_text(V2).items[0]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("sample_sd35 --prompt", "no value"),
        ("sample_sd35 --prompt --steps 9", "no value"),
        ("sample_sd35 --prompt -o out", "no value"),
        ("sample_sd35 --prompt a fox", "several words"),
        ("sample_sd35 --prompt \u201ca fox\u201d", "several words"),
        ("sample_sd35 --prompt 'a fox' --steps 9 10", "several words"),
        ("sample_sd35 extra --prompt 'a fox'", "'extra' follows no flag"),
        ("sample_sd35 --prompt a (red:1.2) fox", "outside quotes"),
        ("sample_sd35 --prompt 'a fox' --negative", "no value"),
        ("sample_sd35 --prompt 'a fox' --transformer", "no value"),
    ],
)
def test_half_a_command_is_not_read(text: str, word: str) -> None:
    with pytest.raises(SpecError, match=word) as caught:
        read_text(text)
    assert caught.value.line == 1
    assert caught.value.column is not None
    assert caught.value.remedy


@pytest.mark.parametrize("end", ["", " # a comment \\", " \\\n  # --steps 4 \\", "\n"])
def test_flags_behind_the_commands_end_are_not_left_out(end: str) -> None:
    """The shell would take them for a command of their own."""
    with pytest.raises(SpecError, match="ends before --seed") as caught:
        read_text(f"sample_sd35 --prompt 'a fox'{end}\n  --seed 3\n")
    assert (caught.value.line, caught.value.column) == (2 + end.count("\n"), 3)


def test_kohyas_lists_and_switches() -> None:
    """`nargs="*"` takes several words; a text that the reader needs takes one."""
    more = " --network_args a=1 b=2 --text_encoder_lr 1e-4 2e-4 --cache_latents -x"
    spec = read_text(KOHYA + more, files=PROMPTS)
    assert spec.items == read_text(KOHYA, files=PROMPTS).items
    assert {"network_args", "text_encoder_lr", "cache_latents", "x"} <= set(spec.ignored)
    with pytest.raises(SpecError, match="several words") as caught:
        read_text("accelerate launch flux_train_network.py --sample_prompts my prompts.txt", files=PROMPTS)
    assert caught.value.field == "sample_prompts"
    with pytest.raises(SpecError, match="no value"):
        read_text("accelerate launch flux_train_network.py --sample_prompts --ae a.sft", files=PROMPTS)


def test_a_prompt_may_hold_a_programs_name() -> None:
    assert read_text("sample_sd35 --prompt 'sample_flux in fog' --seed 3").items[0].prompt == "sample_flux in fog"
    for text in ("sample_sd35 --prompt a && sample_sd35 --prompt b", "sample_sd35 --prompt a\nsample_flux --prompt b"):
        with pytest.raises(SpecError, match="2 of the trainer's programs"):
            read_text(text)


@pytest.mark.parametrize("prompt", ["$MOOD fox", "${MOOD:-a red} fox", "$1 fox", "for $$5", "`mood` fox"])
def test_a_prompt_that_the_shell_would_fill_in_is_refused(prompt: str) -> None:
    with pytest.raises(SpecError, match="shell"):
        read_text(f'sample_sd35 --prompt "{prompt}"')
    assert read_text(f"sample_sd35 --prompt '{prompt}'").items[0].prompt == prompt


def test_substitutions_are_one_word() -> None:
    with pytest.raises(SpecError, match=r"\$\(date \+%s\)"):
        read_text("sample_sd35 --prompt a --seed $(date +%s)")
    spec = read_text("sample_sd35 --prompt a --transformer `ls *.sft | head -1` --seed 3")
    assert spec.items[0].seed == 3
    assert any("ls *.sft | head -1" in note for note in spec.notes)
