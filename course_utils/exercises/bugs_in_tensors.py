"""The bug hunt of the chapter Source audit: functions that turn tensors into tensors.

Each docstring says what a correct function takes and returns. A hunt starts from a broken function,
not from a stub, so it is called with ``run``: returning nothing is a bug, not an unfinished answer.
"""

from __future__ import annotations

import torch

from course_utils.exercises._feedback import as_number, as_tensor, is_close, require


def peaks(function) -> str:
    """Maps (B, 1, H, W) → row and column of each maximum (B, 2)."""
    for rows, columns in ((4, 9), (9, 4), (3, 3)):
        n = rows * columns
        # One map per position, with its maximum there.
        maps = (torch.eye(n) + torch.rand(n, n) / 2).view(n, 1, rows, columns)
        name = f"For maps ({n}, 1, {rows}, {columns}) the answer"
        answer = as_tensor(function.run(maps), (n, 2), name)
        for position, (row, column) in enumerate(answer.tolist()):
            expected = position // columns, position % columns
            require(
                (row, column) == expected,
                f"In a map with {rows} rows and {columns} columns, the maximum in row "
                f"{expected[0]}, column {expected[1]} is reported in row {row}, column {column}.",
            )
    return "Right: the maximum is found at every position, in wide maps and in tall ones."


def as_vectors(function) -> str:
    """Features (B, C, H, W) → one row per position (B, H·W, C), in reading order."""
    l = torch.rand(2, 5, 3, 4)
    answer = as_tensor(function.run(l), (2, 12, 5), "For features (2, 5, 3, 4) the answer")
    expected = torch.stack([l[:, :, i // 4, i % 4] for i in range(12)], dim=1)
    some_position = (answer[:, :, None] == expected[:, None]).all(dim=3).any(dim=2)
    require(
        some_position.all(),
        f"{int((~some_position).sum())} of 24 rows are not the features of a single position.",
    )
    require(
        torch.equal(answer, expected),
        "Each row holds the features of one position, but the rows are not in reading order.",
    )
    return "Right: each row holds the features of one position."


def loss(function) -> str:
    """Logits (B, classes) and labels → the mean cross-entropy."""
    labels = torch.arange(10)
    sure = as_number(function.run(20.0 * torch.eye(10), labels), "The loss")
    require(
        abs(sure) <= 0.1,
        f"For ten images whose right logit is ahead by 20, the loss is {sure:.2f}, "
        "but it should be close to 0.",
    )
    logits = torch.randn(10, 10)
    expected = (logits.logsumexp(dim=1) - logits.diag()).mean().item()
    answer = as_number(function.run(logits, labels), "The loss")
    require(
        abs(answer - expected) < 1e-4,
        f"For random logits the loss should be {expected:.3f}, not {answer:.3f}.",
    )
    return "Right: ten images whose right logit is ahead by 20 have a loss of almost 0."


def as_pictures(function) -> str:
    """Maps (B, 1, H, W) → pictures (B, H, W), for a batch of one map as well."""
    for shape in ((3, 1, 4, 5), (1, 1, 4, 5), (2, 1, 1, 5)):
        maps = torch.rand(shape)
        expected = maps[:, 0]
        answer = as_tensor(function.run(maps), expected.shape, f"For maps {shape} the answer")
        require(torch.equal(answer, expected), "The values of the maps should not change.")
    return "Right, for a single map and for maps with a single row as well."


def weights(function) -> str:
    """Scores (B, 1, H, W) → their softmax over the positions of each map."""
    scores = torch.randn(3, 1, 4, 5)
    answer = as_tensor(function.run(scores), scores.shape, "For scores (3, 1, 4, 5) the answer")
    totals = answer.sum(dim=(1, 2, 3))
    listed = ", ".join(f"{total:.2f}" for total in totals.tolist())
    require(
        is_close(totals, torch.ones(3), 1e-5),
        f"The weights of three maps sum to {listed}, but each sum should be 1.",
    )
    powers = scores.exp()
    expected = powers / powers.sum(dim=(2, 3), keepdim=True)
    require(is_close(answer, expected, 1e-6), "Each map sums to 1, but this is not softmax.")
    return "Right: the weights of each map sum to 1."


def own_range(function) -> str:
    """Maps (B, 1, H, W) → the same maps, each stretched to its own range from 0 to 1."""
    factors = torch.tensor([1.0, 0.1, 3.0]).view(3, 1, 1, 1)
    maps = torch.rand(3, 1, 4, 5) * factors + torch.rand(3, 1, 1, 1)
    answer = as_tensor(function.run(maps), maps.shape, "For maps (3, 1, 4, 5) the answer")
    ranges = [(each.min().item(), each.max().item()) for each in answer]
    wrong = [f"{low:.3f} to {high:.3f}" for low, high in ranges if abs(low) + abs(high - 1) > 1e-3]
    require(
        not wrong,
        f"{len(wrong)} of 3 maps do not range from 0 to 1; one ranges from {''.join(wrong[:1])}.",
    )
    expected = torch.stack([(each - each.min()) / (each.max() - each.min()) for each in maps])
    require(
        is_close(answer, expected, 1e-3),
        "The ends are right, but the values between them are not in proportion.",
    )
    return "Right: each map ranges from 0 to 1."
