"""Sphinx extension: repair HTML of docutils that screen readers can't use.

An entry of the bibliography has a role that ARIA has deprecated, so its list has no list items.
"""


def with_list_items(app, pagename, templatename, context, doctree):
    """Give the entries of the bibliography the role of list items."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app):
    """Run on every page."""
    app.connect("html-page-context", with_list_items)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
