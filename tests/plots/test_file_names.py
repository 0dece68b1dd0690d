import os
import unicodedata
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from course_utils.plots.file_names import PictureFiles

ROOT, OUT = Path("photos"), Path("output")


def paths(*files, ending=".png"):
    names = PictureFiles(ROOT, OUT)
    return [names.path(ROOT / file, ending) for file in files]


def test_pictures_are_in_the_sub_folders_of_their_files():
    assert paths("a/b.png", "a__b.png", "a/b.jpg") == [
        OUT / "a" / "b.png.png",
        OUT / "a__b.png.png",
        OUT / "a" / "b.jpg.png",
    ]


def test_names_that_some_file_system_confuses_are_told_apart():
    composed, decomposed = (unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD"))
    for one, two in [("A.png", "a.png"), (composed, decomposed), ("x/a.png", "X/a.png")]:
        first, second = paths(one, two)
        assert first == OUT / f"{one}.png"
        assert "~" in str(second)
    file, in_folder = paths("a", "a.png/b")  # the picture of a has the name of a folder
    assert file == OUT / "a.png"
    assert in_folder.parent.name.startswith("a.png~")


def test_files_of_one_folder_stay_together():
    _, one, two = paths("x/a.png", "X/a.png", "X/b.png")
    assert one.parent == two.parent


def test_a_long_name_keeps_its_beginning_and_its_ending():
    long = [f"{'ü' * 120}{i}.png" for i in range(2)]  # 245 bytes
    one, two = paths(*long, ending=".map 1.png")
    assert one != two
    for path in (one, two):
        assert len(os.fsencode(path.name)) <= 200
        assert path.name.startswith("ü" * 50)
        assert path.name.endswith(".map 1.png")


NAMES = st.text(st.sampled_from("aAbß .~é\u0301\udce9"), min_size=1, max_size=4)
FILES = st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), unique=True, max_size=8)


@given(FILES)
def test_no_two_files_share_a_picture(files):
    files = [file for file in files if not {".", ".."} & set(file.split("/"))]
    files = sorted({Path(file) for file in files})
    named = paths(*files)
    keys = {unicodedata.normalize("NFC", str(path)).casefold() for path in named}
    assert len(keys) == len(files)
    assert paths(*files) == named
    folders = {parent for path in named for parent in path.parents}
    assert not folders & set(named)
