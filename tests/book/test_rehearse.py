"""The rehearsal's judgement of a run; `make rehearsal` and the weekly workflow run the chapters."""

import re

import nbformat
import pytest
from packaging.requirements import Requirement

from book import rehearse
from book.tools.address import REPOSITORY, ROOT, SETUP

WHEEL = ROOT / "course_utils-0.1.0-py3-none-any.whl"


def chapter(*outputs, source=SETUP):
    cells = [
        nbformat.v4.new_code_cell(source, metadata={"tags": ["setup"]}),
        nbformat.v4.new_code_cell("a / b"),
    ]
    for cell, found in zip(cells, outputs):
        cell.outputs = found
    return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_the_set_up_cell_installs_the_wheel_and_changes_nothing_else(path):
    before, after = (nbformat.read(path, as_version=4) for _ in range(2))
    rehearse.with_wheel(after, WHEEL)
    changed = [
        (old.source, new.source) for old, new in zip(before.cells, after.cells) if old != new
    ]
    assert changed == [(SETUP.rstrip(), changed[0][1])]
    assert REPOSITORY not in changed[0][1]
    requirement = Requirement(re.search(r'%pip install -q "(.+)"', changed[0][1])[1])
    assert (requirement.name, requirement.url) == ("course-utils", WHEEL.as_uri())


def test_a_notebook_that_installs_from_elsewhere_is_rejected():
    with pytest.raises(ValueError, match=REPOSITORY):
        rehearse.with_wheel(chapter(source="%pip install course-utils"), WHEEL)


def test_replaced_versions_are_named():
    before = rehearse.parse("numpy==2.0.2\ntorch==2.11.0+cpu\ntqdm==4.67.3\n")
    after = rehearse.parse(
        f"course-utils @ {WHEEL.as_uri()}\nlightning==2.6.6\nnumpy==2.0.2\ntorch==2.15.0\n"
    )
    assert rehearse.replaced(before, after) == ["torch 2.11.0+cpu -> 2.15.0", "tqdm 4.67.3 -> gone"]
    assert rehearse.replaced(before, {**before, "lightning": "2.6.6"}) == []


def test_a_failed_cell_is_shown_with_the_output_of_the_set_up_cell():
    printed = nbformat.v4.new_output("stream", text="ERROR: no matching distribution\n")
    error = nbformat.v4.new_output(
        "error", ename="ZeroDivisionError", evalue="division by zero", traceback=[]
    )
    found = rehearse.failure(chapter([printed], [error]))
    for part in ("a / b", "ZeroDivisionError: division by zero", "no matching distribution"):
        assert part in found
    assert rehearse.failure(chapter([printed], [])) is None


def test_without_colabs_python_one_sentence_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(rehearse, "has_python", lambda: False)
    assert rehearse.main([]) == 1
    message = capsys.readouterr().err
    assert f"python install {rehearse.PYTHON}" in message
    assert message.count("\n") == 1


def test_the_frozen_versions_include_those_that_must_not_be_replaced():
    lines = rehearse.FREEZE.read_text(encoding="utf-8").splitlines()
    assert lines == sorted(set(lines))
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)
    pinned = rehearse.parse("\n".join(lines))
    assert {
        "torch",
        "torchvision",
        "numpy",
        "ipywidgets",
        "anywidget",
        "ipykernel",
        "nbclient",
    } <= set(pinned)
