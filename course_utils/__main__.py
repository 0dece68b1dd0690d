"""``python -m course_utils``: see `cli`."""

from course_utils.cli import app

app(prog_name="python -m course_utils")
