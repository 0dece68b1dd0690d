"""The Sphinx extensions and the widget host, on small examples."""

from types import SimpleNamespace

import pytest
from ipywidgets import FloatSlider, Widget, jsdlink, jslink
from ipywidgets.embed import embed_data

from book._ext import cache_key, lean_theme
from book.tools import static_widgets
from course_utils.widgets import ScheduleExplorer

HOSTILE = "</script><!-- <script> \" ' \\ \u2028 &amp;"
ESM = """export default { render({ model, el }) {
  const second = () => new Float32Array(model.get('data').buffer)[1];
  const text = () => { el.textContent = model.get('text') + '|' + second(); };
  model.on('change:text', text); text();
  el.onclick = () => { model.set('text', 'clicked'); model.save_changes(); };
} }"""


def any_model(text, esm=ESM):
    return {
        "model_name": "AnyModel",
        "state": {
            "_esm": esm,
            "_css": "",
            "_model_name": "AnyModel",
            "layout": "IPY_MODEL_x",
            "text": text,
            "data": None,
        },
        "buffers": [{"path": ["data"], "encoding": "base64", "data": "AACAPwAAAEA="}],  # 1.0, 2.0
    }


def trait_data(model):
    # ipywidgets writes a trait of bytes like this; its value is in the buffers.
    model["state"]["data"] = {}
    return model


def test_hostile_text_is_shown_as_text(page, show_states):
    state = {"a": trait_data(any_model(HOSTILE)), "b": trait_data(any_model("plain"))}
    widgets = show_states(state, "a", "b")
    assert (
        widgets.all_inner_texts() == [HOSTILE + "|2", "plain|2"]
        or widgets.nth(0).evaluate("e => e.textContent") == HOSTILE + "|2"
    )
    assert page.locator("p").inner_text() == "after"
    widgets.nth(1).click()
    assert widgets.nth(1).inner_text() == "clicked|2"
    assert "clicked" not in widgets.nth(0).inner_text()


def test_a_broken_module_leaves_a_message_in_its_position(page, show_states):
    state = {
        "a": trait_data(any_model("x", "throw new Error('no luck')")),
        "b": trait_data(any_model("fine")),
    }
    widgets = show_states(state, "a", "b")
    assert widgets.nth(0).inner_text() == "This widget could not start: no luck"
    assert widgets.nth(1).inner_text() == "fine|2"
    assert len(page.errors) == 1
    page.errors.clear()


def test_other_widgets_refer_to_a_running_notebook(show_states):
    slider = {"model_name": "IntSliderModel", "state": {"value": 3}}
    widgets = show_states({"a": slider}, "a")
    assert widgets.nth(0).inner_text().startswith("This control needs a running notebook.")


@pytest.mark.parametrize(("link", "back"), [(jslink, True), (jsdlink, False)])
def test_linked_widgets_follow_each_other(page, show_states, link, back):
    leader, follower, other = (ScheduleExplorer(warmup=value) for value in (0.1, 0.2, 0.3))
    link((leader, "warmup"), (follower, "warmup"))
    link((leader, "warmup"), (FloatSlider(), "value"))  # no such control in a static page
    shown = [leader, follower, other, leader]  # a widget may be shown twice
    states = embed_data(
        views=[leader], drop_defaults=False, state=Widget.get_manager_state()["state"]
    )
    widgets = show_states(states["manager_state"]["state"], *(w.model_id for w in shown))
    warmups = [widgets.nth(n).get_by_label("Warm-up share") for n in range(len(shown))]
    values = lambda: [float(warmup.input_value()) for warmup in warmups]  # noqa: E731
    assert values() == [0.1, 0.1, 0.3, 0.1]
    warmups[0].press("End")
    last = float(warmups[0].get_attribute("max"))
    assert values() == [last, last, 0.3, last]
    warmups[1].press("Home")
    first = float(warmups[0].get_attribute("min"))
    assert values() == [first if back else last, first, 0.3, first if back else last]


def test_the_state_in_a_page_is_small():
    slim, files = static_widgets.slim({"state": {"a": any_model("x"), "b": any_model("y")}})
    assert files == {}
    assert sorted(slim["sources"].values()) == ["", ESM]
    assert slim["state"]["a"]["state"].keys() == {"_esm", "_css", "text", "data"}
    assert slim["state"]["a"]["buffers"] == []  # its trait is None: the buffer is a leftover


@pytest.mark.parametrize("change", ["content", "name", "preset"])
def test_the_cache_key_follows_the_package_and_the_preset(tmp_path, change):
    (tmp_path / "a.py").write_text("x = 1")
    before = cache_key.key(tmp_path, "cpu")
    assert cache_key.key(tmp_path, "cpu") == before
    if change == "content":
        (tmp_path / "a.py").write_text("x = 2")
    if change == "name":
        (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert cache_key.key(tmp_path, "smoke" if change == "preset" else "cpu") != before


@pytest.mark.parametrize(
    ("filename", "attributes", "dropped"),
    [
        ("_static/sphinx-thebe.js", {}, True),
        (None, {"body": "const THEBE_JS_URL = 'x'"}, True),
        ("_static/widget-host.js", {}, False),
        (
            None,
            {"type": "application/vnd.jupyter.widget-state+json", "body": '{"data": "AAtHeBe="}'},
            False,
        ),
    ],
)
def test_thebe_is_removed_but_data_with_its_letters_stays(filename, attributes, dropped):
    assert lean_theme.is_thebe(SimpleNamespace(filename=filename, attributes=attributes)) is dropped
