import filecmp
import hashlib

import torch

from tests.exercises.cases import Case


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def copies(one, other, same=lambda a, b: a.read_bytes() == b.read_bytes(), files=files):
    return [(a, b) for a in files(one) for b in files(other) if same(a, b)]


def copies_by_digest(one, other):
    known = {hashlib.md5(path.read_bytes()).digest(): str(path) for path in files(one)}
    digests = ((hashlib.md5(path.read_bytes()).digest(), str(path)) for path in files(other))
    return ([known[digest], path] for digest, path in digests if digest in known)


P = (torch.arange(40) + 0.5) / 40
IS_DEFECTIVE = torch.arange(40) % 2  # 18 of the 20 are found from the sixth of all on

PHOTOGRAPHS = torch.rand(6, 1, 32, 32) + torch.tensor([2.0, 3.0]).repeat(3).view(6, 1, 1, 1)
DEFECTIVE = torch.tensor([True, False]).repeat(3)
ORDERS = {"highest": torch.rand(6, 1, 8, 8), "random": torch.rand(6, 1, 8, 8)}


def log_odds(images):
    return images.mean(dim=(1, 2, 3))


def blacken(images, order, share, value=0.0):
    images = images.clone()
    for image, places in zip(images, order.flatten(1).argsort(dim=1, descending=True)):
        for place in places[: round(share * 64)].tolist():
            row, column = place // 8 * 4, place % 8 * 4
            image[:, row : row + 4, column : column + 4] = value
    return images


def in_place(images, order, share):
    return images.copy_(blacken(images, order, share))


def falls(which=DEFECTIVE, sign=1.0):
    each = {
        name: log_odds(PHOTOGRAPHS) - log_odds(blacken(PHOTOGRAPHS, order, 1 / 8))
        for name, order in ORDERS.items()
    }
    return {name: sign * fall[which].mean().item() for name, fall in each.items()}


RIGHT = falls()

CASES = {
    "copies": Case(
        wrong=[
            (
                lambda one, other: copies(one, other, lambda a, b: a.name == b.name),
                "have their name in common",
            ),
            (
                lambda one, other: copies(
                    one, other, lambda a, b: filecmp.cmp(a, b) or a.name != b.name
                ),
                "have their size in common",
            ),
            (
                lambda one, other: [(b, a) for a, b in copies(one, other)],
                "In each pair, put the file in the first folder first",
            ),
            (
                lambda one, other: copies(one, one),
                "In each pair, put the file in the first folder first",
            ),
            (
                lambda one, other: [a for a, _ in copies(one, other)],
                "Return a list of pairs",
            ),
            (
                lambda one, other: [(a.name, b.name) for a, b in copies(one, other)],
                "the paths of files",
            ),
            (
                lambda one, other: copies(
                    one, other, files=lambda folder: list(folder.glob("*/*.jpg"))
                ),
                r"but you find 1\. The other copy is in a subfolder",
            ),
            (
                lambda one, other: copies(
                    one, other, files=lambda folder: list(folder.glob("*.jpg"))
                ),
                r"you find 0\.$",
            ),
            (lambda one, other: 2 * copies(one, other), "more than once"),
            (
                lambda one, other: copies(one, other, files=lambda f: list(f.rglob("*"))),
                "stops with (IsADirectory|Permission)Error",
            ),
        ],
        right=[copies, copies_by_digest],
    ),
    "nine_of_ten": Case(
        wrong=[
            ((0.5, 0.5), "At 0.500 you find 10 of 20 defective cells, which is fewer"),
            ((0.1, 0.9), "At 0.100 you find 18 of 20 defective cells, but a higher threshold"),
            ((5.5 / 40, 17), "between 0 and 1, but yours is 17"),
            ((5.5 / 40, 17 / 40), r"0\.425 is a share of all cells"),
            ((5.5 / 40, 17 / 35), r"0\.486 is the share of alarms that are false"),
            ((5.5 / 40, 3 / 20), r"0\.150 is the share of functional cells that raise no alarm"),
            ((5.5 / 40, 0.7), r"0\.700 is not the share"),
            ((5.5 / 40, ...), "^Nothing to check yet"),
            ((P, 0.85), "^The threshold should be one number"),
        ],
        right=[(5.5 / 40, 0.85), (P[5], torch.tensor(0.85))],
        given=lambda: {"p": P, "is_defective": IS_DEFECTIVE},
    ),
    "in_black": Case(
        wrong=[
            ((lambda images, order, share: images, RIGHT), "^No square has changed"),
            (
                (lambda *given: blacken(*given, value=0.2), RIGHT),
                r"their mean is 0\.20, but black is 0",
            ),
            (
                (lambda images, order, share: blacken(images, -order, share), RIGHT),
                "squares with the lowest",
            ),
            (
                (
                    lambda images, order, share: blacken(images, order[:1].expand_as(order), share),
                    RIGHT,
                ),
                "each image has its own order",
            ),
            (
                (lambda images, order, share: blacken(images, order, share / 2), RIGHT),
                "is 8, but you blacken 4",
            ),
            (
                (lambda images, order, share: blacken(images, order.mT, share), RIGHT),
                "not the eight highest",
            ),
            (
                (lambda images, order, share: blacken(images, order, 1 / 8), RIGHT),
                "With a share of 1/4, 16 of 64 squares",
            ),
            ((in_place, RIGHT), "changes a tensor"),
            (
                (lambda *given: blacken(*given)[:, :1], RIGHT),
                r"the shape \(3, 2, 32, 32\), not \(3, 1, 32, 32\)",
            ),
            ((blacken, falls(sign=-1)), "^highest: -0.* has the wrong sign"),
            ((blacken, falls(slice(None))), "is the mean over all cells"),
            ((blacken, falls(~DEFECTIVE)), "is the mean over the functional cells"),
            (
                (blacken, {name: 10.0 for name in RIGHT}),
                r"the mean fall for highest is not \+10\.000",
            ),
            ((blacken, {"highest": 0.1}), "of the names highest and random"),
            ((blacken, {"highest": ..., "random": ...}), "^Nothing to check yet"),
            ((lambda *_: None, RIGHT), "^Nothing to check yet"),
        ],
        right=[(blacken, RIGHT)],
        given=lambda: {
            "log_odds": log_odds,
            "images": PHOTOGRAPHS,
            "orders": ORDERS,
            "defective": DEFECTIVE,
        },
    ),
}
