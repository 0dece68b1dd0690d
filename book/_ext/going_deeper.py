"""Sphinx extension: fold every section whose heading starts with "Going deeper: ".

The heading stays, with its anchor and its line in the table of contents. Everything below it goes
into a closed ``<details>``: text, cells and outputs, up to the next heading of the same or a higher
level. The cells are executed like all others. Notebooks fold below a heading by themselves.
"""

from pathlib import Path

from docutils import nodes

from book.tools import minutes


class Folded(nodes.General, nodes.Element):
    """The content of a folded section; the attribute ``summary`` is the text to click on."""


def summary(title: str, durations: dict[str, int]) -> str:
    """Return the text to click on.

    Args:
        title: The heading of the section.
        durations: The minutes of the folded sections whose length is known, by their headings.
    """
    if title not in durations:
        return "Open this part"
    unit = "minute" if durations[title] == 1 else "minutes"
    return f"Open this part (about {durations[title]} {unit})"


def fold(app, doctree, docname):
    """Put the content of each folded section into one node, when the table of contents is made."""
    source = Path(app.env.doc2path(docname))
    durations = minutes.folded(minutes.read(source)) if source.suffix == ".ipynb" else {}
    for section in list(doctree.findall(nodes.section)):
        title = section[0].astext()
        if title.startswith(minutes.FOLDED):
            content = section[1:]
            del section[1:]
            section += Folded("", *content, summary=summary(title, durations))


def open_details(translator, node):
    """Write the start of a folded section."""
    translator.body.append(
        f'<details class="course-deeper">\n<summary>{node["summary"]}</summary>\n'
    )


def close_details(translator, node):
    """Write the end of a folded section."""
    translator.body.append("</details>\n")


def setup(app):
    """Fold the sections of pages only; other builders, such as linkcheck, see them as they are."""
    app.add_node(Folded, html=(open_details, close_details))
    app.connect("doctree-resolved", fold)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
