"""Sphinx extension: directives for slides, which pages of the book don't need.

- ``{notes} 2`` holds the speaker notes, for two minutes.
- ``{plot} name`` draws the figure of that name in figures.py; its content is the alternative text.
- ``{live} name`` shows a widget of widgets.py, run by the book's own host.
- ``{step}`` holds content that appears at the next key.
- ``{chapters}`` lists the notebooks.
"""

import html
import json
from pathlib import Path

from docutils import nodes
from ipywidgets.embed import embed_data
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from book.tools.address import colab
from book.tools.chapters import chapters
from book.tools.static_widgets import slim, to_script
from lecture import figures, widgets

HOST = Path(__file__).parents[1] / "book" / "tools" / "widget-host.js"
DPI = 250


class Notes(SphinxDirective):
    """Speaker notes with the minutes they take; the minute at which the slide ends is added."""

    required_arguments, has_content = 1, True

    def run(self) -> list[nodes.Node]:
        """An element that Reveal shows to the speaker only."""
        minutes = float(self.arguments[0])
        self.env.temp_data["elapsed"] = until = self.env.temp_data.get("elapsed", 0) + minutes
        time = f"{minutes:g} min, until minute {until:g}"
        node = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, node)
        head = f'<aside class="notes" data-minutes="{minutes:g}"><p><strong>{time}</strong></p>'
        return [
            nodes.raw("", head, format="html"),
            *node.children,
            nodes.raw("", "</aside>", format="html"),
        ]


class Step(SphinxDirective):
    """Content that appears later than the slide: Reveal's fragment."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """A box around the content."""
        node = nodes.container(classes=["fragment"])
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


class Plot(SphinxDirective):
    """A figure that is computed now, from what the package ships."""

    required_arguments, has_content = 1, True

    def run(self) -> list[nodes.Node]:
        """Draw, write beside the page, and refer to it."""
        name = self.arguments[0]
        folder = Path(self.env.app.outdir) / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        tight = {"bbox_inches": "tight", "pad_inches": 0.03}
        getattr(figures, name)().savefig(
            folder / f"{name}.png", dpi=DPI, metadata={"Software": None}, **tight
        )
        alt = html.escape(" ".join(self.content))
        return [
            nodes.raw(
                "", f'<p class="plot"><img src="figures/{name}.png" alt="{alt}"></p>', format="html"
            )
        ]


class Live(SphinxDirective):
    """A widget of the course. Its model has its name, so two builds write the same page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Keep the state for the end of the page, and mark the place."""
        name = self.arguments[0]
        widget = getattr(widgets, name)()
        states = embed_data(views=[widget], drop_defaults=False)["manager_state"]["state"]
        self.env.live = getattr(self.env, "live", {}) | {name: states[widget.model_id]}
        mark = json.dumps({"model_id": name})
        script = f'<script type="application/vnd.jupyter.widget-view+json">{mark}</script>'
        return [
            nodes.raw(
                "", f'<div class="live {name}" data-prevent-swipe>{script}</div>', format="html"
            )
        ]


class Chapters(SphinxDirective):
    """A list of all notebooks, each linked to Colab."""

    def run(self) -> list[nodes.Node]:
        """A list in two columns."""
        items = []
        for chapter in chapters():
            address, name = colab(f"{chapter.stem}.ipynb"), html.escape(chapter.name)
            items.append(f'<li><a href="{address}"><b>{chapter.number}</b> {name}</a></li>')
        return [nodes.raw("", f'<ul class="chapters">{"".join(items)}</ul>', format="html")]


def with_widgets(app, pagename, templatename, context, doctree):
    """Write the widgets' states and their host into the head of the deck."""
    if live := getattr(app.env, "live", None):
        state, files = slim({"state": live})
        if files:
            raise ExtensionError(
                f"lazy traits have no place in the deck, which is one page, got {', '.join(files)}"
            )
        context["metatags"] += (
            f'<script type="application/vnd.jupyter.widget-state+json">{to_script(state)}</script>'
            f"<script>{HOST.read_text(encoding='utf-8')}</script>"
        )


def setup(app):
    """Add the directives."""
    for directive in (Notes, Step, Plot, Live, Chapters):
        app.add_directive(directive.__name__.lower(), directive)
    app.connect("html-page-context", with_widgets)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
