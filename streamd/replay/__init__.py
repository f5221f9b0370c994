"""Dead letters, once more through the pipelines."""
