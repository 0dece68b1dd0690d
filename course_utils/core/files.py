"""Files of the course: where the cache lives, and writing a file whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_dir


def cache_dir() -> Path:
    """Where the course keeps what is slow to make: ``COURSE_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("COURSE_CACHE") or user_cache_dir("attention-in-cnns"))
