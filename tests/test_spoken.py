"""What the voice says: every rule by example, and nothing unsayable left over."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkvlab.course.numerals import cardinal, decimal, ordinal, year
from qkvlab.course.spoken import NAMES, SIGNS, UNITS, UnspeakableError, spoken

FORMULAS = {
    "q = xW_q, k = xW_k.": "q equals x times W sub q, k equals x times W sub k.",
    "W_q is not W_k.": "W sub q is not W sub k.",
    "Q·Kᵀ is scaled.": "Q dot K transposed is scaled.",
    "Divide QK^T by √d.": "Divide Q times K transposed by the square root of d.",
    "softmax(QK^T/√d_k)V": "softmax of Q times K transposed over the square root of d sub k, times V.",
    "softmax(QK^T/√(d_k)) is a row.": "softmax of Q times K transposed over the square root of d sub k is a row.",
    "It is W_qW_k^T.": "It is W sub q times W sub k transposed.",
    "x·xᵀ is symmetric.": "x dot x transposed is symmetric.",
    "q_i · k_j": "q sub i dot k sub j.",
    "A_(ij) is its share.": "A sub i j is its share.",
    "d_model is 576.": "d model is five hundred and seventy-six.",
    "x_i^2 ≥ 0": "x sub i squared is at least zero.",
    "q·k/√d": "q dot k over the square root of d.",
    "1/√d": "one over the square root of d.",
    "It costs a/b.": "It costs a over b.",
    "s(it → cat) > s(cat → it) + 2": "s of it to cat is greater than s of cat to it plus two.",
    "score(it→cat) = 6.61": "score of it to cat equals six point six one.",
    "Σ over heads of zW_o": "the sum over heads of z times W sub o.",
    "The mask adds −∞.": "The mask adds minus infinity.",
    "cos θ": "cos theta.",
    "W_q − W_k": "W sub q minus W sub k.",
    "W_q^(13)": "W sub q to the power of thirteen.",
}  # fmt: skip

NUMBERS = {
    "The weight is 0.90.": "The weight is zero point nine.",
    "It is 2.9 → 8.0.": "It is two point nine to eight point zero.",
    "It is −0.26.": "It is minus zero point two six.",
    "It is -0.26, or (−1).": "It is minus zero point two six, or, minus one.",
    "Head 13.8 looks back.": "Head thirteen point eight looks back.",
    "Head 13.10 is not head 13.1.": "Head thirteen point ten is not head thirteen point one.",
    "Heads 13.8, 16.2 and 23.10": "Heads thirteen point eight, sixteen point two and twenty-three point ten.",
    "16.2 against 23.4": "sixteen point two against twenty-three point four.",
    "63.2 % or 9.9%": "sixty-three point two percent or nine point nine percent.",
    "4,096²": "four thousand and ninety-six squared.",
    "4,096^2": "four thousand and ninety-six squared.",
    "32 × 128 = 4,096": "thirty-two times one hundred and twenty-eight equals four thousand and ninety-six.",
    "a 576 × 64 matrix": "a five hundred and seventy-six by sixty-four matrix.",
    "layers 0–8": "layers zero to eight.",
    "the 13th of 30 layers": "the thirteenth of thirty layers.",
    "1e-6, 3e−5": "ten to the power of minus six, three times ten to the power of minus five.",
    "10^(-6)": "ten to the power of minus six.",
    "in 2017, in 2005": "in twenty seventeen, in two thousand and five.",
    "2,048 tokens": "two thousand and forty-eight tokens.",
    "a 30-layer model": "a thirty-layer model.",
    "135M numbers": "one hundred and thirty-five million numbers.",
    "8 KiB, 1 GiB, 1.5 MiB": "eight kibibytes, one gibibyte, one point five mebibytes.",
    "3 ms, 5.8 σ, 64 kbit/s": "three milliseconds, five point eight sigma, sixty-four kilobits per second.",
}  # fmt: skip

WORDS = {
    "smollm2 and MiniLM": "smol L M two and mini L M.",
    "SmolLM2-135M-Instruct": "smol L M two.",
    "Llama-3-8B runs.": "Llama three eight B runs.",
    "RoPE turns q and k.": "rope turns q and k.",
    "GQA, MHA and MLPs": "G Q A, M H A and MLPs.",
    "the K/V cache": "the K V cache.",
    "query/key": "query or key.",
    "Vaswani et al. (2017)": "Vaswani and others, twenty seventeen.",
    'from " it" to " cat"': "from “it” to “cat”.",
    'Read "The cat drank".': "Read “The cat drank”.",
    'The token "." and " "': "The token “full stop” and “space”.",
    "one – the last – is": "one, the last, is.",
    "the head(s) (all of them)": "the heads, all of them.",
    "What is x?": "What is x?",
    "the model's own (e.g. this)": "the model's own, for example this.",
    "It says:": "It says.",
}


@pytest.mark.parametrize(("text", "said"), [*FORMULAS.items(), *NUMBERS.items(), *WORDS.items()])
def test_as_a_teacher_would(text: str, said: str) -> None:
    assert spoken(text) == said


@pytest.mark.parametrize("name", NAMES)
def test_a_name_within_a_sentence(name: str) -> None:
    assert f"so {NAMES[name]} is" in spoken(f"so {name} is here")


@pytest.mark.parametrize("sign", SIGNS)
def test_every_sign_has_words(sign: str) -> None:
    assert SIGNS[sign].split()[0] in spoken(f"a {sign} b")
    assert sign not in spoken(f"a {sign} b")


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_after_a_number(unit: str) -> None:
    assert spoken(f"7 {unit} more").startswith(f"seven {UNITS[unit]}")


@pytest.mark.parametrize("text", ["$W_q$", "a ∮ b", "x‖y", "it_cat_score {{x}}", "mail@here", "tabs\\n"])
def test_what_no_rule_knows_is_an_error(text: str) -> None:
    with pytest.raises(UnspeakableError, match="no rule says how"):
        spoken(text)


@pytest.mark.parametrize("text", ["", "…", " , "])
def test_nothing_to_say(text: str) -> None:
    with pytest.raises(UnspeakableError, match="nothing to say"):
        spoken(text)


@given(st.text(alphabet="aQxW_^q ()√/·×=−-.,0123456789%\"'?→²ᵀ", max_size=40))
def test_what_is_said_is_words(text: str) -> None:
    """No digit and no sign reaches the voice, whatever the text; else the error names the sign."""
    try:
        said = spoken(text)
    except UnspeakableError:
        return
    assert re.fullmatch(r"[^\W\d_“”]*(?:[ .,;:?!'’“”-]+[^\W\d_]*)*", said)
    assert re.search(r"[.?!]”?$", said)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "zero"), (7, "seven"), (13, "thirteen"), (20, "twenty"), (41, "forty-one"), (100, "one hundred"),
        (101, "one hundred and one"), (576, "five hundred and seventy-six"), (1000, "one thousand"),
        (1005, "one thousand and five"), (4096, "four thousand and ninety-six"),
        (49152, "forty-nine thousand one hundred and fifty-two"), (1_000_001, "one million and one"),
        (134_515_008, "one hundred and thirty-four million five hundred and fifteen thousand and eight"),
        (8_000_000_000, "eight billion"),
    ],
)  # fmt: skip
def test_cardinals(number: int, said: str) -> None:
    assert cardinal(number) == said


def test_cardinals_differ() -> None:
    assert len({cardinal(number) for number in range(20_000)}) == 20_000


@pytest.mark.parametrize("number", [-1, 10**12])
def test_numbers_out_of_range(number: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to"):
        cardinal(number)


def test_a_number_too_long_for_words_is_unspeakable() -> None:
    with pytest.raises(UnspeakableError, match="1234567890123"):
        spoken("There are 1234567890123 of them.")


def test_decimals_ordinals_years() -> None:
    assert decimal("4,096.50") == "four thousand and ninety-six point five"
    assert decimal("0.005") == "zero point zero zero five"
    assert decimal("1.00") == "one point zero"
    assert [ordinal(n) for n in (1, 2, 3, 8, 12, 20, 21, 101)] == [
        "first", "second", "third", "eighth", "twelfth", "twentieth", "twenty-first", "one hundred and first",
    ]  # fmt: skip
    assert [year(n) for n in (1900, 1905, 1999, 2000, 2009, 2010, 2026)] == [
        "nineteen hundred", "nineteen oh five", "nineteen ninety-nine", "two thousand", "two thousand and nine",
        "twenty ten", "twenty twenty-six",
    ]  # fmt: skip
