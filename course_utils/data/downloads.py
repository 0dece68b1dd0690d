"""Downloads that survive the world: slow or silent servers, broken connections, damaged files, interrupted sessions."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm.auto import tqdm

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

BLOCK = 1 << 16  # bytes read at once
NAME = {"User-Agent": "attention-in-cnns"}


class _LeftError(Exception):
    """Why a connection ended without the whole file, in a few words."""

    def __init__(self, why: str, *, again: bool, speed: float | None = None):
        super().__init__(why)
        self.again, self.speed = again, speed


def fetch(
    urls: Sequence[str],
    path: str | Path,
    md5: str,
    *,
    timeout: float = 10.0,
    window: float = 15.0,
    slow: float = 250_000.0,
    tries: int = 3,
    pause: float = 1.0,
) -> Path:
    """Bring a file here from the first of several addresses that has it.

    What has come is kept in ``path`` + ``.part``: a broken connection, another address or another session goes on from
    there. A file that is there and has the checksum is not fetched.

    Args:
        urls: addresses of the same bytes, the best first.
        path: where the file goes, its folders too; it is there whole or not at all.
        md5: its checksum, in hexadecimal digits.
        timeout: seconds without an answer, or without a byte of it, after which a connection is given up.
        window: seconds over which the speed is measured.
        slow: bytes a second below which an address is left while there are others. If none of them does better, the
            fastest of the slow ones is used, however slow.
        tries: connections in a row that bring less than 64 kB, after which an address is left.
        pause: seconds between them.

    Returns:
        The path.

    Raises:
        RuntimeError: no address gave the file, or it can't be written. The message says why, and what to do.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    waiting, speeds, why = list(urls), {}, {}
    try:
        if path.is_file() and _md5(path) == md5:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        while waiting or speeds:
            url = waiting.pop(0) if waiting else max(speeds, key=speeds.get)
            hurry = url not in speeds and bool(waiting or speeds)
            speeds.pop(url, None)
            try:
                _get(url, part, md5, timeout, window, slow if hurry else 0.0, tries, pause)
                return part.replace(path)
            except _LeftError as left:
                why[url] = str(left)
                if left.speed is not None:
                    speeds[url] = left.speed
    except OSError as error:
        raise RuntimeError(
            f"could not write {part} ({error.strerror or error}): make room there or name another folder; "
            f"'cluttered_digits' needs neither network nor folder"
        ) from error
    tried = "; ".join(f"{url} ({reason})" for url, reason in why.items())
    raise RuntimeError(
        f"could not get {path.name} from {tried}: try again later, which goes on with what has come, or fetch it by "
        f"hand from there and put it at {path}; 'cluttered_digits' works offline"
    )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one process at a time do what writes into a folder; on Windows, which has no such locks, all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        if fcntl:
            with suppress(OSError):  # some network drives have none either
                fcntl.flock(
                    file, fcntl.LOCK_EX
                )  # until the file is closed, however that comes about
        yield


def _get(
    url: str,
    part: Path,
    md5: str,
    timeout: float,
    window: float,
    least: float,
    tries: int,
    pause: float,
) -> None:
    """Complete a file from one address, in as many connections as it takes."""
    failed, inherited = 0, part.exists()
    while True:
        before = _size(part)
        try:
            _append(url, part, timeout, window, least)
            if _md5(part) == md5:
                return
            part.unlink()
            inherited, again = False, inherited  # what was there before may have been at fault
            raise _LeftError("another file, by its checksum", again=again)
        except _LeftError as left:
            failed = failed + 1 if _size(part) < before + BLOCK else 0
            if not left.again or failed == tries:
                raise
            time.sleep(pause)


def _append(url: str, part: Path, timeout: float, window: float, least: float) -> None:
    """Add to a file what is missing at its end, in one connection."""
    start = _size(part)
    try:
        answer = _ask(
            Request(url, headers=NAME | ({"Range": f"bytes={start}-"} if start else {})), timeout
        )
    except HTTPError as error:
        error.close()
        if error.code == 416:  # nothing is missing; the checksum decides
            return
        raise _LeftError(
            f"HTTP {error.code}", again=error.code in (429, 500, 502, 503, 504)
        ) from error
    except (OSError, HTTPException) as error:
        raise _LeftError(_words(error), again=start > 0) from error
    with answer:
        if answer.headers.get_content_type() == "text/html":
            raise _LeftError("a web page in its place", again=False)
        if answer.status != 206:  # all of it, asked for or not
            start = 0
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _LeftError("another part than asked for", again=False)
        total = None if answer.length is None else start + answer.length
        off = "TQDM_DISABLE" in os.environ  # which tqdm's notebook bar overlooks
        bar = tqdm(
            desc=part.stem,
            initial=start,
            total=total,
            unit="B",
            unit_scale=True,
            leave=False,
            disable=off,
        )
        with part.open("ab" if start else "wb") as file, bar:
            since, got = time.monotonic(), 0
            while block := _next(answer):
                file.write(block)
                bar.update(len(block))
                got, seconds = got + len(block), time.monotonic() - since
                if seconds > window:
                    if got < least * seconds:
                        raise _LeftError(
                            f"only {got / seconds / 1000:.0f} kB/s",
                            again=False,
                            speed=got / seconds,
                        )
                    since, got = time.monotonic(), 0
    if total is not None and _size(part) < total:
        raise _LeftError("ended early", again=True)


def _ask(request: Request, timeout: float) -> HTTPResponse:
    """Wait that long at most: `urlopen` would for each address that a name stands for, and for the name without end."""
    answers: Queue[HTTPResponse | Exception] = Queue()

    def ask() -> None:
        try:
            answers.put(urlopen(request, timeout=timeout))
        except Exception as error:
            answers.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=timeout)
    except Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _next(answer: HTTPResponse) -> bytes:
    try:
        return answer.read1(BLOCK)  # what is there, without waiting for a full block
    except (OSError, HTTPException) as error:
        raise _LeftError(_words(error), again=True) from error


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, IncompleteRead):
        return "ended early"
    return str(getattr(reason, "strerror", None) or reason or type(reason).__name__)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
