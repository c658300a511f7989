"""A process that trains keeps the memory of freed tensors, where its environment does not say otherwise."""

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from distill import machine

FAULTS = """
import ctypes, resource, sys
from distill.machine import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    before = faults()
    block = libc.malloc(2**26)
    ctypes.memset(block, 1, 2**26)
    libc.free(block)
    count = faults() - before
print(count)
"""


def faults(how: str, **environment: str) -> int:
    """Page faults of the fourth use of 64 MB: 16,384 pages of 4 KB, or fewer that are larger."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(command, env=outside | environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory by its own rules")
def test_a_large_block_is_not_cleared_by_the_system_for_each_use() -> None:
    by_the_system = faults("as it is")
    assert by_the_system > 0
    assert faults("kept") < by_the_system / 20
    for said in ({"MALLOC_MMAP_THRESHOLD_": str(2**20)}, {"GLIBC_TUNABLES": f"glibc.malloc.mmap_threshold={2**20}"}):
        assert faults("kept", **said) > by_the_system / 2  # as the user has set it


@pytest.mark.parametrize(
    ("taken", "asked"),
    [
        (2**30, [(-3, 2**30), (-1, 2**30)]),
        (2**25, [(-3, 2**30), (-3, 2**25), (-1, 2**30)]),
        (0, [(-3, 2**30), (-3, 2**25)]),
    ],
)
def test_an_older_glibc_is_not_left_with_half_of_it(
    taken: int, asked: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses a largest block above 32 MB; with the other threshold alone it would map each block above 128 KB anew."""
    calls = []

    def mallopt(number: int, value: int) -> int:
        calls.append((number, value))
        return int(number == -1 or value <= taken)

    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    machine.keep_freed_memory()
    assert calls == asked
