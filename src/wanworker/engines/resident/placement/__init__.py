"""Decide before a load and before each job where the parts of a model are, from sizes and measured peaks."""
