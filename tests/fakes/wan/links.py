"""A generate.py whose video is a symlink to a file of somebody else's, and which ends with 0."""

from pathlib import Path

from upstream import finish, load, sample, save, start

args = start()
load(args)
save(args, sample(args))
video = Path(args.save_file)
elsewhere = video.replace(Path("elsewhere.mp4").absolute())
video.symlink_to(elsewhere)
finish()
