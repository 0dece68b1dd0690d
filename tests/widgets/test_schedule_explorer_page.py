"""ScheduleExplorer in a page: every rate is PyTorch's, step by step."""

import math
import random
import re

import pytest
import torch
from torch import nn

from course_utils.training.recipes import RECIPES, Recipe
from course_utils.widgets import ScheduleExplorer
from course_utils.widgets.schedule_explorer import SCHEDULES
from tests.browser import page_with_module

CONTROLS = {
    "one_cycle": {"Warm-up share"},
    "cosine": set(),
    "step": {"A step every", "Factor"},
    "constant": set(),
}


def stepped(recipe, steps):
    """The rate of every step, with PyTorch's own schedules."""
    made = recipe.optimizers([nn.Parameter(torch.zeros(1))], recipe.epochs, recipe.epochs * steps)
    optimizer, schedule = made["optimizer"], made.get("lr_scheduler")
    seen = []
    for step in range(1, recipe.epochs * steps + 1):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (
            schedule
            and (schedule["interval"] == "step" or step % steps == 0)
            and step < recipe.epochs * steps
        ):
            schedule["scheduler"].step()
    return seen


def drawn_by_lot():
    """Random settings over the whole range of every control, the same in every run."""
    lot = random.Random(0)
    for schedule in SCHEDULES:
        for _ in range(6):
            yield (
                Recipe(
                    epochs=lot.randint(1, 40),
                    lr=10 ** lot.uniform(-5, 1),
                    schedule=schedule,
                    warmup=lot.uniform(0.05, 0.95),
                    every=lot.randint(1, 20),
                    factor=lot.uniform(0.05, 1),
                ),
                lot.randint(2, 30),
            )


@pytest.fixture(scope="module")
def in_javascript(chromium):
    """The rates of the widget's own module, in full precision."""
    page = page_with_module(chromium, "schedule_explorer")

    def call(recipe, steps):
        options = {name: getattr(recipe, name) for name in ("epochs", "warmup", "every", "factor")}
        options |= {"rate": recipe.lr, "steps": steps}
        return page.evaluate(
            "([name, options]) => [...own.rates(name, options)]", [recipe.schedule, options]
        )

    yield call
    page.close()


@pytest.mark.parametrize(
    ("recipe", "steps"), drawn_by_lot(), ids=lambda value: getattr(value, "schedule", value)
)
def test_every_rate_is_pytorchs(in_javascript, recipe, steps):
    assert in_javascript(recipe, steps) == pytest.approx(stepped(recipe, steps), rel=1e-9, abs=0)


@pytest.mark.parametrize("name", RECIPES)
def test_the_sources_recipes_are_pytorchs(in_javascript, name):
    assert in_javascript(RECIPES[name], 7) == pytest.approx(
        stepped(RECIPES[name], 7), rel=1e-9, abs=0
    )


@pytest.mark.parametrize(
    ("epochs", "steps", "warmup"),
    [(1, 2, 0.05), (1, 1, 0.5), (3, 100, 0.01), (2, 50, 0.99), (1, 10, 0.25)],
)
def test_the_ends_of_a_cycle_are_pytorchs(in_javascript, epochs, steps, warmup):
    recipe = Recipe(epochs=epochs, warmup=warmup)
    assert in_javascript(recipe, steps) == pytest.approx(stepped(recipe, steps), rel=1e-9, abs=0)


def said(status):
    """Parse the status line: schedule, recipes, rates, step, epoch, and mean."""
    number = r"([\d.]+(?:e−\d+)?)"
    found = re.fullmatch(
        rf"([a-z ]+), (?:as in (.+)|a schedule of your own): "
        rf"the rate begins at {number}, is highest with {number} "
        rf"in step ([\d,]+) \(epoch (\d+)\) and ends at {number}; "
        rf"its mean over ([\d,]+) steps is {number}\.",
        status,
    )
    assert found, status
    schedule, whose, *numbers = found.groups()
    return schedule, whose, [float(n.replace("e−", "e-").replace(",", "")) for n in numbers]


def check(status, recipe, steps, whose):
    rates = stepped(recipe, steps)
    highest = max(rates)
    schedule, named, numbers = said(status)
    assert (schedule, named) == (recipe.schedule.replace("_", " "), whose)
    first, most, step, epoch, last, total, mean = numbers
    assert [first, most, last, mean] == pytest.approx(
        [rates[0], highest, rates[-1], math.fsum(rates) / len(rates)], rel=5.1e-3
    )
    assert (total, epoch) == (len(rates), (step - 1) // steps + 1)
    assert rates[int(step) - 1] == pytest.approx(highest, rel=1e-12)


@pytest.mark.parametrize("name", RECIPES)
def test_a_button_loads_a_recipe_and_says_what_pytorch_does(show_widget, name):
    widget = show_widget(ScheduleExplorer())
    status, button = (
        widget.locator(".course-status"),
        widget.get_by_role("button", name=name, exact=True),
    )
    check(status.inner_text(), RECIPES["course"], 125, "course")
    button.focus()
    button.press("Enter")
    check(status.inner_text(), RECIPES[name], 125, name)
    pressed = widget.get_by_role("button", pressed=True)
    assert pressed.all_inner_texts() == [name]
    for shown, names in CONTROLS.items():
        for control in names:
            slider = widget.get_by_role("slider", name=re.compile(f"^{control}"))
            assert slider.is_visible() == (RECIPES[name].schedule == shown)


def test_keyboard_changes_what_it_is_on_and_nothing_else(show_widget):
    widget = show_widget(ScheduleExplorer(steps=10))
    status, path = widget.locator(".course-status"), widget.locator("svg > path")
    epochs = widget.get_by_role("slider", name=re.compile("^Epochs"))
    epochs.focus()
    epochs.press("ArrowRight")
    check(status.inner_text(), Recipe(epochs=15), 10, None)
    epochs.press("End")
    check(status.inner_text(), Recipe(epochs=300), 10, None)
    before = path.get_attribute("d")
    widget.get_by_role("combobox", name="Schedule").select_option("2")
    check(status.inner_text(), Recipe(epochs=300, schedule="step"), 10, None)
    assert path.get_attribute("d") != before
    for name, key, change in (
        ("A step every", "End", {"every": 100}),
        ("Factor", "End", {"every": 100, "factor": 1.0}),
        ("Highest rate", "Home", {"every": 100, "factor": 1.0, "lr": 1e-5}),
    ):
        widget.get_by_role("slider", name=re.compile(f"^{name}")).press(key)
        check(status.inner_text(), Recipe(epochs=300, schedule="step", **change), 10, None)


def test_a_recipe_is_known_by_what_its_schedule_reads(show_widget):
    """A constant rate has no warm-up, so a leftover warm-up doesn't make it another recipe."""
    explorer = ScheduleExplorer(warmup=0.8)
    explorer.schedule, explorer.epochs, explorer.log_rate = SCHEDULES.index("constant"), 45, -4.0
    assert said(show_widget(explorer).locator(".course-status").inner_text())[1] == "streamlined"


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("name", RECIPES)
def test_the_curve_stays_between_its_axes(show_widget, name, logarithmic):
    explorer = ScheduleExplorer(logarithmic=logarithmic)
    widget = show_widget(explorer)
    widget.get_by_role("button", name=name, exact=True).click()
    numbers = [
        float(n) for n in re.findall(r"[-\d.]+", widget.locator("svg > path").get_attribute("d"))
    ]
    assert all(58 <= x <= 388 for x in numbers[::2])
    assert all(26 <= y <= 172 for y in numbers[1::2])
    assert len(numbers) < 2100
    labels = widget.locator("svg text").all_text_contents()
    assert {"learning rate", "epoch", "0", str(RECIPES[name].epochs)} <= set(labels)
    assert "NaN" not in widget.locator("svg").inner_html()


def test_the_axis_can_be_logarithmic(show_widget):
    widget = show_widget(ScheduleExplorer())
    status, path = widget.locator(".course-status"), widget.locator("svg > path")
    said_before, drawn_before = status.inner_text(), path.get_attribute("d")
    widget.get_by_role("checkbox", name="Logarithmic axis").press("Space")
    assert status.inner_text() == said_before
    assert path.get_attribute("d") != drawn_before
    assert "1e−3" in widget.locator("svg text").all_text_contents()
