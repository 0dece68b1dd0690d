import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from course_utils.data.fingerprint import changes, fingerprints
from course_utils.data.in_memory import Photos
from course_utils.data.parts import Splits
from course_utils.data.splits import load

N = 12


class Arrays(Dataset):
    """A data set as a user may write one: a NumPy array, a list of labels, a wrapped function."""

    def __init__(self, images, labels):
        self.images, self.labels = images.numpy(), labels.tolist()
        self.transform, self.reads, self.itself = (lambda image: image), 0, self

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        self.reads += 1
        return self.transform(self.images[i]), self.labels[i]


KINDS = {
    "photos": Photos,
    "tensors": TensorDataset,
    "arrays": Arrays,
    "list": lambda images, labels: list(zip(images, labels.tolist())),
    "concatenated": lambda images, labels: ConcatDataset([TensorDataset(images, labels)] * 2),
}


def material():
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (N, 3, 8, 8), generator=rng, dtype=torch.uint8)
    return images, torch.arange(N) % 2


def parts(kind, images, labels, classes=("a", "b")):
    whole = KINDS[kind](images, labels)
    return Splits(Subset(whole, range(2, N)), Subset(whole, [0, 1]), whole, classes)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_images_have_the_same_record_also_after_reading_them(kind):
    data = parts(kind, *material())
    before = fingerprints(data)
    assert [before[part][0] for part in ("train", "val")] == [N - 2, 2]
    data.train[0]
    assert changes(before, fingerprints(data)) == []
    assert changes(before, fingerprints(parts(kind, *material()))) == []


@pytest.mark.parametrize("kind", ["photos", "tensors", "arrays", "list"])
@pytest.mark.parametrize(
    ("row", "part"), [(0, "2 images to validate on"), (5, "10 images to train on")]
)
@pytest.mark.parametrize("what", ["image", "label"])
def test_one_other_image_or_label_is_noticed_in_its_part(kind, row, part, what):
    images, labels = material()
    then = fingerprints(parts(kind, images.clone(), labels.clone()))
    if what == "image":
        images[row, 1, 2, 3] += 1
    else:
        labels[row] = 1 - labels[row]
    (change,) = changes(then, fingerprints(parts(kind, images, labels)))
    assert change.startswith(part)
    assert "not the same" in change


def test_numbers_classes_and_order_are_named():
    images, labels = material()
    then = fingerprints(parts("photos", images, labels))
    more = parts("photos", torch.cat([images, images]), torch.cat([labels, labels]))
    more = more._replace(train=Subset(more.test, range(2, 2 * N)))
    assert changes(then, fingerprints(more)) == ["10 images to train on then, 22 now"]
    other = fingerprints(parts("photos", images, labels, ("b", "a")))
    assert changes(then, other) == ["the classes were a, b, and are b, a now"]
    turned = parts("photos", images, labels)
    turned = turned._replace(train=Subset(turned.test, range(N - 1, 1, -1)))
    assert len(changes(then, fingerprints(turned))) == 1


def test_composed_images_differ_by_their_seed():
    counts = {"train": 5, "val": 3, "test": 1}
    records = [fingerprints(load(size=32, counts=counts, seed=seed)) for seed in (0, 0, 1)]
    assert changes(records[0], records[1]) == []
    assert len(changes(records[0], records[2])) == 2


def test_images_on_the_disk_are_counted_and_not_read(tmp_path):
    stored = np.memmap(tmp_path / "images", np.uint8, "w+", shape=(N, 8, 8, 3))
    whole = Arrays(torch.zeros(N), torch.zeros(N))
    whole.images = stored
    then = fingerprints(Splits(whole, whole, whole, ("a",)))
    stored[:] = 1
    assert changes(then, fingerprints(Splits(whole, whole, whole, ("a",)))) == []
