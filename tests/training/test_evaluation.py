import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

from course_utils.explain.metrics import energy_inside, grid_ceiling, pointing_game
from course_utils.models import AttnVGG
from course_utils.training import evaluation
from course_utils.training.evaluation import evaluate, predict


def tiny(**options):
    torch.manual_seed(0)
    return AttnVGG(10, width=0.0625, head="independent", **options)


def test_evaluate_averages_over_images_whatever_the_batch_size(digits, monkeypatch):
    model = tiny().train()
    whole = evaluate(model, digits.test)
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 7)
    parts = evaluate(model, digits.test)
    pd.testing.assert_series_equal(whole, parts, atol=1e-6)
    assert model.training
    images, labels, regions = (torch.stack(column) for column in zip(*digits.test))
    with torch.inference_mode():
        output = model.eval()(images)
    assert whole["accuracy"] == pytest.approx(
        (output.logits.argmax(1) == labels).float().mean().item()
    )
    assert whole["chance"] == pytest.approx(regions.float().mean().item())
    assert whole["pointing 2"] == pytest.approx(
        pointing_game(output.maps[1], regions).mean().item(), abs=1e-6
    )
    assert whole["energy 1"] == pytest.approx(
        energy_inside(output.maps[0], regions).mean().item(), abs=1e-6
    )
    assert list(evaluate(tiny(alignment=None), digits.test).index) == ["accuracy", "chance"]
    without_regions = TensorDataset(images, labels)
    assert list(evaluate(model, without_regions).index) == ["accuracy"]


def test_each_score_of_a_map_can_stand_beside_the_ceiling_of_its_grid(digits):
    model = tiny()
    plain, scores = (evaluate(model, digits.test, ceilings=wanted) for wanted in (False, True))
    assert scores[plain.index].equals(plain)
    output, _, regions = predict(model, digits.test)
    grids = [tuple(maps.shape[-2:]) for maps in output.maps]
    assert grids[0] != grids[1]
    for tap, grid in enumerate(grids, start=1):
        pointing, energy = (best.mean().item() for best in grid_ceiling(regions, grid))
        assert scores[f"ceiling of pointing {tap}"] == pytest.approx(pointing)
        assert scores[f"ceiling of energy {tap}"] == pytest.approx(energy)


def test_predict_keeps_the_order_of_the_images(digits):
    model = tiny().eval()
    output, labels, regions = predict(model, digits.test)
    with torch.inference_mode():
        torch.testing.assert_close(output.logits[5:6], model(digits.test[5][0][None]).logits)
    assert output.heads.shape == (30, 3, 10)
    assert [m.shape[0] for m in output.maps] == [30, 30]
    assert torch.equal(labels, digits.test.labels)
    assert torch.equal(regions[7], digits.test[7][2])


def test_a_model_can_be_trained_after_predicting(digits, monkeypatch):
    """On a GPU, moving the model in inference mode would make its weights untrainable."""
    model = tiny().train()
    model.features.eval()
    monkeypatch.setattr(model, "to", lambda device: model.double().float())
    output, labels, _ = predict(model, digits.test)
    assert model.training
    assert not model.features.training
    assert not any(tensor.is_inference() for tensor in (*model.parameters(), output.logits, labels))
    model(digits.test[0][0][None].repeat(2, 1, 1, 1)).logits.sum().backward()


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="at least one image to predict"):
        predict(tiny(), TensorDataset(torch.empty(0, 1, 32, 32), torch.empty(0)))


def test_nan_is_reported_with_the_index_of_the_image(digits, monkeypatch):
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 7)
    images = torch.rand(20, 1, 32, 32)
    images[12, 0, 3, 4] = torch.nan
    model = tiny().train()
    with pytest.raises(ValueError, match=r"^image 12 .*NaN"):
        evaluate(model, TensorDataset(images, torch.zeros(20, dtype=torch.long)))
    assert model.training
    with torch.no_grad():
        model.classifiers[0].weight[3, 2] = torch.nan
    with pytest.raises(ValueError, match=r"output for image 0 .*NaN"):
        predict(model, digits.test)
