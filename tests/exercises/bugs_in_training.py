import numpy as np
import torch
import torch.nn.functional as F

from tests.exercises.cases import Case


def split_with_validation_mirrored(images, labels):
    order = torch.randperm(len(images))
    val, train = order[:8], order[8:]

    def both(part):
        return torch.cat([images[part], images[part].flip(-1)]), labels[part].repeat(2)

    return both(train), both(val)


def split_doubled_by(copies):
    def split(images, labels):
        return (torch.cat([images[8:], copies(images[8:])]), labels[8:].repeat(2)), (
            images[:8],
            labels[:8],
        )

    return split


def split_by_order(images, labels):
    return (images[8:].repeat(2, 1, 1, 1), labels[8:].roll(1).repeat(2)), (images[:8], labels[:8])


def split_half_mirrored(images, labels):
    (doubled, numbers), val = split_doubled_by(lambda images: images)(images, labels)
    return (
        torch.cat([doubled[::2], doubled[1::2].flip(-1)]),
        torch.cat([numbers[::2], numbers[1::2]]),
    ), val


def split_without_labels_of_the_mirrored(images, labels):
    return (torch.cat([images[8:], images[8:].flip(-1)]), labels[8:]), (images[:8], labels[:8])


def fit_step_by_step(model, batches, epochs, optimizer, schedule):
    for step in range(epochs * len(batches)):
        x, y = batches[step % len(batches)]
        loss = F.cross_entropy(model(x), y)
        model.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % len(batches) == 0:
            schedule.step()


def fit_without_clearing(model, batches, epochs, optimizer, schedule):
    for _ in range(epochs):
        for x, y in batches:
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        schedule.step()


def fit_every_batch(model, batches, epochs, optimizer, schedule):
    for x, y in batches * epochs:
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        schedule.step()


def fit_nothing(model, batches, epochs, optimizer, schedule):
    for _ in range(epochs):
        for x, _ in batches:
            model(x)
        optimizer.step()
        schedule.step()


def step_cleared_afterwards(model, x, y, optimizer):
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    model.zero_grad()


def step_cleared_between(model, x, y, optimizer):
    F.cross_entropy(model(x), y).backward()
    optimizer.zero_grad()
    optimizer.step()


def accuracy_and_back(model, images, labels):
    mode = model.training
    with torch.inference_mode():
        right = (model.eval()(images).argmax(1) == labels).sum().item()
    model.train(mode)
    return right / len(labels)


def accuracy_in_inference_with_batch_statistics(model, images, labels):
    model.eval()
    model[1].train()
    return (model(images).argmax(1) == labels).float().mean().item()


def mean_loss_detached(model, batches):
    return torch.stack([F.cross_entropy(model(x), y).detach() for x, y in batches]).mean()


def mean_loss_without_gradients(model, batches):
    with torch.no_grad():
        return sum(F.cross_entropy(model(x), y) for x, y in batches) / len(batches)


def right_of(model, batches):
    return [model(x).argmax(1) == y for x, y in batches]


DIFFERS = "from the result of gradient descent"
CASES = {
    "split": Case(
        wrong=[
            (
                split_by_order,
                "^64 images are neither the photograph that their label belongs to nor",
            ),
            (
                split_half_mirrored,
                "16 as they were and 16 mirrored",
            ),
            (split_without_labels_of_the_mirrored, "training part has 64 images, but 32 labels"),
            (split_doubled_by(lambda images: images.flip(-2)), "^32 images are neither"),
            (
                split_doubled_by(lambda images: images),
                "32 as they were and 0 mirrored",
            ),
            (lambda x, y: ((x[8:], y[8:]), (x[:8], y[:8])), "64 training images, not 32"),
            (lambda x, y: ((x[20:], y[20:]), (x[:20], y[:20])), "your parts hold 20 and 20"),
        ],
        right=[split_with_validation_mirrored],
    ),
    "fit": Case(
        wrong=[
            (fit_every_batch, r"learning rates 1, 0\.5, 0\.25"),
            (fit_nothing, DIFFERS),
            (fit_without_clearing, DIFFERS),
            (lambda *_: None, r"there was no step"),
        ],
        right=[fit_step_by_step],
    ),
    "accuracy": Case(
        wrong=[
            (accuracy_in_inference_with_batch_statistics, "function returns|running means"),
            (lambda model, images, labels: 1.0, r"0\.75, not 1\.000"),
            (lambda *given: 100 * accuracy_and_back(*given), r"your function returns 100\.000"),
        ],
        right=[accuracy_and_back],
    ),
    "seed_worker": Case(
        wrong=[
            (np.random.seed, "In the next epoch"),
            (
                lambda worker: np.random.seed(torch.initial_seed()),
                r"ValueError: Seed must be between 0 and 2\*\*32",
            ),
            (lambda worker: np.random.seed(), "same random numbers again"),
        ],
        right=[
            lambda worker: np.random.seed(torch.randint(2**31, ()).item()),
            lambda worker: np.random.seed(torch.initial_seed() % 2**31),
        ],
    ),
    "report": Case(
        wrong=[
            (lambda history: history.test_accuracy.iloc[-1], "best in validation"),
            (lambda history: history.val_accuracy.max(), "best in validation"),
            (
                lambda history: history.test_accuracy,
                "^The report should be one number, not a Series",
            ),
        ],
        right=[lambda history: history.sort_values("val_accuracy").test_accuracy.iloc[-1]],
    ),
    "mean_loss": Case(
        wrong=[
            (
                lambda model, batches: (
                    sum(F.cross_entropy(model(x), y) for x, y in batches).item() / 6
                ),
                "are kept for",
            ),
            (
                lambda model, batches: sum(F.cross_entropy(model(x), y).item() for x, y in batches),
                "mean loss should be",
            ),
            (lambda model, batches: 0.0, "used 0 of 6"),
        ],
        right=[mean_loss_detached, mean_loss_without_gradients],
    ),
    "test_accuracy": Case(
        wrong=[
            (
                lambda model, batches: np.mean(
                    [right.float().mean() for right in right_of(model, batches)]
                ),
                "image in a small batch counts more",
            ),
            (
                lambda model, batches: sum(right.sum() for right in right_of(model, batches)) / 24,
                r"not 0\.458\.$",
            ),
            (
                lambda model, batches: sum(right.sum() for right in right_of(model, batches)),
                r"not 11\.000\.$",
            ),
        ],
        right=[
            lambda *given: (
                sum(right.sum().item() for right in right_of(*given))
                / sum(map(len, right_of(*given)))
            )
        ],
    ),
    "step": Case(
        wrong=[
            (lambda model, x, y, optimizer: optimizer.step(), DIFFERS),
            (step_cleared_between, DIFFERS),
            (lambda *_: None, DIFFERS),
        ],
        right=[step_cleared_afterwards],
    ),
}
