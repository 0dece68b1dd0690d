"""A trained network in one file that says what it is: weights, architecture, classes and image size.

The file is in the safetensors format: it holds numbers and a line of JSON, and reading it can run nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from course_utils.attention import gates
from course_utils.models import VGG, AttnVGG, PayAttentionVGG, ResNet, SoftAttentionCNN
from course_utils.models.weights import halved, load_weights

NETWORKS = {
    "attn_vgg": AttnVGG,
    "pay_attention": PayAttentionVGG,
    "resnet": ResNet,
    "soft_attention": SoftAttentionCNN,
    "vgg": VGG,
}
GATES = {
    "cbam": gates.CBAM,
    "second_order": gates.SecondOrder,
    "squeeze_excitation": gates.SqueezeExcitation,
    "streamlined": gates.Streamlined,
}


@dataclass(frozen=True)
class Description:
    """What a file's network is.

    Attributes:
        network: its name among `NETWORKS`.
        classes: their names, in the order of the logits.
        image_size: side of the images that it was trained on, in pixels.
        options: of the network, by name; a gate of a `ResNet` is named as in `GATES`.
    """

    network: str
    classes: tuple[str, ...]
    image_size: int
    options: dict[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """The network, freshly initialised.

        Raises:
            ValueError: an unknown network, gate or option; the message lists the valid ones.
        """
        valid = option_names(self.network)
        kind, options = NETWORKS[self.network], dict(self.options)
        if unknown := set(options) - set(valid):
            raise ValueError(
                f"{self.network} has no option {min(unknown)!r}: it has {', '.join(valid)}"
            )
        if kind is ResNet and options.get("gate") is not None:
            if options["gate"] not in GATES:
                raise ValueError(
                    f"unknown gate {options['gate']!r}: choose one of {', '.join(GATES)}"
                )
            options["gate"] = GATES[options["gate"]]
        return kind(len(self.classes), **options)


def option_names(network: str) -> list[str]:
    """What can be chosen of a network.

    Raises:
        ValueError: an unknown network; the message lists the valid ones.
    """
    if network not in NETWORKS:
        raise ValueError(f"unknown model {network!r}: choose one of {', '.join(NETWORKS)}")
    return [name for name in signature(NETWORKS[network]).parameters if name != "num_classes"]


def save(path: Path, model: nn.Module, description: Description, *, half: bool = False) -> None:
    """Write a network's weights and its description; half the size in half precision.

    Raises:
        ValueError: a weight that half precision can't hold.
    """
    weights = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    weights = halved(weights) if half else weights
    save_file(weights, path, {"description": json.dumps(asdict(description))})


def load(path: Path) -> tuple[nn.Module, Description]:
    """Read what `save` wrote; the network is in evaluation mode.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file of another kind, or weights that do not fit their description.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, "pt") as file:
            described = json.loads((file.metadata() or {})["description"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is no checkpoint of this course: train writes one as model.safetensors"
        ) from error
    description = Description(**{**described, "classes": tuple(described["classes"])})
    if (
        "pretrained" in description.options
    ):  # the weights are here: nothing is to be fetched for them
        description = replace(description, options=description.options | {"pretrained": False})
    model = description.build()
    load_weights(model.eval(), weights)
    return model, description
