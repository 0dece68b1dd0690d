import json
import os
import platform
import subprocess
import sys

import pytest

from course_utils.core import allocator
from course_utils.core.allocator import keeping_freed_memory

MEGABYTES = 64  # more than any threshold at which glibc starts to return memory

# What malloc has taken from the system, counted by malloc itself: the counts of the system, such as
# page faults, are 0 in some containers.
SCRIPT = f"""
import ctypes
from course_utils.core.allocator import keeping_freed_memory

NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"

class Information(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES.split()]

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.mallinfo2.restype = Information

def taken():
    information = libc.mallinfo2()
    return (information.arena + information.hblkhd) >> 20

def after_use():
    start = libc.malloc(ctypes.c_size_t({MEGABYTES} << 20))
    libc.memset(ctypes.c_void_p(start), 1, ctypes.c_size_t({MEGABYTES} << 20))
    libc.free(ctypes.c_void_p(start))
    return taken()

first = taken()
before = after_use() - first
with keeping_freed_memory():
    inside, again = after_use() - first, after_use() - first
print([before, inside, again, taken() - first, after_use() - first])
"""


@pytest.fixture(autouse=True)
def without_settings(monkeypatch):
    for name in os.environ:
        if name.startswith(("MALLOC_", "GLIBC_TUNABLES")):
            monkeypatch.delenv(name)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_memory_is_kept_inside_and_returned_afterwards():
    # In a process of its own, because the tests before this one leave memory free in theirs.
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    before, inside, again, end, afterwards = json.loads(run.stdout)  # megabytes more than at first
    assert before < MEGABYTES / 2
    assert inside >= MEGABYTES
    assert again == inside  # the second time, what was kept is used again
    assert end < MEGABYTES / 2
    assert afterwards < MEGABYTES / 2


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
