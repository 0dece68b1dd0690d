"""The gallery of pets: found, downloaded, or replaced by a sentence; and its scores."""

import socket
import sys
from http.client import IncompleteRead
from socket import gaierror
from urllib.error import HTTPError, URLError

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

from course_utils import plots
from course_utils.data.in_memory import Photos
from course_utils.data.parts import Splits
from course_utils.explain.metrics import best_iou, energy_inside, pointing_game
from course_utils.models.attended_backbone import AttendedBackbone, attended
from course_utils.models.backbone import Backbone
from course_utils.studies import photographs
from course_utils.studies.photographs import NOT_SET, VARIABLE, find_pets, gallery
from tests import miniatures
from tests.toy_backbone import toy_backbone

FEW = {"train": 0, "val": 0, "test": 6}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no network, and no setting of the developer's."""

    def refused(*_, **__):
        raise OSError("the network was used")

    monkeypatch.setattr("socket.create_connection", refused)
    monkeypatch.setattr("urllib.request.urlopen", refused)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path / "cache" / "photographs"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a small Oxford-IIIT Pet, which the variable names."""
    miniatures.pets(tmp_path / "home", tests=4)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def check_sentence(found, *parts):
    """There are no photographs, and one sentence says why and what to do."""
    pets, reason = found
    assert pets is None
    assert "\n" not in reason
    assert reason.endswith("run this cell again.")
    assert [part for part in parts if part not in reason] == []


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_a_sentence_names_it(value, cache, monkeypatch):
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    assert find_pets(counts=FEW) == (None, NOT_SET)
    check_sentence(find_pets(), "COURSE_PHOTOGRAPHS", "'download'", "oxford-iiit-pet/")
    assert not cache.exists()


@pytest.mark.usefixtures("home")
def test_photographs_of_a_named_folder_are_found():
    pets, reason = find_pets(size=40, counts=FEW)
    assert reason == ""
    assert [len(part) for part in pets[:3]] == [0, 0, 6]
    assert pets.classes == ("cat", "dog")
    assert pets.test.images.shape == (6, 3, 40, 40)
    again, _ = find_pets(size=40, counts=FEW)
    assert torch.equal(again.test.labels, pets.test.labels)
    other, _ = find_pets(size=40, counts=FEW, seed=2)
    assert not torch.equal(other.test.labels, pets.test.labels)


def test_download_happens_once_into_the_cache(tmp_path, cache, monkeypatch, capsys):
    miniatures.pets(tmp_path / "home", tests=4)
    files = miniatures.archives("oxford_pets", tmp_path / "home")
    asked = miniatures.serve(files, monkeypatch)
    monkeypatch.setenv(VARIABLE, "download")
    for _ in range(2):
        pets, reason = find_pets(size=40, counts=FEW)
        assert (len(pets.test), reason) == (6, "")
    assert sorted(asked) == ["annotations.tar.gz", "images.tar.gz"]
    assert (cache / "oxford-iiit-pet" / "images").is_dir()
    assert capsys.readouterr().out == ""


def test_no_network_is_one_sentence(cache, monkeypatch):
    monkeypatch.setenv(VARIABLE, "download")
    check_sentence(find_pets(counts=FEW), "the network was used", "check your network", "2 GB")
    assert not (cache / "oxford-iiit-pet").exists()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (TimeoutError(), "(TimeoutError)"),
        (TimeoutError("timed out"), "(timed out)"),
        (URLError(gaierror(-3, "no address")), "[Errno -3] no address"),
        (HTTPError("https://x", 503, "Unavailable", None, None), "(HTTP Error 503: Unavailable)"),
        (IncompleteRead(b"12", 3), "(IncompleteRead(2 bytes read, 3 more expected))"),
    ],
    ids=repr,
)
def test_errors_of_a_download_are_one_sentence(error, text, cache, monkeypatch):
    def failing(*_, **__):
        print("Failed download. Trying https -> http instead.")
        raise error

    monkeypatch.setattr("torchvision.datasets.utils.download_url", failing)
    monkeypatch.setenv(VARIABLE, "download")
    check_sentence(find_pets(counts=FEW), text)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


def test_half_a_download_is_one_sentence_and_is_repeated(tmp_path, cache, monkeypatch, capsys):
    miniatures.pets(tmp_path / "home", tests=4)
    files = miniatures.archives("oxford_pets", tmp_path / "home")
    miniatures.serve(files, monkeypatch)
    monkeypatch.setenv(VARIABLE, "download")
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[: len(whole) // 2])
    check_sentence(find_pets(counts=FEW), "check your network")
    assert not (cache / "oxford-iiit-pet").exists()
    files[0].write_bytes(whole)
    assert find_pets(size=40, counts=FEW)[1] == ""
    assert capsys.readouterr().out == ""


def test_a_silent_server_is_waited_for_only_a_while(monkeypatch):
    limits = []

    def asked(*_, **__):
        limits.append(socket.getdefaulttimeout())
        raise OSError("timed out")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", asked)
    monkeypatch.setenv(VARIABLE, "download")
    before = socket.getdefaulttimeout()
    check_sentence(find_pets(counts=FEW), "timed out")
    assert limits == [photographs.PATIENCE]
    assert socket.getdefaulttimeout() == before
    assert sys.stdout is not None


@pytest.mark.parametrize("missing", ["", "images", "annotations"])
def test_nothing_is_downloaded_into_a_folder_of_the_readers(missing, home, monkeypatch):
    monkeypatch.setattr(
        "torchvision.datasets.utils.download_url", lambda *_, **__: pytest.fail("downloads")
    )
    (home / "oxford-iiit-pet" / missing).rename(home / "elsewhere")
    before = sorted(home.rglob("*"))
    check_sentence(find_pets(counts=FEW), str(home), "oxford-iiit-pet/", "'download'")
    assert sorted(home.rglob("*")) == before


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "no list": ("annotations/test.txt", lambda path: path.unlink()),
    "an unreadable list": ("annotations/test.txt", lambda path: path.write_text("Abyssinian 1\n")),
    "an empty list": ("annotations/test.txt", lambda path: path.write_text("")),
    "a missing photograph": ("images/Abyssinian_0test.jpg", lambda path: path.unlink()),
    "half a photograph": ("images/Abyssinian_0test.jpg", _cut),
    "half an outline": ("annotations/trimaps/Abyssinian_0test.png", _cut),
}


# torchvision leaves the file open if Pillow can't read it.
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("how", ["folder", "download"])
def test_damaged_files_are_one_sentence(kind, how, home, cache, monkeypatch):
    if how == "download":
        cache.parent.mkdir()
        home.rename(cache)
        home = cache
        monkeypatch.setenv(VARIABLE, "download")
    file, damage = DAMAGES[kind]
    damage(home / "oxford-iiit-pet" / file)
    check_sentence(find_pets(size=40), str(home / "oxford-iiit-pet"), "damaged")


def test_mistakes_in_the_call_raise():
    with pytest.raises(ValueError, match="got 0"):
        find_pets(size=0)
    with pytest.raises(ValueError, match="'tests'"):
        find_pets(counts={"tests": 1})


@pytest.mark.usefixtures("home")
def test_the_gallery_has_the_first_test_photographs_and_their_maps():
    pets, _ = find_pets(size=32, counts=FEW)
    model = attended(toy_backbone(), 20).eval()
    shown = gallery(model, pets, 4)
    assert torch.equal(shown.images, pets.test.images[:4] / 255)
    assert shown.titles == [pets.classes[label] for label in pets.test.labels[:4]]
    assert torch.equal(shown.regions, pets.test.regions[:4])
    (own,) = model(shown.images).maps
    assert list(shown.maps) == ["8 × 8"]
    torch.testing.assert_close(shown.maps["8 × 8"], own)
    figure = plots.show_maps(
        shown.images, {"the animal": shown.regions.float(), **shown.maps}, shown.titles
    )
    assert [axis.get_ylabel() for axis in figure.axes[:12:4]] == ["", "the animal", "8 × 8"]
    plt.close(figure)


@pytest.mark.usefixtures("home")
def test_scores_are_those_of_the_metrics():
    pets, _ = find_pets(size=32, counts=FEW)
    images, regions, maps, scores = (
        gallery(attended(toy_backbone(), 2), pets)[i] for i in (0, 2, 3, 4)
    )
    assert len(images) == 6
    m = maps["8 × 8"]
    others = m[[5, 0, 1, 2, 3, 4]]
    assert scores.index.tolist() == ["8 × 8: own", "8 × 8: another image's own", "uniform map"]
    assert scores.columns.tolist() == ["pointing", "energy", "best_iou"]
    for row, some in zip(scores.index, (m, others, torch.ones_like(m))):
        for name, score in zip(scores, (pointing_game, energy_inside, best_iou)):
            assert scores.loc[row, name] == pytest.approx(score(some, regions).mean().item())


class Brightness(nn.Module):
    """A pool whose map is the brightness of l."""

    def forward(self, l, g):
        return l.mean(dim=(2, 3)), l.mean(dim=1, keepdim=True)


def quarters():
    """Four black photographs with one white quarter each, which is the region."""
    regions = torch.zeros(4, 1, 32, 32, dtype=torch.bool)
    for i in range(4):
        top, left = 16 * (i // 2), 16 * (i % 2)
        regions[i, :, top : top + 16, left : left + 16] = True
    images = (255 * regions.to(torch.uint8)).expand(-1, 3, -1, -1)
    photos = Photos(images.contiguous(), torch.tensor([0, 1, 0, 1]), regions)
    return Splits(photos, photos, photos, ("cat", "dog"))


def on_brightness(pools, taps=("0", "1")):
    network = nn.Sequential(nn.AvgPool2d(4), nn.AvgPool2d(2), nn.Identity())
    return AttendedBackbone(Backbone(network, taps, size=32), pools, [3] * len(pools), 2)


def test_maps_that_follow_the_object_score_above_those_of_another_image():
    shown = gallery(on_brightness([Brightness()]), quarters())
    own, other, uniform = shown.scores.index
    assert shown.scores.pointing[[own, other]].tolist() == [1, 0]
    assert shown.scores.energy[own] > 0.85
    assert shown.scores.energy[other] < 0.05
    assert shown.scores.loc[uniform].tolist() == [0.25] * 3


def test_maps_on_equal_grids_keep_names_of_their_own():
    shown = gallery(on_brightness([Brightness()] * 2, ("1", "2", "2")), quarters(), 2)
    assert list(shown.maps) == ["4 × 4, depth 1", "4 × 4, depth 2"]
    assert len(shown.scores) == 2 * 2 + 1


def test_galleries_that_cannot_be_made_raise():
    pets = quarters()
    with pytest.raises(ValueError, match="at least 2 photographs, got 1"):
        gallery(on_brightness([Brightness()]), pets, 1)
    without = Photos(pets.test.images, pets.test.labels)
    with pytest.raises(ValueError, match="regions"):
        gallery(on_brightness([Brightness()]), pets._replace(test=without))
    with pytest.raises(ValueError, match="attention maps"):
        gallery(AttendedBackbone(toy_backbone(("late",)), [], [], 2), pets)
