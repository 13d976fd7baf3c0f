"""The noise generators, against what the trainers' own libraries draw.

The Rust numbers were printed by a Rust program that uses rand 0.8.5 and rand_distr 0.4.3 (crates of those very
versions, rustc 1.95, glibc); the CUDA numbers are published output of torch on the GPUs named with them; Philox and
ChaCha vectors come from Random123 1.14 (kat_vectors), RFC 7539 and rand's own tests.
"""

from __future__ import annotations

import hashlib
import math
import struct

import numpy as np
import pytest
import torch

from comfyui_eridiffusion.samplers import _cuda_rng, _rust_rng, noise
from comfyui_eridiffusion.samplers.noise import initial_noise
from comfyui_eridiffusion.samplers.step_noise import NoiseStream

#: How far float32 may lead from a GPU's published values, and Box-Muller from Rust's, in units of the last place.
CUDA_BOUND, BOX_MULLER_ULP = 3e-6, 3

RUST_SEEDS = [0, 1, 42, 1234567890123, 2**64 - 1]
# seed: (first words of next_u32, FNV-1a over the first 262144 of them)
RUST_WORDS = {
    0: ("cd2c6f7f bb2a3fb2 8e27697b c6017c94 cf310a16 069dc102 abe5f6d0 958b761d", 0x80AE6A6FBA22472B),
    1: ("d3301861 f9681a64 cc0d694a b0f4d125 3248c9da 6d8fc15a 376425d3 2cf33517", 0x802DFF04380CB46D),
    42: ("222724a2 86cc7763 3fad517d 8af00a13 de5134d1 a2ef6071 fd7630b2 67e92d78", 0x4E653BE8984758E2),
    1234567890123: ("66dfcfa1 31d31b8d 85f2f6a4 5cfbc662 81c820ce e83c9fd7 47ce715a b7fc7fc0", 0x77A0AF721D24D40A),
    2**64 - 1: ("2e3d5fb8 0fa79848 4112469e 0a3370b4 65c61658 12a43d6f 4e51203b 5d082f91", 0x8C1705DF70EC2E92),
}
# bits of the first floats of gen::<f32>() * 2 - 1, of gen_range(-1.0..1.0), and of Box-Muller
RUST_UNIFORM = {
    0: "3f1a58de 3eeca8fc 3de27690 3f0c02f8 3f1e6214 bf72c47e 3eaf97d8 3e2c5bb0",
    42: "bf3bb1b8 3d598ee0 bf00a55e 3daf00a0 3f3ca268 3e8bbd80 3f7aec60 be40b698",
    2**64 - 1: "bf238542 bf60b0d0 befbb6e8 bf6b9920 be51cf50 bf5ab786 bec6bb80 be8bdf44",
}
RUST_RANGE = {
    0: "3f1a58dc 3eeca8f8 3de27680 3f0c02f8 3f1e6214 bf72c480 3eaf97d8 3e2c5bb0",
    42: "bf3bb1b8 3d598ec0 bf00a560 3daf00a0 3f3ca268 3e8bbd80 3f7aec60 be40b6a0",
    2**64 - 1: "bf238544 bf60b0d0 befbb6e8 bf6b9920 be51cf50 bf5ab788 bec6bb80 be8bdf48",
}
RUST_BOX_MULLER = {
    0: "bda1503c bf291f5a 3e2321d5 bf895566 3f245234 3dd75d5f bf4545e7 bee68795 bd24b6fe",
    1: "3f1cbd5f bdccb48e be78e564 bf20cbce bfcfaf61 3f49f41c 3f49e24f 3fc7ed26 bca92b05",
    42: "bffd58d7 beaaafa5 bfcddff4 bee2897c beb1f714 becda5c3 bdf00b24 3da1271e 3e7af253",
    1234567890123: "3eebb625 3fa27bf3 bf3e3a17 3f5cb4e1 3f791111 bf2455cf be9f8967 bfc828fb be1816ed",
    2**64 - 1: "3fdb8a60 3f318744 3fcd3fa3 3ed1f4de 3f9bf96f 3f1998df bf80cb91 3f9512a0 3e6b64c4",
}
RUST_ZIGGURAT = {
    0: "3f367aea 3f5bbb9c c01beb6b 3e2743b8 bfa33389 3fa4c205 bfbd9ec3 3f1cd304",
    42: "3d8e3039 3e0820ee 3e867069 be66b546 bf2a0aa4 be5c8f40 3e4693c8 3fbcfb3e",
    7: "bf8593eb bf13a5be bf3614c3 3dee2d32 bf08271b 3f3e71f8 bf1e743d bf36d0e1",
}
# (generator, seed): SHA-256 of the first 262144 floats, little-endian; the Ziggurat's hold some 65 tail values each
RUST_SHA256 = {
    ("uniform", 42): "15071301e44ddac75662d237457676337ab123af82aaafb991a46341319baefb",
    ("gen-range", 42): "124be74c87d5bd77a11d0ceb7589f3969e72c1c7ee495cb99d5f1a1ae20d994f",
    ("ziggurat", 0): "ffecb6110210198b2eb171d4a847b0aabcbb7c74ef6e3243c525d7060cff93bd",
    ("ziggurat", 42): "15072e7db8b0c16e25153fe95f5672da2b4d2f775b8e97ed32b6a571cb0de95a",
    ("ziggurat", 7): "f28e228a9ed488ff1188385279b0bbb0e7b64603c573a26dfa6fad15f2e6e5bf",
}
# Published in two notebooks on fused kernels, torch 2.2.0: torch.manual_seed(0); torch.randn(8, 8, device="cuda")
CUDA_SEED_0 = """
    -0.9247 -0.4253 -2.6438  0.1452 -0.1209 -0.5797 -0.6229 -0.3284 -1.0745 -0.3631 -1.6711  2.2655  0.3117 -0.1842
     1.2866  1.1820 -0.1271  1.2169  1.4353  1.0605 -0.4941 -1.4244 -0.7244 -1.2973  0.0697 -0.0074  1.8969  0.6878
    -0.0779 -0.8373  1.3506 -0.2879 -0.5965 -0.3283 -0.9086 -0.8059 -0.7407 -0.0504  0.5435  1.5150  0.0141  0.4532
     1.6349  0.7124 -0.1806  1.0252 -1.4622 -0.7554 -0.1836  0.3824  0.3918 -0.0830  0.8971 -1.1123  0.1116  0.4863
    -0.5499 -0.3231 -0.5469  0.9049  0.2837  0.1210  0.4730 -1.0823"""


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def floats(text: str) -> np.ndarray:
    return np.array(words(text), dtype=np.uint32).view(np.float32)


def drawn(generator: str, seed: int, count: int) -> torch.Tensor:
    return initial_noise(f"{generator}/nchw/float32", seed, 1, 1, 1, count).reshape(-1)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_random123s_known_answers(counter: str, key: str, expected: str) -> None:
    first, second = words(key)
    result = _cuda_rng.philox(np.array(words(counter), dtype=np.uint32)[:, None], (first, second))
    assert result[:, 0].tolist() == words(expected)


def test_chacha_gives_the_published_vectors() -> None:
    zero = (0,) * 8
    # RFC 7539, A.1, test vectors 1 and 2 (20 rounds, blocks 0 and 1)
    assert _rust_rng.chacha_words(zero, 32, 20)[[0, 1, 2, 15, 16, 17, 31]].tolist() == words(
        "ade0b876 903df1a0 e56a5d40 8665eeb2 bee7079f 7a385155 6f4d794b"
    )
    # RFC 7539, A.1, test vector 3: key 00…01, block 1
    assert _rust_rng.chacha_words((*zero[:7], 0x01000000), 20, 20)[16:].tolist() == words(
        "2452eb3a 9249f8ec 8d829d9b ddd4ceb1"
    )
    # draft-strombergson-chacha-test-vectors, TC1, 12 rounds, 256-bit key
    assert _rust_rng.chacha_words(zero, 16).tobytes().hex() == (
        "9bf49a6a0755f953811fce125f2683d50429c3bb49e074147e0089a52eae155f"
        "0564f879d27ae3c02ce82834acfa8c793a629f2ca0de6919610be82f411326be"
    )


def test_std_rng_is_stable_as_rands_own_test_says() -> None:
    """rand 0.8, src/rngs/std.rs, test_stdrng_construction."""
    key = (1, 23, 456, 7890, 0, 0, 0, 0)
    low, high = _rust_rng.chacha_words(key, 2).tolist()
    assert low | high << 32 == 10719222850664546238


@pytest.mark.parametrize("seed", RUST_SEEDS)
def test_std_rng_seeds_and_draws_as_rand(seed: int) -> None:
    first, fnv = RUST_WORDS[seed]
    stream = _rust_rng.std_rng_words(seed, 262144).tolist()
    assert stream[:8] == words(first)
    value = 0xCBF29CE484222325
    for word in stream:
        value = (value ^ word) * 0x100000001B3 & (2**64 - 1)
    assert value == fnv


@pytest.mark.parametrize(
    ("generator", "expected"),
    [("uniform", RUST_UNIFORM), ("gen-range", RUST_RANGE), ("ziggurat", RUST_ZIGGURAT)],
)
def test_rust_floats_are_rands_bit_for_bit(generator: str, expected: dict[int, str]) -> None:
    for seed, text in expected.items():
        assert torch.equal(drawn(f"rust-stdrng-{generator}", seed, 8), torch.from_numpy(floats(text))), seed


@pytest.mark.parametrize(("generator", "seed"), RUST_SHA256)
def test_a_whole_latent_of_rust_floats_is_rands_bit_for_bit(generator: str, seed: int) -> None:
    latent = initial_noise(f"rust-stdrng-{generator}/nchw/float32", seed, 1, 16, 128, 128)
    assert hashlib.sha256(latent.numpy().astype("<f4").tobytes()).hexdigest() == RUST_SHA256[generator, seed]


@pytest.mark.parametrize("seed", RUST_SEEDS)
def test_box_muller_is_rusts_within_rounding(seed: int) -> None:
    ours, theirs = drawn("rust-stdrng-box-muller", seed, 9).numpy(), floats(RUST_BOX_MULLER[seed])
    assert np.abs(ours.view(np.int32).astype(np.int64) - theirs.view(np.int32)).max() <= BOX_MULLER_ULP
    assert torch.equal(drawn("rust-stdrng-box-muller", seed, 7), torch.from_numpy(ours[:7]))


def test_box_muller_stays_right_over_a_whole_latent() -> None:
    values = drawn("rust-stdrng-box-muller", 42, 262144).double()
    # sums over the Rust program's output
    assert float(values.sum()) == pytest.approx(1.5309556411796166, abs=1e-3)
    assert float((values**2).sum()) == pytest.approx(262829.64547360403, rel=1e-7)
    assert float(values[-1]) == pytest.approx(-0.1464853733778, rel=4e-7)


def test_cuda_noise_is_the_published_output() -> None:
    expected = torch.tensor([float(value) for value in CUDA_SEED_0.split()])
    for shape in ((1, 1, 8, 8), (1, 4, 4, 4)):
        ours = initial_noise("torch-cuda/nchw/float32", 0, *shape).reshape(-1)
        torch.testing.assert_close(ours, expected, rtol=0, atol=5.1e-5)


# Output that people published of one seed on several GPUs, whose tails differ: a tensor of more values than the GPU
# has threads. (GPU, seed, number of values, std and mean, {position: values from there on}).
CUDA_ON_GPUS = [
    # pytorch/pytorch#143086, torch 2.5.1: torch.randn(1, 49 * 12 * 112 * 144, generator=generator)
    ("h100", 1, 9483264, (1.0, 0.0), {0: (-0.2963, 2.6764, -0.1408), 9483261: (-0.6970, -0.7780, 0.3267)}),
    ("a100", 1, 9483264, (1.0, 0.0), {0: (-0.2963, 2.6764, -0.1408), 9483261: (0.1549, -0.6797, -0.1656)}),
    # pytorch/pytorch#97097, torch 2.0.0: torch.cuda.FloatTensor(1000, 100).normal_(5, 5**0.5)
    (
        "rtx-a4000",
        14,
        100000,
        (5**0.5, 5.0),
        {
            0: (2.8731, 5.2727, 2.9889),
            97: (1.6853, 9.6331, 6.6319, 3.9968, 3.8097, 5.7328),
            197: (4.4029, 3.9804, 7.4698, 6.5552, 4.0857, 4.2315),
            99700: (8.6297, 2.3137, 6.2596),
            99797: (7.9358, 4.4697, 2.7475, 7.0551, 7.8583, 3.9990),
            99897: (4.1139, 8.9315, 4.2042, 2.7337, 2.2106, 7.7815),
            99997: (8.2207, 6.5395, 4.2604),
        },
    ),
    # pytorch/pytorch#62467: torch.empty(1, 3, 128, 128).normal_(generator=generator)[..., 0, 0]
    ("rtx-a6000", 43, 49152, (1.0, 0.0), {0: (1.9983,), 16384: (0.8704,), 32768: (2.1127,)}),
]


@pytest.mark.parametrize(("gpu", "seed", "count", "scale", "published"), CUDA_ON_GPUS, ids=lambda value: str(value)[:9])
def test_cuda_noise_is_the_published_output_of_named_gpus(
    gpu: str, seed: int, count: int, scale: tuple[float, float], published: dict[int, tuple[float, ...]]
) -> None:
    ours = initial_noise(f"torch-cuda@{gpu}/nchw/float32", seed, 1, 1, 1, count).reshape(-1)
    for start, values in published.items():
        found = ours[start : start + len(values)] * scale[0] + scale[1]
        torch.testing.assert_close(found, torch.tensor(values), rtol=0, atol=5.1e-5)  # four decimals


def aten_normals(seed: int, count: int, processors: int, per_processor: int) -> list[float]:
    """What ATen's launch does, thread by thread, in plain Python: a statement apart from the vectorised one."""

    def block(counter: list[int]) -> list[int]:
        key = [seed & 0xFFFFFFFF, seed >> 32]
        for _ in range(10):
            a, b = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
            counter = [b >> 32 ^ counter[1] ^ key[0], b & 0xFFFFFFFF, a >> 32 ^ counter[3] ^ key[1], a & 0xFFFFFFFF]
            key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
        return counter

    def normals(state: list[int]) -> list[float]:
        result = []
        for x, y in ((state[0], state[1]), (state[2], state[3])):
            radius = math.sqrt(-2.0 * math.log(x * 2.0**-32 + 2.0**-33))
            angle = 2.0 * math.pi * (y * 2.0**-32 + 2.0**-33)
            result += [radius * math.sin(angle), radius * math.cos(angle)]
        return result

    grid = min((count + 255) // 256, processors * (per_processor // 256))
    stride = grid * 256
    out = [math.nan] * count
    rounded = ((count - 1) // (stride * 4) + 1) * stride * 4
    for index in range(stride):
        for draw, linear in enumerate(range(index, rounded, stride * 4)):
            for lane, value in enumerate(normals(block([draw, 0, index, 0]))):
                if linear + stride * lane < count:
                    out[linear + stride * lane] = value
    return out


@pytest.mark.parametrize("count", [1, 255, 257, 512, 513, 1500, 2048, 2049, 5000])
@pytest.mark.parametrize("seed", [0, 42, 2**40 + 7])
def test_cuda_noise_fills_the_tensor_in_the_order_of_atens_grid(count: int, seed: int) -> None:
    ours = initial_noise("torch-cuda@2x300/nchw/float32", seed, 1, 1, 1, count).reshape(-1)
    expected = torch.tensor(aten_normals(seed, count, 2, 300), dtype=torch.float64)
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=CUDA_BOUND)


def test_the_gpu_matters_only_beyond_its_threads() -> None:
    def noise_on(gpu: str, rows: int) -> torch.Tensor:
        return initial_noise(f"torch-cuda@{gpu}/nchw/float32", 5, 1, 16, rows, 128).reshape(-1)

    threads = 82 * 6 * 256  # RTX 3090: 82 multiprocessors with 1536 threads
    assert torch.equal(noise_on("rtx-3090", 128)[:threads], noise_on("h100", 128)[:threads])
    assert not torch.equal(noise_on("rtx-3090", 128)[threads:], noise_on("h100", 128)[threads:])
    assert torch.equal(noise_on("rtx-3090", 60), noise_on("h100", 60))
    assert torch.equal(noise_on("rtx-3090", 128), noise_on("82x1536", 128))
    default = initial_noise("torch-cuda/nchw/float32", 5, 1, 16, 128, 128).reshape(-1)
    assert torch.equal(default, noise_on("rtx-4090", 128))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares with torch on a CUDA GPU")
@pytest.mark.parametrize("dtype", noise.DTYPES)
def test_cuda_noise_is_this_gpus(dtype: str) -> None:
    properties = torch.cuda.get_device_properties(0)
    gpu = f"{properties.multi_processor_count}x{properties.max_threads_per_multi_processor}"
    for shape in ((1, 4, 8, 8), (1, 16, 128, 128), (2, 16, 191, 173)):
        generator = torch.Generator("cuda").manual_seed(1234567890123)
        theirs = torch.randn(shape, generator=generator, device="cuda", dtype=getattr(torch, dtype)).cpu().float()
        ours = initial_noise(f"torch-cuda@{gpu}/nchw/{dtype}", 1234567890123, *shape).float()
        # the GPU's sine is approximate; where that crosses a rounding boundary, the half types differ by 1 ulp
        slack = 5e-6 + torch.finfo(getattr(torch, dtype)).eps * theirs.abs() * (dtype != "float32")
        assert bool(((ours - theirs).abs() <= slack).all())
        assert float((ours != theirs).float().mean()) < (1.0 if dtype == "float32" else 0.01)


def test_float_bits_are_little_endian_in_the_fixtures() -> None:
    assert floats("3f800000")[0] == struct.unpack("<f", bytes.fromhex("0000803f"))[0] == 1.0


# --- the noise of steps ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_step_noise_on_the_cpu_is_torchs_generator_going_on(dtype: str) -> None:
    shape, drawn = (1, 4, 6, 7), getattr(torch, dtype)
    stream = NoiseStream(f"torch-cpu/nchw/{dtype}", 7, shape)
    generator = torch.Generator().manual_seed(7)
    torch.randn(shape, generator=generator, dtype=drawn)
    assert stream.draw().equal(torch.randn(shape, generator=generator, dtype=drawn))
    assert stream.draw("float32").equal(torch.randn(shape, generator=generator))


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 4, 128, 128), (3, 16, 128, 128)])
def test_step_noise_on_cuda_follows_atens_offset(shape: tuple[int, ...]) -> None:
    """`torch.randn` moves the offset on by 4 * ((n - 1) // (threads * 4) + 1) values (ATen DistributionTemplates.h),
    and cuRAND's counter counts four values: the next draw begins there."""
    stream = NoiseStream("torch-cuda@2x1024/nchw/float32", 7, shape)
    count, threads = math.prod(shape), 2 * 1024
    for number in (1, 2):
        found = stream.draw().reshape(-1)
        threads = min(threads, -(-count // 256) * 256)
        begin = number * ((count - 1) // (threads * 4) + 1)
        counter = np.zeros((4, threads), dtype=np.uint32)
        counter[0], counter[2] = begin, np.arange(threads)
        first, _ = _cuda_rng._box_muller(*_cuda_rng.philox(counter, (7, 0))[:2])
        expected = torch.from_numpy(first)[: min(threads, count)]
        assert found[: len(expected)].equal(expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares with torch on a CUDA GPU")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_step_noise_is_this_gpus(dtype: str) -> None:
    properties = torch.cuda.get_device_properties(0)
    gpu = f"{properties.multi_processor_count}x{properties.max_threads_per_multi_processor}"
    for shape in ((1, 4, 64, 64), (1, 4, 128, 128), (1, 16, 256, 256)):
        generator = torch.Generator("cuda").manual_seed(1234567890123)
        stream = NoiseStream(f"torch-cuda@{gpu}/nchw/{dtype}", 1234567890123, shape)
        for number in range(4):
            drawn = torch.randn(shape, generator=generator, device="cuda", dtype=getattr(torch, dtype)).cpu().float()
            if number:
                assert float((stream.draw().float() - drawn).abs().max()) < (1e-5 if dtype == "float32" else 0.04)


@pytest.mark.parametrize("profile", ["rust-stdrng-uniform/nchw/float32", "torch-cuda/packed/float32"])
def test_step_noise_of_others_is_refused(profile: str) -> None:
    with pytest.raises(ValueError, match=r"profile: steps draw noise with torch-cpu, .*box-muller in nchw"):
        NoiseStream(profile, 1, (1, 4, 8, 8))
