"""A small vision transformer on the cluttered digits, and what self-attention costs.

``python -m experiments.self_attention_in_cnns`` trains and measures the networks; the package ships
the results. The three questions were written down before the networks were trained. Two controls
came after a look at the maps of the first one (34 epochs): Grad-CAM for every block instead of the
last, and maps of untrained networks.

1. *Accuracy.* How does a small vision transformer do beside a ResNet-8? Control: the ResNet-8
   without a gate of the chapter Channel and spatial attention, from five seeds. The rate of either
   network is the best of three, on validation images (of one seed here, of two there).
   Images come from the same source digits, 4,000 fresh ones per epoch: the ResNet sees 48,000 in
   12 epochs, the transformers of `PLANS` 136,000 in 34 epochs and 272,000 in 68. The comparison
   therefore favours the transformer. It also gets canvases that grow in smaller steps, and a
   shorter warm-up. `SEEDS` vary the initial weights and the order of the images; the images are the
   same for all. A difference is one whose interval over the seeds (Welch) excludes 0. If the
   transformer reached the ResNet's accuracy, the ResNet would need a run with as many images; if it
   didn't gain from twice as many images, their number would not be what it lacks.
2. *Does a map find the digit?* `maps_of` computes the maps of a trained transformer, and `localise`
   scores them against the boxes of 1,000 test images. Chance is the map of the next image; another
   control is the map of the same network before training. The ceiling of an 8 × 8 grid stands
   beside them. If rollout points no better than chance, or no better than the attention of the last
   block alone, the product over all blocks adds nothing here.
3. *Does the network use its attention?* `interventions` gives the tokens of a block the mean of
   their attention over the images, or the attention of the next image. A block that keeps its
   accuracy doesn't use what is particular to the image in its attention, however right its map
   looks.

`cost` measures what a block costs as the feature map grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn

from course_utils.attention.general import to_maps
from course_utils.attention.non_local import GlobalContext, NonLocal
from course_utils.attention.query_related import AttendedOften, MultiHead
from course_utils.core.eval_mode import evaluating
from course_utils.core.profiling import multiply_adds, saved_bytes, seconds
from course_utils.data.parts import Splits
from course_utils.explain import attention_rollout, gradcam, metrics, tokens
from course_utils.models import VisionTransformer
from course_utils.models.weights import load_weights
from course_utils.studies.channel_and_spatial_attention import Images
from course_utils.studies.presets import Preset
from course_utils.studies.variants import Variant, best_setting, check_variant
from course_utils.training.run import Run
from course_utils.training.trainer import fit

SHIPPED = Path(__file__).parents[1] / "shipped" / "self_attention_in_cnns"
CLASSES = 10  # digits
BATCH = 100
SEEDS, TUNED = (0, 1, 2), (0,)
SIZE = 64  # pixels
# (canvas in pixels, fragments) of the first epochs. They begin with digits alone: with the course's
# usual curriculum, a pilot of 12 epochs and one seed reached a validation accuracy of 22 %.
STAGES = ((32, 0),) * 6 + ((40, 3),) * 6 + ((48, 5),) * 6
EPOCHS = 34
WARMUP = 0.1  # share of the steps; the usual 0.35 leaves fewer at a useful rate
MEASURED = 1000  # test images
VIT = Variant(
    VisionTransformer, {"patch": 8, "depth": 4, "heads": 4, "width": 0.125}, sized=lambda _: {}
)


@dataclass(frozen=True)
class Plan:
    """A training of the transformer.

    Attributes:
        seeds: The seeds from which it is trained at the chosen learning rate.
        rates: Learning rates, from which the validation images choose.
        like: If given, nothing is chosen: the learning rate is that of this plan.
        times: Factor on the epochs, those of the curriculum included.
    """

    seeds: tuple[int, ...]
    rates: tuple[float, ...] = ()
    like: str | None = None
    times: int = 1

    def adapt(self, preset: Preset) -> Preset:
        """Return the preset with this plan's epochs, and with 4,000 images per epoch at most.

        At `SIZE` pixels, the canvases grow as in `STAGES`; otherwise, as the preset has them.
        """
        usual = preset.data.get("curriculum", ())
        full = preset.image_size == SIZE
        stages = STAGES if full else usual
        curriculum = tuple(stage for stage in stages for _ in range(self.times))
        counts = preset.data.get("counts", {"train": 4000})
        epochs = (EPOCHS if full else preset.recipe.epochs) * self.times
        return replace(
            preset,
            data=preset.data | {"curriculum": curriculum, "counts": counts},
            recipe=replace(preset.recipe, epochs=epochs, warmup=WARMUP),
        )


PLANS = {
    "vit": Plan(TUNED, (5e-4, 1e-3, 2e-3)),
    "vit_long": Plan(SEEDS, like="vit", times=2),
}
NETWORK = "vit_long"  # the transformer whose first seed is shipped


def build(name: str, preset: Preset | None = None, *, seed: int = 0) -> VisionTransformer:
    """Return a network of `PLANS`, freshly initialised.

    Raises:
        ValueError: If the name is unknown; the message lists the valid ones.
    """
    check_variant(name, PLANS)
    return cast(VisionTransformer, VIT.build(CLASSES, preset, seed=seed))


def train(
    name: str, rate: float, preset: Preset, data: Splits, folder: Path | str, *, seed: int
) -> tuple[VisionTransformer, Run]:
    """Train a network of `PLANS`; a run that was stopped continues from its last epoch.

    Matrix products are computed in bfloat16, as in mixed precision on a GPU. On processors with
    bfloat16, a step then takes less than half of the time.

    Args:
        name: One of `PLANS`.
        rate: Peak of the learning rate.
        preset: What `Plan.adapt` returns.
        data: Images to train and validate on.
        folder: Folder for the log and the checkpoints.
        seed: Seed of the initial weights and of the order of the images.

    Raises:
        ValueError: If the name is unknown; the message lists the valid ones.
    """
    model = build(name, preset, seed=seed)
    recipe = replace(preset.recipe, lr=rate)
    # No cache: inside one long region, it would never see the updated weights.
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        return model, fit(model, data, recipe, folder=folder, seed=seed, resume=True)


def best_rate(scores: pd.DataFrame) -> float:
    """Return the learning rate with the highest mean validation accuracy.

    Of several with the same accuracy, it is the one with the lowest validation loss.

    Args:
        scores: The runs of one plan from the seeds `TUNED`, with the columns ``rate``,
            ``val_accuracy`` and ``val_loss``.
    """
    return best_setting(scores[scores.seed.isin(TUNED)], "rate")


class Observed(NamedTuple):
    """What a transformer answers, and its attention.

    Attributes:
        logits: (N, classes).
        weights: (N, heads, tokens, tokens) per block, see `Encoded`.
    """

    logits: Float[Tensor, "N classes"]
    weights: tuple[Float[Tensor, "N n T T"], ...]


def look(network: VisionTransformer, pixels: Float[Tensor, "N 1 S S"]) -> Observed:
    """Run a transformer in evaluation mode, and keep its attention."""
    logits, every = [], []
    with evaluating(network):
        for batch in pixels.split(BATCH):
            encoded = network.encode(batch)
            logits.append(network.classifiers([network.norm(encoded.tokens[:, 0])], ()).logits)
            every.append(encoded.weights)
    return Observed(torch.cat(logits), tuple(torch.cat(block) for block in zip(*every)))


def rollout_without_residual(weights: Sequence[Float[Tensor, "B n T T"]]) -> Float[Tensor, "B T T"]:
    """Multiply the attention of all blocks as `attention_rollout` does, but without the residuals.

    Args:
        weights: Attention per block, from the first to the last.
    """
    product = weights[0].mean(dim=1)  # (B, T, T)
    for block in weights[1:]:
        product = block.mean(dim=1) @ product
    return product


def maps_of(
    network: VisionTransformer, pixels: Float[Tensor, "N 1 S S"], labels: Int[Tensor, " N"]
) -> dict[str, Float[Tensor, "N 1 h w"]]:
    """Return the maps of a trained network, by name.

    Args:
        network: The network.
        pixels: N images.
        labels: Their classes, which Grad-CAM explains.

    Returns:
        ``attention 1`` and so on, the attention of the class token in each block; ``rollout``;
        ``rollout without residual``; and ``Grad-CAM 1`` and so on, of the normed tokens that each
        block attends to. For the last block there is no choice: of the tokens that it returns, the
        classifier reads the class token only.
    """
    weights = look(network, pixels).weights
    rows = pixels.shape[-2] // network.patch

    def of_class_token(shares: Float[Tensor, "N T T"]) -> Float[Tensor, "N 1 h w"]:
        return to_maps(shares[:, :1, 1:], rows)

    found = {
        f"attention {number}": of_class_token(block.mean(dim=1))
        for number, block in enumerate(weights, start=1)
    }
    found["rollout"] = of_class_token(attention_rollout(weights))
    found["rollout without residual"] = of_class_token(rollout_without_residual(weights))
    reshape = partial(tokens, grid=(rows, pixels.shape[-1] // network.patch))
    for number, block in enumerate(network.blocks, start=1):
        layer = block.get_submodule("norm_before_attention")
        found[f"Grad-CAM {number}"] = gradcam(network, pixels, layer, labels, reshape=reshape)
    return found


def localise(
    maps: Mapping[str, Float[Tensor, "N 1 h w"]], regions: Bool[Tensor, "N 1 S S"]
) -> pd.DataFrame:
    """Score maps against the boxes of the digits.

    Returns:
        One row per ``map``, with ``pointing`` and ``energy``; ``chance pointing`` and
        ``chance energy``, the scores of the next image's map; ``ceiling pointing`` and
        ``ceiling energy``, the best that a map on this grid could score; ``uniform``, the share of
        the box in the image; and ``spread``, the effective share of the positions.
    """
    rows = []
    for name, each in maps.items():
        others = each.roll(-1, dims=0)  # of the next image
        best = metrics.grid_ceiling(regions, (each.shape[-2], each.shape[-1]))
        values = {
            "pointing": metrics.pointing_game(each, regions),
            "energy": metrics.energy_inside(each, regions),
            "chance pointing": metrics.pointing_game(others, regions),
            "chance energy": metrics.energy_inside(others, regions),
            "ceiling pointing": best[0],
            "ceiling energy": best[1],
            "uniform": metrics.area_share(regions),
            "spread": metrics.effective_share(each),  # NaN for a map of zeros
        }
        rows.append({"map": name} | {k: v.double().nanmean().item() for k, v in values.items()})
    return pd.DataFrame(rows)


def compare_maps(
    network: VisionTransformer, fresh: VisionTransformer, images: Images
) -> pd.DataFrame:
    """Score the maps of a trained network beside those of the same network before training.

    Returns:
        What `localise` returns, and ``fresh pointing`` and ``fresh energy``.
    """
    trained, untrained = (
        localise(maps_of(each, images.pixels, images.labels), images.regions)
        for each in (network, fresh)
    )
    scores = untrained[["pointing", "energy"]].add_prefix("fresh ")
    return pd.concat([trained, scores], axis=1)


@contextmanager
def replaced(
    network: VisionTransformer,
    weights: Mapping[int, Float[Tensor, "B n T T"]],
    *,
    only_class_token: bool = False,
) -> Iterator[VisionTransformer]:
    """Yield a transformer that weights its tokens as given, and restore it afterwards.

    Args:
        network: The network.
        weights: Attention weights by the index of the block, from 0. Other blocks compute theirs.
        only_class_token: Replace only the weights that the class token gives.
    """

    def answer(
        attention: MultiHead, inputs: tuple[Tensor, ...], own: AttendedOften, given: Tensor
    ) -> AttendedOften:
        changed = given.expand_as(own.weights)
        if only_class_token:
            changed = torch.cat([changed[:, :, :1], own.weights[:, :, 1:]], dim=2)
        values = attention.project_value(inputs[2]).chunk(attention.heads, dim=-1)
        contexts = [a @ v for a, v in zip(changed.unbind(dim=1), values)]  # (B, T, d / n) per head
        return AttendedOften(attention.combine(torch.cat(contexts, dim=-1)), changed)

    with ExitStack() as hooks:
        for block, given in weights.items():
            attention = cast(MultiHead, network.get_submodule(f"blocks.{block}.attention"))
            hook = partial(answer, given=given)
            hooks.enter_context(attention.register_forward_hook(hook))
        yield network


def answers(
    network: VisionTransformer,
    pixels: Float[Tensor, "N 1 S S"],
    weights: Mapping[int, Float[Tensor, "N n T T"]],
    *,
    only_class_token: bool = False,
) -> Int[Tensor, " N"]:
    """Return the predicted classes if some blocks have other attention weights; see `replaced`."""
    found = []
    with evaluating(network):
        for i in torch.arange(len(pixels)).split(BATCH):
            given = {block: each[i] for block, each in weights.items()}
            with replaced(network, given, only_class_token=only_class_token):
                found.append(network(pixels[i]).logits.argmax(dim=1))
    return torch.cat(found)


def interventions(network: VisionTransformer, images: Images) -> pd.DataFrame:
    """Replace the attention of a trained transformer, and return what becomes of its answers.

    Returns:
        One row per ``tokens`` (whose attention is replaced: ``class token`` or ``all``), ``block``
        (``1`` and so on, or ``all``) and ``weights`` (``own``; ``mean``, over the images; or those
        of the ``next image``), with the ``accuracy``.
    """
    seen = look(network, images.pixels)
    rows = []

    def add(which: str, block: str, weights: str, given: Mapping[int, Tensor]) -> None:
        one = which == "class token"
        found = answers(network, images.pixels, given, only_class_token=one)
        accuracy = (found == images.labels).double().mean().item()
        rows.append({"tokens": which, "block": block, "weights": weights, "accuracy": accuracy})

    add("all", "all", "own", {})
    kinds = {
        "mean": [block.mean(dim=0).expand_as(block) for block in seen.weights],
        "next image": [block.roll(-1, dims=0) for block in seen.weights],
    }
    for which in ("class token", "all"):
        for kind, given in kinds.items():
            add(which, "all", kind, dict(enumerate(given)))
            for block, each in enumerate(given):
                add(which, str(block + 1), kind, {block: each})
    return pd.DataFrame(rows)


def cost(
    sides: Sequence[int] = (8, 16, 32, 64), channels: int = 32, repeats: int = 3
) -> pd.DataFrame:
    """Measure what a block costs for one image, as the feature map grows.

    Args:
        sides: Height and width of the feature maps.
        channels: Channels of the features.
        repeats: Number of timed runs; the fastest counts.

    Returns:
        One row per ``block`` (``non-local``, ``global context`` or ``3 × 3 convolution``) and
        ``side``: the number of ``positions``; the ``multiply_adds`` of the forward pass, computed;
        its ``seconds`` with one thread; the ``weight_bytes`` of the attention weights in single
        precision, computed; and the ``saved_bytes`` that training holds for the backward pass.
    """
    blocks = {
        "non-local": NonLocal(channels),
        "global context": GlobalContext(channels),
        "3 × 3 convolution": nn.Conv2d(channels, channels, 3, padding=1),
    }
    threads, rows = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for (name, block), side in ((b, s) for b in blocks.items() for s in sides):
            x = torch.rand(1, channels, side, side)
            weights = 4 * {"non-local": side**4, "global context": side**2}.get(name, 0)
            with evaluating(block):
                row = {
                    "block": name,
                    "side": side,
                    "positions": side**2,
                    "multiply_adds": multiply_adds(block, x),
                    "seconds": seconds(block, x, repeats=repeats),
                    "weight_bytes": weights,
                }
            rows.append(row | {"saved_bytes": saved_bytes(block, x)})
    finally:
        torch.set_num_threads(threads)
    return pd.DataFrame(rows)


def load(name: str, path: Path, *, seed: int = 0) -> VisionTransformer:
    """Return a network of `PLANS` with the weights in a file, in evaluation mode.

    Raises:
        ValueError: If the name is unknown, or the weights belong to another network.
    """
    model = build(name, seed=seed).eval()
    load_weights(model, load_file(path))
    return model


def network(home: Path = SHIPPED) -> VisionTransformer:
    """Return the transformer that the package ships, in evaluation mode: `NETWORK`, first seed."""
    return load(NETWORK, home / "vit.safetensors")


def runs(home: Path = SHIPPED) -> pd.DataFrame:
    """Return one row per training run.

    The columns are ``network`` (a name of `PLANS`), ``epochs``, ``rate``, ``seed``, ``chosen``
    (whether the validation images chose this rate), ``parameters``, ``val_accuracy``,
    ``val_loss``, and ``accuracy``, which is that on the 4,000 test images.
    """
    return pd.read_csv(home / "runs.csv")


def histories(home: Path = SHIPPED) -> pd.DataFrame:
    """Return one row per epoch of each run at its chosen rate."""
    return pd.read_csv(home / "histories.csv")


def localised(home: Path = SHIPPED) -> pd.DataFrame:
    """Return what `compare_maps` returns, for each network at its chosen rate."""
    return pd.read_csv(home / "maps.csv")


def intervened(home: Path = SHIPPED) -> pd.DataFrame:
    """Return what `interventions` returns, for each transformer at its chosen rate."""
    return pd.read_csv(home / "interventions.csv", dtype={"block": str})
