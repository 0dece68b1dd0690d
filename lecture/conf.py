"""Configuration of Sphinx for the deck: slides.md as a Reveal presentation."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lecture import numbers  # noqa: E402

project = "Attention in CNNs"
language = "en"
root_doc = "slides"
exclude_patterns = ["_build*/**"]
extensions = [
    "myst_parser",
    "sphinx_revealjs",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinxcontrib.bibtex",
    "lecture.deck",
    "book.tools.accessible",
]
nitpicky = True

myst_enable_extensions = [
    "attrs_block",
    "attrs_inline",
    "colon_fence",
    "dollarmath",
    "substitution",
]
myst_substitutions = numbers.compute()
bibtex_bibfiles = [str(ROOT / "book" / "references.bib")]
bibtex_default_style = "plain"
mathjax3_config = {"chtml": {"matchFontHeight": False}, "options": {"enableMenu": False}}

html_title = "Attention in CNNs: the lecture"
html_copy_source = False
revealjs_static_path = ["assets"]
revealjs_html_theme = "revealjs-simple"
revealjs_style_theme = "white"  # only the themes black and white import no web fonts
revealjs_use_section_ids = True
revealjs_css_files = ["deck.css"]
revealjs_script_plugins = [{"name": "RevealNotes", "src": "revealjs/plugin/notes/notes.js"}]
revealjs_script_conf = """{
    width: 1280,
    height: 720,
    margin: 0.03,
    center: false,
    transition: "none",
    controls: false,
    viewDistance: 1000,
    hash: true,
    slideNumber: "c/t",
    scrollActivationWidth: null,
    pdfSeparateFragments: false,
    pdfMaxPagesPerSlide: 1,
    // While a widget has the focus, keys are for the widget.
    keyboardCondition: () => !document.activeElement?.closest(".course-widget"),
}"""
