"""Sphinx extension: what docutils writes and screen readers stumble over.

An entry of the bibliography has a role that ARIA has given up, in a list that then has no items.
"""


def with_list_items(app, pagename, templatename, context, doctree):
    """Make the entries of the bibliography what they are: items of a list."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app):
    """Run on every page."""
    app.connect("html-page-context", with_list_items)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
