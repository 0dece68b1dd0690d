"""The exercises of chapter 00."""

from __future__ import annotations

import torch

from course_utils.exercises._feedback import close, expect, number, require, tensor
from course_utils.explain import metrics


def worst(index, maps, regions) -> str:
    """Which image has the least energy of its second map in its box; both maps are given."""
    first, energies = (metrics.energy_inside(each, regions) for each in maps)
    index, last = number(index, "worst"), len(energies) - 1
    require(
        index.is_integer(),
        f"An index is a whole number, and {index:.3g} is none: is it an energy, not its image?",
    )
    require(0 <= index <= last, f"The indices go from 0 to {last}: there is no image {index:.0f}.")
    index, energy = int(index), energies[int(index)]
    if energy > energies.min():
        has = f"Image {index} has {energy:.3f} of its second map in the box"
        require(index != energies.argmax(), f"{has}: of all it has the most, not the least.")
        require(
            index != first.argmin(), f"{has}, and another less: it is the worst of the first map."
        )
        require(index != energies.argmin() + 1, f"{has}, and another less. Do you count from 0?")
        require(False, f"{has}, and another image has less.")
    return f"Right: image {index} has {energy:.3f} of its second map in the box."


def factor(factor, scores) -> str:
    """How many times as high as chance the mean energy of the first map is; the scores are those of `evaluate`."""
    factor, energy, chance = number(factor, "factor"), scores["energy 1"], scores["chance"]
    slips = {
        "That is upside down: it says how chance compares with the energy.": chance / energy,
        "That says how much more it is, as a difference; how many times as much is asked.": energy
        - chance,
        "That is the factor of pointing; the energy is asked for.": scores["pointing 1"] / chance,
        "That is the factor of the second map; the first is asked for.": scores["energy 2"]
        / chance,
        "That is the energy itself; now compare it with chance.": energy,
    }
    otherwise = (
        f"By that factor the energy would be {factor * chance:.3f}, and the table has {energy:.3f}."
    )
    expect(factor, energy / chance, slips, otherwise, tolerance=0.01 * factor)
    return f"Right: {factor:.1f} times."


def energy(function) -> str:
    """The share of each map in its box, for maps (B, 1, H, W) of the size of the regions."""
    maps, regions = torch.rand(3, 1, 6, 5) + 0.1, torch.zeros(3, 1, 6, 5, dtype=torch.bool)
    regions[:, :, 1:4, 2:4] = True
    given = function(maps, regions)
    for_all = torch.is_tensor(given) and given.ndim == 0
    require(
        not for_all,
        "One number for all images comes out, and one for each is wanted: which axes do you sum over?",
    )
    shares, inside = tensor(given, (3,)), (maps * regions).sum(dim=(1, 2, 3))
    expected = metrics.energy_inside(maps, regions)
    require(
        not close(shares, inside),
        "That is how much of the map lies in the box; which share of it is that?",
    )
    require(
        not close(shares, inside / 6),
        "That is the mean of the map in the box, not the share of the map in it.",
    )
    require(
        not close(shares, metrics.area_share(regions)),
        "That is the share of the image, which is chance.",
    )
    require(not close(shares, 1 - expected), "That is the share outside of the box.")
    require(
        not close(shares, inside / maps.sum()),
        "Each map has its own sum; yours is the sum of all maps.",
    )
    require(
        close(shares, expected),
        "Other shares come out. How much of a map is in its box, and how much is all?",
    )
    return "Right: it agrees with metrics.energy_inside."
