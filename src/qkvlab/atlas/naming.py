"""What each measure asks, in plain words: for tables, reports and findings."""

import re

RELATIONS = {
    "acl": "noun clause", "acl:relcl": "relative clause", "advcl": "adverbial clause", "advmod": "adverb",
    "amod": "adjective", "appos": "apposition", "aux": "auxiliary", "aux:pass": "passive auxiliary",
    "case": "preposition", "cc": "conjunction", "ccomp": "object clause", "compound": "compound part",
    "conj": "conjunct", "cop": "copula", "csubj": "subject clause", "dep": "dependent", "det": "determiner",
    "expl": "expletive", "fixed": "phrase part", "flat": "name part", "iobj": "indirect object",
    "list": "list item", "mark": "clause marker", "nmod": "noun modifier", "nmod:poss": "possessor",
    "nsubj": "subject", "nsubj:pass": "passive subject", "nummod": "number", "obj": "object", "obl": "oblique",
    "obl:npmod": "adverbial noun", "obl:tmod": "time", "parataxis": "parataxis", "punct": "punctuation mark",
    "vocative": "vocative", "xcomp": "open complement",
}  # fmt: skip
"""Universal Dependencies in words that need no grammar book."""
PLAIN = {
    "position:self": "looks at itself",
    "position:previous": "looks at the token before",
    "position:next": "looks at the token behind",
    "position:first": "looks at the first token",
    "coreference": "finds a pronoun's antecedent",
    "repeats:induction": "looks at what followed this token last time",
    "repeats:duplicate": "looks at the same token, earlier",
    "repeats:previous": "looks at the token before, in random tokens",
    "distance": "mean distance",
    "entropy": "entropy of the weights",
    "mass:first": "weight on the first token",
    "mass:self": "weight on itself",
    "mass:previous": "weight on the token before",
    "mass:next": "weight on the token behind",
    "write": "size of the write",
    "share": "write, as a share of the residual",
    "copying": "copying score of the weights",
}
BASELINES = {
    "chance": "chance",
    "nearest": "nearest candidate",
    "nearest agreeing": "nearest that agrees",
    "offset": "best fixed distance",
    "control": "random tokens not repeated",
}
_SYNTAX = re.compile(r"syntax:(?P<relation>.+?):(?P<side>head|dependent)(?P<forward>:forward)?")
_CLARK = re.compile(r"clark:(?P<relation>.+?):(?P<way>normal|transposed)")


def title(measure: str) -> str:
    """What a head does that is good at this, as the end of a sentence that begins with the head."""
    if found := _SYNTAX.fullmatch(measure):
        relation = RELATIONS.get(found["relation"], found["relation"])
        # The side says what the later word is; the one that looks is the later word, or forward the earlier one.
        looks_up = (found["side"] == "dependent") != (found["forward"] is not None)
        ahead = ", looking ahead" if found["forward"] else ""
        return (f"finds what the {relation} belongs to" if looks_up else f"finds a word's {relation}") + ahead
    if found := _CLARK.fullmatch(measure):
        relation = RELATIONS.get(found["relation"], found["relation"])
        return f"{relation} to word (Clark)" if found["way"] == "normal" else f"word to {relation} (Clark)"
    return PLAIN.get(measure, measure)


def baseline_title(name: str, offset: int | None = None) -> str:
    """Who scores that without looking at the model."""
    said = BASELINES.get(name, name)
    return said if offset is None else f"{said} ({offset:+d})"
