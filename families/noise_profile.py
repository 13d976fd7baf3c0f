"""How initial noise is drawn, and the text that says so; `samplers.noise` draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GENERATORS: Final = (
    "torch-cpu",
    "torch-cuda",
    "rust-stdrng-uniform",
    "rust-stdrng-gen-range",
    "rust-stdrng-box-muller",
    "rust-stdrng-ziggurat",
    "rust-stdrng-box-muller-1e-6",
)
LAYOUTS: Final = ("nchw", "packed", "patches")
DTYPES: Final = ("float32", "bfloat16", "float16")
DEFAULT_GPU: Final = "rtx-4090"
#: Generators that use the Box–Muller formula -> what its first uniform is raised to.
BOX_MULLER: Final = {"rust-stdrng-box-muller": 1e-10, "rust-stdrng-box-muller-1e-6": 1e-6}
#: Threads of a block.
CUDA_BLOCK: Final = 256
GPUS: Final[dict[str, tuple[int, int]]] = {
    # name: (streaming multiprocessors, resident threads per multiprocessor), from NVIDIA's data sheets
    "rtx-3060": (28, 1536),
    "rtx-3080": (68, 1536),
    "rtx-3090": (82, 1536),
    "rtx-3090-ti": (84, 1536),
    "rtx-4070": (46, 1536),
    "rtx-4080": (76, 1536),
    "rtx-4090": (128, 1536),
    "rtx-5080": (84, 1536),
    "rtx-5090": (170, 1536),
    "rtx-a4000": (48, 1536),
    "rtx-a6000": (84, 1536),
    "rtx-6000-ada": (142, 1536),
    "a10g": (80, 1536),
    "l40": (142, 1536),
    "l40s": (142, 1536),
    "t4": (40, 1024),
    "v100": (80, 2048),
    "a100": (108, 2048),
    "h100": (132, 2048),
    "h100-pcie": (114, 2048),
    "h200": (132, 2048),
}


@dataclass(frozen=True)
class NoiseProfile:
    """How initial noise is drawn.

    Args:
        generator: what draws the numbers, one of `GENERATORS`.
        layout: their order, one of `LAYOUTS`.
        dtype: one of `DTYPES`. On the CPU torch draws other numbers in another dtype; all other generators draw float32
            and round.
        cast: the dtype to which the noise is rounded after drawing, or None.
        gpu: the GPU whose launch grid "torch-cuda" has, a name of `GPUS` or "<multiprocessors>x<threads
            each>". It matters only for noise of more values than the GPU has threads (196608 on an RTX 4090; Flux at
            1024² has 262144).
        note: what a reader should know about the profile. It has no part in equality.

    Raises ValueError naming the field.
    """

    generator: str
    layout: str
    dtype: str
    cast: str | None = None
    gpu: str = DEFAULT_GPU
    note: str = ""

    def __post_init__(self) -> None:
        _check("generator", self.generator, GENERATORS)
        _check("layout", self.layout, LAYOUTS)
        _check("dtype", self.dtype, DTYPES)
        if self.cast is not None:
            _check("cast", self.cast, DTYPES)
        grid_limit(self.gpu)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NoiseProfile) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        gpu = f"@{self.gpu}" if self.generator == "torch-cuda" and self.gpu != DEFAULT_GPU else ""
        cast = f"/{self.cast}" if self.cast not in (None, self.dtype) else ""
        return f"{self.generator}{gpu}/{self.layout}/{self.dtype}{cast}"

    @classmethod
    def parse(cls, text: str) -> NoiseProfile:
        """Read "generator[@gpu]/layout/dtype[/cast]"; ValueError names the part that is wrong."""
        parts = text.split("/") if isinstance(text, str) else []
        if len(parts) not in (3, 4):
            raise ValueError(f"profile: needs 'generator/layout/dtype', such as 'torch-cpu/nchw/float32', got {text!r}")
        generator, at, gpu = parts[0].partition("@")
        if at and generator != "torch-cuda":
            raise ValueError(f"profile: only torch-cuda depends on a GPU, got {text!r}")
        cast = parts[3] if len(parts) == 4 else None
        return cls(generator, parts[1], parts[2], cast, gpu if at else DEFAULT_GPU)

    @property
    def goes_on(self) -> bool:
        """Whether it is known what the generator draws after the initial noise, which steps with noise need."""
        return (self.generator.startswith("torch") or self.generator in BOX_MULLER) and self.layout == "nchw"


def grid_limit(gpu: str) -> int:
    """Return how many threads ATen launches at most on a GPU: a name of `GPUS`, or "<multiprocessors>x<threads each>".

    Raises ValueError for anything else.
    """
    processors, threads = GPUS.get(gpu.lower(), (0, 0))
    if not processors:
        first, times, second = gpu.partition("x")
        if not (times and first.isdecimal() and second.isdecimal()):
            raise ValueError(
                f"profile: unknown GPU {gpu!r}; name one of {', '.join(GPUS)} or give its "
                "multi_processor_count and max_threads_per_multi_processor as in '82x1536'"
            )
        processors, threads = int(first), int(second)
    if processors < 1 or not CUDA_BLOCK <= threads <= 4096:
        raise ValueError(f"profile: a GPU has at least 1 multiprocessor of 256 to 4096 threads, got {gpu!r}")
    return processors * (threads // CUDA_BLOCK) * CUDA_BLOCK


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name}: must be one of {', '.join(known)}; got {value!r}")
