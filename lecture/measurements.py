"""Results on the slides: read from what the package ships, or computed with its networks."""

import copy
import math
from functools import cache

import pandas as pd
import torch
import torch.nn.functional as F

from course_utils.core import profiling
from course_utils.models import VGG, AttnVGG, PayAttentionVGG
from course_utils.models.output import as_rgb
from course_utils.studies import attention_vs_grad_cam, results, statistics, your_own_data
from lecture import material

GRAD_CAMS = [f"Grad-CAM, {block}" for block in attention_vs_grad_cam.BLOCKS]
# Each attention map with the Grad-CAM of its own grid; the first also with that of the finest
# layer.
PARTNERS = (
    ("sigmoid", 1, "block 4"),
    ("softmax", 1, "block 4"),
    ("softmax", 1, "block 3"),
    ("sparsemax", 1, "block 4"),
    ("repaired", 1, "block 3"),
    ("repaired", 2, "block 4"),
)
EXCHANGED = 50  # images, in double precision
# CIFAR-100, errors in per cent, as Jetley et al. 2018 report them
REPORTED = {"reported_plain": "30.62", "reported_attention": "22.97"}


def with_margin(values: pd.Series, digits: int, *, signed: bool = False) -> str:
    """A mean over seeds with its 95 % interval."""
    mean, margin = statistics.interval(values)
    return f"{mean:{'+' if signed else ''}.{digits}f} ± {margin:.{digits}f}".replace("-", "−")


def percent(share: float, digits: int = 1) -> str:
    """A share in per cent."""
    return f"{100 * share:.{digits}f} %"


def brief(value: float) -> str:
    """A number that can be read at a glance; of a very small one the nearest power of ten."""
    if value == 0:
        return "0"
    if value > 1e-3:
        return f"{value:.0f}" if value >= 100 else f"{value:.2g}"
    return (
        f"10{str(round(math.log10(value))).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    )


@cache
def network_sizes() -> dict[str, int]:
    """Parameters of VGG16 and of what lies between it and AttnVGG, for two classes."""
    with torch.device("meta"):
        networks = {
            "VGG16": VGG(2, head="dense"),
            "without dense layers": VGG(2, head="average"),
            "three scales": AttnVGG(2, alignment=None),
            "AttnVGG": AttnVGG(2, alignment="sigmoid"),
        }
    return {name: profiling.parameters(network) for name, network in networks.items()}


def _shapes(features, cuts, side: int) -> list[str]:
    with torch.device("meta"), torch.no_grad():
        x, shapes = torch.empty(1, 3, side, side), []
        for begin, end in zip((0, *cuts), cuts):
            x = features[begin:end](x)
            shapes.append(f"{x.shape[1]} × {x.shape[2]}²")
    return shapes


def paying_shapes() -> list[str]:
    """Channels and positions after each part of the paper's network, and the size of g."""
    with torch.device("meta"):
        network = PayAttentionVGG(100).eval()
    return [*_shapes(network.features, (12, 21, 31, 41, 50), 32), str(network.dense.out_features)]


def attn_vgg_shapes() -> list[str]:
    """The same of AttnVGG, for 224 pixels."""
    with torch.device("meta"):
        network = AttnVGG(2).eval()
    return _shapes(network.features, (7, 14, 24, 34, 44), 224)


@cache
def gradient_norms() -> dict[str, pd.Series]:
    """Norms of the loss's gradient in each part of three trained networks, in double precision."""
    images, labels, _, _ = material.images(32, small=True)
    cuts = {
        "block 1": (0, 6),
        "block 2": (6, 12),
        "block 3": (12, 21),
        "block 4": (21, 31),
        "block 5": (31, 41),
    }
    cuts |= {"conv 14": (41, 45), "conv 15": (45, 50)}
    norms = {}
    for name, variant in material.GUIDED.items():
        network = material.trained(variant).double()
        F.cross_entropy(network(images.double()).logits, labels).backward()
        parts = {part: network.features[slice(*cut)] for part, cut in cuts.items()} | {
            "FC: g": network.dense
        }
        own = {
            part: torch.cat([p.grad.flatten() for p in m.parameters()]).norm().item()
            for part, m in parts.items()
        }
        norms[name] = pd.Series(own)
    return norms


@cache
def exchanged() -> dict[str, tuple[float, float, float]]:
    """What happens when the layers behind the last tap are swapped between networks.

    Returns:
        For each variant: the accuracy with its own layers, the mean accuracy with those of other
        networks, and the largest change of a logit.
    """
    images, labels, _, _ = material.images(EXCHANGED, small=True)
    images, found = as_rgb(images, 32).double(), {}
    for name, variant in material.GUIDED.items():
        with torch.no_grad():
            own, *others = (
                copy.deepcopy(network).double()(images).logits
                for network in material.guided(variant)
            )
        right = [(logits.argmax(1) == labels).double().mean().item() for logits in (own, *others)]
        moved = max((logits - own).abs().max().item() for logits in others)
        found[name] = right[0], sum(right[1:]) / len(others), moved
    return found


def _guide() -> dict[str, str]:
    with torch.device("meta"):
        network = PayAttentionVGG(100)
    total = profiling.parameters(network)
    dead = profiling.parameters(network.features[41:]) + profiling.parameters(network.dense)
    found = {"dead": f"{dead:,}", "paying": f"{total:,}", "dead_share": percent(dead / total, 0)}
    for short, name in zip(("pc", "dp", "sig"), material.GUIDED):
        own, other, moved = exchanged()[name]
        found |= {
            f"own_{short}": f"{own:.2f}",
            f"other_{short}": f"{other:.2f}",
            f"moved_{short}": brief(moved),
        }
    return found | {"draws": str(len(material.DRAWS)), "exchanged": str(EXCHANGED)}


def _sizes() -> dict[str, str]:
    dense, _, three, attn = network_sizes().values()
    return {
        "attention_parameters": f"{attn - three:,}",
        "attention_share": percent((attn - three) / attn),
        "saved": percent(1 - attn / dense),
        "saved_without": percent(1 - three / dense),
    }


def _results() -> dict[str, str]:
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
    found |= {"shut_seed": str(shut.idxmin()), "shut_energy": f"{shut.min():.3f}"}
    points = 100 * scores.set_index(["variant", "seed"]).accuracy
    pairs = (
        *results.ATTENTION[:2],
        results.ATTENTION[3],
        ("sigmoid", "vgg_dense"),
        ("repaired", "vgg"),
    )
    for variant, control in pairs:
        gain = points[variant] - points[control]
        found[f"gain_{variant}_{control}"] = with_margin(
            gain, 0 if abs(gain.mean()) > 10 else 2, signed=True
        )
    found["wins"] = str(sum(a > b for a in points["softmax"] for b in points["average"]))
    found["of_wins"] = str(len(points["softmax"]) * len(points["average"]))
    p = statistics.holm(statistics.differences(scores, results.ATTENTION).p)
    return found | {
        "compared": str(len(p)),
        "stand": str((p < 0.05).sum()),
        "p_repaired": f"{p.min():.3f}",
    }


def _attention_vs_grad_cam() -> dict[str, str]:
    scores = attention_vs_grad_cam.scores()
    of = scores.set_index(["variant", "method", "seed"]).sort_index()
    found = {}
    for number, block in enumerate(GRAD_CAMS, start=3):
        found[f"cam_{number}"] = with_margin(of.energy["vgg", block], 2)
    found["edges"] = f"{of.energy['vgg', 'edges'].mean():.2f}"
    cascades = attention_vs_grad_cam.cascades()
    own = cascades[cascades.variant == "softmax"].groupby(["method", "step"]).correlation.mean()
    for method, short in (
        ("Grad-CAM, block 4", "cam"),
        ("guided backprop", "gbp"),
        ("attention 1", "att"),
    ):
        found[f"left_{short}"] = f"{own[method, 1]:.2f}"
    return found | {"floor_cam": f"{own['Grad-CAM, block 4', 0]:.2f}"}


def _photographs() -> dict[str, str]:
    scores = your_own_data.scores().set_index(["variant", "seed"])
    gain = 100 * (scores.accuracy["attention"] - scores.accuracy["average"])
    return {"photo_gain": with_margin(gain, 1, signed=True), "photo_seeds": str(len(gain))}


def compute() -> dict[str, str]:
    """Return every number that a slide calls by name, as text."""
    return REPORTED | _guide() | _sizes() | _results() | _attention_vs_grad_cam() | _photographs()
