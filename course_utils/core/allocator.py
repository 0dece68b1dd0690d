"""Memory of the CPU that stays with the process while a network trains."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of `mallopt`, from glibc's malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
# Take memory from the heap only, and never make the heap smaller.
KEEP = {MMAP_MAX: 0, TRIM_THRESHOLD: -1}
# glibc's own values in a process that has freed a large tensor: it raises its thresholds itself,
# up to these two.
USUAL = {MMAP_MAX: 2**16, MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26}


@contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Keep freed memory for the next tensor instead of returning it to the system.

    A training step frees each of its large feature maps and requests the same memory again in the
    next step. By default glibc returns it to the system, which then has to clear every page anew.
    Inside this block the memory stays with the process, and at the end it is returned. Results stay
    the same, bit by bit.

    The block changes nothing without glibc, as on macOS, on Windows and on Alpine Linux, or if the
    environment already has settings for malloc.
    """
    set_by_user = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if set_by_user or platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    _set(libc, KEEP)
    try:
        yield
    finally:
        _set(libc, USUAL)
        libc.malloc_trim(0)


def _set(libc: ctypes.CDLL, values: dict[int, int]) -> None:
    for parameter, value in values.items():
        libc.mallopt(parameter, value)
