import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from course_utils.training.classification import classification_report, confusion_matrix


def predictions(n=300, classes=4, skill=1.0, seed=0):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=rng)
    logits = torch.randn(n, classes, generator=rng)
    logits[range(n), labels] += skill
    return logits, labels


def test_every_score_equals_scikit_learns():
    logits, labels = predictions()
    p, y, guess = logits.softmax(1).numpy(), labels.numpy(), logits.argmax(1).numpy()
    one_hot = np.eye(4)[y]
    value = classification_report(logits, labels).value
    expected = {
        "accuracy": reference.accuracy_score(y, guess),
        "precision": reference.precision_score(y, guess, average="macro"),
        "recall": reference.recall_score(y, guess, average="macro"),
        "AP": reference.average_precision_score(one_hot, p, average="macro"),
        "AUC": reference.roc_auc_score(y, p, multi_class="ovr"),
        "loss": reference.log_loss(y, p),
    }
    for name, score in expected.items():
        assert value[name] == pytest.approx(score, abs=1e-5), name
    assert np.array_equal(confusion_matrix(logits, labels), reference.confusion_matrix(y, guess))


def test_calibration_error_by_hand():
    """Two bins: sure of 0.9 and right in half of the cases; sure of 0.6 and right in all."""
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    table = classification_report(p.log(), torch.tensor([0, 1, 0, 0]))
    assert table.value["calibration error"] == pytest.approx((0.4 + 0.4) / 2)


def test_intervals_contain_the_value_and_are_narrower_for_more_images():
    widths = []
    for n in (100, 1600):
        table = classification_report(*predictions(n))
        assert (table.low <= table.high).all()
        inside = table.drop("calibration error")  # resampling can only raise it
        assert ((inside.low <= inside.value) & (inside.value <= inside.high)).all()
        widths.append(table.high.accuracy - table.low.accuracy)
    assert widths[1] < 0.5 * widths[0]


def test_the_interval_of_accuracy_is_that_of_a_binomial_share():
    logits, labels = predictions(1000)
    table = classification_report(logits, labels)
    share = table.value.accuracy
    expected = 2 * 1.96 * (share * (1 - share) / 1000) ** 0.5
    assert table.high.accuracy - table.low.accuracy == pytest.approx(expected, rel=0.25)


def test_the_same_predictions_have_the_same_intervals():
    assert classification_report(*predictions()).equals(classification_report(*predictions()))


def test_a_single_image_has_an_interval_without_width():
    table = classification_report(*predictions(n=1))
    assert table.low.equals(table.value.rename("low"))
    assert table.high.equals(table.value.rename("high"))


@pytest.mark.parametrize("skill", [0.0, 5.0])
def test_auc_of_one_class_is_undefined(skill):
    """Nothing can be ranked against nothing; every other score has its usual value."""
    logits, labels = predictions(n=20, skill=skill)
    logits[range(20), 2], labels = logits[range(20), labels], torch.full((20,), 2)
    table = classification_report(logits, labels)
    assert table.loc["AUC"].isna().all()
    assert table.drop("AUC").notna().all(axis=None)
    assert table.value["AP"] == 1
    assert table.value["recall"] == table.value["accuracy"]
    assert classification_report(logits[:1], labels[:1]).loc["AUC"].isna().all()


@pytest.mark.parametrize("n", [2, 3, 10])
def test_resamples_of_one_class_are_left_out_of_the_interval_of_auc(n):
    """The single image of class 1 is missing in many resamples of a perfect classifier."""
    labels = torch.arange(n) // (n - 1)
    logits = 8.0 * torch.eye(2)[labels]
    assert classification_report(logits, labels).loc["AUC"].tolist() == [1, 1, 1]
    worst = classification_report(-logits, labels).loc["AUC"]
    assert worst.tolist() == [0, 0, 0]


def test_a_class_that_is_never_predicted_has_no_precision():
    logits = torch.tensor([[2.0, 0], [2, 0], [2, 0], [2, 0]])
    labels = torch.tensor([0, 0, 0, 1])
    value = classification_report(logits, labels).value
    expected = reference.precision_score(
        labels, logits.argmax(dim=1), average="macro", zero_division=0
    )
    assert value["precision"] == pytest.approx(expected) == pytest.approx((3 / 4 + 0) / 2)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), "at least one image, got"),
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.long), r"got \(2, 3\) and \(3,\)"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "from 0 to 2, got labels from 0 to 3"),
        (torch.zeros(2, 1), torch.tensor([0, 0]), r"two classes, got \(2, 1\)"),
        (torch.full((2, 3), torch.nan), torch.tensor([0, 1]), "got NaN"),
    ],
)
def test_unfit_predictions_are_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        classification_report(logits, labels)
