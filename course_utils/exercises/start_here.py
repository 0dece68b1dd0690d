"""Exercises of the chapter Start here."""

from __future__ import annotations

import torch

from course_utils.exercises._feedback import (
    as_number,
    as_tensor,
    is_close,
    refuse,
    require,
    require_number,
)
from course_utils.explain import metrics


def worst(index, maps, regions) -> str:
    """Find the image whose second map has the least energy in its box.

    Args:
        index: The answer, counted from 0.
        maps: The first and the second map of each image.
        regions: The boxes, true inside.
    """
    first, energies = (metrics.energy_inside(each, regions) for each in maps)
    index, last = as_number(index, "worst"), len(energies) - 1
    require(
        index.is_integer(),
        f"An index is a whole number, but {index:.3g} isn't one: "
        "did you give the energy instead of its index?",
    )
    require(0 <= index <= last, f"The indices run from 0 to {last}: there is no image {index:.0f}.")
    index, energy = int(index), energies[int(index)]
    if energy > energies.min():
        has = f"The second map of image {index} has an energy of {energy:.3f} in the box"
        refuse(index == energies.argmax(), f"{has}, which is the highest, not the lowest.")
        refuse(
            index == first.argmin(),
            f"{has}, and another image has less. Image {index} is the worst one for the first map.",
        )
        refuse(
            index == energies.argmin() + 1,
            f"{has}, and another image has less. Did you start counting at 1?",
        )
        refuse(True, f"{has}, and another image has less.")
    return f"Right: the second map of image {index} has an energy of only {energy:.3f} in the box."


def factor(factor, scores) -> str:
    """Compute how many times as high as chance the mean energy of the first map is.

    Args:
        factor: The answer.
        scores: The scores that `evaluate` returned.
    """
    factor = as_number(factor, "factor")
    energy, chance = scores["energy 1"], scores["chance"]
    mistakes = [
        (chance / energy, "That is chance divided by the energy. Turn the fraction upside down."),
        (energy - chance, "That is the difference. The exercise asks for the factor, so divide."),
        (scores["pointing 1"] / chance, "That is the factor for pointing. Use the energy."),
        (scores["energy 2"] / chance, "That is the factor for the second map. Use the first one."),
        (energy, "That is the energy itself. How many times as high as chance is it?"),
    ]
    otherwise = (
        f"With that factor the energy would be {factor * chance:.3f}, "
        f"but the table says {energy:.3f}."
    )
    require_number(factor, energy / chance, mistakes, otherwise, tolerance=0.01 * factor)
    return f"Right: the energy is {factor:.1f} times as high as chance."


def energy(function) -> str:
    """Write the share of each map that lies in its box; maps and regions are (B, 1, H, W)."""
    maps, regions = torch.rand(3, 1, 6, 5) + 0.1, torch.zeros(3, 1, 6, 5, dtype=torch.bool)
    regions[:, :, 1:4, 2:4] = True
    result = function(maps, regions)
    refuse(
        torch.is_tensor(result) and result.ndim == 0,
        "You return one number for the whole batch. Return one per image: "
        "which axes should you sum over?",
    )
    shares, inside = as_tensor(result, (3,)), (maps * regions).sum(dim=(1, 2, 3))
    expected = metrics.energy_inside(maps, regions)
    refuse(
        is_close(shares, inside),
        "That is the sum of the map in the box. What share of the whole map is it?",
    )
    refuse(
        is_close(shares, inside / 6),
        "That is the mean value of the map in the box. Compute the share of "
        "the map that lies there.",
    )
    refuse(
        is_close(shares, metrics.area_share(regions)),
        "That is the share of the image that the box covers, which is chance.",
    )
    refuse(is_close(shares, 1 - expected), "That is the share of the map outside the box.")
    refuse(
        is_close(shares, inside / maps.sum()),
        "You divide by the sum of all maps together. Divide each map by its own sum.",
    )
    require(
        is_close(shares, expected),
        "These are not the shares. How much of a map lies in its box, "
        "and how much does the map have in all?",
    )
    return "Right: your function agrees with metrics.energy_inside."
