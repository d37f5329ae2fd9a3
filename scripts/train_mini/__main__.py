"""Train the miniature: `scripts/train_mini/run` does all of it, or the stages that are named.

Every stage goes on where it was ended, and a stage that is done ends at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan

from train_mini import decoder, denoising, distilling, evaluation, evaluation_cases, export, latents, text_encoder, vae
from train_mini.evaluation_cases import Judged
from train_mini.fidelity import fidelity
from train_mini.parallel import Ranks
from train_mini.sheets import sheet_of

#: The steps of a clip that the ti2v network and the experts are asked for, and how strongly.
_STEPS = 20
_GUIDANCE = 4.0

#: The clips on a contact sheet: the first ones, whatever came out.
_SHOWN = 40

_TI2V = denoising.Plan("ti2v", 7500, lr=1e-3, begins=0.5, walked=0.4, walked_from=0.84, hold=0.94)

#: The last word in a clip is the low expert's, so it alone learns to bring a given first frame back, and is
#: asked what its clips look like.
_HIGH = denoising.Plan("high", 1300, lr=1e-3, low=export.BOUNDARY, begins=0.5, hold=0.0, stage=8)
_LOW = denoising.Plan(
    "low",
    5700,
    lr=1e-3,
    high=export.BOUNDARY,
    begins=0.5,
    astray=0.1,
    walked=0.4,
    walked_from=0.84,
    seen=0.5,
    hold=0.92,
    stage=9,
)

log = logging.getLogger("train_mini")


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """What every stage is given."""

    work: Path
    out: Path
    seed: int
    device: torch.device
    ranks: Ranks


def _words(run: Run) -> None:
    text_encoder.train(run.work, text_encoder.Plan(seed=run.seed), run.ranks)


def _vae(run: Run) -> None:
    vae.train(run.work, vae.Plan(seed=run.seed), run.ranks, run.device)


def _fidelity(run: Run) -> None:
    if run.ranks.is_first:
        whole = AutoencoderKLWan.from_pretrained(run.work / "vae").eval()
        log.info("fidelity: %s", " ".join(f"{name} {value:.3f}" for name, value in fidelity(whole, 100).items()))


def _latents(run: Run) -> None:
    latents.fill(run.work, latents.Plan(seed=run.seed), run.ranks, run.device)


def _pictures(run: Run) -> None:
    latents.fill_pictures(run.work, latents.Plan(seed=run.seed), run.ranks, run.device)


def _ti2v(run: Run) -> None:
    denoising.train(run.work, dataclasses.replace(_TI2V, seed=run.seed), run.ranks, run.device)


def _expert(plan: denoising.Plan) -> Callable[[Run], None]:
    def train(run: Run) -> None:
        seeded = dataclasses.replace(plan, seed=run.seed)
        denoising.train(run.work, seeded, run.ranks, run.device, start_from=run.work / "ti2v")

    return train


def _pairs(run: Run) -> None:
    distilling.fill(run.work, distilling.Plan(seed=run.seed), run.ranks, run.device)


def _loras(run: Run) -> None:
    distilling.train(run.work, distilling.Plan(seed=run.seed), run.ranks, run.device)


def _decoder(run: Run) -> None:
    decoder.train(run.work, decoder.Plan(seed=run.seed), run.ranks, run.device)


def _export(run: Run) -> None:
    if run.ranks.is_first:
        export.export_all(run.work, run.out, steps=_STEPS, guidance=_GUIDANCE)


def _judge(run: Run) -> None:
    """Write what the weights do with held-out prompts: for each way to use them a report, and a sheet of its clips.

    Raises FileNotFoundError where there are none: nothing judged must not look like everything right.
    """
    plain = evaluation_cases.Plan(steps=_STEPS, guidance=_GUIDANCE, seed=run.seed)
    pair = dataclasses.replace(plain, steps=4, guidance=1.0, shift=export.PAIR_SHIFT, loras=run.out / "loras")
    ways = {"ti2v": plain, "t2v": plain, "i2v": plain, "t2v-4steps": pair, "i2v-4steps": pair}
    possible = [name for name, plan in ways.items() if _can_be_asked(run.out, name, plan)]
    if not possible:
        raise FileNotFoundError(f"{run.out} holds no weights to judge")
    run.work.mkdir(parents=True, exist_ok=True)
    for name in possible[run.ranks.rank :: run.ranks.count]:
        shown: list[Judged] = []
        report = evaluation.evaluate(run.out / name.split("-")[0], ways[name], shown.append)
        (run.work / f"{name}.json").write_text(report.to_json())
        sheet_of(shown[:_SHOWN]).save(run.work / f"{name}.png", optimize=True)
        log.info("%s: %s", name, report.rates)


def _can_be_asked(out: Path, name: str, plan: evaluation_cases.Plan) -> bool:
    has_loras = plan.loras is None or plan.loras.is_dir()
    return has_loras and (out / name.split("-")[0] / "model_index.json").exists()


STAGES: dict[str, Callable[[Run], None]] = {
    "words": _words,
    "vae": _vae,
    "fidelity": _fidelity,
    "latents": _latents,
    "ti2v": _ti2v,
    "pictures": _pictures,
    "high": _expert(_HIGH),
    "low": _expert(_LOW),
    "pairs": _pairs,
    "loras": _loras,
    "decoder": _decoder,
    "export": _export,
    "judge": _judge,
}


def main() -> None:
    """Run the stages that the command line names, in their order."""
    parser = argparse.ArgumentParser(prog="train_mini", description=__doc__)
    parser.add_argument("stages", nargs="*", help=f"of {', '.join(STAGES)}; all of them when none is named")
    parser.add_argument("--work", type=Path, default=Path(".mini"), help="where checkpoints live (default %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path(".mini/out"), help="where the weights go (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--device", default="cpu", help="cpu, or cuda with WORKERS=1; drawing and words stay on the CPU"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.stages) - set(STAGES):
        parser.error(f"unknown stages {', '.join(sorted(unknown))}; known: {', '.join(STAGES)}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    run = Run(arguments.work, arguments.out, arguments.seed, torch.device(arguments.device), Ranks())
    for name, stage in STAGES.items():
        if not arguments.stages or name in arguments.stages:
            stage(run)
            run.ranks.wait()
    run.ranks.close()


if __name__ == "__main__":
    main()
