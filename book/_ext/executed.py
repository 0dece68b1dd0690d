"""Sphinx extension: every page says when it was executed and with which versions, or else when it was built.

A page that comes from the cache tells when its notebook ran, which may be weeks before the build.
"""

import os
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path

from jupyter_cache import get_cache
from sphinx.util.i18n import format_date

from book._ext.cache_key import versions


def in_words(day: date) -> str:
    """A day as people write it, in the book's language wherever it is built."""
    return format_date("%-d %B %Y", date=day, language="en")


def duration(seconds: float) -> str:
    """Minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def executed(cache_path: str, notebook: Path) -> str:
    """What a notebook's record in the cache says of its execution; nothing where there is no record."""
    try:
        record = get_cache(cache_path).match_cache_file(str(notebook))
    except KeyError:
        return ""
    used = [f"{name} {version}" for name, version in versions().items()]
    preset = (
        f" at the preset {os.environ['COURSE_PRESET']}" if "COURSE_PRESET" in os.environ else ""
    )
    return (
        f"Executed on {in_words(record.created)} in {duration(record.data['execution_seconds'])}{preset}, "
        f"with {', '.join(used[:-1])} and {used[-1]}."
    )


def built(root: Path) -> str:
    """The day, and the commit where there is one."""
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = ""
    return f"Built on {in_words(datetime.now(UTC))}{f' from commit {commit}' if commit else ''}."


def say(app, pagename, templatename, context, doctree):
    """Put the sentence at the end of the page."""
    if doctree is None:
        return
    source = Path(app.env.doc2path(pagename))
    sentence = (
        executed(app.config.nb_execution_cache_path, source)
        if source.suffix == ".ipynb"
        else built(app.srcdir)
    )
    if sentence:
        context["body"] += f'<p class="course-executed">{sentence}</p>'


def setup(app):
    """Run on every page."""
    app.connect("html-page-context", say)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
