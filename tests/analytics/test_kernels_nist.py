"""NIST Statistical Reference Datasets: certified values, to the digits of a double.

Source: National Institute of Standards and Technology, StRD, univariate summary
statistics (Lottery, NumAcc3, NumAcc4) and linear regression (Norris, NoInt2).
"""

import numpy as np
import pytest

from analytics.factors import Window
from analytics.kernels.ols import Regression, Rule, Target, regress
from analytics.kernels.volatility import annualised
from analytics.kernels.windows import Block, Floats

NORRIS = np.fromstring(
    """
    0.1 0.2 338.8 337.4 118.1 118.2 888.0 884.6 9.2 10.1 228.1 226.5 668.5 666.3
    998.5 996.3 449.1 448.6 778.9 777.0 559.2 558.2 0.3 0.4 0.1 0.6 778.1 775.5
    668.8 666.9 339.3 338.0 448.9 447.5 10.8 11.6 557.7 556.0 228.3 228.1 998.0 995.8
    888.8 887.6 119.6 120.2 0.3 0.3 0.6 0.3 557.6 556.8 339.3 339.1 888.0 887.2
    998.5 999.0 778.9 779.0 10.2 11.1 117.6 118.3 228.9 229.2 668.4 669.1 449.2 448.9
    0.2 0.5
    """,
    sep=" ",
).reshape(-1, 2)
LOTTERY = np.fromstring(
    """
    162 671 933 414 788 730 817 33 536 875 670 236 473 167 877 980 316 950 456 92
    517 557 956 954 104 178 794 278 147 773 437 435 502 610 582 780 689 562 964 791
    28 97 848 281 858 538 660 972 671 613 867 448 738 966 139 636 847 659 754 243
    122 455 195 968 793 59 730 361 574 522 97 762 431 158 429 414 22 629 788 999
    187 215 810 782 47 34 108 986 25 644 829 630 315 567 919 331 207 412 242 607
    668 944 749 168 864 442 533 805 372 63 458 777 416 340 436 140 919 350 510 572
    905 900 85 389 473 758 444 169 625 692 140 897 672 288 312 860 724 226 884 508
    976 741 476 417 831 15 318 432 241 114 799 955 833 358 935 146 630 830 440 642
    356 373 271 715 367 393 190 669 8 861 108 795 269 590 326 866 64 523 862 840
    219 382 998 4 628 305 747 247 34 747 729 645 856 974 24 568 24 694 608 480
    410 729 947 293 53 930 223 203 677 227 62 455 387 318 562 242 428 968
""",
    sep=" ",
)


def alternating(first: float, low: float, high: float) -> Floats:
    return np.array([first] + [low, high] * 500)


def digits(got: float, certified: float) -> float:
    """The logarithm of the relative error: how many digits agree."""
    return 15.0 if got == certified else -np.log10(abs(got / certified - 1))


def block(column: Floats) -> Block:
    return Block(column[:, None], np.ones((len(column), 1), bool), 1)


def regression(y: Floats, x: Floats) -> Regression:
    rule = Rule(Window(len(y), 3), 2, 1e9)
    return regress(Target(block(y)), block(x), rule)


@pytest.mark.parametrize(
    ("data", "deviation", "least"),
    [
        (LOTTERY, 291.699727470969, 14),
        # Their digits are lost in the data: a double holds 1e6 + 0.1 to 1e-10.
        (alternating(1_000_000.2, 1_000_000.1, 1_000_000.3), 0.1, 9),
        (alternating(10_000_000.2, 10_000_000.1, 10_000_000.3), 0.1, 8),
    ],
    ids=["Lottery", "NumAcc3", "NumAcc4"],
)
def test_a_standard_deviation_has_the_certified_digits(
    data: Floats, deviation: float, least: int
) -> None:
    found = annualised(block(data), Window(len(data), 2), 1)
    got = float(found.value[0, 0])
    assert digits(got, deviation) >= least
    # All that the doubles still say: numpy centres first too.
    assert digits(got, float(np.std(data, ddof=1))) > 13


def test_norris_has_the_certified_digits() -> None:
    found = regression(NORRIS[:, 0], NORRIS[:, 1])
    for got, certified in (
        (found.beta, 1.00211681802045),
        (found.alpha, -0.262323073774029),
        (found.se, 0.429796848199937e-03),
        (found.r2, 0.999993745883712),
    ):
        assert digits(float(got[0, 0]), certified) > 12


def test_noint2_as_far_as_it_applies() -> None:
    """Its line has no intercept, ours is given none by adding the mirrored points.

    That doubles SSE and Sxx, and leaves 4 degrees of freedom in place of 2.
    """
    y, x = np.array([3.0, 4, 4]), np.array([4.0, 5, 6])
    found = regression(np.concatenate([y, -y]), np.concatenate([x, -x]))
    assert digits(float(found.beta[0, 0]), 0.727272727272727) > 14
    assert found.alpha[0, 0] == 0
    se = float(found.se[0, 0]) * np.sqrt(2)
    assert digits(se, 0.0420827318078432) > 13
    assert digits(float(found.r2[0, 0]), 0.993348115299335) > 14
