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
from course_utils.plots import Diagram
from lecture import figures, widgets

HOST = Path(__file__).parents[1] / "book" / "tools" / "widget-host.js"
DPI = 250


class Notes(SphinxDirective):
    """Speaker notes with the minutes they take; the minute at which the slide ends is added."""

    required_arguments, has_content = 1, True

    def run(self) -> list[nodes.Node]:
        """Return an element that Reveal shows to the speaker only."""
        minutes = float(self.arguments[0])
        until = self.env.temp_data.get("elapsed", 0) + minutes
        self.env.temp_data["elapsed"] = until
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
    """Content that appears later than the slide; Reveal calls it a fragment."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the content in a box."""
        node = nodes.container(classes=["fragment"])
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


class Plot(SphinxDirective):
    """A figure, drawn during the build from results that the package ships."""

    required_arguments, has_content = 1, True

    def run(self) -> list[nodes.Node]:
        """Draw the figure and return it: a diagram in the page, others as an image beside it."""
        name, alt = self.arguments[0], " ".join(self.content)
        figure = getattr(figures, name)()
        if isinstance(figure, Diagram):
            figure.alt = alt
            return [nodes.raw("", f'<div class="plot">{figure}</div>', format="html")]
        folder = Path(self.env.app.outdir) / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(
            folder / f"{name}.png",
            dpi=DPI,
            metadata={"Software": None},  # Matplotlib's version would make builds differ
            bbox_inches="tight",
            pad_inches=0.03,
        )
        image = f'<p class="plot"><img src="figures/{name}.png" alt="{html.escape(alt)}"></p>'
        return [nodes.raw("", image, format="html")]


class Live(SphinxDirective):
    """A widget of the course. Its model has its name, so two builds write the same page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Store the widget's state for `with_widgets` and return the mark of its position."""
        name = self.arguments[0]
        widget = getattr(widgets, name)()
        states = embed_data(views=[widget], drop_defaults=False)["manager_state"]["state"]
        self.env.live = getattr(self.env, "live", {}) | {name: states[widget.model_id]}
        mark = json.dumps({"model_id": name})
        script = f'<script type="application/vnd.jupyter.widget-view+json">{mark}</script>'
        # On a touch screen, moving a slider must not change the slide.
        box = f'<div class="live {name}" data-prevent-swipe>{script}</div>'
        return [nodes.raw("", box, format="html")]


class Chapters(SphinxDirective):
    """A list of all notebooks, each linked to Colab."""

    def run(self) -> list[nodes.Node]:
        """Return the list, which deck.css sets in two columns."""
        items = []
        for chapter in chapters():
            address, name = colab(f"{chapter.stem}.ipynb"), html.escape(chapter.name)
            items.append(f'<li><a href="{address}"><b>{chapter.number}</b> {name}</a></li>')
        return [nodes.raw("", f'<ul class="chapters">{"".join(items)}</ul>', format="html")]


def with_widgets(app, pagename, templatename, context, doctree):
    """Write the states of the widgets, and the script that runs them, into the deck's head."""
    if live := getattr(app.env, "live", None):
        state, files = slim({"state": live})
        if files:
            raise ExtensionError(
                f"expected widgets without lazy traits, since the deck is one file; got "
                f"{', '.join(files)}"
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
