"""Every command and file that workflows, hooks, dev container and texts name exists."""

import importlib.util
import re
import shutil
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from platformdirs.unix import Unix

from course_utils.studies.photographs import DOWNLOAD, FOLDER, VARIABLE
from tests import readme
from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TARGETS = set(
    re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
)

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TOLD = [*WORKFLOWS, ROOT / "Makefile", ROOT / ".ci" / "run", ROOT / ".pre-commit-config.yaml"]
TOLD += [ROOT / ".devcontainer" / "devcontainer.json", ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
TOLD += sorted((ROOT / "book").glob("*.md"))


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", TOLD, ids=lambda path: path.name)
def test_every_command_is_there(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":  # what stands in code, a line each
        text = "\n".join(re.findall(r"`+([^`]+)`+", text))
    make = r"""(?:^|run: |\|\| |")make ((?:[\w./=-]+ ?)+)"""
    for command in re.findall(make, text, re.MULTILINE):
        assert {word for word in command.split() if "=" not in word} <= TARGETS
    for module in {*re.findall(r"python -m ([\w.]+)", text)} - {
        "pip",
        "uv",
    }:  # what makes the environment
        assert importlib.util.find_spec(module), module
    for script in re.findall(r"(?:python|bash) ((?:\.ci|tests|book)/\S+)", text):
        assert (ROOT / script).is_file(), script
    for program in re.findall(r"(?:\.venv/bin|\$\(BIN\))/([\w-]+)", text):
        assert shutil.which(program, path=sysconfig.get_path("scripts")) or program == "uv", program
    for extras in re.findall(r"""-e "?\.\[([\w,]+)\]""", text):
        assert set(extras.split(",")) <= set(EXTRAS)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_pins_its_actions_and_names_what_exists(path):
    workflow = read(path)
    assert "permissions" in workflow  # none means all that the token may do
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        assert set(job.get("needs", [])) <= workflow["jobs"].keys()
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+[\w.]*|[0-9a-f]{40})", step["uses"])
        matrix = job.get("strategy", {}).get("matrix", {})
        for variant in matrix.get("include", [matrix]):
            assert set(re.findall(r"\{\{ matrix\.(\w+) \}\}", str(job))) <= variant.keys()


def test_pages_are_published_only_after_every_test():
    jobs = read(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]
    (publish,) = (job for job in jobs.values() if "deploy-pages" in str(job))
    assert set(publish["needs"]) == {name for name, job in jobs.items() if job is not publish}
    assert publish["concurrency"]["cancel-in-progress"] is False


def test_only_the_published_book_downloads_photographs(monkeypatch):
    """The folders that are kept between runs are those that the download fills."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    users = []
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            users += [(path.stem, name, s) for s in job["steps"] if VARIABLE in str(s)]
            assert VARIABLE not in str(job.get("env", {}))
    ((workflow, job, step),) = users
    assert (workflow, job, step["run"]) == ("tests", "book", "make pdf")
    assert step["env"] == {VARIABLE: DOWNLOAD}
    steps = read(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]["book"]["steps"]
    (kept,) = (step["with"]["path"].split() for step in steps if "/cache@" in step.get("uses", ""))
    home = Unix("attention-in-cnns").user_cache_path / "photographs" / FOLDER
    assert {Path(path).expanduser() for path in kept} == {home / "annotations", home / "images"}
    assert VARIABLE not in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_windows_installs_what_make_installs():
    installation = r'-c constraints\.txt -e "\.\[[\w,]+\]"'
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(installation, readme.block("powershell")) == re.findall(
        installation, makefile
    )


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-colab.txt"])
def test_pins_are_in_the_ranges_that_the_course_allows(file):
    """Colab's pins must be, too; otherwise the set-up cell would replace Colab's packages."""
    pins = dict(line.split("==") for line in (ROOT / file).read_text(encoding="utf-8").split())
    extras = (
        [part for extra in EXTRAS.values() for part in extra] if file == "constraints.txt" else []
    )
    asked = map(Requirement, PROJECT["dependencies"] + extras)
    allowed = {canonicalize_name(requirement.name): requirement.specifier for requirement in asked}
    both = pins.keys() & allowed.keys()
    assert {name: pins[name] for name in both if not allowed[name].contains(pins[name])} == {}
    assert {"torch", "torchvision", "numpy", "ipywidgets", "anywidget", "matplotlib"} <= both


def test_the_citation_is_complete():
    citation = read(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type", "license", "keywords"} <= citation.keys()
    assert all({"name"} <= author.keys() or {"family-names", "given-names"} <= author.keys()
               for author in citation["authors"])  # fmt: skip
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]


def test_the_files_that_the_contributing_page_names_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    names = re.findall(
        r"`(?:\.venv/bin/python -m book\.rehearse )?"
        r"((?:[\w.-]+/)*[\w-]+\.(?:py|ipynb|md|txt|toml|yml))`",
        text,
    )
    assert len(names) > 8
    assert [name for name in names if not (ROOT / name).is_file()] == []
