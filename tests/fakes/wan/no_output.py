"""A generate.py that cannot save, says so in its log only, and ends with 0."""

from upstream import finish, load, log, sample, start

args = start()
load(args)
sample(args)
log.info("Saving generated video to %s", args.save_file)
log.info("save_video failed, error: TiffWriter.write() got an unexpected keyword argument 'fps'")
finish()
