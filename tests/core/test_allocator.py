import ctypes
import os
import platform
import resource

import pytest

from course_utils.core import allocator
from course_utils.core.allocator import keeping_freed_memory

BYTES = 2**26  # more than any threshold at which glibc starts to return memory


@pytest.fixture(autouse=True)
def without_settings(monkeypatch):
    for name in os.environ:
        if name.startswith(("MALLOC_", "GLIBC_TUNABLES")):
            monkeypatch.delenv(name)


def page_faults():
    """Return how many pages the system hands out when memory is written, freed and written again.

    A feature map is written from end to end, so every page of it counts.
    """
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(2):
        start = libc.malloc(ctypes.c_size_t(BYTES))
        ctypes.memset(start, 1, BYTES)
        libc.free(ctypes.c_void_p(start))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_memory_is_kept_inside_and_returned_afterwards():
    usual = page_faults()
    with keeping_freed_memory():
        page_faults()  # the first time, the heap grows
        kept = page_faults()
    assert kept < usual / 10
    assert page_faults() > usual / 2


def test_nothing_is_set_on_other_systems_or_over_the_users_settings(monkeypatch):
    monkeypatch.setattr(allocator, "_set", lambda *_: pytest.fail("settings were changed"))
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    with keeping_freed_memory():
        pass
    monkeypatch.undo()
    monkeypatch.setattr(allocator, "_set", lambda *_: pytest.fail("settings were changed"))
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    with keeping_freed_memory():
        pass


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_an_error_restores_the_settings(monkeypatch):
    calls = []
    monkeypatch.setattr(allocator, "_set", lambda libc, values: calls.append(values))
    with pytest.raises(ZeroDivisionError), keeping_freed_memory():
        raise ZeroDivisionError
    assert calls == [allocator.KEEP, allocator.USUAL]
