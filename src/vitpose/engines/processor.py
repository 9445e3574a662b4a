"""What the CPU is called and which arithmetic it has of its own."""

import platform
from pathlib import Path

_INFO = Path("/proc/cpuinfo")

INSTRUCTIONS = (
    "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm", "bf16",
)  # fmt: skip
"""Those that decide how fast a model is, as Linux calls them; the last three are ARM's."""

_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
_INT8 = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"}


def processor_name() -> str:
    """Return what the CPU is called."""
    return _fields().get("model name") or platform.processor()


def instructions() -> tuple[str, ...]:
    """Return those of ``INSTRUCTIONS`` this CPU has; none where the system does not list them (only Linux does)."""
    fields = _fields()
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return tuple(name for name in INSTRUCTIONS if name in flags)


def has_bf16() -> bool:
    """Return whether this CPU multiplies bf16 numbers itself."""
    return not _BF16.isdisjoint(instructions())


def has_int8() -> bool:
    """Return whether this CPU sums products of int8 numbers itself."""
    return not _INT8.isdisjoint(instructions())


def _fields() -> dict[str, str]:
    """Return what the system says about its first core."""
    text = _INFO.read_text(encoding="utf-8", errors="replace") if _INFO.is_file() else ""
    first = text.partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
