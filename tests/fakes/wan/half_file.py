"""A generate.py whose video is cut short, and which ends with 0."""

from pathlib import Path

from upstream import finish, load, sample, save, start

args = start()
load(args)
save(args, sample(args))
video = Path(args.save_file)
video.write_bytes(video.read_bytes()[: video.stat().st_size * 2 // 3])
finish()
