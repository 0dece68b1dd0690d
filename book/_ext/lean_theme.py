"""Sphinx extension: remove scripts that the theme would load without need.

The SVG icons (543 kB compressed) repeat those of the web font, which is loaded anyway. Thebe is not
used; its scripts declare the same constant twice and name a content delivery network.
"""

from pathlib import Path


def is_thebe(script) -> bool:
    """Return whether a script is one of Thebe's."""
    # The state of widgets is data, in which the five letters may occur by chance.
    is_data = "json" in script.attributes.get("type", "")
    code = "" if is_data else script.attributes.get("body", "")
    return "thebe" in f"{script.filename}{code}".lower()


def without_thebe(app, pagename, templatename, context, doctree):
    """Remove Thebe's scripts from a page."""
    context["script_files"] = [script for script in context["script_files"] if not is_thebe(script)]


def without_svg_icons(app, error):
    """Empty the script with the SVG icons, which every page still names."""
    icons = Path(app.outdir) / "_static/scripts/fontawesome.js"
    if error is None and icons.exists():
        icons.write_text("", encoding="utf-8")


def setup(app):
    """Run after the theme has added its scripts."""
    app.connect("html-page-context", without_thebe, priority=900)
    app.connect("build-finished", without_svg_icons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
