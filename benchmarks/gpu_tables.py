"""The tables that benchmarks/on_a_gpu.py puts into a page: only of what its results hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Results = Mapping[str, Mapping[str, Any]]


def tables(results: Results) -> str:
    """Markdown of the results, with the machine above; parts that could not run are named with the reason."""
    ran = {part: found for part, found in results.items() if "not here" not in found}
    machines = sorted({found["machine"] for found in ran.values()})
    lines = ["", *(f"Measured on: {machine}." for machine in machines)]
    if "noise" in ran:
        lines += ["", _noise(ran["noise"])]
    for title, rows in (("pictures", _pictures(ran)), ("lora", _loras(ran)), ("memory", _policies(ran))):
        body = list(rows)
        if body:
            lines += ["", *HEADS[title], *body]
    lines += [line for part, found in ran.items() if part.startswith("memory") for line in _too_large(part, found)]
    lines += [f"\nNot run: {part} ({found['not here']})." for part, found in results.items() if "not here" in found]
    return "\n".join(lines) + "\n\n"


def _head(*columns: str) -> tuple[str, str]:
    return f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"


_SIDES = "beside, merged, stock"
HEADS = {
    "pictures": _head(
        "cell of [the trainers' own runs](parity.md#measured)",
        "float32: latent, pixels, mean",
        "bfloat16: latent, pixels, mean",
    ),
    "lora": _head(
        "model", "patcher", f"a step: without, {_SIDES}", f"changing the checkpoint: {_SIDES}", f"sweep: {_SIDES}",
        "merged = stock", "base restored",
    ),
    "memory": _head("patcher", "policy", "a step", "a picture", "most memory"),
}  # fmt: skip


def _noise(found: Mapping[str, Any]) -> str:
    far = ", ".join(f"{value:.2g} in {dtype}" for dtype, value in found["largest difference"].items())
    return f"Noise of `{found['generator']}`, beside torch's own on this device: the largest difference is {far}."


def _pictures(ran: Results) -> Iterable[str]:
    for tag, found in ran.get("pictures", {}).get("cells", {}).items():
        cells = (", ".join(str(value) for value in found[dtype]) for dtype in ("float32", "bfloat16"))
        yield f"| {tag} | {' | '.join(cells)} |"


def _loras(ran: Results) -> Iterable[str]:
    for part, found in ran.items():
        name, *rest = part.split()
        if name != "lora":
            continue
        ways = found["ways"]
        ours = ("beside", "merged", "stock")
        steps = ", ".join(f"{ways[way]['step_ms']:.0f}" for way in ("none", *ours))
        switches = ", ".join(f"{ways[way]['switch_ms']:.0f}" for way in ours)
        sweeps = ", ".join(f"{ways[way]['sweep_s']:.1f}" for way in ours)
        yes = ["yes" if found[what] else "**no**" for what in ("merged equals stock", "base weights restored")]
        yield (
            f"| {rest[0]}, {found['modules']} modules | {rest[1]} | {steps} ms | {switches} ms | {sweeps} s "
            f"| {yes[0]} | {yes[1]} |"
        )


def _policies(ran: Results) -> Iterable[str]:
    for part, found in ran.items():
        for mode, row in found.get("policies", {}).items():
            memory = f"{row['peak_mib']:.0f} MiB" if row["peak_mib"] else "not told by a CPU"
            yield f"| {part.split()[1]} | {mode} | {row['step_ms']:.0f} ms | {row['picture_s']:.2f} s | {memory} |"


def _too_large(part: str, found: Mapping[str, Any]) -> Iterable[str]:
    one, kind = found["too large"], part.split()[1]
    if "not here" in one:
        yield f"\nA batch without the room for it ({kind}) was not run: {one['not here']}."
        return
    measures = " ".join(one["measures"])
    yield (
        f"\nA batch that needs {one['needs_mib']} MiB, with {one['limit_mib']} MiB ({kind}): {measures} "
        f"The pictures are within {one['unequal']} of the largest value of those with room."
    )
