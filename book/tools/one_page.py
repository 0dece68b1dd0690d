"""A page with nothing but widgets, as the book would have them: for tests and measurements."""

import json
from pathlib import Path

from ipywidgets import Widget
from ipywidgets.embed import dependency_state, embed_data

from book.tools import static_widgets

HERE = Path(__file__).parent


def states_of(*widgets: Widget) -> dict:
    """The states of widgets, with all their traits as they are now, as a notebook keeps them."""
    state = dependency_state(widgets, drop_defaults=False)
    return embed_data(views=widgets, state=state)["manager_state"]["state"]


def write(folder: Path, states: dict, *ids: str) -> Path:
    """Write ``page.html`` and its ``data`` from the states of widgets and one mark an id; returns the page."""
    marks = "".join(
        f'<script type="application/vnd.jupyter.widget-view+json">{json.dumps({"model_id": i})}</script>'
        for i in ids
    )
    host = (HERE / "widget-host.js").read_text(encoding="utf-8")
    state, files = static_widgets.slim({"state": states}, "data/")
    static_widgets.write(files, folder / "data")
    (folder / "page.html").write_text(
        '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<body>{marks}<p>after</p>"
        f'<script type="application/vnd.jupyter.widget-state+json">{static_widgets.to_script(state)}</script>'
        f"<script>{host}</script>",
        encoding="utf-8",
    )
    return folder / "page.html"
