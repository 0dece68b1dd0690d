import pytest

from course_utils.data.copies import duplicates, in_two_classes
from course_utils.data.image_folder import PhotoFolder
from tests.photo_folders import photo, write_photos


@pytest.fixture
def root(tmp_path):
    return write_photos(tmp_path, {"cat": 3, "dog": 3})


def test_same_photograph_in_two_classes_is_found(root):
    assert in_two_classes(PhotoFolder(root, 16)) == []
    (root / "dog" / "cat.png").write_bytes((root / "cat" / "1.png").read_bytes())
    (root / "cat" / "twin.png").write_bytes((root / "cat" / "2.png").read_bytes())
    assert in_two_classes(PhotoFolder(root, 16)) == [
        (root / "cat" / "1.png", root / "dog" / "cat.png")
    ]


def test_duplicates_are_found_whatever_their_names(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("test")
    for name in ("cat", "dog"):
        (other / name).mkdir()
        photo(ord(name[0])).save(other / name / "own.png")
    (other / "cat" / "stolen.png").write_bytes((root / "dog" / "1.png").read_bytes())
    found = duplicates(PhotoFolder(root, 16), PhotoFolder(other, 16))
    assert found == [(root / "dog" / "1.png", other / "cat" / "stolen.png")]
