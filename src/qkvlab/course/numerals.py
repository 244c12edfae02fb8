"""Numbers as words, in British English: 4096 is "four thousand and ninety-six", 0.90 is "zero point nine"."""

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"))
ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip


def cardinal(number: int) -> str:
    """A whole number from 0 on, below 10^12. Raises ValueError for others."""
    if not 0 <= number < 10**12:
        raise ValueError(f"{number} is not said here; expected 0 to 999,999,999,999")
    for size, name in SCALES:
        if number >= size:
            many, rest = divmod(number, size)
            return f"{cardinal(many)} {name}{_rest(rest)}"
    if number >= 100:
        many, rest = divmod(number, 100)
        return f"{ONES[many]} hundred{_rest(rest)}"
    if number >= 20:
        tens, ones = divmod(number, 10)
        return TENS[tens] + (f"-{ONES[ones]}" if ones else "")
    return ONES[number]


def _rest(rest: int) -> str:
    """What follows a hundred or a thousand: "and" stands before its last two digits."""
    if not rest:
        return ""
    return f" and {cardinal(rest)}" if rest < 100 else f" {cardinal(rest)}"


def decimal(digits: str) -> str:
    """A number as it is written: "4,096", "13.8", "0.90". Zeros at the end are not said, but one digit always is."""
    whole, _, part = digits.replace(",", "").partition(".")
    if not part:
        return cardinal(int(whole))
    kept = part.rstrip("0") or "0"
    return f"{cardinal(int(whole))} point {' '.join(ONES[int(digit)] for digit in kept)}"


def ordinal(number: int) -> str:
    """8 is "eighth", 21 is "twenty-first"."""
    words = cardinal(number)
    head, last = _last(words)
    if last in ORDINALS:
        return head + ORDINALS[last]
    return head + (last[:-1] + "ieth" if last.endswith("y") else last + "th")


def year(number: int) -> str:
    """2017 is "twenty seventeen", 2005 "two thousand and five", 1900 "nineteen hundred"."""
    century, rest = divmod(number, 100)
    if century % 10 == 0 and rest < 10:
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def _last(words: str) -> tuple[str, str]:
    """The last word, and all before it with the space or hyphen between."""
    at = max(words.rfind(" "), words.rfind("-")) + 1
    return words[:at], words[at:]
