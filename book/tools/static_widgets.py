"""Sphinx extension: make the widget state in a page small, and safe for the page's own host.

myst-nb escapes only ``</script>`` in the state. A trait with the text ``<!-- <script`` would make
the rest of the page part of the script, so here every ``<`` is escaped. Traits that only the
widget manager of ipywidgets reads are dropped, and a module that several widgets use is stored
once. Traits that `jslink` or `jsdlink` connects stay connected.

Binary traits that a widget lists in `_lazy` are not part of the page. Each becomes a file, which
the page loads when it needs it. The file is a script, because browsers load scripts from file://
but no data.
"""

import hashlib
import json
import shutil
from pathlib import Path

MANAGER_TRAITS = {
    "_dom_classes",
    "_view_count",
    "_anywidget_id",
    "layout",
    "style",
    "tabbable",
    "tooltip",
}
MANAGER_SUFFIXES = ("_module", "_module_version", "_name")
LINKS = {"LinkModel": True, "DirectionalLinkModel": False}  # does the link work in both directions?


def slim(document: dict, where: str = "") -> tuple[dict, dict[str, str]]:
    """Return the state of every anywidget; other widgets can't run without a kernel.

    Args:
        document: The state as ipywidgets writes it.
        where: The URL of the folder of the files, relative to the page. It is empty or ends with a
            slash.

    Returns:
        The state for the page, and the files of the lazy traits as a dict from name to text.
    """
    sources, models, links, files = {}, {}, [], {}
    for model_id, model in document["state"].items():
        if model.get("model_name") in LINKS:
            links.append(_link(model))
        if "_esm" not in model["state"]:
            continue
        state = _own_traits(model["state"])
        # Always in this order, so that two builds write the same page.
        for name in ("_esm", "_css"):
            if name in state:
                key = _key(state[name])
                sources[key] = state[name]
                state[name] = key
        buffers = []
        for path, data in _buffers(model, state):
            if path[0] in state.get("_lazy", ()):
                key = _key(data)
                files[f"{key}.js"] = f'(window.courseData ??= {{}})["{key}"] = "{data}";\n'
                state[path[0]] = {"key": key, "src": f"{where}{key}.js"}
            else:
                buffers.append({"path": path, "data": data})
        models[model_id] = {"state": state, "buffers": buffers}
    return {"sources": sources, "state": models, "links": links}, files


def _link(model: dict) -> dict:
    """Return the two ends of a link, each as [widget, trait], and whether it works both ways."""
    ends = {}
    for end in ("source", "target"):
        widget, trait = model["state"][end]
        ends[end] = [widget.removeprefix("IPY_MODEL_"), trait]
    return {**ends, "both": LINKS[model["model_name"]]}


def _own_traits(state: dict) -> dict:
    """Return the traits that are the widget's own, without those of the widget manager."""
    return {
        name: value
        for name, value in state.items()
        if name not in MANAGER_TRAITS
        and not (name.startswith("_") and name.endswith(MANAGER_SUFFIXES))
    }


def _buffers(model: dict, state: dict) -> list[tuple[list, str]]:
    """Return path and content of the binary values that are still in use.

    nbclient keeps every buffer that it has seen. Those of traits that were set to None since then
    are outdated.
    """
    return [
        (buffer["path"], buffer["data"])
        for buffer in model.get("buffers", [])
        if state.get(buffer["path"][0], ()) is not None
    ]


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def write(files: dict[str, str], folder: Path) -> None:
    """Write a page's files into a folder, replacing those of an earlier build."""
    shutil.rmtree(folder, ignore_errors=True)
    if files:
        folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="ascii")


def to_script(value: dict) -> str:
    """Return JSON that can neither end the script element it is in nor open another."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def slim_page(app, pagename, templatename, context, doctree):
    """Replace a page's state before myst-nb writes it."""
    scripts = app.env.nb_metadata.get(pagename, {}).get("js_files", {})
    if "ipywidgets_state" not in scripts:
        return
    path, attributes = scripts["ipywidgets_state"]
    document = json.loads(attributes["body"].replace(r"<\/script>", "</script>"))
    # Sphinx keeps its environment between builds, so a state may have been replaced before.
    if "sources" in document:
        return
    folder = f"_static/widget-data/{pagename}"
    state, files = slim(document, "../" * pagename.count("/") + folder + "/")
    write(files, Path(app.outdir) / folder)
    scripts["ipywidgets_state"] = (path, {**attributes, "body": to_script(state)})


def setup(app):
    """Run before myst-nb's own handler, which has the priority 500."""
    app.connect("html-page-context", slim_page, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
