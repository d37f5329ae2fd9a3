"""A generate.py whose s2v cannot join the sound, says so in its log only, and ends with 0."""

from pathlib import Path

from upstream import TASKS, finish, load, log, sample, size_of, start, write_video

args = start()
load(args)
frames = sample(args)
log.info("Saving generated video to %s", args.save_file)
write_video(Path(args.save_file), *size_of(args), frames, TASKS[args.task][3])
log.info("Start merging video and audio...")
log.error("FFmpeg execute failed: Unknown encoder 'aac'")
log.error("merge_video_audio failed with error: FFmpeg execute failed: Unknown encoder 'aac'")
finish()
