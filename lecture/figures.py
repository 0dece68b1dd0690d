"""The figures of the slides: one function per figure, with the name that slides.md uses."""

import itertools

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from course_utils import plots
from course_utils.attention import alignments
from course_utils.explain.grad_cam import gradcam
from course_utils.models import AttnVGG, PayAttentionVGG
from course_utils.studies import attention_vs_grad_cam, results, statistics
from course_utils.widgets.alignment_explorer import START
from lecture import material, measurements

COOL, WARM, GREY = "#2a788e", "#d95f02", "0.55"
LOWEST = 1e-18  # the left end of the logarithmic axis of gradients, where zeros are drawn, too
UNIT = "value, as a multiple of the mean of its map"


def _larger(figure: Figure, factor: float = 1.45) -> Figure:
    """Shrink a figure but not its text, so that it can be read from the back of the room."""
    figure.set_size_inches(figure.get_size_inches() / factor)
    return figure


def task() -> Figure:
    """Draw the first test images."""
    images, labels, _, boxes = material.images(8)
    return _larger(plots.show_images(images, material.titles(labels), boxes))


def one_map() -> Figure:
    """Draw the first test image and its two maps."""
    images, labels, _, _ = material.images(8)
    first, second = material.maps("repaired")
    found = {f"map 1: {_grid(first)}": first[:1], f"map 2: {_grid(second)}": second[:1]}
    return _larger(plots.show_row(images[:1], found, material.titles(labels)[0]), 1.8)


def alignment_functions() -> Figure:
    """Draw eight scores, and their weights from four alignment functions."""
    scores = torch.tensor(START)
    ways = {
        "softmax": alignments.softmax,
        "entmax, α = 1.5": alignments.entmax,
        "sparsemax": alignments.sparsemax,
        "sigmoid": alignments.sigmoid,
    }
    figure, axes = plt.subplots(
        1, 1 + len(ways), figsize=(7.4, 2.6), dpi=plots.DPI, sharey=True, layout="constrained"
    )
    positions = range(1, len(scores) + 1)
    axes[0].barh(positions, scores, color=GREY)
    axes[0].set(title="scores r", ylabel="position", yticks=positions)
    axes[0].invert_yaxis()
    for axis, (name, align) in zip(axes[1:], ways.items()):
        weights = align(scores)
        axis.barh(positions, weights, color=COOL)
        axis.set(title=name, xlim=(0, 1), xlabel=f"sum {weights.sum():.2f}")
    plt.close(figure)
    return _larger(figure, 1.1)


def paying_network() -> plots.Diagram:
    """Draw the network of Jetley et al. with its taps, for images of 32 pixels as in the paper."""
    images = material.images(1, small=True)[0].expand(-1, 3, -1, -1)
    return plots.diagrams.network(PayAttentionVGG(100), images, caption="")


def attn_vgg_network() -> plots.Diagram:
    """Draw AttnVGG with its taps, as published: at full width, for images of 224 pixels."""
    images = F.interpolate(material.images(1)[0], (224, 224)).expand(-1, 3, -1, -1)
    return plots.diagrams.network(AttnVGG(2), images, caption="")


def gradients() -> Figure:
    """Draw how much of the gradient reaches each part of three trained networks."""
    figure, axes = plt.subplots(
        1, 3, figsize=(7.4, 2.9), dpi=plots.DPI, sharey=True, layout="constrained"
    )
    for axis, (name, norms) in zip(axes, measurements.gradient_norms().items()):
        axis.barh(
            norms.index, norms.clip(LOWEST) - LOWEST, left=LOWEST, color=[COOL] * 5 + [WARM] * 3
        )
        axis.set(xscale="log", xlim=(LOWEST, 1e6), xticks=[1e-15, 1e-8, 1], title=name)
        for row, value in enumerate(norms):
            axis.text(
                2 * max(value, LOWEST), row, measurements.brief(value), va="center", fontsize=9
            )
    axes[0].invert_yaxis()
    axes[1].set_xlabel("norm of the gradient; orange: behind the last tap")
    plt.close(figure)
    return _larger(figure, 1.05)


def sizes() -> Figure:
    """Draw the numbers of parameters of four networks that differ in one part each."""
    parameters = measurements.network_sizes()
    figure, axis = plt.subplots(figsize=(7.4, 2.5), dpi=plots.DPI, layout="constrained")
    axis.barh(
        list(parameters), [n / 1e6 for n in parameters.values()], color=[GREY, GREY, GREY, COOL]
    )
    for row, n in enumerate(parameters.values()):
        axis.text(n / 1e6 + 1, row, f"{n:,}", va="center")
    axis.set(xlabel="parameters, millions", xlim=(0, 170))
    axis.invert_yaxis()
    plt.close(figure)
    return _larger(figure, 1.1)


def stretched() -> Figure:
    """Draw maps of the published variant with sigmoid, each on its own colour scale."""
    return _maps("sigmoid", own_scale=True)


def shared() -> Figure:
    """Draw the same maps on one colour scale that begins at zero."""
    return _maps("sigmoid")


def repaired() -> Figure:
    """Draw maps of the repaired variant on one colour scale that begins at zero."""
    return _maps("repaired")


def _maps(variant: str, **options) -> Figure:
    images, labels, _, boxes = material.images(8)
    return _larger(
        plots.show_maps(images, material.maps(variant), material.titles(labels), boxes, **options),
        1.4,
    )


def sigmoid_softmax() -> Figure:
    """Draw maps at the third pool after the first and the last epoch, sigmoid above softmax."""
    rows = {}
    for variant, epoch in itertools.product(("sigmoid", "softmax"), results.EPOCHS_SHOWN[::2]):
        first = results.maps(variant)[epoch][0]  # of the taps
        rows[f"{variant}, epoch {epoch}"] = material.relative_to_mean(first)
    return _rows(rows)


def _rows(rows: dict[str, torch.Tensor]) -> Figure:
    images, labels, _, boxes = material.images(8)
    return _larger(
        plots.show_map_rows(images, rows, material.titles(labels), boxes, label=UNIT, lowest=1 / 8),
        1.65,
    )


def attention_only() -> Figure:
    """Draw differences in accuracy between networks that differ in the attention alone."""
    return _forest(results.ATTENTION)


def all_at_once() -> Figure:
    """Draw one of these differences beside comparisons in which other parts differ, too."""
    return _forest([results.ATTENTION[0], *results.OTHER_PARTS[2:]])


def _forest(pairs) -> Figure:
    accuracy = 100 * results.scores().set_index(["variant", "seed"]).accuracy
    gains = {f"{a} − {b}".replace("_", " "): (accuracy[a] - accuracy[b]).dropna() for a, b in pairs}
    margins = {name: statistics.interval(values)[1] for name, values in gains.items()}
    gains = {name: values.tolist() for name, values in gains.items()}
    return _larger(
        plots.show_differences(gains, margins, label="difference in accuracy, points"), 1.5
    )


def energies() -> Figure:
    """Draw the energy inside the box, attention minus Grad-CAM, also at equal concentration."""
    gains = measurements.energy_gains()
    margins = {name: statistics.interval(values)[1] for name, values in gains.items()}
    label = "energy inside, attention − Grad-CAM"
    return _larger(plots.show_differences(gains, margins, label=label), 1.35)


def layers() -> Figure:
    """Draw Grad-CAM maps of a plain VGG at three depths, for the true class."""
    images, labels, _, _ = material.images(8)
    network = results.network("vgg")
    maps = {
        name: gradcam(network, images, layer, labels)
        for name, layer in attention_vs_grad_cam.BLOCKS.items()
    }
    return _rows({name: material.relative_to_mean(m) for name, m in maps.items()})


def pictures() -> Figure:
    """Draw attention, Grad-CAM and an edge map of one network."""
    images, *_ = material.images(8)
    found = attention_vs_grad_cam.maps(
        results.network("softmax"), images
    ) | attention_vs_grad_cam.controls(images)
    return _rows(
        {
            m: material.relative_to_mean(found[m])
            for m in ("attention 1", *measurements.GRAD_CAMS[:2], "edges")
        }
    )


def randomised() -> Figure:
    """Draw how similar a map stays while layers are randomised from the output down."""
    table = attention_vs_grad_cam.cascades()
    table = table[table.variant == "softmax"]
    shown = {
        "attention 1": COOL,
        "Grad-CAM, block 4": WARM,
        "guided backprop": "#440154",
        "input gradient": GREY,
    }
    figure, axis = plt.subplots(figsize=(7.4, 3.3), dpi=plots.DPI, layout="constrained")
    for (method, colour), marker in zip(shown.items(), "osD^"):
        own = table[table.method == method].groupby("step").correlation.mean()
        axis.plot(own.index[1:], own[1:], marker=marker, color=colour, label=method)
        axis.axhline(own[0], color=colour, linestyle=":", linewidth=1)
    axis.set(
        xlabel="how many layers are random, from the output down",
        ylabel="rank correlation",
        ylim=(-0.65, 1.02),
    )
    axis.axhline(0, color="0.8", linewidth=0.8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=9, loc="lower center", ncols=2)
    plt.close(figure)
    return _larger(figure, 1.1)


def _grid(a: torch.Tensor) -> str:
    return f"{a.shape[-2]} × {a.shape[-1]}"
