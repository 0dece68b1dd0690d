"""Sphinx extension: what search engines, chats and lost readers get, beside the pages.

Each page describes itself (OpenGraph); the root of the site leads to the first page and describes it, too; there are a
sitemap, robots.txt and a 404 page. That one is shown at addresses of any depth, so its links begin at the root.
"""

from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from docutils import nodes

PICTURE = "_static/figures/attention_maps.png"
PICTURE_ALT = "Eight test images, each with a digit in a red box, above the attention maps of a trained network."
LONGEST = 200  # characters of a description: what is longer is cut where it is shown


def description(doctree: nodes.document) -> str:
    """The first paragraph, cut after a word where it is too long; empty where there is none."""
    text = " ".join(next(doctree.findall(nodes.paragraph), nodes.paragraph()).astext().split())
    if len(text) <= LONGEST:
        return text
    return text[: LONGEST - 1].rsplit(" ", 1)[0].rstrip(",;:.") + "…"


def tags(base: str, page: str, title: str, about: str) -> str:
    """The meta elements that describe a page."""
    properties = {
        "og:type": "website",
        "og:title": title,
        "og:description": about,
        "og:url": base + page,
        "og:image": base + PICTURE,
        "og:image:alt": PICTURE_ALT,
    }
    names = {"description": about, "twitter:card": "summary_large_image"}
    metas = [
        f'<meta property="{key}" content="{escape(value)}">' for key, value in properties.items()
    ]
    return (
        "\n".join(
            metas
            + [f'<meta name="{key}" content="{escape(value)}">' for key, value in names.items()]
        )
        + "\n"
    )


def describe(app, pagename, templatename, context, doctree):
    """Add the elements to a page that has been written by somebody."""
    if doctree is not None:
        title = app.env.titles[pagename].astext()
        about = description(doctree) or f"{title}: a page of the open course {app.config.project}."
        context["metatags"] += tags(app.config.html_baseurl, f"{pagename}.html", title, about)


def front(app) -> str:
    """The page at the root of the site."""
    first = f"{app.config.root_doc}.html"
    title = app.env.titles[app.config.root_doc].astext()
    return f"""<!DOCTYPE html>
<html lang="{app.config.language}">
<meta charset="utf-8">
<title>{title}</title>
<meta http-equiv="refresh" content="0; url={first}">
<link rel="canonical" href="{app.config.html_baseurl}{first}">
{tags(app.config.html_baseurl, first, title, description(app.env.get_doctree(app.config.root_doc)))}
<p><a href="{first}">{title}</a></p>
"""


def missing(app) -> str:
    """The page for an address that does not exist."""
    template = (Path(__file__).parent / "404.html").read_text(encoding="utf-8")
    for name, value in {
        "language": app.config.language,
        "title": app.env.titles[app.config.root_doc].astext(),
        "root": urlsplit(app.config.html_baseurl).path,
        "first": f"{app.config.root_doc}.html",
    }.items():
        template = template.replace(f"{{{{ {name} }}}}", value)
    return template


def sitemap(base: str, pages: list[str]) -> str:
    """The list of pages as search engines read it."""
    entries = "".join(
        f"<url><loc>{escape(base)}{page}.html</loc></url>\n" for page in sorted(pages)
    )
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    return f"{head}{entries}</urlset>\n"


def write(app, error):
    """Write what stands beside the pages."""
    if error is not None:
        return
    base = app.config.html_baseurl
    texts = {
        "index.html": front(app),
        "404.html": missing(app),
        "sitemap.xml": sitemap(base, app.env.found_docs),
        "robots.txt": f"User-agent: *\nAllow: /\nSitemap: {base}sitemap.xml\n",
    }
    for name, text in texts.items():
        (Path(app.outdir) / name).write_text(text, encoding="utf-8")


def setup(app):
    """Write the rest when all pages are there, but before they get their policy."""
    app.connect("html-page-context", describe)
    app.connect("build-finished", write, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
