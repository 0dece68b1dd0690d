import pandas as pd
import pytest

from course_utils import plots


def test_scores_are_in_one_table_with_chance_last():
    table = plots.score_table(
        {
            "plain": pd.Series({"accuracy": 0.9565, "chance": 0.06}),
            "attentive": pd.Series(
                {"accuracy": 0.9, "chance": 0.06, "pointing 1": 1.0, "energy 1": 0.5}
            ),
        }
    )
    assert table.columns.tolist() == ["accuracy", "pointing 1", "energy 1", "chance"]
    assert table.index.tolist() == ["plain", "attentive"]
    assert table.data.loc["attentive", "energy 1"] == 0.5
    text = table.to_html()
    assert "–" in text
    assert "0.500" in text
    assert plots.score_table({"photographs": pd.Series({"accuracy": 0.9})}).columns.tolist() == [
        "accuracy"
    ]


def test_a_score_of_a_map_is_printed_with_the_ceiling_of_its_grid():
    coarse = {"accuracy": 0.9, "energy 1": 0.348, "ceiling of energy 1": 0.421, "chance": 0.06}
    fine = coarse | {"energy 1": 0.948, "ceiling of energy 1": 0.99}
    plain = {"accuracy": 0.8, "chance": 0.06}
    rows = {"coarse": pd.Series(coarse), "fine": pd.Series(fine), "plain": pd.Series(plain)}
    table = plots.score_table(rows)
    assert table.columns.tolist() == ["accuracy", "energy 1", "chance"]
    text = table.to_html()
    assert "0.348 of 0.42" in text
    assert "0.948 of 0.99" in text
    assert "nan" not in text


def test_a_heat_map_colours_the_values_and_writes_the_text():
    table = pd.DataFrame([[0.25, 0.75], [1.0, 0.0]], index=["a", "b"], columns=["x", "y"])
    table = table.rename_axis(index="truth", columns="answer")
    axis, bar = plots.show_heat_map(table, label="share", text=table * 4, limits=(0, 1)).axes
    assert axis.collections[0].get_array().tolist() == table.to_numpy().tolist()
    assert axis.collections[0].get_clim() == (0, 1)
    assert [float(text.get_text()) for text in axis.texts] == [1, 3, 4, 0]
    assert (axis.get_xlabel(), axis.get_ylabel(), bar.get_ylabel()) == ("answer", "truth", "share")
    axis = plots.show_heat_map(table, label="share").axes[0]
    assert [text.get_text() for text in axis.texts] == ["0.25", "0.75", "1.00", "0.00"]
    assert axis.collections[0].get_clim() == pytest.approx((0, 1))
