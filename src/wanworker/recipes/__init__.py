"""How to sample: the table of few-step recipes, and the numbers of one run."""
