def test_claims_follow_from_the_numbers(text):
    assert (
        "supported Meta-training improved the optimizer. The champion is better than its untrained "
        "initialisation: mean final return 8.00 against 5.00, difference +3.00, 95% interval "
        "[+3.00, +3.00] over 8 paired seeds." in text
    )
    assert "do not overlap." in text
    assert "not supported The meta-trained optimizer beats tuned Adam." in text
    assert "The champion is worse than Adam: mean final return 8.00 against 9.00" in text
    assert "inconclusive The meta-trained optimizer beats tuned RMSProp." in text
    assert "The champion is not distinguishable from RMSProp" in text
    assert "The champion is better than sign descent" in text
