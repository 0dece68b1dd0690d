import os

os.environ["OMP_NUM_THREADS"] = (
    "1"  # several tests run at a time, and small networks gain nothing from a second thread
)
os.environ["CUDA_VISIBLE_DEVICES"] = (
    ""  # exact comparisons are made on the CPU, whatever the machine has
)

import hypothesis
import jaxtyping
import pytest

from course_utils.data.splits import Splits, load
from tests.browser import (  # noqa: F401  fixtures of all tests that open a page
    chromium,
    html,
    open_chapter,
    page,
    root,
    show_states,
    show_widget,
    site,
)

hypothesis.settings.register_profile("course", deadline=None)  # speed is measured in benchmarks
hypothesis.settings.load_profile("course")

NEEDS = {"html": "book", "deck": "book", "handout": "book", "chromium": "browser"}


def pytest_collection_modifyitems(items):
    """Mark tests by what they need, so that `make check` can leave out the slow kinds."""
    for item in items:
        for fixture, marker in NEEDS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)


@pytest.fixture(scope="session")
def digits() -> Splits:
    """Small cluttered digits: 32-pixel canvases, one fragment."""
    return load(size=32, fragments=1, counts={"train": 96, "val": 20, "test": 30})


@pytest.fixture
def unchecked():
    """Without the run-time check of shapes and types: what a user without it gets to see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
