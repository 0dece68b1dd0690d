"""Sphinx extension: ``{licences}`` lists the packages in pyproject.toml and their licences.

Versions and licences are those of the packages that are installed where the book is built.
"""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

LONGEST_NAME = 40  # characters; a longer field holds the text of a licence instead of its name
COLUMNS = ("Package", "Version", "Licence", "Installed for")


def licence(package: str) -> str:
    """Return the name of a package's licence, as its metadata states it."""
    about = metadata.metadata(package)
    if expression := about.get("License-Expression"):
        return expression
    classifiers = [
        classifier.split(" :: ")[-1]
        for classifier in about.get_all("Classifier") or []
        if classifier.startswith("License ::")
    ]
    if classifiers:
        return ", ".join(classifiers)
    field = about.get("License", "")
    is_name = field not in ("", "UNKNOWN") and len(field) <= LONGEST_NAME
    return field if is_name else "not stated in its metadata"


def packages(project: dict) -> dict[str, str]:
    """Return the required packages in alphabetical order, each with its first purpose.

    Args:
        project: The table ``[project]`` of pyproject.toml.
    """
    purposes = {"the course": project["dependencies"], **project["optional-dependencies"]}
    found = {}
    for purpose, requirements in purposes.items():
        for requirement in requirements:
            name = re.match(r"[\w.-]+", requirement)[0]
            if name != project["name"]:
                found.setdefault(name, purpose)
    return dict(sorted(found.items()))


def row(cells: tuple[str, ...]) -> nodes.row:
    """Return a table row of texts."""
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", cell)) for cell in cells))


class Licences(SphinxDirective):
    """The table of packages and licences."""

    def run(self) -> list[nodes.Node]:
        """Return the table; packages that are not installed are left out."""
        path = Path(self.env.srcdir) / "pyproject.toml"
        self.env.note_dependency(str(path))
        required = packages(tomllib.loads(path.read_text(encoding="utf-8"))["project"])
        rows = [
            row((name, metadata.version(name), licence(name), purpose))
            for name, purpose in required.items()
            if any(metadata.distributions(name=name))
        ]
        group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in COLUMNS), cols=len(COLUMNS))
        group += [nodes.thead("", row(COLUMNS)), nodes.tbody("", *rows)]
        return [nodes.table("", group, classes=["colwidths-auto"])]


def setup(app):
    """Add the directive."""
    app.add_directive("licences", Licences)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
