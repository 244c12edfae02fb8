"""The atlas: what every head of a model does, measured over a corpus, with baselines."""
