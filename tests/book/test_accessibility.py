"""No page breaks a rule of WCAG 2.2, levels A and AA, that a program can check; widgets and dark mode included."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.book.test_pages import PAGES

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def violations(page, rules=RULES):
    """The rules that are broken, and where."""
    options = {"runOnly": rules, "resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, options=options).response["violations"]
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]


@pytest.mark.parametrize("name", [*PAGES, "search"])
def test_pages_keep_the_rules_in_light_and_in_dark(page, site, name):
    page.emulate_media(
        reduced_motion="reduce"
    )  # colours on their way from light to dark have no contrast of their own
    page.goto(f"{site}/{name}.html")
    page.wait_for_selector("html[data-theme]")
    if name.startswith("notebooks"):
        page.wait_for_selector("html[data-widgets=ready]")
    assert page.locator("html").get_attribute("data-theme") == "light"
    assert violations(page) == []
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert violations(page, ["color-contrast"]) == []  # no other rule looks at colours


def test_the_check_finds_what_is_wrong(page):
    page.set_content(
        '<html lang="en"><title>t</title><main><p style="color: #aaa">pale</p><img src="data:,"></main>'
    )
    assert {rule for rule, _ in violations(page)} == {"color-contrast", "image-alt"}
