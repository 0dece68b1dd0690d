"""Number formats of a training: float32, bfloat16 and float16."""

from __future__ import annotations

from typing import Literal

import torch

from course_utils.core.checks import check_choice

Precision = Literal["float32", "bfloat16", "float16"]
# Mixed: convolutions and matrix products read 16 bits; weights and sums keep 32. Small gradients
# vanish in float16 unless the loss is scaled up first, which Lightning does.
LightningPrecision = Literal["32-true", "bf16-mixed", "16-mixed"]
LIGHTNING_PRECISIONS: dict[Precision, LightningPrecision] = {
    "float32": "32-true",
    "bfloat16": "bf16-mixed",
    "float16": "16-mixed",
}


def lightning_precision(precision: Precision | None) -> LightningPrecision:
    """Return Lightning's name of a format; of the format that suits the device, if it is None.

    Raises:
        ValueError: If the format is unknown, or is float16 and there is no GPU.
    """
    precision = precision or default_precision()
    check_choice("precision", precision, Precision)
    # Lightning would use bfloat16 without a word that anybody sees.
    if precision == "float16" and not torch.cuda.is_available():
        raise ValueError(
            "precision 'float16' needs a GPU: choose bfloat16 or float32 to train on a CPU"
        )
    return LIGHTNING_PRECISIONS[precision]


def default_precision() -> Precision:
    """Return the format that `fit` chooses: 16 bits on a GPU, in the better format it has."""
    if not torch.cuda.is_available():
        return "float32"
    has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if has_bfloat16 else "float16"


def fastest_precision() -> Precision:
    """Return the format in which this machine trains fastest: on a CPU, bfloat16 if it has it."""
    if not torch.cuda.is_available() and has_fast_bfloat16():
        return "bfloat16"
    return default_precision()


def has_fast_bfloat16() -> bool:
    """Return whether this processor has instructions for bfloat16 (AVX-512 BF16 or AMX).

    Without them, PyTorch computes in bfloat16 as well, but more slowly than in float32.
    """
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
