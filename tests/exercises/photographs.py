import torch

from course_utils.attention.spatial import weighted_context
from course_utils.explain import metrics
from tests.exercises.cases import Case

THREE = {"hidden layer", "true box", "swapped maps"}


def per_image(weights):
    return weights.mean(dim=(2, 3), keepdim=True)


def blend(equal=per_image, combine=weighted_context):
    def blended(weights, l, t, alignment):
        return combine(t * weights + (1 - t) * equal(weights), l, alignment)

    return blended


def summed(weights, l, alignment):
    return (weights * l).sum(dim=(2, 3))


def averaged(weights, l, alignment):
    return (weights * l).mean(dim=(2, 3))


def mean_unless_softmax(weights, l, alignment):
    return (summed if alignment == "softmax" else averaged)(weights, l, alignment)


def of_contexts(weights, l, t, alignment):
    average = l.mean(dim=(2, 3))
    return t * weighted_context(weights, l, alignment) + (1 - t) * average


def by_positions(weights, l, t, alignment):
    w, features = weights.flatten(1).double(), l.flatten(2).double()  # (B, HW), (B, C, HW)
    n = w.shape[1]
    equal = w.sum(dim=1, keepdim=True) / n
    context = torch.einsum("bcn,bn->bc", features, equal + t * (w - equal))
    return context / n if alignment == "sigmoid" else context


def add_up_to_one(weights, l, t, alignment):
    return blend(combine=summed)(weights / weights.sum(dim=(2, 3), keepdim=True), l, t, alignment)


def in_place(weights, l, t, alignment):
    equal = per_image(weights)
    return weighted_context(weights.mul_(t).add_((1 - t) * equal), l, alignment)


def rate(regions):
    return regions.float().mean(dim=(0, 1))  # (S, S)


def at_best(chosen_on, scored_on):
    return rate(scored_on).flatten()[rate(chosen_on).argmax()]


def transposed(train, test):
    row, column = divmod(int(rate(train).argmax()), train.shape[-1])
    return rate(test)[column, row]


def energy(train, test):
    return metrics.energy_inside(rate(train).expand(len(test), 1, -1, -1), test).mean()


def pointing(train, test):
    return metrics.pointing_game(rate(train).expand(len(test), 1, -1, -1), test).mean()


def pixel_by_pixel(train, test):
    pixels = [(y, x) for y in range(train.shape[2]) for x in range(train.shape[3])]
    y, x = max(pixels, key=lambda pixel: int(train[:, 0, pixel[0], pixel[1]].sum()))
    return sum(bool(region[0, y, x]) for region in test) / len(test)


CASES = {
    "blended": Case(
        wrong=[
            (blend(combine=summed), "^Sigmoid at t = 1: you take the sum"),
            (blend(combine=averaged), "^Softmax at t = 1: you take the mean.* 30 times too small"),
            (blend(combine=mean_unless_softmax), "^Sparsemax at t = 1: you take the mean"),
            (of_contexts, r"^Sigmoid at t = 0: the sum .* isn't kept.* adds up to \d\d?\.?\d*, so"),
            (blend(torch.ones_like), "^Softmax at t = 0: the sum .* isn't kept.* adds up to 1, so"),
            (blend(lambda w: 1 / w[0].numel()), "^Sigmoid at t = 0: the sum .* isn't kept"),
            (blend(torch.mean), "^Sigmoid at t = 0: the sum of the weights isn't kept"),
            (lambda w, l, t, a: blend()(w, l, 1 - t, a), "^Softmax at t = 1: .* wrong way round"),
            (add_up_to_one, "^Sigmoid at t = 1: you make the weights add up to 1"),
            (lambda w, l, t, a: weighted_context(w, l, a), "^Softmax at t = 0: that's attention"),
            (lambda w, l, t, a: blend()(w, l, t**2, a), "^Softmax at t = 0.3: the context is wr"),
            (lambda w, l, t, a: w * l, r"^The context should have the shape \(3, 4\), not \(3, 4,"),
            (in_place, "changes a tensor that it was given"),
        ],
        right=[blend(), by_positions],
    ),
    "best_point": Case(
        wrong=[
            (lambda train, test: at_best(test, test), "on the test regions, .* That's circular"),
            (lambda train, test: at_best(train, train), "which is right, but you score it there"),
            (transposed, "swapped the row and the column"),
            (lambda train, test: rate(test)[12, 12], "in the middle of the picture"),
            (lambda train, test: test.float().mean(), "mean area of the test regions"),
            (energy, "the energy of the average training region"),
            (lambda *both: 100 * at_best(*both), "a percentage"),
            (lambda *both: 40 * at_best(*both), "number of regions that are hit"),
            (
                lambda train, test: -0.5,
                r"is in 0\.\d{3} of the test .* but your score is -0\.500\.$",
            ),
            (
                lambda train, test: test.flatten(1)[:, rate(train).argmax()].float(),
                r"^The score should be one number, not a tensor of shape \(40\)",
            ),
            (lambda train, test: train.mean(dim=0), "^Your code stops with .* (floating|dtype)"),
        ],
        right=[at_best, pointing, pixel_by_pixel],
    ),
    "missing_controls": Case(
        wrong=[
            (THREE | {"more epochs"}, "won't explain it"),
            ({"another colour map", "hidden layer"}, "changes the figure"),
            ([*THREE, "larger test set"], "can't tell you what caused it"),
            (THREE | {"best examples"}, "evidence that you can pick"),
            (THREE - {"hidden layer"}, "keeps the parameters"),
            (THREE - {"true box"}, "found the object every time"),
            ("hidden layer", "found the object every time"),
            (THREE - {"swapped maps"}, "a map of its own"),
            (set(), "keeps the parameters"),
            ({"hidden layers"}, "^'hidden layers' isn't among the options. They are hidden layer,"),
            (3, "^The answer should be a set of names, among hidden layer, true box,"),
            ({...}, "^Nothing to check yet"),
        ],
        right=[THREE, sorted(THREE), tuple(THREE), frozenset(THREE)],
    ),
}
