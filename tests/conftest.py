"""Fixtures for tests in a real ComfyUI; there is no stand-in for it anywhere in the tests.

`comfyui`      where the real ComfyUI is; every test that uses it, through another fixture too, has the mark `host`
`comfy_host`   ComfyUI imported into the test process on the CPU, with the pack loaded as ComfyUI loads custom nodes
`host_server`  a ComfyUI in a process of its own, with the registry's copy of the pack, the example loaders and models
`loras_dir`    a loras folder of that one, for a test's own runs

Helpers beside tests are imported through the package: `from comfyui_eridiffusion.tests.nodes.small_models import …`.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from comfyui_eridiffusion.dev.host_install import WORKSPACE, HostInstall, find_host, write_shim
from comfyui_eridiffusion.dev.host_links import link_custom_nodes, write_model_paths
from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.tests.by_host import ByHost, rank
from comfyui_eridiffusion.tests.dynamic_vram import load_library
from comfyui_eridiffusion.tests.published import copy_files, published_files

#: As ComfyUI does on a GPU. On a CPU it would cut attention into parts itself, which takes five times as long.
ATTENTION = "--use-pytorch-cross-attention"

# In CI the same examples each time: a change is judged by what it changes. Elsewhere new ones are looked for. How long
# an example takes says nothing on a busy machine.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("busy"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "busy")


@dataclass(frozen=True)
class ComfyHost:
    """The host in this process."""

    path: Path
    nodes: dict[str, Any]  # its NODE_CLASS_MAPPINGS: stock nodes, the pack's and the example loaders'
    pack_name: str  # module name the host gave the pack

    def pack(self, module: str = "") -> ModuleType:
        """Return a module of the pack as the host loaded it (`pack("lora")`).

        It is another copy than `comfyui_eridiffusion.lora`: for isinstance and pytest.raises on what nodes return.
        """
        return importlib.import_module(f"{self.pack_name}.{module}" if module else self.pack_name)


def pytest_configure() -> None:
    """Let the commands that tests start hear Ctrl-C, also where a script started pytest in the background.

    Have Intel's MKL, which otherwise rounds by where a matrix lies in memory, give the same bits for the same numbers.
    It does so with AVX-512, too, in two thirds of the time.
    Keep compiled modules, also where the environment says otherwise: tests start some two hundred processes, and each
    would compile the pack, ComfyUI or all of these files again.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    cpus = Path("/proc/cpuinfo")
    wide = cpus.is_file() and " avx512f " in cpus.read_text(encoding="utf-8")
    os.environ.setdefault("MKL_CBWR", "AVX512,STRICT" if wide else "AVX2,STRICT")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByHost | None:
    """With `--dist=loadfile`, files that share a host stay together."""
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return ByHost(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and made here stays; looking through it again and again takes a fifth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "comfyui" in getattr(item, "fixturenames", ()):
            item.add_marker("host")
    items.sort(key=lambda item: rank(item.nodeid))


@pytest.fixture(scope="module", autouse=True)
def settled() -> None:
    """What is alive before a file's tests is not looked at again: the host collects garbage three times per prompt, a
    quarter of a second each with all its modules and tokenizers in memory."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def comfyui() -> HostInstall:
    """Return the ComfyUI that the tests run in."""
    return find_host()


@pytest.fixture(scope="session")
def comfy_host(comfyui: HostInstall, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyHost]:
    """ComfyUI in-process: its modules (`comfy`, `nodes`, `execution`, …) can be imported in the test afterwards."""
    shim = write_shim(comfyui)
    added = [str(comfyui.path), *([str(shim)] if shim else [])]
    sys.path[:0] = added
    custom_nodes, names = link_custom_nodes(WORKSPACE, comfyui)
    _configure(tmp_path_factory.mktemp("comfy"), custom_nodes)
    _load_nodes(names)

    import nodes

    folder = next(path for path in (custom_nodes, comfyui.path / "custom_nodes") if (path / names[0]).exists())
    # the name that the host's load_custom_node gives a folder's module
    yield ComfyHost(comfyui.path, nodes.NODE_CLASS_MAPPINGS, str(folder / names[0]).replace(".", "_x_"))
    _let_models_go()


def _configure(base: Path, custom_nodes: Path) -> None:
    """Set what `main.py` sets from its arguments: device, folders, model paths. Must precede other host imports."""
    import torch
    from comfy.cli_args import args

    args.use_pytorch_cross_attention = True
    args.cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if torch.cuda.is_available():
        load_library()
    args.disable_api_nodes = True
    args.disable_all_custom_nodes = True
    args.database_url = "sqlite:///:memory:"
    import folder_paths
    import utils.extra_config

    for kind in ("output", "input", "temp", "user"):
        folder = base / kind
        folder.mkdir()
        getattr(folder_paths, f"set_{kind}_directory")(str(folder))
    paths = base / "model_paths.yaml"
    write_model_paths(paths, custom_nodes, {})
    utils.extra_config.load_extra_path_config(str(paths))


def _load_nodes(names: list[str]) -> None:
    import nodes
    import server
    from comfy.cli_args import args

    args.whitelist_custom_nodes = names

    loop = asyncio.new_event_loop()  # stays open: the server object sends its messages through it
    server.PromptServer(loop)
    loop.run_until_complete(nodes.init_extra_nodes(init_custom_nodes=True, init_api_nodes=False))


def _let_models_go() -> None:
    """Let what is left of ComfyUI's models go while its modules are there, which `ModelPatcher.__del__` uses.

    Left are those that tests and their helpers keep in caches, for all tests of the process.
    """
    import comfy.model_management

    comfy.model_management.unload_all_models()
    tests = str(Path(__file__).parent)
    for module in list(sys.modules.values()):
        if str(getattr(module, "__file__", "")).startswith(tests):
            for helper in vars(module).values():
                if isinstance(helper, functools._lru_cache_wrapper):
                    helper.cache_clear()
    gc.unfreeze()
    gc.collect()
    gc.freeze()  # pytest looks five times more


@pytest.fixture(scope="session")
def loras_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loras")


@pytest.fixture(scope="session")
def host_server(comfyui: HostInstall, loras_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHost]:
    """A running ComfyUI: `.url`, `.output_dir`, `.input_dir`, `.log_path`, `.pack`; previews are on."""
    workspace = tmp_path_factory.mktemp("host_server")
    pack = copy_files(published_files(), workspace / "published")
    arguments = ("--preview-method", "latent2rgb")
    with LocalHost(
        comfyui, workspace=workspace, pack=pack, model_paths={"loras": [loras_dir]}, extra_args=arguments
    ) as host:
        yield host
