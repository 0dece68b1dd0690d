"""Sphinx extension: the widget state that myst-nb writes into a page, made small and safe for the page's own host.

myst-nb escapes only ``</script>``; a trait holding ``<!-- <script`` would swallow the page, so every ``<`` is escaped.
Traits that only ipywidgets' manager reads are dropped, and the text of a module used twice is kept once. What `jslink`
and `jsdlink` tie together stays tied.

Binary traits that a widget names in `_lazy` do not stand in the page: each is a file of its own, which the page asks
for when it needs it. The file is a script, because on file:// browsers fetch scripts and no data.
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
LINKS = {"LinkModel": True, "DirectionalLinkModel": False}  # whether a change goes back, too
MANAGER_SUFFIXES = ("_module", "_module_version", "_name")


def slim(document: dict, where: str = "") -> tuple[dict, dict[str, str]]:
    """The state of each anywidget, with its sources in a table; other widgets cannot run without a kernel.

    Args:
        document: the state as ipywidgets writes it.
        where: the folder of the files, as the page names it; empty, or with a slash at the end.

    Returns:
        What the page holds, and the files for its lazy traits: name and text.
    """
    sources, models, links, files = {}, {}, [], {}
    for model_id, model in document["state"].items():
        if (kind := model.get("model_name")) in LINKS:
            ends = {end: model["state"][end] for end in ("source", "target")}
            ends = {
                end: [widget.removeprefix("IPY_MODEL_"), trait]
                for end, (widget, trait) in ends.items()
            }
            links.append({**ends, "both": LINKS[kind]})
        if "_esm" not in model["state"]:
            continue
        state = {
            name: value
            for name, value in model["state"].items()
            if name not in MANAGER_TRAITS
            and not (name[0] == "_" and name.endswith(MANAGER_SUFFIXES))
        }
        for name in [
            name for name in ("_esm", "_css") if name in state
        ]:  # in this order: builds are alike
            key = _key(state[name])
            sources[key], state[name] = state[name], key
        # nbclient never forgets a buffer: those of traits set to None since then are dropped
        buffers = [b for b in model.get("buffers", []) if state.get(b["path"][0], ()) is not None]
        kept = []
        for path, data in ((b["path"], b["data"]) for b in buffers):
            if path[0] in state.get("_lazy", ()):
                key = _key(data)
                files[f"{key}.js"] = f'(window.courseData ??= {{}})["{key}"] = "{data}";\n'
                state[path[0]] = {"key": key, "src": f"{where}{key}.js"}
            else:
                kept.append({"path": path, "data": data})
        models[model_id] = {"state": state, "buffers": kept}
    return {"sources": sources, "state": models, "links": links}, files


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def write(files: dict[str, str], folder: Path) -> None:
    """Put a page's files into its own folder, in the place of what an earlier build left there."""
    shutil.rmtree(folder, ignore_errors=True)
    if files:
        folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="ascii")


def to_script(value: dict) -> str:
    """JSON in which nothing can end or open a script element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def slim_page(app, pagename, templatename, context, doctree):
    """Replace the page's state before myst-nb writes it."""
    scripts = app.env.nb_metadata.get(pagename, {}).get("js_files", {})
    if "ipywidgets_state" in scripts:
        path, attributes = scripts["ipywidgets_state"]
        document = json.loads(attributes["body"].replace(r"<\/script>", "</script>"))
        if (
            "sources" not in document
        ):  # the environment is kept between builds: a page may come here twice
            folder = f"_static/widget-data/{pagename}"
            state, files = slim(document, "../" * pagename.count("/") + folder + "/")
            write(files, Path(app.outdir) / folder)
            scripts["ipywidgets_state"] = (path, {**attributes, "body": to_script(state)})


def setup(app):
    """Run before myst-nb's own handler (priority 500)."""
    app.connect("html-page-context", slim_page, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
