"""
What every fake of generate.py shares: upstream's flags, its log lines, its bars, and a real video.

Flags, choices and messages are those of Wan2.2 at 42bf4cf. A wrong flag ends with code 2 like the real program.
"""

from __future__ import annotations

import argparse
import array
import fcntl
import logging
import math
import os
import stat
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("wan")

TASKS = {
    "t2v-A14B": ("WanT2V", 40, 81, 16),
    "i2v-A14B": ("WanI2V", 40, 81, 16),
    "ti2v-5B": ("WanTI2V", 50, 121, 24),
    "animate-14B": ("Wan-Animate", 20, 77, 30),
    "s2v-14B": ("WanS2V", 40, 81, 16),
}
SIZES = ("720*1280", "1280*720", "480*832", "832*480", "704*1280", "1280*704", "1024*704", "704*1024")
SUPPORTED = {
    "t2v-A14B": SIZES[:4],
    "i2v-A14B": SIZES[:4],
    "ti2v-5B": SIZES[4:6],
    "s2v-14B": SIZES,
    "animate-14B": SIZES[:2],
}
TEXTS = (
    "ckpt_dir", "save_file", "prompt", "prompt_extend_model", "image", "src_root_path", "audio", "tts_prompt_audio",
    "tts_prompt_text", "tts_text", "pose_video",
)  # fmt: skip
SWITCHES = (
    "t5_fsdp", "t5_cpu", "dit_fsdp", "use_prompt_extend", "convert_model_dtype", "replace_flag", "use_relighting_lora",
    "enable_tts", "start_from_ref",
)  # fmt: skip


def parse() -> argparse.Namespace:
    """Read the command line as generate.py does, then check it as far as it does before loading."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", default="t2v-A14B", choices=list(TASKS))
    parser.add_argument("--size", default="1280*720", choices=SIZES)
    parser.add_argument("--offload_model", type=_bool, default=None)
    parser.add_argument("--sample_solver", default="unipc", choices=["unipc", "dpm++"])
    parser.add_argument("--prompt_extend_method", default="local_qwen", choices=["dashscope", "local_qwen"])
    parser.add_argument("--prompt_extend_target_lang", default="zh", choices=["zh", "en"])
    for name, default in (("frame_num", None), ("ulysses_size", 1), ("base_seed", -1), ("sample_steps", None),
                          ("refert_num", 77), ("num_clip", None), ("infer_frames", 80)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    for name in ("sample_shift", "sample_guide_scale"):
        parser.add_argument(f"--{name}", type=float, default=None)
    for name in TEXTS:
        parser.add_argument(f"--{name}", default=None)
    for name in SWITCHES:
        parser.add_argument(f"--{name}", action="store_true")
    args = parser.parse_args()
    assert args.ckpt_dir is not None, "Please specify the checkpoint directory."
    assert args.size in SUPPORTED[args.task], f"Unsupport size {args.size} for task {args.task}"
    assert args.prompt is not None or args.task == "animate-14B", "upstream would render its sample prompt"
    assert args.image is not None or args.task in {"t2v-A14B", "ti2v-5B", "animate-14B"}, "upstream's sample picture"
    assert args.audio is not None or args.task != "s2v-14B", "upstream's sample sound"
    args.sample_steps = args.sample_steps or TASKS[args.task][1]
    args.frame_num = args.frame_num or TASKS[args.task][2]
    return args


def _bool(text: str) -> bool:
    if text.lower() in {"yes", "true", "t", "y", "1"}:
        return True
    if text.lower() in {"no", "false", "f", "n", "0"}:
        return False
    raise argparse.ArgumentTypeError("Boolean value expected (True/False)")


def start() -> argparse.Namespace:
    """Begin as generate.py does: arguments, log on stdout, the first lines."""
    args = parse()
    logging.basicConfig(
        level=logging.INFO,
        format="[%(asctime)s] %(levelname)s: %(message)s",
        handlers=[logging.StreamHandler(sys.stdout)],
    )
    if args.offload_model is None:
        log.info("offload_model is not specified, set to True.")
    log.info("Generation job args: %s", args)
    log.info("Input prompt: %s", args.prompt)
    if args.image is not None:
        assert Path(args.image).stat().st_size, "upstream opens the picture here"
        log.info("Input image: %s", args.image)
    return args


def settle() -> None:
    """
    Wait until the reader has read what was written: between the two streams the real program takes seconds.

    Without this a reader may see the end of one stream before the beginning of the other.
    """
    unread = array.array("i", [0])
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        for _ in range(5000):
            try:
                # uvloop makes sockets of a program's streams; those tell of what is unread by another question.
                is_socket = stat.S_ISSOCK(os.fstat(stream.fileno()).st_mode)
                fcntl.ioctl(stream.fileno(), termios.TIOCOUTQ if is_socket else termios.FIONREAD, unread)
            except OSError:  # neither
                break
            if not unread[0]:
                break
            time.sleep(0.001)


def load(args: argparse.Namespace) -> None:
    """Log the loading of the weights with its bars, described ones, for each expert."""
    log.info("Creating %s pipeline.", TASKS[args.task][0])
    log.info("loading %s/models_t5_umt5-xxl-enc-bf16.pth", args.ckpt_dir)
    log.info("loading %s/Wan2.1_VAE.pth", args.ckpt_dir)
    log.info("Creating WanModel from %s", args.ckpt_dir)
    for _ in range(2 if args.task.endswith("A14B") else 1):
        bar(3, "Loading checkpoint shards")
    log.info("Generating video ...")


def sample(args: argparse.Namespace, each: Callable[[int], object] = int) -> int:
    """Write a bar for each clip and return the number of frames; *each* is called after each step."""
    clips, frames = _clips(args)
    for _ in range(clips):
        bar(args.sample_steps, each=each)
    return frames


def _clips(args: argparse.Namespace) -> tuple[int, int]:
    if args.task == "s2v-14B":
        sound_frames = int(sound_s(Path(args.audio)) * 30)
        clips = min(args.num_clip or 10**6, int(sound_frames / (args.infer_frames * 30 / 16)) + 1)
        return clips, clips * args.infer_frames - 3
    if args.task == "animate-14B":
        assert args.refert_num in {1, 5}, "refert_num should be 1 or 5."
        folder = Path(args.src_root_path)
        assert all((folder / name).is_file() for name in ("src_pose.mp4", "src_face.mp4", "src_ref.png"))
        frames = pose_frames(folder / "src_pose.mp4")
        clips = max(1, math.ceil((frames - 1) / 76))
        log.info("real frames: %d target frames: %d", frames, clips * 76 + 1)
        return clips, frames
    return 1, (args.frame_num - 1) // 4 * 4 + 1


def bar(steps: int, description: str = "", each: Callable[[int], object] = int) -> None:
    """Write a bar as tqdm does: each state begins with a carriage return, and only the last has a line end."""
    prefix = f"{description}: " if description else ""
    settle()
    for step in range(steps + 1):
        done = "\u2588" * (10 * step // steps)
        rate = f"[00:{step:02d}<00:{steps - step:02d},  1.00s/it]"
        sys.stderr.write(f"\r{prefix}{100 * step // steps:3d}%|{done:<10}| {step}/{steps} {rate}")
        sys.stderr.flush()
        each(step)
    sys.stderr.write("\n")
    settle()


def save(args: argparse.Namespace, frames: int) -> None:
    """Log and write the video; s2v joins it with the sound by the ffmpeg on PATH, and swallows what goes wrong."""
    log.info("Saving generated video to %s", args.save_file)
    width, height = size_of(args)
    write_video(Path(args.save_file), width, height, frames, TASKS[args.task][3])
    if args.task == "s2v-14B":
        add_sound(Path(args.save_file), Path(args.audio))


def finish() -> None:
    """Log the last line."""
    log.info("Finished.")


def size_of(args: argparse.Namespace) -> tuple[int, int]:
    """Return the size that upstream renders: the picture's aspect at the asked area where there is a picture."""
    width, height = (int(side) for side in args.size.split("*"))
    multiple = {"i2v-A14B": 16, "ti2v-5B": 32, "s2v-14B": 64}.get(args.task)
    if args.image is None or multiple is None:
        return width, height
    from PIL import Image

    with Image.open(args.image) as picture:
        aspect = picture.width / picture.height
    sides = (math.sqrt(width * height * aspect), math.sqrt(width * height / aspect))
    return tuple(max(1, int(side // multiple)) * multiple for side in sides)  # type: ignore[return-value]


def write_video(path: Path, width: int, height: int, frames: int, fps: int) -> None:
    """Write a moving test picture as H.264."""
    source = f"testsrc=size={width}x{height}:rate={fps}"
    ffmpeg("-f", "lavfi", "-i", source, "-frames:v", str(frames), "-c:v", "libx264", "-preset", "ultrafast",
           "-pix_fmt", "yuv420p", str(path))  # fmt: skip


def add_sound(video: Path, sound: Path) -> None:
    """Join *video* with *sound* in place; upstream logs a failure and goes on."""
    joined = video.with_name(f"{video.stem}_temp{video.suffix}")
    log.info("Start merging video and audio...")
    argv = ["ffmpeg", "-y", "-i", str(video), "-i", str(sound), "-c:v", "copy", "-c:a", "aac", "-map", "0:v:0",
            "-map", "1:a:0", "-shortest", str(joined)]  # fmt: skip
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True)
        joined.replace(video)
        log.info("Merge completed, saved to %s", video)
    except (OSError, subprocess.SubprocessError) as error:
        log.error("merge_video_audio failed with error: %s", error)  # noqa: TRY400 - upstream logs no traceback


def sound_s(path: Path) -> float:
    """Return the seconds of a .wav."""
    import wave

    with wave.open(str(path)) as sound:
        return sound.getnframes() / sound.getframerate()


def pose_frames(path: Path) -> int:
    """Return the number of frames of a video."""
    import imageio_ffmpeg

    count, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
    return int(count)


def ffmpeg(*arguments: str) -> None:
    """Run the ffmpeg that imageio-ffmpeg brings."""
    import imageio_ffmpeg

    program = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([program, "-loglevel", "error", "-y", *arguments], check=True, env=dict(os.environ))
