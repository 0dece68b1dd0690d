"""Sphinx extension: what the theme would load without need.

The SVG icon set (543 kB gzipped) shows the icons that the web font shows already; Thebe's scripts, which nothing uses,
declare the same constant twice and name a CDN.
"""

from pathlib import Path


def is_thebe(script) -> bool:
    """Whether a script is one of Thebe's. The state of widgets is data: five letters may stand in it by chance."""
    code = "" if "json" in script.attributes.get("type", "") else script.attributes.get("body", "")
    return "thebe" in f"{script.filename}{code}".lower()


def without_thebe(app, pagename, templatename, context, doctree):
    """Drop Thebe's scripts from a page."""
    context["script_files"] = [script for script in context["script_files"] if not is_thebe(script)]


def without_svg_icons(app, error):
    """Empty the icon script."""
    icons = Path(app.outdir) / "_static/scripts/fontawesome.js"
    if error is None and icons.exists():
        icons.write_text("", encoding="utf-8")


def setup(app):
    """Run after the theme has added its scripts."""
    app.connect("html-page-context", without_thebe, priority=900)
    app.connect("build-finished", without_svg_icons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
