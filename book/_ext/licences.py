"""Sphinx extension: ``{licences}`` lists the packages that pyproject.toml asks for, with the licence each one states.

The list is made of what is installed where the book is built.
"""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

SHORT = 40  # characters; more is the text of a licence, not its name
COLUMNS = ("Package", "Version", "Licence", "Installed for")


def licence(package: str) -> str:
    """The name of a package's licence, in the words of its authors."""
    about = metadata.metadata(package)
    if expression := about.get("License-Expression"):
        return expression
    classifiers = [
        c.split(" :: ")[-1] for c in about.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    field = about.get("License", "")
    stated = classifiers or [field] * (field != "UNKNOWN" and len(field) <= SHORT)
    return ", ".join(stated) or "not stated in its metadata"


def packages(project: dict) -> dict[str, str]:
    """Each package that the course asks for, in alphabetical order, and the first thing that it is there for."""
    purposes = {"the course": project["dependencies"], **project["optional-dependencies"]}
    found = {}
    for purpose, requirements in purposes.items():
        for requirement in requirements:
            name = re.match(r"[\w.-]+", requirement)[0]
            if name != project["name"]:
                found.setdefault(name, purpose)
    return dict(sorted(found.items()))


def row(cells: tuple[str, ...]) -> nodes.row:
    """A row of a table of texts."""
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", cell)) for cell in cells))


class Licences(SphinxDirective):
    """The table."""

    def run(self) -> list[nodes.Node]:
        """Read what is installed."""
        path = Path(self.env.srcdir) / "pyproject.toml"
        self.env.note_dependency(str(path))
        asked = packages(tomllib.loads(path.read_text(encoding="utf-8"))["project"])
        rows = [
            row((name, metadata.version(name), licence(name), purpose))
            for name, purpose in asked.items()
            if any(metadata.distributions(name=name))
        ]
        group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in COLUMNS), cols=len(COLUMNS))
        group += [nodes.thead("", row(COLUMNS)), nodes.tbody("", *rows)]
        return [nodes.table("", group, classes=["colwidths-auto"])]


def setup(app):
    """Add the directive."""
    app.add_directive("licences", Licences)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
