"""A process that trains keeps the memory of freed tensors, where its environment does not say otherwise."""

import os
import platform
import subprocess
import sys

import pytest

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
    assert faults("kept", MALLOC_MMAP_THRESHOLD_=str(2**20)) > by_the_system / 2  # as the user has set it
