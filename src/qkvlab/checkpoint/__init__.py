"""Files to canonical arrays: where a model's numbers lie and what they are called."""
