"""Sphinx extension: the files at the root of the site, and settings that follow from its address.

The first page of the book is in a folder, so the root of the site leads there. There are a sitemap
and robots.txt for search engines. (sphinx-sitemap lists only the pages that were written in the
last build, which leaves out most of the site when a single page has changed.)
"""

import re
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

DESCRIPTION = re.compile(r'<meta (?:name="(?:description|twitter:\w+)"|property="og:[^"]+") [^>]*>')
NOT_FOUND = """<h1>There is no such page</h1>
<p>The address may contain a mistake, or the page may have moved. The list of chapters and the
search on this page still work, and <a href="{first}">the first page</a> describes the course.
</p>"""


def follow_the_address(app, config):
    """Give the address of the site to the extensions that need it.

    The page for addresses that don't exist (404) is shown at any depth, so its links are absolute.
    """
    prefix = urlsplit(config.html_baseurl).path
    config.ogp_site_url = config.html_baseurl
    config.notfound_urls_prefix = prefix
    config.notfound_context = {
        "title": "There is no such page",
        "body": NOT_FOUND.format(first=f"{prefix}{config.root_doc}.html"),
    }


def front(first: str, title: str, base: str, described: str) -> str:
    """Return the page at the root of the site.

    Args:
        first: The file of the first page, relative to the root.
        title: The title of the first page.
        base: The address of the site.
        described: The HTML of the first page, whose description is copied.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{escape(title)}</title>
<meta http-equiv="refresh" content="0; url={first}">
<link rel="canonical" href="{base}{first}">
{chr(10).join(DESCRIPTION.findall(described))}
<p><a href="{first}">{escape(title)}</a></p>
"""


def sitemap(base: str, pages: list[str]) -> str:
    """Return the sitemap of all pages, in the format of sitemaps.org."""
    entries = "".join(
        f"<url><loc>{escape(base)}{page}.html</loc></url>\n" for page in sorted(pages)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{entries}</urlset>\n'
    )


def write(app, error):
    """Write the files when all pages are finished."""
    if error is not None or app.builder.name != "html":
        return
    out, base = Path(app.outdir), app.config.html_baseurl
    first = f"{app.config.root_doc}.html"
    title = app.env.titles[app.config.root_doc].astext()
    described = (out / first).read_text(encoding="utf-8")
    texts = {
        "index.html": front(first, title, base, described),
        "sitemap.xml": sitemap(base, app.env.found_docs),
        "robots.txt": f"User-agent: *\nAllow: /\nSitemap: {base}sitemap.xml\n",
    }
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")


def setup(app):
    """Set what follows from the address first, and write the files last."""
    app.connect("config-inited", follow_the_address)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
