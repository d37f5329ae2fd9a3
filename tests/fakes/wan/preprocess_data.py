"""Upstream's preprocess_data.py: a pose video, a face video and the reference picture from two inputs."""

import argparse
import shutil
from pathlib import Path

from upstream import pose_frames, write_video

parser = argparse.ArgumentParser(description="The preprocessing pipeline for Wan-animate.")
for name in ("ckpt_path", "video_path", "refer_path", "save_path"):
    parser.add_argument(f"--{name}", default=None)
parser.add_argument("--resolution_area", type=int, nargs=2, default=[1280, 720])
parser.add_argument("--fps", type=int, default=30)
for name in ("replace_flag", "retarget_flag", "use_flux"):
    parser.add_argument(f"--{name}", action="store_true")
for name, default in (("iterations", 3), ("k", 7), ("w_len", 1), ("h_len", 1)):
    parser.add_argument(f"--{name}", type=int, default=default)
args = parser.parse_args()
print(vars(args))
assert (Path(args.ckpt_path) / "det/yolov10m.onnx").is_file()

target = Path(args.save_path)
target.mkdir(parents=True, exist_ok=True)
frames = pose_frames(Path(args.video_path))
print(f"frame_num: {frames}")
shutil.copy(args.refer_path, target / "src_ref.png")
write_video(target / "src_face.mp4", 64, 64, frames, args.fps)
write_video(target / "src_pose.mp4", 128, 96, frames, args.fps)
print("MoviePy - video ready")
