"""Results on the slides: read from what the package ships, or computed with its networks."""

import copy
import math
from functools import cache

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from course_utils.core import profiling
from course_utils.models import VGG, AttnVGG, PayAttentionVGG
from course_utils.models.output import as_rgb
from course_utils.studies import (
    attention_vs_grad_cam,
    results,
    score_functions,
    statistics,
    your_own_data,
)
from lecture import material

GRAD_CAMS = [f"Grad-CAM, {block}" for block in attention_vs_grad_cam.BLOCKS]
# Each attention map with the Grad-CAM of its own grid; the first also with that of the finest
# layer.
PARTNERS = (
    ("softmax", 1, "block 4"),
    ("softmax", 1, "block 3"),
    ("repaired", 1, "block 3"),
    ("repaired", 2, "block 4"),
)
SMALL = 0.01  # an effect on the accuracy that doesn't matter
REPLACED_ON = 50  # test images; only a few, because double precision is slow
# Errors on CIFAR-100 in per cent, as Jetley et al. 2018 report them
REPORTED = {"reported_plain": "30.62", "reported_attention": "22.97"}


def with_margin(values: pd.Series, digits: int, *, signed: bool = False) -> str:
    """Return the mean over seeds and the margin of its 95 % interval, as text."""
    mean, margin = statistics.interval(values)
    sign = "+" if signed else ""
    text = f"{mean:{sign}.{digits}f} ± {margin:.{digits}f}"
    return text.replace("-", "−")  # a minus sign, which is as wide as the plus sign


def percent(share: float, digits: int = 1) -> str:
    """Return a share between 0 and 1 in per cent, as text."""
    return f"{100 * share:.{digits}f} %"


def brief(value: float) -> str:
    """Return a number that can be read at a glance; if it is tiny, its nearest power of ten."""
    if value == 0:
        return "0"
    if value > 1e-3:
        return f"{value:.0f}" if value >= 100 else f"{value:.2g}"
    exponent = str(round(math.log10(value)))
    return "10" + exponent.translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


@cache
def network_sizes() -> dict[str, int]:
    """Return the parameters of VGG16, of AttnVGG and of two steps between them, for two classes."""
    # The meta device has no memory, so the large dense layers cost nothing here.
    with torch.device("meta"):
        networks = {
            "VGG16": VGG(2, head="dense"),
            "without dense layers": VGG(2, head="average"),
            "three scales": AttnVGG(2, alignment=None),
            "AttnVGG": AttnVGG(2, alignment="sigmoid"),
        }
    return {name: profiling.parameters(network) for name, network in networks.items()}


# Where the parts of the network of Learn to Pay Attention begin and end among its layers
PARTS = {
    "block 1": slice(0, 6),
    "block 2": slice(6, 12),
    "block 3": slice(12, 21),
    "block 4": slice(21, 31),
    "block 5": slice(31, material.BEHIND_LAST_TAP),
    "conv 14": slice(material.BEHIND_LAST_TAP, 45),
    "conv 15": slice(45, 50),
}


@cache
def gradient_norms() -> dict[str, pd.Series]:
    """Return the norm of the loss's gradient in each part of three trained networks."""
    images, labels, _, _ = material.images(32, small=True)
    norms = {}
    for name, variant in material.GUIDED.items():
        # In double precision, rounding errors are far below any gradient that matters, so a
        # gradient that is zero in theory can be recognised.
        network = material.trained(variant).double()
        F.cross_entropy(network(images.double()).logits, labels).backward()
        parts = {part: network.features[layers] for part, layers in PARTS.items()}
        parts["FC: g"] = network.dense
        norms[name] = pd.Series({part: _gradient_norm(layers) for part, layers in parts.items()})
    return norms


def _gradient_norm(layers: nn.Module) -> float:
    """Return the norm of the gradient of all parameters together."""
    return torch.cat([p.grad.flatten() for p in layers.parameters()]).norm().item()


@cache
def replaced_layers() -> dict[str, tuple[float, float, float]]:
    """Replace the layers behind the last tap of three networks, and return what changes.

    Returns:
        For each network, the accuracy with its trained layers, the mean accuracy with freshly
        initialised ones, and the largest change of a logit.
    """
    images, labels, _, _ = material.images(REPLACED_ON, small=True)
    images = as_rgb(images, 32).double()
    found = {}
    for name, variant in material.GUIDED.items():
        with torch.no_grad():
            # Copies, because `double` would change the cached networks that the widget shows.
            own, *others = (
                copy.deepcopy(network).double()(images).logits
                for network in material.guided(variant)
            )
        right = [(logits.argmax(1) == labels).double().mean().item() for logits in (own, *others)]
        moved = max((logits - own).abs().max().item() for logits in others)
        found[name] = right[0], sum(right[1:]) / len(others), moved
    return found


def _guide() -> dict[str, str]:
    """Return what the slides state about the global vector g, and the layers that compute it."""
    with torch.device("meta"):
        network = PayAttentionVGG(100)
    total = profiling.parameters(network)
    behind = network.features[material.BEHIND_LAST_TAP :]
    dead = profiling.parameters(behind) + profiling.parameters(network.dense)
    found = {"dead": f"{dead:,}", "paying": f"{total:,}", "dead_share": percent(dead / total, 0)}
    for short, name in zip(("pc", "dp", "sig"), material.GUIDED):
        own, other, moved = replaced_layers()[name]
        found |= {
            f"own_{short}": f"{own:.2f}",
            f"other_{short}": f"{other:.2f}",
            f"moved_{short}": brief(moved),
        }
    return found | {"draws": str(len(material.DRAWS)), "exchanged": str(REPLACED_ON)}


def _sizes() -> dict[str, str]:
    """Return the share of attention in the parameters, and what dropping dense layers saves."""
    dense, _, three, attn = network_sizes().values()
    return {
        "attention_parameters": f"{attn - three:,}",
        "attention_share": percent((attn - three) / attn),
        "saved": percent(1 - attn / dense),
        "saved_without": percent(1 - three / dense),
    }


def _results() -> dict[str, str]:
    """Return what the slides state about the chapter Results: chance, energies and seeds."""
    scores = results.scores()
    by_variant = dict(list(scores.groupby("variant")))
    chance = scores.chance.mean()
    found = {
        "chance": f"{chance:.3f}",
        "one_in": f"{1 / chance:.0f}",
        "seeds": str(scores.seed.nunique()),
        "epochs": str(max(results.EPOCHS_SHOWN)),
        "dense_accuracy": percent(by_variant["vgg_dense"].accuracy.mean(), 0),
    }
    for variant in ("sigmoid", "softmax", "repaired"):
        for tap in (1, 2):
            found[f"energy_{variant}_{tap}"] = with_margin(by_variant[variant][f"energy {tap}"], 2)
    shut = by_variant["sigmoid"].set_index("seed")["energy 1"]
    return found | {"shut_seed": str(shut.idxmin()), "shut_energy": f"{shut.min():.3f}"}


def _score_functions() -> dict[str, str]:
    """Return how often the map of the multiplicative score points at the digit, in two settings."""
    runs = score_functions.runs()
    swept = score_functions.swept(runs)
    settings = {
        "as_is": score_functions.as_initialised(runs),
        "divided": swept[swept.start == 0.1],
    }
    found = {"scores_compared": str(len(score_functions.SCORES))}
    for name, table in settings.items():
        pointing = table[table.score == "multiplicative"].pointing.mean()
        found[f"pointing_{name}"] = percent(pointing, 0)
    return found


def _gains() -> dict[str, str]:
    """Return differences in accuracy between variants with the same seeds, in points."""
    scores = results.scores()
    points = 100 * scores.set_index(["variant", "seed"]).accuracy
    pairs = (*results.ATTENTION, ("sigmoid", "vgg_dense"), ("repaired", "vgg"))
    found = {}
    for variant, control in pairs:
        gain = (points[variant] - points[control]).dropna()
        digits = 0 if abs(gain.mean()) > 10 else 2  # decimals of a large gain only distract
        found[f"gain_{variant}_{control}"] = with_margin(gain, digits, signed=True)
    # Every run of one variant against every run of the other, whatever their seeds
    found["wins"] = str(sum(a > b for a in points["softmax"] for b in points["average"]))
    found["of_wins"] = str(len(points["softmax"]) * len(points["average"]))
    # Several comparisons are made, so their p values are adjusted.
    judged = statistics.verdicts(statistics.differences(scores, results.ATTENTION), SMALL)
    found |= {
        f"verdict_{variant}": _in_points(judged.verdict[variant].item())
        for variant, _ in results.ATTENTION
    }
    return found | {
        "compared": str(len(judged)),
        "differ": str((judged.verdict == "difference").sum()),
        "smallest_p": f"{judged['Holm p'].min():.2f}",
    }


def _in_points(verdict: str) -> str:
    """Return a verdict on accuracies in the unit of the slides."""
    return verdict.replace(f"{SMALL:g}", "one point")


def energy_gains() -> dict[str, list[float]]:
    """Return attention minus Grad-CAM in energy, one value per seed, for each of `PARTNERS`.

    Each pair is followed by itself with the maps of Grad-CAM sharpened until both are equally
    concentrated.
    """
    scores, sharp = attention_vs_grad_cam.scores(), attention_vs_grad_cam.equally_sharp()
    energy = scores.set_index(["variant", "method", "seed"]).sort_index().energy
    sharp = sharp.set_index(["variant", "attention", "method", "seed"]).sort_index().energy
    gains = {}
    for variant, tap, block in PARTNERS:
        own = energy[variant, f"attention {tap}"]
        name = f"{variant}, map {tap} − {block}"
        gains[name] = (own - energy[variant, f"Grad-CAM, {block}"]).tolist()
        other = sharp[variant, f"attention {tap}", f"Grad-CAM, {block}"]
        gains[f"{name}, equally sharp"] = (own - other).tolist()
    return gains


def _attention_vs_grad_cam() -> dict[str, str]:
    """Return what the slides state about Grad-CAM: energies, and correlations after randomising."""
    scores = attention_vs_grad_cam.scores()
    of = scores.set_index(["variant", "method", "seed"]).sort_index()
    found = {}
    for number, block in enumerate(GRAD_CAMS, start=3):
        found[f"cam_{number}"] = with_margin(of.energy["vgg", block], 2)
    found["edges"] = f"{of.energy['vgg', 'edges'].mean():.2f}"
    gains = energy_gains()
    for variant in ("softmax", "repaired"):
        pair = f"{variant}, map 1 − block 3"
        found[f"raw_{variant}"] = with_margin(gains[pair], 2, signed=True)
        found[f"sharp_{variant}"] = with_margin(gains[f"{pair}, equally sharp"], 2, signed=True)
    # Rank correlation with the map of the trained network, by number of randomised layers. Step 0
    # compares the map with that of another image.
    cascades = attention_vs_grad_cam.cascades()
    own = cascades[cascades.variant == "softmax"].groupby(["method", "step"]).correlation.mean()
    for method, short in (
        ("Grad-CAM, block 4", "cam"),
        ("guided backprop", "gbp"),
        ("attention 1", "att"),
    ):
        found[f"left_{short}"] = f"{own[method, 1]:.2f}"
    found["floor_cam"] = f"{own['Grad-CAM, block 4', 0]:.2f}"
    replaced = attention_vs_grad_cam.replacements()
    of_map = replaced[replaced.taps == "both"].groupby(["variant", "replacement"]).accuracy.mean()
    as_it_is = replaced[replaced.taps == "nothing"].groupby("variant").accuracy.mean()
    for variant in ("softmax", "repaired"):
        lost = as_it_is[variant] - of_map[variant, "another image's map"]
        found[f"lost_{variant}"] = f"{100 * lost:.1f}"
    return found


def _photographs() -> dict[str, str]:
    """Return the gain from attention on photographs of solar cells, in points."""
    scores = your_own_data.scores().set_index(["variant", "seed"])
    gain = 100 * (scores.accuracy["attention"] - scores.accuracy["average"])
    pair = [("attention", "average")]
    judged = statistics.verdicts(statistics.differences(scores.reset_index(), pair), SMALL)
    return {
        "photo_gain": with_margin(gain, 1, signed=True),
        "photo_seeds": str(len(gain)),
        "verdict_photo": _in_points(judged.verdict.item()),
    }


def compute() -> dict[str, str]:
    """Return every number that a slide calls by name, as text."""
    return {
        **REPORTED,
        **_guide(),
        **_sizes(),
        **_results(),
        **_score_functions(),
        **_gains(),
        **_attention_vs_grad_cam(),
        **_photographs(),
    }
