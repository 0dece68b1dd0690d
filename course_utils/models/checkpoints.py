"""A trained network in one file with its description: weights, architecture, classes, image size.

The file has the safetensors format: it holds tensors and one line of JSON, and no code, so loading
a file from an unknown source can't run anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from inspect import signature
from math import inf
from pathlib import Path
from typing import Any

from torch import nn

from course_utils.attention import gates
from course_utils.attention.non_local import GlobalContext, NonLocal
from course_utils.core.tensor_files import read_tensors, write_tensors
from course_utils.models import (
    VGG,
    AttnVGG,
    PayAttentionVGG,
    ResNet,
    SoftAttentionCNN,
    VisionTransformer,
)
from course_utils.models.weights import halved, load_weights

# Names in the folder of a run: the trained network, and that of the run before in this folder.
MODEL, PREVIOUS = "model.safetensors", "previous.safetensors"
NETWORKS = {
    "attn_vgg": AttnVGG,
    "pay_attention": PayAttentionVGG,
    "resnet": ResNet,
    "soft_attention": SoftAttentionCNN,
    "vgg": VGG,
    "vision_transformer": VisionTransformer,
}
RESNET_GATES: dict[str, Callable[[int], nn.Module]] = {
    "cbam": gates.CBAM,
    "coordinate_attention": gates.CoordinateAttention,
    "eca": gates.ECA,
    "global_context": GlobalContext,
    "second_order": gates.SecondOrder,
    "squeeze_excitation": gates.SqueezeExcitation,
    "streamlined": gates.Streamlined,
}
RESNET_BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "global_context": GlobalContext,
    "non_local": NonLocal,
    "non_local_dot_product": partial(NonLocal, similarity="dot_product"),
    # All offsets of the 16 × 16 map that an image of 64 pixels has there
    "non_local_relative": partial(NonLocal, reach=15),
}
# Options of a `ResNet` that are functions, which a file can only name
_NAMED = {"gate": RESNET_GATES, "between": RESNET_BLOCKS}


@dataclass(frozen=True)
class Description:
    """Everything that is needed to rebuild the network of a checkpoint.

    Attributes:
        network: Name of the network, a key of `NETWORKS`.
        classes: Names of the classes, in the order of the logits.
        image_size: Side of the training images, in pixels.
        options: Options of the network, by name. The gate of a `ResNet` is a key of `RESNET_GATES`,
            and its block between is a key of `RESNET_BLOCKS`.
    """

    network: str
    classes: tuple[str, ...]
    image_size: int
    options: dict[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """Build the network, freshly initialised.

        Raises:
            ValueError: If the network, its gate, its block between or an option is unknown, or an
                option has a value of the wrong type; the message lists the valid ones.
        """
        check_options(self.network, self.options)
        kind = NETWORKS[self.network]
        options = dict(self.options)
        for option, builders in _NAMED.items():
            if kind is ResNet and options.get(option) is not None:
                options[option] = builders[options[option]]
        return kind(len(self.classes), **options)


def option_names(network: str) -> list[str]:
    """Return the names of a network's options.

    Raises:
        ValueError: If the network is unknown; the message lists the valid ones.
    """
    if network not in NETWORKS:
        raise ValueError(f"unknown model {network!r}: choose one of {', '.join(NETWORKS)}")
    return [name for name in signature(NETWORKS[network]).parameters if name != "num_classes"]


def check_options(network: str, options: dict[str, Any]) -> None:
    """Check the names of a network's options and gates, and the options that are no names.

    The networks themselves check options such as the alignment and ranges such as the dropout's.

    Raises:
        ValueError: If the network, its gate, its block between or an option is unknown, or an
            option has a value of the wrong type.
    """
    valid = option_names(network)
    if unknown := set(options) - set(valid):
        raise ValueError(f"{network} has no option {min(unknown)!r}: it has {', '.join(valid)}")
    parameters = signature(NETWORKS[network], eval_str=True).parameters
    for name, value in options.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits, expected = {
            float: (number and abs(value) < inf, "a finite number"),
            bool: (isinstance(value, bool), "True or False"),
            int: (number and isinstance(value, int), "an integer"),
            int | None: (
                value is None or (number and isinstance(value, int)),
                "an integer or None",
            ),
        }.get(parameters[name].annotation, (True, ""))
        if not fits:
            raise ValueError(f"expected {name} to be {expected}, got {value!r}")
    for option, builders in _NAMED.items() if network == "resnet" else ():
        given = options.get(option)
        if given is not None and given not in list(builders):
            raise ValueError(f"unknown {option} {given!r}: choose one of {', '.join(builders)}")


def write(
    path: str | Path, model: nn.Module, description: Description, *, half: bool = False
) -> None:
    """Write the weights of a network and its description into one file, whole or not at all.

    Args:
        path: The file to write.
        model: The network.
        description: Description that `read` needs to rebuild the network.
        half: Store the weights in half precision, which halves the size of the file.

    Raises:
        OSError: If the disk is full, or the file can't be written for another reason.
        ValueError: If a weight is too large for half precision.
    """
    weights = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    weights = halved(weights) if half else weights
    write_tensors(path, weights, {"description": json.dumps(asdict(description))})


def read(path: str | Path) -> tuple[nn.Module, Description]:
    """Read a network that `write` wrote, in evaluation mode, with its description.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the file can't be opened.
        ValueError: If the file is damaged or not a checkpoint, another version of the course wrote
            it, or its weights do not fit its description.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        weights, metadata = read_tensors(path)
        described = json.loads(metadata["description"])
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not a checkpoint of this course, or it is damaged; the command train "
            "writes one as model.safetensors"
        ) from error
    try:
        description = _description(described)
        model = description.build()
    except (TypeError, ValueError) as error:
        raise ValueError(f"another version of the course wrote {path}: {error}") from error
    load_weights(model.eval(), weights)
    return model, description


def _description(described: Any) -> Description:
    """Return the description that a file holds.

    Raises:
        ValueError: If an entry is missing, unknown or of another type.
    """
    expected = {"network": str, "classes": list, "image_size": int, "options": dict}
    given = described if isinstance(described, dict) else {}
    for name, kind in expected.items():
        if not isinstance(given.get(name), kind):
            raise ValueError(
                f"expected {name} of type {kind.__name__} in its description, "
                f"got {given.get(name)!r}"
            )
    if unknown := sorted(given.keys() - expected):
        raise ValueError(f"its description has the unknown entry {', '.join(unknown)}")
    # The file has all the weights, so ImageNet's need not be downloaded.
    loaded = {"pretrained": False} if "pretrained" in given["options"] else {}
    return Description(
        given["network"],
        tuple(map(str, given["classes"])),
        given["image_size"],
        given["options"] | loaded,
    )
