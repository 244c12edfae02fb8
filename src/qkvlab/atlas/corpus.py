"""temporary"""
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from .treebank import Document, read_treebank
@dataclass
class File:
    name: str; size: int; sha256: str
class Corpus:
    problems = (); n_problem = 0
    def __init__(self, text, treebank):
        self.text, self.treebank = text, treebank
        self.files = [File(p.name, p.stat().st_size, sha256(p.read_bytes()).hexdigest()) for p in [*text, *treebank]]
    def documents(self):
        for p in self.text:
            yield Document(p.name, p.read_text())
        for p in self.treebank:
            yield from read_treebank(p)
def open_corpus(text, treebank, field="text"):
    return Corpus(text, treebank)
def sample_corpus():
    return Corpus([], [Path("tests/hand_made.conllu")])
