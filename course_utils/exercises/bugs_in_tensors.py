"""The bug hunt of chapter 14: what is asked of functions that turn tensors into others.

Each docstring says what the function that is checked takes and should return. There is no stub in a hunt, so that a
function is called with ``run``: one that returns nothing has a bug.
"""

from __future__ import annotations

import torch

from course_utils.exercises._feedback import close, number, require, tensor


def peaks(function) -> str:
    """Maps (B, 1, H, W) → row and column (B, 2) of each maximum."""
    for rows, columns in ((4, 9), (9, 4), (3, 3)):
        n = rows * columns
        maps = (torch.eye(n) + torch.rand(n, n) / 2).view(
            n, 1, rows, columns
        )  # the maximum once in each place
        answer = tensor(
            function.run(maps), (n, 2), f"For maps ({n}, 1, {rows}, {columns}) the answer"
        )
        for at, (row, column) in enumerate(answer.tolist()):
            where = (
                f"row {at // columns}, column {at % columns} of {rows} rows and {columns} columns"
            )
            said = f"A maximum in {where} is reported in row {row}, column {column}."
            require((row, column) == (at // columns, at % columns), said)
    return "Right: a maximum is found in each place, of wide maps and of high ones."


def as_vectors(function) -> str:
    """Features (B, C, H, W) → a row a position (B, H·W, C), line by line."""
    l = torch.rand(2, 5, 3, 4)
    answer = tensor(function.run(l), (2, 12, 5), "For features (2, 5, 3, 4) the answer")
    expected = torch.stack([l[:, :, i // 4, i % 4] for i in range(12)], dim=1)
    anywhere = (answer[:, :, None] == expected[:, None]).all(dim=3).any(dim=2)
    require(
        anywhere.all(),
        f"{int((~anywhere).sum())} of 24 rows are not the features of any one position.",
    )
    require(
        torch.equal(answer, expected),
        "Each row is a position, but not in the order of reading, line by line.",
    )
    return "Right: each row holds the features of one position."


def loss(function) -> str:
    """Logits (B, classes) and labels → the mean cross-entropy."""
    labels = torch.arange(10)
    right = number(function.run(20.0 * torch.eye(10), labels), "The loss")
    said = f"Ten images, each right by a margin of 20 in its logits, cost {right:.2f}; it should be close to 0."
    require(abs(right) <= 0.1, said)
    logits = torch.randn(10, 10)
    expected = (logits.logsumexp(dim=1) - logits.diag()).mean().item()
    answer = number(function.run(logits, labels), "The loss")
    require(
        abs(answer - expected) < 1e-4,
        f"Random logits should cost {expected:.3f}, not {answer:.3f}.",
    )
    return (
        "Right: ten images that are right by a margin of 20 in their logits cost next to nothing."
    )


def as_pictures(function) -> str:
    """Maps (B, 1, H, W) → pictures (B, H, W), for a batch of one as well."""
    for shape in ((3, 1, 4, 5), (1, 1, 4, 5), (2, 1, 1, 5)):
        maps = torch.rand(shape)
        expected = maps[:, 0]
        answer = tensor(function.run(maps), expected.shape, f"For maps {shape} the answer")
        require(torch.equal(answer, expected), "The values should stay as they are.")
    return "Right, for a single map and for maps of a single row as well."


def weights(function) -> str:
    """Scores (B, 1, H, W) → their softmax over the positions of each map."""
    scores = torch.randn(3, 1, 4, 5)
    answer = tensor(function.run(scores), scores.shape, "For scores (3, 1, 4, 5) the answer")
    totals = answer.sum(dim=(1, 2, 3))
    said = f"The weights of the maps sum to {', '.join(f'{total:.2f}' for total in totals.tolist())}, not to 1."
    require(close(totals, torch.ones(3), 1e-5), said)
    powers = scores.exp()
    require(
        close(answer, powers / powers.sum(dim=(2, 3), keepdim=True), 1e-6), "That is no softmax."
    )
    return "Right: the weights of each map sum to 1."


def own_range(function) -> str:
    """Maps (B, 1, H, W) → each stretched from its own minimum, 0, to its own maximum, 1."""
    maps = torch.rand(3, 1, 4, 5) * torch.tensor([1.0, 0.1, 3.0]).view(3, 1, 1, 1) + torch.rand(
        3, 1, 1, 1
    )
    answer = tensor(function.run(maps), maps.shape, "For maps (3, 1, 4, 5) the answer")
    ranges = [(each.min().item(), each.max().item()) for each in answer]
    wrong = [f"{low:.3f} to {high:.3f}" for low, high in ranges if abs(low) + abs(high - 1) > 1e-3]
    require(
        not wrong,
        f"{len(wrong)} of 3 maps do not go from 0 to 1; one goes from {''.join(wrong[:1])}.",
    )
    expected = torch.stack([(each - each.min()) / (each.max() - each.min()) for each in maps])
    require(close(answer, expected, 1e-3), "The values between 0 and 1 are not in proportion.")
    return "Right: each map goes from 0 to 1."
