"""The widgets that live on slides, each a function of the name that slides.md uses."""

import torch

from course_utils.studies import shipped
from course_utils.widgets import AlignmentExplorer, DoesGMatter
from course_utils.widgets.alignment_explorer import ALIGNMENTS
from lecture import material


def alignment_explorer() -> AlignmentExplorer:
    """The scores are those that a trained AttnVGG gives its first tap."""
    images, labels, regions, boxes = material.images(8)
    network, _ = shipped.load("repaired")
    block, seen = network.attention[0], []
    hook = block.score.register_forward_hook(lambda *given: seen.append(given[-1]))
    with torch.inference_mode():
        network(images)
    hook.remove()
    scores = seen[0].flatten(1)
    widget = AlignmentExplorer.from_scores(scores, images, labels, regions, boxes)
    widget.alignment = ALIGNMENTS.index("softmax")
    return widget


def does_g_matter() -> DoesGMatter:
    """Three networks of Learn to Pay Attention, and three draws of other layers for each."""
    images, labels, _, boxes = material.images(4, small=True)
    networks = [(name, material.guided(variant)) for name, variant in material.GUIDED.items()]
    return DoesGMatter.from_networks(networks, images, labels, boxes)
