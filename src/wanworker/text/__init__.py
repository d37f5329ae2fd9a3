"""Pure functions on text that comes from outside: write it safely, blot out its secrets, find names like it."""
