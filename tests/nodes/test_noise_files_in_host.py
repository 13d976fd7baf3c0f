"""EriTrainerNoise's seed walk and files, EriFluxPatchify and EriFluxUnpatchify, with files other tools wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import sampling_helpers as h

PLAIN = "torch-cpu/nchw/float32"


@pytest.fixture
def folder(comfy_host: Any) -> Path:
    import folder_paths

    return Path(folder_paths.get_input_directory())


def noise(comfy_host: Any, seed: int = 42, **options: Any) -> Any:
    given = {"profile": PLAIN, "family": "auto", "walk": "one draw", "file": "", **options}
    return h.node(comfy_host, "EriTrainerNoise", seed=seed, **given)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- seed walk -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indices", [None, [2, 0], [1, 1, 3]])
def test_each_picture_of_a_batch_may_have_its_own_seed(comfy_host: Any, indices: list[int] | None) -> None:
    chosen = indices or [0, 1, 2]
    latent: dict[str, Any] = {"samples": torch.zeros(len(chosen), 4, 6, 8)}
    if indices:
        latent["batch_index"] = indices
    own = noise(comfy_host, walk="seed + index").generate_noise(latent)
    assert torch.equal(own, torch.cat([drawn(42 + i, 1, 4, 6, 8) for i in chosen]))
    same = noise(comfy_host, walk="same seed").generate_noise(latent)
    assert torch.equal(same, torch.cat([drawn(42, 1, 4, 6, 8) for _ in chosen]))
    together = noise(comfy_host).generate_noise(latent)
    assert torch.equal(together, h.node(comfy_host, "RandomNoise", noise_seed=42).generate_noise(latent))


def test_the_walk_goes_on_from_zero_after_the_largest_seed(comfy_host: Any) -> None:
    latent = {"samples": torch.zeros(2, 4, 6, 8)}
    own = noise(comfy_host, seed=2**64 - 1, walk="seed + index").generate_noise(latent)
    assert torch.equal(own[1:], drawn(0, 1, 4, 6, 8))


# --- noise from files ------------------------------------------------------------------------------------------------


def packed(latent: Tensor) -> Tensor:
    from einops import rearrange

    return rearrange(latent, "b c (h ph) (w pw) -> b (h w) (c ph pw)", ph=2, pw=2)


def patches(latent: Tensor) -> Tensor:
    """[B, 64, h/16, w/16], the tokens in rows and columns."""
    from einops import rearrange

    return rearrange(latent, "b c (h ph) (w pw) -> b (c ph pw) h w", ph=2, pw=2)


def test_noise_drawn_in_rows_and_columns_of_tokens(comfy_host: Any) -> None:
    found = noise(comfy_host, profile="torch-cpu/patches/float32").generate_noise(
        {"samples": torch.zeros(2, 16, 8, 12)}
    )
    assert torch.equal(patches(found), drawn(42, 2, 64, 4, 6))


def test_patches_are_exported_and_imported(comfy_host: Any, folder: Path) -> None:
    latent = drawn(3, 2, 16, 8, 12)
    out = h.node(comfy_host, "EriFluxPatchify", text_length=4, latent={"samples": latent}, layout="patches")
    assert torch.equal(out["samples"], patches(latent))
    save_file({"noise": out["samples"]}, folder / "patches.safetensors")
    size = {"width": 96, "height": 64}
    for given in ({"tokens": out}, {"file": "patches.safetensors"}):
        assert torch.equal(h.node(comfy_host, "EriFluxUnpatchify", **size, **given)["samples"], latent)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", ["nchw", "packed", "patches", "single", "single packed", "single patches"])
def test_noise_that_a_trainer_wrote(comfy_host: Any, folder: Path, dtype: torch.dtype, form: str) -> None:
    latent = drawn(1, 1, 16, 8, 12).to(dtype)
    tensor = packed(latent) if "packed" in form else patches(latent) if "patches" in form else latent
    save_file({"anything": (tensor[0] if "single" in form else tensor).contiguous()}, folder / "noise_42.safetensors")
    given = noise(comfy_host, file="noise_{seed}.safetensors")
    found = given.generate_noise({"samples": torch.zeros(1, 16, 8, 12)})
    assert found.dtype == torch.float32
    assert torch.equal(found, latent.float())
    assert given.seed == 42


def test_a_file_of_many_seeds_and_of_a_batch(comfy_host: Any, folder: Path) -> None:
    one, two = drawn(1, 1, 4, 4, 4), drawn(2, 3, 4, 4, 4)
    save_file({"seed_7": one, "noise": two}, folder / "many.safetensors")
    latent = {"samples": torch.zeros(1, 4, 4, 4)}
    assert torch.equal(noise(comfy_host, 7, file="many.safetensors").generate_noise(latent), one)
    batch = {"samples": torch.zeros(2, 4, 4, 4), "batch_index": [2, 0]}
    assert torch.equal(noise(comfy_host, 8, file="many.safetensors").generate_noise(batch), two[[2, 0]])


BAD_FILES = [
    ("missing.safetensors", None, "there is no"),
    ("../outside.safetensors", None, "outside the folders"),
    ("/etc/passwd.safetensors", None, "outside the folders"),
    ("noise.pt", None, "no safetensors file"),
    ("text.safetensors", b"not a tensor", "not a readable safetensors"),
    ("two.safetensors", {"a": torch.zeros(1, 4, 4, 4), "b": torch.zeros(1)}, "holds a, b"),
    ("whole.safetensors", {"noise": torch.zeros(1, 4, 4, 4, dtype=torch.int64)}, "int64"),
    ("nan.safetensors", {"noise": torch.full((1, 4, 4, 4), float("nan"))}, "NaN"),
    ("flat.safetensors", {"noise": torch.zeros(64)}, r"\[64\]"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES, ids=[case[0] for case in BAD_FILES])
def test_bad_noise_files_are_refused(comfy_host: Any, folder: Path, name: str, content: Any, message: str) -> None:
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    elif content is not None:
        save_file(content, folder / name)
    with pytest.raises(ValueError, match=message):
        noise(comfy_host, file=name)


def test_noise_of_another_size_or_count_is_refused(comfy_host: Any, folder: Path) -> None:
    save_file({"noise": drawn(1, 1, 4, 4, 4)}, folder / "small.safetensors")
    given = noise(comfy_host, file="small.safetensors")
    with pytest.raises(ValueError, match=r"\[1, 4, 4, 4\].*\[B, 4, 8, 8\].*size the noise was written for"):
        given.generate_noise({"samples": torch.zeros(1, 4, 8, 8)})
    with pytest.raises(ValueError, match=r"1 picture.*number 2"):
        given.generate_noise({"samples": torch.zeros(2, 4, 4, 4)})


def test_files_are_checked_before_the_graph_runs_and_watched(comfy_host: Any, folder: Path) -> None:
    import os

    cls = comfy_host.nodes["EriTrainerNoise"]
    assert "there is no" in cls.validate_inputs(file="nowhere.safetensors")
    assert cls.validate_inputs(file="noise_{seed}.safetensors") is True
    path = folder / "watched_5.safetensors"
    save_file({"noise": drawn(1, 1, 4, 4, 4)}, path)
    for inputs in ({"file": "watched_5.safetensors"}, {"file": "watched_{seed}.safetensors", "seed": None}):
        first = cls.fingerprint_inputs(**inputs)
        assert cls.fingerprint_inputs(**inputs) == first
        os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))
        assert cls.fingerprint_inputs(**inputs) != first
    assert cls.fingerprint_inputs(file="watched_{seed}.safetensors", seed=6) == "missing"


# --- Flux tokens -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(8, 12), (7, 9), (6, 9)])
@pytest.mark.parametrize("index", [0, 2])
def test_patchify_is_the_hosts_and_comes_back(comfy_host: Any, height: int, width: int, index: int) -> None:
    samples = drawn(2, 2, 16, height, width)
    mask = torch.ones(1, height, width)
    latent = {"samples": samples, "noise_mask": mask, "batch_index": [4, 5]}
    result = comfy_host.nodes["EriFluxPatchify"].execute(text_length=7, latent=latent, index=index).args
    tokens, ids = h.inputs_for("flux")[0].model.diffusion_model.process_img(samples, index=index)
    assert torch.equal(result[0]["samples"], tokens)
    assert torch.equal(result[1]["samples"], ids)
    assert torch.equal(result[2]["samples"], torch.zeros(2, 7, 3))
    back = h.node(comfy_host, "EriFluxUnpatchify", width=width * 8, height=height * 8, tokens=result[0])
    assert torch.equal(back["samples"], samples)
    assert back["noise_mask"] is mask
    assert back["batch_index"] == [4, 5]
    assert latent == {"samples": samples, "noise_mask": mask, "batch_index": [4, 5]}


def test_packed_latents_go_through_the_stock_files(comfy_host: Any, folder: Path) -> None:
    """SaveLatent writes the tokens, LoadLatent and our own `file` read them, bit for bit."""
    import folder_paths

    samples = drawn(2, 1, 16, 8, 12)
    tokens = comfy_host.nodes["EriFluxPatchify"].execute(text_length=1, latent={"samples": samples}).args[0]
    saver = comfy_host.nodes["SaveLatent"]()
    saved = saver.save(tokens, "packed")["ui"]["latents"][0]
    written = Path(folder_paths.get_output_directory()) / saved["subfolder"] / saved["filename"]
    (folder / "packed.latent").write_bytes(written.read_bytes())
    loaded = h.node(comfy_host, "LoadLatent", latent="packed.latent")
    size = {"width": 96, "height": 64}
    assert torch.equal(h.node(comfy_host, "EriFluxUnpatchify", tokens=loaded, **size)["samples"], samples)
    assert torch.equal(h.node(comfy_host, "EriFluxUnpatchify", file="packed.latent", **size)["samples"], samples)


@pytest.mark.parametrize("form", ["packed", "unpacked", "single"])
def test_a_trainers_latents_become_the_hosts(comfy_host: Any, folder: Path, form: str) -> None:
    """What a trainer stores is in the model's scale; the expected latent is the host's own process_out of it."""
    import comfy.latent_formats

    stored = drawn(5, 1, 16, 8, 12)
    tensor = stored if form == "unpacked" else packed(stored)
    save_file(
        {"latents": (tensor[0] if form == "single" else tensor).contiguous(), "step": torch.zeros(1)},
        folder / "trained.safetensors",
    )
    given = {"width": 96, "height": 64, "file": "trained.safetensors"}
    assert torch.equal(h.node(comfy_host, "EriFluxUnpatchify", **given)["samples"], stored)
    found = h.node(comfy_host, "EriFluxUnpatchify", model_space=True, **given)["samples"]
    assert torch.equal(found, comfy.latent_formats.Flux().process_out(stored))
    again = comfy_host.nodes["EriFluxPatchify"].execute(text_length=0, latent={"samples": found}, model_space=True)
    torch.testing.assert_close(again.args[0]["samples"], packed(stored), rtol=0, atol=1e-6)


def test_flux_refusals(comfy_host: Any, folder: Path) -> None:
    patchify, size = comfy_host.nodes["EriFluxPatchify"].execute, {"width": 64, "height": 64}
    with pytest.raises(ValueError, match=r"\[1, 4, 8, 8\]; Flux's latents are \[B, 16, H, W\]"):
        patchify(text_length=1, latent={"samples": torch.zeros(1, 4, 8, 8)})
    with pytest.raises(ValueError, match="latent holds NaN"):
        patchify(text_length=1, latent={"samples": torch.full((1, 16, 8, 8), float("nan"))})

    def unpatchify(**given: Any) -> Any:
        return h.node(comfy_host, "EriFluxUnpatchify", **{**size, **given})

    with pytest.raises(ValueError, match="neither tokens nor file"):
        unpatchify()
    with pytest.raises(ValueError, match="both tokens and file"):
        unpatchify(tokens={"samples": torch.zeros(1, 16, 64)}, file="x.safetensors")
    with pytest.raises(ValueError, match="tokens are 8 per picture, but 64 x 64 pixels have 16"):
        unpatchify(tokens={"samples": torch.zeros(1, 8, 64)})
    with pytest.raises(ValueError, match=r"Flux's tokens are \[B, N, 64\]"):
        unpatchify(tokens={"samples": torch.zeros(1, 16, 16)})
