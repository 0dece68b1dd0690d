"""What the workflows, hooks, dev container and texts tell a machine to run is there to be run."""

import importlib.util
import json
import re
import shutil
import sysconfig
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import readme

from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OLDEST = PROJECT["requires-python"].removeprefix(">=")
TARGETS = set(
    re.findall(r"^([\w./]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
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
    for command in re.findall(r"""(?:^|run: |\|\| |")make ((?:[\w./=]+ ?)+)""", text, re.MULTILINE):
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
def test_a_workflow_is_whole(path):
    workflow = read(path)
    assert workflow["name"] == path.stem
    assert workflow[True]  # YAML reads the key `on` so
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        assert job["steps"][0]["uses"].startswith("actions/checkout@")
        for step in job["steps"]:
            assert (
                re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
                if "uses" in step
                else step["run"]
            )
        matrix = job.get("strategy", {}).get("matrix", {})
        for variant in matrix.get("include", [matrix]):
            assert set(re.findall(r"\{\{ matrix\.(\w+) \}\}", str(job))) <= variant.keys()


def test_every_system_and_python_is_tested_and_the_whole_test_on_one():
    jobs = read(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]
    matrix = jobs["units"]["strategy"]["matrix"]
    assert matrix["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert matrix["python"][0] == OLDEST
    assert {"run": "bash .ci/run"} in jobs["whole"]["steps"]


def test_the_readmes_installations_install_the_same():
    """The README's for Windows and for conda, Make's and the dev container's: one Python, one set of extras."""
    pip = read(ROOT / "environment.yml")["dependencies"][-1]["pip"]
    assert pip == ["-c constraints.txt", "-e .[book,test]"]
    assert f"python={OLDEST}" in read(ROOT / "environment.yml")["dependencies"]
    windows = readme.block("powershell")
    assert f"venv --python {OLDEST} .venv\n" in windows
    for text in (windows, (ROOT / "Makefile").read_text(encoding="utf-8")):
        assert '-c constraints.txt -e ".[book,test]"' in text
    container = json.loads(
        (ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
    )
    assert container["image"].endswith(f"python:{OLDEST}")
    assert container["postCreateCommand"].split() == ["make", ".venv/ready", "browser"]


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-colab.txt"])
def test_pins_are_in_the_ranges_that_the_course_allows(file):
    """Colab's, too: else its set-up cell would replace what is there."""
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


def test_forms_and_updates_are_what_github_reads():
    for form in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        content = read(form)
        if form.stem != "config":
            assert {"name", "description", "body"} <= content.keys()
            assert all(part["attributes"]["label"] for part in content["body"])
    updates = read(ROOT / ".github" / "dependabot.yml")
    assert updates["version"] == 2
    pip = {update["package-ecosystem"]: update for update in updates["updates"]}["pip"]
    assert pip["exclude-paths"] == ["constraints-colab.txt"]  # Colab's to change


def test_the_files_that_the_contributing_page_names_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    names = re.findall(
        r"`(?:\.venv/bin/python -m book\.rehearse )?((?:[\w.-]+/)*[\w-]+\.(?:py|ipynb|md|txt|toml|yml))`",
        text,
    )
    assert len(names) > 8
    assert [name for name in names if not (ROOT / name).is_file()] == []
