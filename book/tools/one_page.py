"""Write a page that has only widgets, as the book would show them: for tests and benchmarks."""

import json
from pathlib import Path

from ipywidgets import Widget
from ipywidgets.embed import dependency_state, embed_data

from book.tools import static_widgets

HERE = Path(__file__).parent


def states_of(*widgets: Widget) -> dict:
    """Return the states of widgets with all their current traits, as a notebook stores them."""
    state = dependency_state(widgets, drop_defaults=False)
    return embed_data(views=widgets, state=state)["manager_state"]["state"]


def write(folder: Path, states: dict, *ids: str) -> Path:
    """Write a page, and the data that it loads, into a folder.

    Args:
        folder: Folder for `page.html` and for the folder `data`.
        states: The states of widgets, as `states_of` returns them.
        *ids: The widgets to show, in order. A widget may be shown more than once.

    Returns:
        The path of the page.
    """
    marks = "".join(
        '<script type="application/vnd.jupyter.widget-view+json">'
        f"{json.dumps({'model_id': model_id})}</script>"
        for model_id in ids
    )
    host = (HERE / "widget-host.js").read_text(encoding="utf-8")
    state, files = static_widgets.slim({"state": states}, "data/")
    static_widgets.write(files, folder / "data")
    (folder / "page.html").write_text(
        '<!doctype html><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<body>{marks}<p>after</p>"
        '<script type="application/vnd.jupyter.widget-state+json">'
        f"{static_widgets.to_script(state)}</script>"
        f"<script>{host}</script>",
        encoding="utf-8",
    )
    return folder / "page.html"
