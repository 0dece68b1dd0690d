import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from course_utils.data.in_memory import Photos, in_threads, square


@pytest.fixture
def photos():
    images = torch.arange(5 * 3 * 4 * 4).view(5, 3, 4, 4).to(torch.uint8)
    return Photos(images, torch.arange(5), images[:, :1] > 100)


def test_item_is_image_label_and_region(photos):
    image, label, region = photos[3]
    assert len(photos) == 5
    assert torch.equal(image * 255, photos.images[3].float())
    assert label == 3
    assert torch.equal(region, photos.regions[3])
    assert len(Photos(photos.images, photos.labels)[3]) == 2


def test_batch_is_made_of_its_items(photos):
    batch = next(iter(DataLoader(photos, sampler=[4, 0, 2], batch_size=3)))
    for i, item in zip((4, 0, 2), zip(*batch)):
        assert all(torch.equal(a, b) for a, b in zip(item, photos[i]))


@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (20, 20)])
def test_centre_of_the_longer_side_is_kept(shape):
    image = Image.new("L", shape, 255)
    image.paste(0, (shape[0] // 2 - 10, shape[1] // 2 - 10, shape[0] // 2 + 10, shape[1] // 2 + 10))
    assert square(image, 20).shape == (1, 20, 20)
    assert square(image, 20).max() == 0


def test_results_of_threads_are_in_order():
    assert in_threads(str, range(100), "numbers") == [str(i) for i in range(100)]
