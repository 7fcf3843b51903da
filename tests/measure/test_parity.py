import numpy as np
import pytest
from scipy.spatial.distance import cosine

from edgesmith.errors import ParityError
from edgesmith.measure.parity import check_parity, sqnr_db

REFERENCE = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)


def test_equal_outputs():
    parity = check_parity(REFERENCE, REFERENCE.copy(), tolerance=0.0, name="logits")
    assert (parity.name, parity.n, parity.max_abs_error, parity.label_agreement) == ("logits", 16, 0.0, 1.0)
    assert parity.min_cosine == pytest.approx(1.0)


def test_numbers_are_those_of_the_worst_row():
    candidate = REFERENCE + np.random.default_rng(1).normal(scale=0.3, size=REFERENCE.shape).astype(
        np.float32
    )
    parity = check_parity(REFERENCE, candidate, tolerance=10.0, name="logits")
    assert parity.max_abs_error == pytest.approx(np.abs(REFERENCE - candidate).max())
    assert parity.min_cosine == pytest.approx(
        min(1 - cosine(a, b) for a, b in zip(REFERENCE, candidate, strict=True)), abs=1e-6
    )
    same = [a.argmax() == b.argmax() for a, b in zip(REFERENCE, candidate, strict=True)]
    assert parity.label_agreement == sum(same) / 16 < 1


def test_rows_of_zeros():
    zeros, ones = np.zeros((1, 2)), np.ones((1, 2))
    assert check_parity(zeros, zeros, tolerance=0, name="x").min_cosine == 1.0
    assert check_parity(zeros, ones, tolerance=2, name="x").min_cosine == 0.0


def test_a_difference_above_the_tolerance_is_named():
    candidate = REFERENCE.copy()
    candidate[5, 1] += 0.25
    with pytest.raises(ParityError, match=r"'logits' differs .* by 0\.25 at row 5 of 16; tolerance 0\.001"):
        check_parity(REFERENCE, candidate, tolerance=1e-3, name="logits")
    assert check_parity(REFERENCE, candidate, tolerance=0.3, name="logits").max_abs_error == pytest.approx(
        0.25
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_values_that_are_not_finite(value):
    bad = REFERENCE.copy()
    bad[0, 0] = value
    with pytest.raises(ParityError, match="of the artifact has 1 of 48 values"):
        check_parity(REFERENCE, bad, tolerance=np.inf, name="logits")
    with pytest.raises(ParityError, match="of the model has 1 of 48 values"):
        check_parity(bad, bad, tolerance=np.inf, name="logits")


@pytest.mark.parametrize("shape", [(16, 2), (15, 3), (16,), (0, 3)])
def test_refuses_other_shapes(shape):
    reference = np.zeros((0, 3)) if shape == (0, 3) else REFERENCE
    with pytest.raises(ParityError, match="expected one and the same"):
        check_parity(reference, np.zeros(shape), tolerance=1.0, name="logits")


def test_the_ratio_of_signal_to_noise():
    """Noise of a tenth of the signal's amplitude: 20 dB."""
    signal = np.array([[3.0, -4.0], [1.0, 2.0]], np.float32)
    assert sqnr_db(signal, 1.1 * signal) == pytest.approx(20, abs=1e-4)
    assert sqnr_db(signal, signal) is None
