"""The atlas: what every head of a model does, measured over a corpus, with baselines."""

MEASURES = ("position", "syntax", "coreference", "repeats", "values", "clark")
"""What may be asked of a scan."""
WINDOW = 256
"""Tokens of a window, special tokens included."""
