"""The live widgets of the slides, one function per widget, named as in slides.md."""

import torch

from course_utils.studies import shipped
from course_utils.widgets import AlignmentExplorer, DoesGMatter
from course_utils.widgets.alignment_explorer import ALIGNMENTS
from lecture import material


def alignment_explorer() -> AlignmentExplorer:
    """Show the scores that a trained AttnVGG computes at its first tap."""
    images, labels, regions, boxes = material.images(8)
    network, _ = shipped.load("repaired")
    outputs = []
    score = network.attention[0].score
    hook = score.register_forward_hook(lambda *arguments: outputs.append(arguments[-1]))
    with torch.inference_mode():
        network(images)
    hook.remove()
    scores = outputs[0].flatten(1)  # (N, 1, H, W) → (N, K)
    widget = AlignmentExplorer.from_scores(scores, images, labels, regions, boxes)
    widget.alignment = ALIGNMENTS.index("softmax")
    return widget


def does_g_matter() -> DoesGMatter:
    """Show three networks of Learn to Pay Attention, each with three draws of other layers."""
    images, labels, _, boxes = material.images(4, small=True)
    networks = [(name, material.guided(variant)) for name, variant in material.GUIDED.items()]
    return DoesGMatter.from_networks(networks, images, labels, boxes)
