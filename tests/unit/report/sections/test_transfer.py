import numpy as np
from results_written import POINTS, SEEDS, report_on, text_of, write_summary

from l2o.report.text import TIMES


def test_test_tasks_are_aggregated(text):
    # Random returns 0 and Adam 9: scores are ninths of the returns.
    assert "champion 0.89 [0.87, 0.90] 0.89 [0.88, 0.90]" in text
    assert "sign descent 0.78 [0.70, 0.79] 0.69 [" in text
    assert f"3 {TIMES} 8 (3 lost)" in text
    never = "0.00 [0.00, 0.00]"
    assert f"decayed Adam {never} {never}" in text  # better with every seed
    assert "RMSProp 0.50 [0.33," in text
    assert "Intervals are 95% percentile intervals" in text
    sign = np.array([0.0, *(7.0 + np.linspace(-0.5, 0.5, SEEDS)[1:])]) / 9
    error = sign.std(ddof=1) / np.sqrt(SEEDS)
    assert f"sign descent {sign.mean():.2f} {error:.2f} 0.73 " in text  # on the task alone
    # The raw table: mean over the curve beside the final return.
    share = np.mean([1 - 0.7 ** (p if p < POINTS - 1 else 99) for p in range(1, POINTS + 1)])
    assert f"[7.77, 8.23] 8 6 {8 * share:.2f} ± 0." in text


def test_too_few_seeds_are_said_to_be_too_few(root, without_figures):
    write_summary(root / "transfer_summary", ["inverted_double_pendulum"], seeds=2)
    report_on(root, root / "report.html")
    text = text_of((root / "report.html").read_text())
    assert "There are fewer than 3 seeds, so no interval is drawn or written." in text
    assert f"champion 0.89 0.89 0.11 0.89 1 {TIMES} 2" in text
