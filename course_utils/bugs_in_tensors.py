"""What the bug hunt asks of functions that turn tensors into others: a complaint in one sentence, or None.

Each docstring says what the function that is checked takes and should return.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def peaks(function: Callable) -> str | None:
    """Maps (B, 1, H, W) → row and column (B, 2) of each maximum."""
    for rows, columns in ((4, 9), (9, 4), (3, 3)):
        n = rows * columns
        maps = (torch.eye(n) + torch.rand(n, n) / 2).view(n, 1, rows, columns)  # the maximum once in each place
        answer = function(maps)
        if answer.shape != (n, 2):
            return f"Maps ({n}, 1, {rows}, {columns}) should become ({n}, 2), not {tuple(answer.shape)}."
        for at, found in enumerate(answer.tolist()):
            if found != [at // columns, at % columns]:
                where = f"row {at // columns}, column {at % columns} of {rows} rows and {columns} columns"
                return f"A maximum in {where} is reported in row {found[0]}, column {found[1]}."
    return None


def as_vectors(function: Callable) -> str | None:
    """Features (B, C, H, W) → a row a position (B, H·W, C), line by line."""
    l = torch.rand(2, 5, 3, 4)
    answer = function(l)
    if answer.shape != (2, 12, 5):
        return f"Features (2, 5, 3, 4) should become (2, 12, 5), not {tuple(answer.shape)}."
    expected = torch.stack([l[:, :, i // 4, i % 4] for i in range(12)], dim=1)
    anywhere = (answer[:, :, None] == expected[:, None]).all(dim=3).any(dim=2)
    if not anywhere.all():
        return f"{int((~anywhere).sum())} of 24 rows are not the features of any one position."
    ordered = torch.equal(answer, expected)
    return None if ordered else "Each row is a position, but not in the order of reading, line by line."


def loss(function: Callable) -> str | None:
    """Logits (B, classes) and labels → the mean cross-entropy."""
    labels = torch.arange(10)
    right = float(function(20.0 * torch.eye(10), labels))
    if right > 0.1:
        return f"Ten images, each right by a margin of 20 in its logits, cost {right:.2f}; it should be close to 0."
    logits = torch.randn(10, 10)
    expected = (logits.logsumexp(dim=1) - logits.diag()).mean().item()
    answer = float(function(logits, labels))
    return None if abs(answer - expected) < 1e-4 else f"Random logits should cost {expected:.3f}, not {answer:.3f}."


def as_pictures(function: Callable) -> str | None:
    """Maps (B, 1, H, W) → pictures (B, H, W), for a batch of one as well."""
    for shape in ((3, 1, 4, 5), (1, 1, 4, 5), (2, 1, 1, 5)):
        maps = torch.rand(shape)
        answer, expected = function(maps), maps[:, 0]
        if answer.shape != expected.shape:
            return f"Maps {shape} should become {tuple(expected.shape)}, not {tuple(answer.shape)}."
        if not torch.equal(answer, expected):
            return "The values should stay as they are."
    return None


def weights(function: Callable) -> str | None:
    """Scores (B, 1, H, W) → their softmax over the positions of each map."""
    scores = torch.randn(3, 1, 4, 5)
    answer = function(scores)
    if answer.shape != scores.shape:
        return f"Scores (3, 1, 4, 5) should become weights of that shape, not {tuple(answer.shape)}."
    totals = answer.sum(dim=(1, 2, 3))
    if not torch.allclose(totals, torch.ones(3), atol=1e-5):
        return f"The weights of the maps sum to {', '.join(f'{total:.2f}' for total in totals.tolist())}, not to 1."
    powers = scores.exp()
    return None if torch.allclose(answer, powers / powers.sum(dim=(2, 3), keepdim=True)) else "That is no softmax."


def own_range(function: Callable) -> str | None:
    """Maps (B, 1, H, W) → each stretched from its own minimum, 0, to its own maximum, 1."""
    maps = torch.rand(3, 1, 4, 5) * torch.tensor([1.0, 0.1, 3.0]).view(3, 1, 1, 1) + torch.rand(3, 1, 1, 1)
    before, answer = maps.clone(), function(maps)
    if answer.shape != maps.shape:
        return f"Maps (3, 1, 4, 5) should keep their shape, not become {tuple(answer.shape)}."
    ranges = [(each.min().item(), each.max().item()) for each in answer]
    if wrong := [f"{low:.2f} to {high:.2f}" for low, high in ranges if abs(low) + abs(high - 1) > 1e-3]:
        return f"{len(wrong)} of 3 maps do not go from 0 to 1; one goes from {wrong[0]}."
    if not torch.equal(maps, before):
        return "The maps that it was given have changed as well."
    expected = torch.stack([(each - each.min()) / (each.max() - each.min()) for each in maps])
    return None if torch.allclose(answer, expected, atol=1e-3) else "The values between 0 and 1 are not in proportion."
