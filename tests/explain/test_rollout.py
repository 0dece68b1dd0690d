import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from course_utils.attention import to_maps
from course_utils.explain import attention_rollout
from course_utils.models import VisionTransformer
from tests.references import normal


def weights(seed, blocks, heads=2, tokens=4, images=2):
    scores = normal(seed, *[(images, heads, tokens, tokens)] * blocks)
    return [block.softmax(dim=-1) for block in scores]


@given(seed=st.integers(0, 100), blocks=st.integers(1, 4), heads=st.integers(1, 3))
def test_rollout_sums_over_all_paths(seed, blocks, heads):
    """A path chooses a token after every block; a step stays or follows the attention."""
    every = weights(seed, blocks, heads)

    def share(image, block, token, source):
        """How much of an input token is in a token behind a block."""
        if block < 0:
            return float(token == source)
        total = 0.0
        for before in range(4):
            step = sum(every[block][image, head, token, before].item() for head in range(heads))
            step = (step / heads + (token == before)) / 2
            total += step * share(image, block - 1, before, source)
        return total

    got = attention_rollout(every)
    for image, token, source in ((0, 0, 1), (1, 0, 3), (1, 2, 2)):
        assert got[image, token, source].item() == pytest.approx(
            share(image, blocks - 1, token, source), abs=1e-12
        )
    assert_close(got.sum(dim=-1), torch.ones(2, 4).double())


def test_of_one_block_it_is_half_of_its_attention_and_half_of_the_token_itself():
    (block,) = weights(0, 1)
    assert_close(attention_rollout([block]), block.mean(dim=1) / 2 + torch.eye(4).double() / 2)


def test_of_blocks_that_attend_to_themselves_it_is_the_identity():
    stay = torch.eye(5).expand(1, 3, 5, 5)
    assert torch.equal(attention_rollout([stay] * 6), torch.eye(5)[None])


def test_the_map_of_a_vision_transformer():
    torch.manual_seed(0)
    model = VisionTransformer(3, patch=8, depth=3, heads=2, width=1 / 32).eval()
    encoded = model.encode(torch.rand(2, 1, 32, 48))
    rollout = attention_rollout(encoded.weights)
    maps = to_maps(rollout[:, :1, 1:], 4)
    assert maps.shape == (2, 1, 4, 6)
    assert (maps > 0).all()
    assert_close(maps.sum(dim=(1, 2, 3)), 1 - rollout[:, 0, 0])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([], "at least one"),
        ([(1, 2, 3, 3), (1, 2, 4, 4)], "(1, 2, 4, 4)"),
        ([(1, 2, 3, 4)], "3, 4"),
    ],
)
def test_weights_that_do_not_fit_are_refused(shapes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        attention_rollout([torch.rand(shape) for shape in shapes])
