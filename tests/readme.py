"""The commands in the README, for the tests and workflows that run them as written.

``python tests/readme.py bash`` prints its first block in that language.
"""

import re
import sys
import textwrap
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def block(language: str, number: int = 0) -> str:
    """The lines of the README's n-th block in a language."""
    text = README.read_text(encoding="utf-8")
    return textwrap.dedent(
        re.findall(rf"^ *```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)[number]
    )


if __name__ == "__main__":
    print(block(sys.argv[1]), end="")
