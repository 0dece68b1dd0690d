"""Sphinx extension: end every page with the date and the versions of its execution.

A chapter that comes from the cache names the day on which its notebook ran, which may be weeks
before the build. Other pages name the day on which they were built.
"""

import os
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path

from jupyter_cache import get_cache
from sphinx.util.i18n import format_date

from book._ext.cache_key import versions


def in_words(day: date) -> str:
    """Return a date in English, such as 3 February 2026, whatever the machine's language is."""
    return format_date("%-d %B %Y", date=day, language="en")


def duration(seconds: float) -> str:
    """Return minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def executed(cache_path: str, notebook: Path) -> str:
    """Describe a notebook's last execution.

    Returns:
        A sentence with day, duration, preset and versions; empty if the cache has no record.
    """
    try:
        record = get_cache(cache_path).match_cache_file(str(notebook))
    except KeyError:
        return ""
    day, time = in_words(record.created), duration(record.data["execution_seconds"])
    preset = os.environ.get("COURSE_PRESET")
    where = f" at the preset {preset}" if preset else ""
    *first, last = (f"{name} {version}" for name, version in versions().items())
    return f"Executed on {day} in {time}{where}, with {', '.join(first)} and {last}."


def built(root: Path) -> str:
    """Return a sentence with today's date, and with the commit if there is one."""
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = ""
    return f"Built on {in_words(datetime.now(UTC))}{f' from commit {commit}' if commit else ''}."


def add_sentence(app, pagename, templatename, context, doctree):
    """Add the sentence to the end of a page that has a source file."""
    if doctree is None:
        return
    source = Path(app.env.doc2path(pagename))
    if source.suffix == ".ipynb":
        sentence = executed(app.config.nb_execution_cache_path, source)
    else:
        sentence = built(app.srcdir)
    if sentence:
        context["body"] += f'<p class="course-executed">{sentence}</p>'


def setup(app):
    """Run on every page."""
    app.connect("html-page-context", add_sentence)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
