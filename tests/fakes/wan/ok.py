"""A generate.py that renders: every stage logged, a real video in the end."""

from upstream import finish, load, sample, save, start

args = start()
load(args)
save(args, sample(args))
finish()
