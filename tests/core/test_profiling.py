import pytest
import torch
from torch import nn

from course_utils.attention import scores
from course_utils.attention.general import Attention
from course_utils.attention.query_related import MultiHead, SelfAttention
from course_utils.core import profiling
from course_utils.core.profiling import multiply_adds, parameters, saved_bytes, seconds
from course_utils.models import VGG, AttnVGG

N = 100
x, y = torch.rand(N), torch.rand(N)


@pytest.mark.parametrize(
    ("function", "inputs", "values"),
    [
        (torch.exp, [x], N),  # keeps its output
        (torch.sin, [x], N),  # keeps its input
        (torch.neg, [x], 0),
        (torch.add, [x, y], 0),
        (torch.mul, [x, y], 2 * N),
        (torch.mul, [x, x], N),  # one storage
        (lambda x: x.exp().exp(), [x], 2 * N),
        # three views of one storage
        (lambda x: (x.sin(), x.cos(), x.view(10, 10).mT.sin()), [x], N),
        (lambda x: x[:3].sin(), [x], N),  # a view keeps all of its storage
        (lambda x: x[:3].clone().sin(), [x], 3),
        (lambda x: x.softmax(dim=0), [x], N),
        (lambda x: x.exp().detach(), [x], 0),
        (lambda x: (x.exp(), x + 1)[1], [x], 0),  # no longer held when the function is done
        (torch.matmul, [torch.rand(3, 4), torch.rand(4, 5)], 3 * 4 + 4 * 5),
        (nn.Linear(4, 5), [torch.rand(3, 4)], 3 * 4 + 4 * 5),
    ],
)
def test_known_functions(function, inputs, values):
    assert saved_bytes(function, *inputs) == 4 * values
    with torch.no_grad():
        assert saved_bytes(lambda *same: function(*same), *inputs) == 4 * values
    assert not any(tensor.requires_grad for tensor in inputs)


def test_bytes_per_value_count():
    assert saved_bytes(torch.exp, x.double()) == 8 * N
    # a mask has one byte per value
    assert saved_bytes(lambda x, mask: x.masked_fill(mask, 0), x, x > 0.5) == N
    assert saved_bytes(lambda x, mask: x.masked_fill(mask, 0).exp(), x, x > 0.5) == 5 * N


def test_earlier_runs_do_not_count():
    assert [saved_bytes(torch.exp, x) for _ in range(3)] == [4 * N] * 3


def attend_with_one_query(keys, query):
    return Attention(scores.scaled_multiplicative)(query, keys, keys)


def test_attention_grows_with_the_positions_and_self_attention_with_their_square():
    d, attention = 8, Attention(scores.scaled_multiplicative)
    for K in (16, 32, 64, 128):
        keys, query = torch.rand(1, K, d), torch.rand(1, 1, d)
        kept_anyway = keys.nbytes
        assert saved_bytes(attend_with_one_query, keys, query) == kept_anyway + 4 * (d + K)
        scaled_queries = 4 * K * d
        kept = saved_bytes(lambda keys: attention(keys, keys, keys), keys)
        assert kept == kept_anyway + scaled_queries + 4 * K * K


def test_self_attention_keeps_inputs_projections_parameters_and_weights():
    K, module = 32, SelfAttention(Attention(scores.multiplicative), 8, 4, 4)
    inputs, projections, weights = K * 8, 3 * K * 4, 3 * 8 * 4
    assert saved_bytes(module, torch.rand(1, K, 8)) == 4 * (inputs + projections + weights + K * K)


def test_each_head_keeps_its_own_weights():
    kept = [
        [
            saved_bytes(
                MultiHead(Attention(scores.multiplicative), 8, heads), *[torch.rand(1, K, 8)] * 3
            )
            for K in (64, 128)
        ]
        for heads in (1, 2, 4)
    ]
    # The difference removes what grows with K alone; only a constant is left of it.
    quadratic = [large - 2 * small for small, large in kept]
    assert quadratic[1] - quadratic[0] == 4 * (128**2 - 2 * 64**2)
    assert quadratic[2] - quadratic[1] == 2 * 4 * (128**2 - 2 * 64**2)


def test_fastest_run_counts_and_the_warm_up_does_not(monkeypatch):
    """The clock is simulated, because with a real one, a busy machine could make the test fail."""
    now, takes = [0.0], iter([0.25, 3.0, 0.5, 2.0])
    monkeypatch.setattr(profiling, "perf_counter", lambda: now[0])

    def run():
        now[0] += next(takes)

    assert seconds(run, repeats=3) == 0.5
    assert next(takes, "all taken") == "all taken"


def test_function_gets_the_inputs():
    given = []
    assert seconds(lambda *inputs: given.append(inputs), x, y, repeats=2) > 0
    assert [tuple(map(id, inputs)) for inputs in given] == [(id(x), id(y))] * 3


def test_timer_waits_for_an_accelerator(monkeypatch):
    events = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: events.append("waited"))
    seconds(lambda x: events.append("ran"), torch.empty(3, device="meta"), repeats=2)
    assert events == ["ran", "waited"] * 3
    seconds(lambda x: events.append("ran"), x, repeats=1)
    assert events[6:] == ["ran", "ran"]


@pytest.mark.usefixtures("unchecked")
def test_repeats_below_1_are_refused():
    with pytest.raises(ValueError, match="got 0"):
        seconds(torch.exp, x, repeats=0)


def test_multiply_adds_by_hand():
    conv = nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False)
    assert multiply_adds(conv, torch.rand(2, 3, 8, 10)) == 2 * 5 * 4 * 5 * 3 * 9
    assert (
        multiply_adds(nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(12, 7)), torch.rand(4, 3, 4))
        == 4 * 12 * 7
    )
    assert parameters(conv) == 5 * 3 * 9


def test_multiply_adds_of_the_attention_in_a_vgg_of_full_width():
    """Two blocks, on 28² and 14²: 1 × 1 convolutions from l and g to 256 channels, then to 1."""
    with torch.device("meta"):
        x = torch.rand(1, 3, 224, 224)
        attention, average = (multiply_adds(AttnVGG(2, alignment=a), x) for a in ("sigmoid", None))
        plain = multiply_adds(VGG(2), x)
    expected = 28**2 * 256 * (256 + 1) + 14**2 * 256 * (512 + 1) + 2 * 7**2 * 512 * 256
    assert attention - average == expected
    assert round(expected / 1e9, 3) == 0.09
    assert average - plain == 2 * (256 + 512)


def test_counting_leaves_the_network_as_it_was():
    model = AttnVGG(2, width=0.0625, dropout=0.5)
    model.attention.eval()
    multiply_adds(model, torch.rand(1, 3, 32, 32))
    assert model.training
    assert not model.attention.training
    assert model.features[1].num_batches_tracked == 0
