"""The study of a small vision transformer: its maps, its interventions, and the cost of a block."""

from functools import partial

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from course_utils.data.cluttered_digits import ClutteredDigits
from course_utils.data.splits import load
from course_utils.models import VisionTransformer
from course_utils.studies import self_attention_in_cnns as study
from course_utils.studies.channel_and_spatial_attention import first
from course_utils.studies.presets import PRESETS, Preset
from course_utils.training.recipes import Recipe

DATA = {"size": 32, "fragments": 0, "counts": {"train": 96, "val": 60, "test": 60}}
TINY = Preset("smoke", 0.125, DATA, Recipe(epochs=2, batch_size=32))
T = 17  # tokens of images of 32 pixels


@pytest.fixture(scope="module")
def images():
    return first(ClutteredDigits("test", 6, canvas=32, fragments=1), 6)


@pytest.fixture
def network():
    """A transformer of three blocks whose attention differs between images."""
    torch.manual_seed(0)
    model = VisionTransformer(10, image_size=32, depth=3, heads=2, width=1 / 32)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model.double().eval()


@pytest.fixture
def pixels(images):
    return images.pixels.double()


def by_hand(network, image, weights):
    """The logits of one image; blocks without given weights, (n, T, T), compute their own."""
    patches = network.embed(image.expand(1, 3, -1, -1)).flatten(2)[0].T  # (T - 1, d)
    x = torch.cat([network.class_token[None], patches]) + network.positions
    for number, block in enumerate(network.blocks):
        attention, normed = block.attention, block.norm_before_attention(x)
        q, k, v = (
            project(normed).chunk(attention.heads, dim=1)
            for project in (attention.project_query, attention.project_key, attention.project_value)
        )
        own = [(a @ b.T / a.shape[1] ** 0.5).softmax(dim=1) for a, b in zip(q, k)]
        used = weights.get(number, own)
        x = x + attention.combine(torch.cat([a @ b for a, b in zip(used, v)], dim=1))
        x = x + block.mlp(block.norm_before_mlp(x))
    return network.classifiers[0](network.norm(x[:1]))[0]


@torch.no_grad()
def test_looking_changes_nothing(network, pixels):
    seen = study.look(network, pixels)
    assert_close(seen.logits, network(pixels).logits)
    assert [tuple(block.shape) for block in seen.weights] == [(6, 2, T, T)] * 3
    for mine, own in zip(seen.weights, network.encode(pixels).weights):
        assert_close(mine, own)


@torch.no_grad()
@pytest.mark.parametrize("only_class_token", [False, True])
@pytest.mark.parametrize("blocks", [(0,), (1,), (2,), (0, 1, 2)])
def test_an_intervention_equals_a_loop_over_images(network, pixels, blocks, only_class_token):
    seen = study.look(network, pixels)
    others = {b: seen.weights[b].roll(-1, dims=0) for b in blocks}
    with study.replaced(network, others, only_class_token=only_class_token):
        got = network(pixels)
    for i, image in enumerate(pixels):
        if only_class_token and len(blocks) > 1:
            continue  # the other tokens compute their own from changed features
        given = {b: each[i].clone() for b, each in others.items()}
        if only_class_token:
            for b, each in given.items():
                each[:, 1:] = seen.weights[b][i, :, 1:]
        assert_close(got.logits[i], by_hand(network, image, given))
    assert_close(network(pixels).logits, seen.logits)  # restored
    used = got.maps[blocks[0]].flatten(1)
    assert_close(used, others[blocks[0]].mean(dim=1)[:, 0, 1:])


@torch.no_grad()
def test_in_the_last_block_only_the_class_token_counts(network, pixels):
    given = {2: study.look(network, pixels).weights[2].mean(dim=0)[None]}
    with study.replaced(network, given):
        every = network(pixels).logits
    with study.replaced(network, given, only_class_token=True):
        one = network(pixels).logits
    assert_close(every, one)
    assert (every - network(pixels).logits).abs().max() > 1e-3


def test_interventions_name_what_they_replace(network, images, pixels):
    images = images._replace(pixels=pixels)
    found = study.interventions(network, images)
    assert len(found) == 1 + 2 * 2 * 4
    assert found.iloc[0].tolist()[:3] == ["all", "all", "own"]
    seen = study.look(network, pixels)
    assert found.accuracy[0] == (seen.logits.argmax(dim=1) == images.labels).double().mean()
    row = found.query("tokens == 'all' and block == '2' and weights == 'next image'").squeeze()
    with torch.no_grad():
        logits = [
            by_hand(network, image, {1: seen.weights[1][(i + 1) % 6]})
            for i, image in enumerate(pixels)
        ]
    right = torch.stack(logits).argmax(dim=1) == images.labels
    assert row.accuracy == right.double().mean()


def test_of_equal_images_nothing_is_replaced(network, images, pixels):
    equal = images._replace(pixels=pixels[:1].expand(6, -1, -1, -1))
    assert study.interventions(network, equal).accuracy.nunique() == 1


def test_maps_of_a_transformer(network, pixels, images):
    maps = study.maps_of(network, pixels, images.labels)
    names, grad = ([f"{kind} {n}" for n in (1, 2, 3)] for kind in ("attention", "Grad-CAM"))
    assert list(maps) == [*names, "rollout", "rollout without residual", *grad]
    assert all(each.shape == (6, 1, 4, 4) for each in maps.values())
    with torch.no_grad():
        encoded, own = network.encode(pixels), network(pixels).maps
    for name, each in zip(names, own):
        assert_close(maps[name], each)
    first, second, third = (block.mean(dim=1) for block in encoded.weights)
    product = torch.einsum("nk,nkj,nji->ni", third[:, 0], second, first)
    assert_close(maps["rollout without residual"].flatten(1), product[:, 1:])
    stay = torch.eye(T).double()
    half = torch.einsum(
        "nk,nkj,nji->ni", (third[:, 0] + stay[0]) / 2, (second + stay) / 2, (first + stay) / 2
    )
    assert_close(maps["rollout"].flatten(1), half[:, 1:])


def test_grad_cam_of_the_tokens_that_a_block_attends_to(network, pixels, images):
    maps = study.maps_of(network, pixels, images.labels)
    for number, block in enumerate(network.blocks, start=1):
        read = []
        keep = block.norm_before_attention.register_forward_hook(
            lambda module, given, output, read=read: read.append(output)
        )
        with keep:
            logits = network(pixels).logits
        score = logits.gather(1, images.labels[:, None]).sum()
        gradient = torch.autograd.grad(score, read[0])[0][:, 1:]  # (6, 16, d)
        expected = (gradient.mean(dim=1, keepdim=True) * read[0][:, 1:]).sum(dim=2).relu()
        got = maps[f"Grad-CAM {number}"]
        assert_close(got.flatten(1), expected.detach())
        assert got.max() > 0


def test_maps_are_scored_beside_those_of_the_next_image():
    regions = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    regions[0, :, :8, :8] = regions[1, :, 8:, 8:] = True
    maps = torch.zeros(2, 1, 2, 2)
    maps[0, 0, 0, 0] = maps[1, 0, 1, 1] = 1
    found = study.localise({"right": maps, "flat": torch.ones(2, 1, 2, 2)}, regions)
    found = found.set_index("map")
    assert found.pointing.tolist() == pytest.approx([1, 0.25])
    assert found["chance pointing"].tolist() == pytest.approx([0, 0.25])
    assert found.energy["right"] == pytest.approx(found["ceiling energy"].iloc[0])
    assert found.energy["right"] > 0.7 > 0.1 > found["chance energy"]["right"]
    assert found["uniform"].tolist() == [0.25, 0.25]
    assert found.spread.tolist() == pytest.approx([0.25, 1])


def test_maps_are_compared_with_those_of_the_network_before_training(network, images, pixels):
    fresh = VisionTransformer(10, image_size=32, depth=3, heads=2, width=1 / 32).double()
    images = images._replace(pixels=pixels)
    found = study.compare_maps(network, fresh, images)
    for prefix, each in (("", network), ("fresh ", fresh)):
        scores = study.localise(study.maps_of(each, pixels, images.labels), images.regions)
        for column in ("pointing", "energy"):
            assert found[prefix + column].tolist() == scores[column].tolist()


def test_the_cost_of_a_block_is_that_of_its_formula():
    threads = torch.get_num_threads()
    found = study.cost((4, 8), channels=6, repeats=1).set_index(["block", "side"])
    assert torch.get_num_threads() == threads
    assert len(found) == 6
    for side in (4, 8):
        k = side**2
        conv, one, every = (
            found.loc[(name, side)] for name in ("3 × 3 convolution", "global context", "non-local")
        )
        assert every.positions == k
        assert every.multiply_adds == 4 * 6 * 3 * k + 2 * 3 * k**2
        assert conv.multiply_adds == 9 * 6 * 6 * k
        assert one.multiply_adds == 6 * k + 2 * 6 * 8
        assert (every.weight_bytes, one.weight_bytes, conv.weight_bytes) == (4 * k**2, 4 * k, 0)
        assert every.saved_bytes > every.weight_bytes
        assert conv.saved_bytes == 4 * (6 * k + 9 * 6 * 6)  # its input and its weights
    assert (found.seconds > 0).all()


def test_plans_stretch_the_curriculum_with_the_epochs():
    usual = study.PLANS["vit"].adapt(PRESETS["cpu"])
    twice = study.PLANS["vit_long"].adapt(PRESETS["cpu"])
    assert usual.data["counts"] == {"train": 4000}
    assert twice.recipe.epochs == 2 * usual.recipe.epochs
    assert twice.data["curriculum"][:13] == ((32, 0),) * 12 + ((40, 3),)
    assert len(twice.data["curriculum"]) == 2 * len(usual.data["curriculum"])
    smoke = study.PLANS["vit"].adapt(PRESETS["smoke"])
    assert smoke.data["curriculum"] == PRESETS["smoke"].data["curriculum"]
    assert smoke.recipe.epochs == PRESETS["smoke"].recipe.epochs


def test_the_best_rate_is_the_one_of_the_highest_accuracy():
    scores = pd.DataFrame(
        [(0.1, 0, 0.5, 1.0), (0.2, 0, 0.6, 1.0), (0.3, 0, 0.6, 0.9), (0.1, 1, 0.9, 0.1)],
        columns=["rate", "seed", "val_accuracy", "val_loss"],
    )
    assert study.best_rate(scores) == 0.3


@pytest.mark.slow
def test_training_validates_the_weights_that_it_keeps(tmp_path):
    """With a cache of the weights in bfloat16, every epoch would have validated the first ones."""
    data = load(**TINY.data)
    model, run = study.train("vit", 1e-2, TINY, data, tmp_path, seed=0)
    best = run.history.loc[run.history.val_accuracy.idxmax()]
    val = first(data.val, 60)
    with torch.no_grad():
        loss = F.cross_entropy(model(val.pixels).logits, val.labels).item()
        start = F.cross_entropy(study.build("vit")(val.pixels).logits, val.labels).item()
    assert best.val_loss == pytest.approx(loss, abs=0.01)
    assert abs(start - loss) > 0.02


def test_names_are_checked(tmp_path):
    with pytest.raises(ValueError, match=r"'cnn'.*vit"):
        study.build("cnn")
    with pytest.raises(ValueError, match=r"'cnn'.*vit"):
        study.load("cnn", tmp_path / "none.safetensors")


RUNS = [(name, seed) for name, plan in study.PLANS.items() for seed in plan.seeds]


def test_every_run_is_shipped():
    runs = study.runs()
    assert not runs.isna().any(axis=None)
    chosen = runs[runs.chosen]
    assert sorted(zip(chosen.network, chosen.seed)) == sorted(RUNS)
    for name, plan in study.PLANS.items():
        some = runs[runs.network == name]
        wanted = {study.best_rate(runs[runs.network == (plan.like or name)])}
        assert set(some[some.chosen].rate) == wanted
        tried = some[some.seed.isin(study.TUNED)]
        assert set(tried.rate) == set(plan.rates or wanted)
        assert set(some.epochs) == {plan.adapt(PRESETS["cpu"]).recipe.epochs}
    histories = study.histories().groupby(["network", "seed"]).size()
    assert sorted(histories.index) == sorted(RUNS)
    assert {(n, e) for (n, _), e in histories.items()} == set(zip(chosen.network, chosen.epochs))


def test_every_measurement_is_shipped():
    maps, changed = study.localised(), study.intervened()
    assert not maps.isna().any(axis=None)
    sizes = maps.groupby(["network", "seed"]).size().to_dict()
    assert sizes == dict.fromkeys(RUNS, 10)
    assert not changed.isna().any(axis=None)
    sizes = changed.groupby(["network", "seed"]).size().to_dict()
    assert sizes == dict.fromkeys(RUNS, 1 + 2 * 2 * 5)
    assert set(changed.block) == {"all", "1", "2", "3", "4"}
    # The tables belong together: own weights on the first of the test images.
    own = changed[changed.weights == "own"].set_index(["network", "seed"]).accuracy
    runs = study.runs().query("chosen").set_index(["network", "seed"]).accuracy
    assert (own - runs[own.index]).abs().max() < 0.03
    assert sum(path.stat().st_size for path in study.SHIPPED.iterdir()) < 1_100_000


@pytest.mark.slow
def test_the_shipped_network_has_the_scores_of_its_rows():
    model, adapted = study.network(), study.PLANS[study.NETWORK].adapt(PRESETS["cpu"])
    counts = {"train": 1, "val": 1, "test": 4000}
    images = first(load(**adapted.data | {"counts": counts}).test, study.MEASURED)
    here = partial(pd.DataFrame.query, expr=f"network == '{study.NETWORK}' and seed == 0")
    again, kept = study.interventions(model, images), here(study.intervened())
    assert again.accuracy.tolist() == pytest.approx(kept.accuracy.tolist(), abs=0.003)
    scores = study.compare_maps(model, study.build(study.NETWORK), images)
    kept = here(study.localised())
    for column in ("pointing", "energy", "chance pointing", "ceiling energy", "fresh energy"):
        assert scores[column].tolist() == pytest.approx(kept[column].tolist(), abs=0.005)
