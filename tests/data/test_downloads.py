import socket
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from course_utils.data import downloads
from course_utils.data.downloads import BLOCK
from tests.miniatures import chunked_and_cut, md5, served, silence, status, web_page, whole

BODY = bytes(range(256)) * 2048  # 8 blocks
fetch = partial(downloads.fetch, timeout=2.0, tries=3, pause=0.0)


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    """This machine is asked without a proxy."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "set.tar.gz"


@pytest.fixture
def checksum(tmp_path):
    (tmp_path / "body").write_bytes(BODY)
    return md5(tmp_path / "body")


def part_of(path, content=None):
    part = path.with_name("set.tar.gz.part")
    if content is not None:
        part.parent.mkdir()
        part.write_bytes(content)
    return part


def test_a_file_comes_whole_and_once(path, checksum):
    with served(a=whole(BODY)) as server:
        for _ in range(2):
            assert fetch([server.url("a"), server.url("b")], path, checksum) == path
    assert path.read_bytes() == BODY
    assert server.asked == [("a", 0)]
    assert list(path.parent.iterdir()) == [path]


def test_a_file_with_another_checksum_is_replaced(path, checksum):
    path.parent.mkdir()
    path.write_bytes(BODY[:-1])
    with served(a=whole(BODY)) as server:
        fetch([server.url("a")], path, checksum)
    assert path.read_bytes() == BODY


def test_a_later_session_goes_on_where_one_was_interrupted(path, checksum, monkeypatch):
    read, blocks = downloads._next, []

    def interrupted(answer):
        if sum(map(len, blocks)) > 2 * BLOCK:
            raise KeyboardInterrupt
        blocks.append(read(answer))
        return blocks[-1]

    with served(a=whole(BODY)) as server:
        with monkeypatch.context() as patch:
            patch.setattr(downloads, "_next", interrupted)
            with pytest.raises(KeyboardInterrupt):
                fetch([server.url("a")], path, checksum)
        come = part_of(path).stat().st_size
        assert 2 * BLOCK < come < len(BODY)
        fetch([server.url("a")], path, checksum)
    assert server.asked == [("a", 0), ("a", come)]
    assert path.read_bytes() == BODY


def test_a_connection_that_breaks_is_taken_up_as_long_as_something_comes(path, checksum):
    with served(a=whole(BODY, at_most=BLOCK)) as server:
        fetch([server.url("a")], path, checksum, tries=1)
    assert server.asked == [("a", i * BLOCK) for i in range(8)]
    assert path.read_bytes() == BODY


def test_an_address_that_brings_nothing_more_is_left_and_another_goes_on(path, checksum):
    with served(a=whole(BODY, at_most=1000), b=whole(BODY)) as server:
        fetch([server.url("a"), server.url("b")], path, checksum)
    assert server.asked == [("a", 0), ("a", 1000), ("a", 2000), ("b", 3000)]
    assert path.read_bytes() == BODY


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(path, checksum):
    part_of(path, BODY[:1000])
    with served(a=whole(BODY, ranges=False)) as server:
        fetch([server.url("a")], path, checksum)
    assert server.asked == [("a", 1000)]
    assert path.read_bytes() == BODY


def test_a_server_that_knows_no_ranges_and_breaks_off_is_left(path, checksum):
    with (
        served(a=whole(BODY, ranges=False, at_most=3 * BLOCK)) as server,
        pytest.raises(RuntimeError, match=r"/a \(ended early\)"),
    ):
        fetch([server.url("a")], path, checksum)
    assert server.asked == [("a", 0), *[("a", 3 * BLOCK)] * 3]


def test_another_part_than_asked_for_is_not_taken(path, checksum):
    part_of(path, BODY[:1000])
    with (
        served(a=lambda request, _: whole(BODY)(request, 2000)) as server,
        pytest.raises(RuntimeError, match=r"another part than asked for"),
    ):
        fetch([server.url("a")], path, checksum)
    assert part_of(path).read_bytes() == BODY[:1000]


@pytest.fixture
def at_speeds(monkeypatch):
    """Let addresses have speeds, by a clock that only what comes moves on."""
    now, read = [0.0], downloads._next

    def set_speeds(**speeds):
        def slowly(answer):
            block = read(answer)
            now[0] += len(block) / speeds[answer.url[-1]]
            return block

        monkeypatch.setattr(downloads, "_next", slowly)
        monkeypatch.setattr(
            downloads, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: None)
        )

    return set_speeds


def test_a_slow_address_is_left_for_the_next_which_goes_on(path, checksum, at_speeds):
    at_speeds(a=60_000, b=1e6)
    with served(a=whole(BODY), b=whole(BODY)) as server:
        fetch([server.url("a"), server.url("b")], path, checksum, window=1.0)
    (_, first), (name, second) = server.asked
    assert (first, name) == (0, "b")
    assert 60_000 <= second < len(BODY)
    assert path.read_bytes() == BODY


def test_the_last_address_is_used_however_slow_it_is(path, checksum, at_speeds):
    at_speeds(a=1)
    with served(a=whole(BODY)) as server:
        fetch([server.url("b"), server.url("a")], path, checksum, window=1.0)
    assert server.asked == [("b", 0), ("a", 0)]


def test_of_slow_addresses_the_fastest_is_used(path, checksum, at_speeds):
    at_speeds(a=60_000, b=120_000, c=90_000)
    with served(a=whole(BODY), b=whole(BODY), c=whole(BODY)) as server:
        fetch([server.url(name) for name in "abcd"], path, checksum, window=0.2)
    assert [name for name, _ in server.asked] == list("abcdb")
    assert path.read_bytes() == BODY


def test_the_next_fastest_is_used_when_the_fastest_breaks(path, checksum, monkeypatch):
    asked = []

    def append(url, part, timeout, window, least):
        asked.append((url, least))
        if least:
            raise downloads._LeftError(
                "slow", again=False, speed={"a": 1.0, "b": 3.0, "c": 2.0}[url]
            )
        if url == "b":
            raise downloads._LeftError("HTTP 404", again=False)
        part.write_bytes(BODY)

    monkeypatch.setattr(downloads, "_append", append)
    fetch("abc", path, checksum, slow=5.0)
    assert asked == [("a", 5), ("b", 5), ("c", 5), ("b", 0), ("c", 0)]


@pytest.mark.parametrize("answer", [silence, whole(BODY, at_most=1000, then=silence)])
def test_a_silent_server_is_left(path, checksum, answer):
    with served(a=answer, b=whole(BODY)) as server:
        fetch([server.url("a"), server.url("b")], path, checksum, tries=1)
    assert [name for name, _ in server.asked] == ["a", "b"]
    assert path.read_bytes() == BODY


def test_what_fails_for_a_moment_is_tried_again(path, checksum):
    answers = iter([status(503), status(429), whole(BODY)])
    with served(a=lambda *request: next(answers)(*request)) as server:
        fetch([server.url("a")], path, checksum)
    assert len(server.asked) == 3


def test_a_redirection_is_followed_with_the_part_that_is_missing(path, checksum):
    part_of(path, BODY[:1000])
    with served(a=status(302, Location="/b"), b=whole(BODY)) as server:
        fetch([server.url("a")], path, checksum)
    assert server.asked == [("a", 1000), ("b", 1000)]
    assert path.read_bytes() == BODY


def test_another_file_is_thrown_away_and_the_next_address_tried(path, checksum):
    with served(a=whole(BODY[::-1]), b=whole(BODY)) as server:
        fetch([server.url("a"), server.url("b")], path, checksum)
    assert server.asked == [("a", 0), ("b", 0)]
    assert path.read_bytes() == BODY


def test_another_file_everywhere_leaves_nothing_behind(path, checksum):
    with (
        served(a=whole(BODY[::-1])) as server,
        pytest.raises(RuntimeError, match=r"/a \(another file, by its checksum\)"),
    ):
        fetch([server.url("a")], path, checksum)
    assert server.asked == [("a", 0)]
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("bad", [b"x" * 1000, b"x" * len(BODY)])
def test_a_damaged_part_of_an_earlier_session_costs_one_more_connection(path, checksum, bad):
    part_of(path, bad)
    with served(a=whole(BODY)) as server:
        fetch([server.url("a")], path, checksum)
    assert server.asked == [("a", len(bad)), ("a", 0)]
    assert path.read_bytes() == BODY


def test_a_part_that_is_complete_needs_no_byte_more(path, checksum):
    part_of(path, BODY)
    with served(a=whole(BODY)) as server:
        fetch([server.url("a")], path, checksum)
    assert server.asked == [("a", len(BODY))]
    assert path.read_bytes() == BODY


def test_the_page_of_a_hotel_is_no_file(path, checksum):
    part_of(path, BODY[:1000])
    with (
        served(a=web_page) as server,
        pytest.raises(RuntimeError, match=r"/a \(a web page in its place\)"),
    ):
        fetch([server.url("a")], path, checksum)
    assert part_of(path).read_bytes() == BODY[:1000]


def test_when_nothing_helps_one_sentence_says_what_to_do(path, checksum):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/c"
        with served(a=status(404), b=chunked_and_cut) as server:
            urls = [server.url("a"), server.url("b"), nobody, "http://nowhere.invalid/d"]
            with pytest.raises(RuntimeError) as error:
                fetch(urls, path, checksum)
    said = str(error.value)
    assert said.startswith(
        f"could not get set.tar.gz from {urls[0]} (HTTP 404); {urls[1]} (ended early); "
    )
    assert f"{nobody} (Connection refused); {urls[3]} (" in said
    assert said.endswith(
        f"by hand from there and put it at {path}; 'cluttered_digits' works offline"
    )
    assert "\n" not in said
    assert [name for name, _ in server.asked] == ["a", "b", "b", "b"]


def test_a_network_that_swallows_everything_is_not_waited_for(path, checksum, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(downloads, "urlopen", lambda *_, **__: over.wait(60))
    with pytest.raises(
        RuntimeError, match=r"^could not get .*/a \(no answer in time\); .*/b \(no answer in time\)"
    ):
        fetch(["https://example.com/a", "https://example.com/b"], path, checksum, timeout=0.1)
    over.set()


def test_no_answer_is_said(path, checksum):
    with (
        served(a=silence) as server,
        pytest.raises(RuntimeError, match=r"/a \(no answer in time\)"),
    ):
        fetch([server.url("a")], path, checksum, timeout=0.2, tries=1)


def test_a_folder_that_cannot_be_made_is_said(path, checksum):
    path.parent.write_text("a file in its place")
    with pytest.raises(
        RuntimeError,
        match=r"could not write .*set.tar.gz.part \(File exists\): .*'cluttered_digits'",
    ):
        fetch(["http://127.0.0.1:1/a"], path, checksum)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_a_full_disk_is_said_and_no_other_address_tried(path, checksum):
    path.parent.mkdir()
    path.with_name("set.tar.gz.part").symlink_to("/dev/full")
    with (
        served(a=whole(BODY), b=whole(BODY)) as server,
        pytest.raises(
            RuntimeError, match=r"could not write .* \(No space left on device\): make room"
        ),
    ):
        fetch([server.url("a"), server.url("b")], path, checksum)
    assert server.asked == [("a", 0)]


@pytest.mark.skipif(downloads.fcntl is None, reason="no locks on Windows")
def test_processes_that_start_together_take_turns(tmp_path):
    entered = threading.Event()

    def other():
        with downloads.alone(tmp_path / "data"):
            entered.set()

    thread = threading.Thread(target=other)
    with downloads.alone(tmp_path / "data"):
        thread.start()
        assert not entered.wait(0.2)
    thread.join()
    assert entered.is_set()
