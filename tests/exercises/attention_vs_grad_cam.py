import torch
from torch import nn

from course_utils.explain import metrics
from tests.exercises.cases import Case

MADE = torch.Generator().manual_seed(0)
REGIONS = torch.zeros(12, 1, 16, 16, dtype=torch.bool)
for i, region in enumerate(REGIONS):
    region[:, 3 + i % 4 : 9, 5 : 10 - i % 3] = True
SHARE = metrics.area_share(REGIONS).mean().item()
PRIOR = metrics.centre_prior(16).expand(12, -1, -1, -1)
HITS = metrics.pointing_game(PRIOR, REGIONS).mean().item()

# Bright objects of 30 pixels, which are gone long before a map of the dark gets to them.
OBJECT = torch.zeros(4, 1, 16, 16)
DARK = torch.zeros(4, 1, 16, 16)
for i in range(4):
    OBJECT[i, :, 2 + i : 7 + i, 3:9] = 1
    DARK[i, :, 8:12, 9 + i % 2 : 14 + i % 2] = 1


class Brightness(nn.Module):
    """A network that predicts class 0 as long as four fifths of the light are there."""

    def forward(self, x):
        light = x.sum(dim=(1, 2, 3)) - 24
        return torch.stack([light, torch.zeros_like(light)], dim=1)


MAPS = torch.rand(12, 1, 4, 4, generator=MADE) + torch.nn.functional.avg_pool2d(REGIONS.float(), 4)
EACH = {n / 20: metrics.iou(MAPS, REGIONS, n / 20).mean().item() for n in range(1, 20)}
BEST = max(EACH, key=EACH.get)
WORST = min(EACH, key=EACH.get)

CASES = {
    "centre": Case(
        wrong=[
            ((1.0, HITS), "uniform map has its maximum everywhere, so not all"),
            ((0.0, HITS), "uniform map has its maximum everywhere, so some"),
            ((HITS, SHARE), "in the wrong order"),
            ((0.5, HITS), "score of the uniform map is wrong"),
            ((SHARE, metrics.energy_inside(PRIOR, REGIONS).mean()), "the prior's energy"),
            ((SHARE, 0.5), "The uniform map is right, but the prior isn't"),
            (
                (metrics.area_share(REGIONS), HITS),
                r"^The score of the uniform map should be one number, not a tensor of shape \(12\)",
            ),
        ],
        right=[
            (SHARE, HITS),
            (torch.tensor(SHARE), torch.tensor(HITS)),
            (round(SHARE, 4), round(HITS, 4)),
        ],
        given=lambda: {"regions": REGIONS},
    ),
    "steps": Case(
        wrong=[
            (1, r"^With 256 pixels per step, the area is 0\.\d{4} for the maps"),
            (4, "still more than half"),
            (2.5, "a whole number from 1 to 128, not 2.5"),
            (0, "a whole number from 1 to 128, not 0"),
            (4096, "a whole number from 1 to 128, not 4096"),
            ((16, 64), "^The number of steps should be one number"),
        ],
        right=[64, 128, 32.0, torch.tensor(50)],
        given=lambda: {
            "network": Brightness(),
            "images": OBJECT,
            "maps": OBJECT,
            "edges": DARK + 0.5 * OBJECT,
        },
    ),
    "threshold": Case(
        wrong=[
            (
                (WORST, EACH[WORST]),
                f"^With the share {WORST:.2f} the mean IoU is {EACH[WORST]:.3f}",
            ),
            ((list(EACH).index(BEST) + 1, EACH[BEST]), "its index in the list"),
            ((BEST + 0.02, EACH[BEST]), "should be one of 0.05, 0.10, … 0.95"),
            ((BEST, metrics.best_iou(MAPS, REGIONS).mean()), "the best threshold for each map"),
            ((BEST, 0.99), r"but its mean IoU is not 0\.990"),
            (
                (BEST, metrics.iou(MAPS, REGIONS, BEST)),
                r"^The IoU should be one number, not a tensor of shape \(12\)",
            ),
        ],
        right=[(BEST, EACH[BEST]), (torch.tensor(BEST), torch.tensor(EACH[BEST]))],
        given=lambda: {"maps": MAPS, "regions": REGIONS},
    ),
}
