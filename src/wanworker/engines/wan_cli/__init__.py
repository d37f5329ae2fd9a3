"""Wan's own generate.py as an engine; `engine` has it, the other modules are its parts."""
