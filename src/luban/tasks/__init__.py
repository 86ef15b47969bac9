"""One question per file: what the targets are, the loss, what a prediction means and how it is judged."""
