"""Sphinx extension: a Content-Security-Policy in every page: it runs and loads what the site has, and nothing else.

Scripts that stand in a page are named by their hash. Styles may stand in a page (`unsafe-inline`): MathJax, the widgets
and pandas write theirs while or after the page is built. Widgets are modules imported from blobs, because browsers
refuse modules on file://.
"""

import base64
import hashlib
import re
from pathlib import Path

SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script>", re.DOTALL)
DATA = re.compile(
    r"\bsrc=|\btype=\"(?!text/javascript|module)"
)  # nothing that the browser would run
HANDLER = re.compile(r"<[^<>]*\son\w+=\"([^\"]*)\"")
HEAD = re.compile(r"<meta charset=\"utf-8\" ?/?>")
MARK = '<meta http-equiv="Content-Security-Policy"'


def fingerprint(code: str) -> str:
    """A script's hash as a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def handlers(text: str) -> set[str]:
    """What stands in the elements of a page for a click and the like."""
    return set(HANDLER.findall(SCRIPT.sub("", text)))


def policy(text: str, clicks: set[str] = frozenset(), own: dict[str, str] | None = None) -> str:
    """The policy of a page.

    Args:
        text: the page.
        clicks: the handlers of all pages. The search reads other pages, and browsers then look for theirs, too.
        own: rules in the place of those that follow from the page, or beside them.
    """
    codes = {code for attributes, code in SCRIPT.findall(text) if not DATA.search(attributes)}
    hashes = sorted(fingerprint(code) for code in codes | clicks)
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(
            ["'self'", "blob:", *(["'unsafe-hashes'"] if clicks else []), *hashes]
        ),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in (rules | (own or {})).items())


def guard_all(app, error):
    """Write the policy into every page that has none yet, before anything that it is about."""
    if error is not None:
        return
    out = Path(app.outdir)
    pages = [page for page in out.rglob("*.html") if "_static" not in page.relative_to(out).parts]
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    clicks = set().union(*map(handlers, texts.values()))
    for page, text in texts.items():
        if MARK not in text:
            meta = f'{MARK} content="{policy(text, clicks, app.config.policy_rules)}">'
            page.write_text(
                HEAD.sub(lambda charset, meta=meta: charset[0] + meta, text, count=1),
                encoding="utf-8",
            )


def setup(app):
    """Run when all pages are written."""
    app.add_config_value("policy_rules", {}, "html", dict)
    app.connect("build-finished", guard_all, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
