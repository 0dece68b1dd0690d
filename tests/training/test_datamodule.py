import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch.utils.data import Subset

from course_utils.data.splits import on
from course_utils.training.datamodule import SplitsDataModule
from course_utils.training.recipes import Recipe
from course_utils.training.trainer import fit

TOGETHER = """
import sys
from torch.utils.data import Subset
from course_utils.data import load
from course_utils.training import Recipe, fit
from tests.training.test_datamodule import network

data = load(size=32, fragments=1, counts={"train": 96, "val": 20, "test": 30})
for kind in ("linear", "attn_vgg"):
    fit(network(kind), data, Recipe(epochs=3, batch_size=32), folder=f"{sys.argv[1]}/{kind}")
for images in (96, 20):
    some = data._replace(train=Subset(data.train, range(images)))
    recipe = Recipe(epochs=3, batch_size=32, accumulate=4, clip=0.1)
    fit(network("linear"), some, recipe, folder=f"{sys.argv[1]}/{images} in parts")
"""


def network(kind):
    from course_utils.models import AttnVGG, Output

    class Linear(torch.nn.Linear):
        """A network without batch norm: two halves of a batch give the gradient of the whole."""

        def forward(self, images):
            logits = super().forward(images.flatten(1))
            return Output(logits, (), logits[:, None])

    torch.manual_seed(0)
    return (
        Linear(32 * 32, 10) if kind == "linear" else AttnVGG(10, width=0.0625, head="independent")
    )


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Folder of the runs of two processes that share each batch."""
    folder = tmp_path_factory.mktemp("together")
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "--no-python",
    ]
    done = subprocess.run(
        [*torchrun, sys.executable, "-c", TOGETHER, folder],
        capture_output=True,
        text=True,
        cwd=".",
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tolerance"), [("linear", 1e-5), ("attn_vgg", 0.02)])
def test_two_processes_get_the_loss_curve_of_one(kind, tolerance, together, digits, tmp_path):
    """Batch norm takes its statistics from half a batch, so AttnVGG only learns nearly the same."""
    alone = fit(network(kind), digits, Recipe(epochs=3, batch_size=32), folder=tmp_path)
    log = pd.read_csv(together / kind / "log/version_0/metrics.csv").groupby("epoch").last()
    assert log.train_loss.tolist() == pytest.approx(
        alone.history.train_loss.tolist(), abs=tolerance
    )
    assert log.val_loss.tolist() == pytest.approx(alone.history.val_loss.tolist(), abs=tolerance)
    assert log.train_loss.std() > tolerance / 3  # the loss does change


@pytest.mark.slow
@pytest.mark.parametrize("images", [96, 20])  # each process has parts of 4, or of 3, 3, 2 and 2
def test_two_processes_that_cut_their_shares_into_parts_train_like_one_with_whole_batches(
    images, together, digits, tmp_path
):
    some = digits._replace(train=Subset(digits.train, range(images)))
    fit(network("linear"), some, Recipe(epochs=3, batch_size=32, clip=0.1), folder=tmp_path)
    alone, both = (
        torch.load(folder / "last.ckpt", weights_only=True)
        for folder in (tmp_path, together / f"{images} in parts")
    )
    assert both["global_step"] == alone["global_step"] == 3 * max(images // 32, 1)
    assert both["lr_schedulers"][0]["_last_lr"] == alone["lr_schedulers"][0]["_last_lr"]
    for name, value in alone["state_dict"].items():
        torch.testing.assert_close(both["state_dict"][name], value, rtol=1e-5, atol=1e-6)


def batches(n, batch_size, rank, world, digits, parts=1):
    module = SplitsDataModule(digits._replace(train=torch.arange(n)), batch_size, 3, parts)
    module.trainer = SimpleNamespace(current_epoch=2, global_rank=rank, world_size=world)
    return [batch.tolist() for batch in module.train_dataloader()]


@pytest.mark.parametrize(("n", "size"), [(96, 32), (99, 32), (130, 32), (20, 32)])
def test_processes_share_each_batch(n, size, digits):
    one = batches(n, size, 0, 1, digits)
    shares = [batches(n, size, rank, 2, digits) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == len(one)
    for whole, *parts in zip(one, *shares):
        assert len(parts[0]) == len(parts[1])
        assert sorted(parts[0] + parts[1]) == sorted(whole)


@pytest.mark.parametrize(("n", "size", "parts"), [(130, 32, 4), (96, 32, 16), (22, 32, 4)])
def test_a_process_cuts_its_share_into_parts_of_nearly_the_same_size(n, size, parts, digits):
    for rank in (0, 1):
        shares = batches(n, size, rank, 2, digits)
        pieces = batches(n, size, rank, 2, digits, parts)
        assert len(pieces) == parts * len(shares)
        for i, share in enumerate(shares):
            own = pieces[parts * i : parts * (i + 1)]
            assert [image for piece in own for image in piece] == share
            assert max(map(len, own)) - min(map(len, own)) <= 1


def test_a_batch_size_that_cannot_be_shared_evenly_is_refused(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(ValueError, match=r"3 processes.*, got 64"):
        fit(network("linear"), digits, Recipe(epochs=1), folder=tmp_path)


def test_a_whole_data_set_can_be_on_another_device(digits):
    """The meta device stands for a GPU: its tensors can't be mixed with those of the CPU."""
    image, label, region = on(digits.train, "meta").__getitems__([0, 5])[1]
    assert {image.device.type, label.device.type, region.device.type} == {"meta"}
    assert (image.shape, region.shape) == (digits.train[5][0].shape, digits.train[5][2].shape)
