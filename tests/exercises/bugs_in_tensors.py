import torch
import torch.nn.functional as F

from tests.exercises.cases import Case


def flat_peaks(maps):
    return maps.flatten(1).argmax(1)


CASES = {
    "peaks": Case(
        wrong=[
            (
                lambda maps: torch.stack([flat_peaks(maps) // 9] * 2, dim=1),
                "4 rows and 9 columns, the maximum in row 0, column 1 ",
            ),
            (
                lambda maps: torch.stack(torch.unravel_index(flat_peaks(maps), maps.shape[2:])),
                r"the shape \(36, 2\), not \(2, 36\)",
            ),
            (
                lambda maps: torch.empty(0, 2),
                r"For maps \(36, 1, 4, 9\) .* the shape \(36, 2\), not \(0, 2\)",
            ),
            (flat_peaks, r"the shape \(36, 2\), not \(36\)"),
        ],
        right=[
            lambda maps: torch.stack(torch.unravel_index(flat_peaks(maps), maps.shape[2:]), dim=1)
        ],
    ),
    "as_vectors": Case(
        wrong=[
            (lambda l: l.permute(0, 3, 2, 1).flatten(1, 2), "not in reading order"),
            (lambda l: l.flatten(2), r"the shape \(2, 12, 5\), not \(2, 5, 12\)"),
            (
                lambda l: l.permute(0, 2, 1, 3).reshape(2, 12, 5),
                "rows are not the features of a single position",
            ),
        ],
        right=[lambda l: l.permute(0, 2, 3, 1).reshape(len(l), -1, l.shape[1])],
    ),
    "loss": Case(
        wrong=[
            (
                lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum"),
                "For random logits the loss should be",
            ),
            (F.nll_loss, r"the loss is -20\.00"),
            (
                lambda logits, labels: F.cross_entropy(logits, labels, reduction="none"),
                "one number, not a tensor",
            ),
        ],
        right=[lambda logits, labels: F.nll_loss(logits.log_softmax(1), labels)],
    ),
    "as_pictures": Case(
        wrong=[
            (lambda maps: maps.flatten(0, 1).double() * 2, "should not change"),
            (lambda maps: maps.squeeze(0), r"the shape \(3, 4, 5\), not \(3, 1, 4, 5\)"),
            (
                lambda maps: maps.squeeze(1).squeeze(1),
                r"For maps \(2, 1, 1, 5\) .* \(2, 1, 5\), not \(2, 5\)",
            ),
        ],
        right=[lambda maps: maps[:, 0]],
    ),
    "weights": Case(
        wrong=[
            (lambda scores: scores.flatten().softmax(0).view_as(scores), "maps sum to 0"),
            (lambda scores: scores.flatten(2).softmax(2), r"not \(3, 1, 20\)"),
            (
                lambda s: s.exp_() / s.sum(dim=(2, 3), keepdim=True),
                "changes a tensor",
            ),
            (lambda scores: torch.full_like(scores, 1 / 20), "not softmax"),
        ],
        right=[lambda scores: scores.exp() / scores.exp().sum(dim=(2, 3), keepdim=True)],
    ),
    "own_range": Case(
        wrong=[
            (
                lambda maps: maps / maps.amax(dim=(2, 3), keepdim=True),
                "^3 of 3 maps do not range from 0 to 1",
            ),
            (
                lambda maps: maps.sub_(maps.amin((2, 3), True)).div_(maps.amax((2, 3), True)),
                "changes a tensor",
            ),
            (lambda maps: (maps == maps.amax((2, 3), True)).float(), "not in proportion"),
        ],
        right=[
            lambda maps: torch.stack([(a - a.min()) / (a.max() - a.min() + 1e-8) for a in maps])
        ],
    ),
}
