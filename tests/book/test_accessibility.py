"""No page breaks a rule of WCAG 2.2, levels A and AA, that a program can check; widgets and dark mode included."""

import pytest

from tests.book.test_pages import PAGES
from tests.browser import violations


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
