"""Ask the servers whether the links that leave the course still lead somewhere. ``python -m book.tools.link_check``.

Links stand in the pages, notebooks, slides and licences, in the package (where data sets are fetched from) and, as DOI
or arXiv number, in the bibliography. That each is well formed is tested without a network; the weekly workflow asks.
"""

import re
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from book.tools.address import ROOT
from course_utils.data.torchvision_sets import MIRRORS

PLACES = (
    "*.md", "LICENSE*", "book/*.md", "book/*.bib", "lecture/*.md", "notebooks/*.ipynb", "course_utils/**/*.py",
)  # fmt: skip
LINK = re.compile(
    r"""https?:[^\s<>"'`\\)\]}{]*+(?!{)"""
)  # one that goes on in braces is filled in later
HERE = ("localhost", "127.0.0.1")
NOT_FOR_ROBOTS = (401, 403, 429)  # a server that answers, but not to robots


def external() -> dict[str, list[str]]:
    """Each link that leaves this machine, with the files where it stands."""
    found = defaultdict(set)
    for path in (path for place in PLACES for path in ROOT.glob(place)):
        text = path.read_text(encoding="utf-8")
        links = [link.rstrip(".,;:") for link in LINK.findall(text)]
        if path.suffix == ".bib":
            links += [
                f"https://doi.org/{doi}"
                for doi in re.findall(r"(?m)^\s*doi\s*=\s*[{\"](.*)[}\"]", text)
            ]
            links += [
                f"https://arxiv.org/abs/{number}"
                for number in re.findall(r"arXiv:([^\s},]+)", text)
            ]
        for link in links:
            if urlsplit(link).hostname not in HERE:
                found[link].add(path.relative_to(ROOT).as_posix())
    for link in (link for mirrors in MIRRORS.values() for link in mirrors):
        found[link].add("course_utils/archives.py")
    return {link: sorted(files) for link, files in sorted(found.items())}


def malformed(link: str) -> str | None:
    """What is wrong with a link by its form alone, or None."""
    parts = urlsplit(link)
    if parts.scheme != "https":
        return "is not https"
    if not re.fullmatch(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}", parts.netloc):
        return "names no host"
    if not re.fullmatch(r"([\w.~:/?#@!$&*+,;=-]|%[0-9A-Fa-f]{2})*", link, re.ASCII):
        return "has characters that a link must encode"
    if parts.hostname == "doi.org" and not re.fullmatch(r"/10\.\d{4,9}/\S+", parts.path):
        return "is no DOI"
    if parts.hostname == "arxiv.org" and not re.fullmatch(
        r"/(abs|pdf)/\d{4}\.\d{4,5}(v\d+)?", parts.path
    ):
        return "is no arXiv number"
    return None


def broken(link: str, tries: int = 3, pause: float = 5) -> str | None:
    """What a server says that does not have the page, or None; politely: the head only, and few tries with pauses."""
    for turn in range(tries):
        time.sleep(turn * pause)
        for method in ("HEAD", "GET"):  # some servers know no HEAD
            request = Request(
                link, method=method, headers={"User-Agent": "link check of an open course"}
            )
            try:
                with urlopen(request, timeout=30):
                    return None
            except HTTPError as error:
                if error.code in NOT_FOR_ROBOTS:
                    return None
                problem = str(error)
            except OSError as error:
                problem = str(error)
    return problem


def main() -> int:
    """Ask for every link; name the broken ones and the files they stand in."""
    links = external()
    with ThreadPoolExecutor(4) as pool:
        answers = dict(zip(links, pool.map(lambda link: malformed(link) or broken(link), links)))
    problems = {link: problem for link, problem in answers.items() if problem}
    for link, problem in problems.items():
        print(f"{link}\n    {problem}\n    in {', '.join(links[link])}", file=sys.stderr)
    print(f"{len(links)} links, {len(problems)} broken")
    return len(problems) > 0


if __name__ == "__main__":
    sys.exit(main())
