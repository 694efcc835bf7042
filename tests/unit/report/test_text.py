from l2o.report.text import count, duration, interval, number


def test_numbers_are_written_for_people():
    numbers = [number(x) for x in (0.0, 1.234, 123.46, 6517.3, 0.0263, 0.00123)]
    assert numbers == ["0.00", "1.23", "123.5", "6,517", "0.026", "0.0012"]
    assert number(float("nan")) == "–"  # noqa: RUF001
    assert number(-1.5) == "−1.50" and number(1.5, signed=True) == "+1.50"  # noqa: RUF001
    assert interval(-1.0, 2.0) == "[−1.00,\N{NO-BREAK SPACE}2.00]"  # noqa: RUF001
    assert interval(-0.028, 0.0) == "[−0.028,\N{NO-BREAK SPACE}0.000]"  # noqa: RUF001
    assert (count(1, "seed"), count(1000, "seed")) == ("1 seed", "1,000 seeds")
    assert (duration(3.21), duration(245), duration(7800)) == ("3.2 s", "4 min 05 s", "2 h 10 min")
