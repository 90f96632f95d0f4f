"""What the measurements say of the causes that the study suspected, and of the one that it overlooked. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal

from dipddpm.core.study import findings
from dipddpm.core.study.findings import Explanation, after

CALM = 1.5
"""Gradients whose spread is no more than so many times that of plain DDPM are as calm."""
MENDED = 0.5
"""A change that closes less than this share of the distance to plain DDPM doesn't mend the hybrid."""
WHOLE = 0.9
"""One that closes this share mends it."""

Answer = Literal["no", "half", "yes"]
WORDS = {"no": "not the cause", "half": "half of it", "yes": "confirmed"}


@dataclass(frozen=True)
class CauseVerdict:
    """An answer to a suspicion, and the numbers that it rests on."""

    suspicion: str
    answer: Answer
    evidence: str

    def __str__(self) -> str:
        return f"{self.suspicion}: {WORDS[self.answer]}. {self.evidence}"


def closed_share(record: Explanation, name: str) -> float:
    """The share of the distance from the substitution's loss to plain DDPM's that another input closes."""
    worst, best = record.loss(after(record.fixed)), record.loss(findings.XT)
    return (worst - record.loss(name)) / (worst - best)


def overlooked_cause(record: Explanation) -> str:
    """The cause itself: what is asked for has been taken out of the input."""
    counts, fixed = record.steps, after(record.fixed)
    losses = ", ".join(f"{record.loss(after(k)):.3f} at k = {k}" for k in counts)
    share, loss = record.linear_share(fixed), record.loss(fixed)
    return (
        f"The network is asked for eps, and DIP's output has eps taken out of it. From x0, a perfect denoiser's "
        f"output, the loss is {record.loss(findings.X0):.3f}: all of the variance of eps. From DIP's output it is "
        f"{losses}; from xt itself {record.loss(findings.XT):.3f}. The best linear filter finds {share:.1%} of eps in "
        f"DIP's output at {fixed}, which leaves {1 - share:.3f} unexplained where the network has {loss:.3f}: the "
        f"network learns what there is to learn, and more epochs can't help."
    )


def verdicts(record: Explanation, suspicions: list[str]) -> list[CauseVerdict]:
    """One for each of the three suspicions of the study, in its order and its words."""
    checks = (_stability, _timestep, _combination)
    return [check(record, suspicion) for check, suspicion in zip(checks, suspicions, strict=True)]


def _stability(record: Explanation, suspicion: str) -> CauseVerdict:
    plain, hybrid = record.learned[findings.XT], record.learned[after(record.fixed)]
    spreads = [mean(one.gradient_spread for one in learned) for learned in (plain, hybrid)]
    seeds = [stdev(one.loss for one in learned) for learned in (plain, hybrid)]
    spikes = [sum(one.spikes for one in learned) for learned in (plain, hybrid)]
    steps = sum(one.steps for one in plain)
    calm = spreads[1] <= CALM * spreads[0] and spikes[1] <= max(1, CALM * spikes[0])
    gap = record.loss(after(record.fixed)) - record.loss(findings.XT)
    evidence = (
        f"From {record.seeds} random starts each, the gradient's norm varies by {spreads[1]:.0%} of its mean with DIP "
        f"and by {spreads[0]:.0%} without; {spikes[1]} against {spikes[0]} of {steps} steps have a loss of three times "
        f"the usual; the final losses differ by {seeds[1]:.4f} and {seeds[0]:.4f} (standard deviation), and the hybrid "
        f"is {gap:.3f} worse. It settles {'calmly' if calm else 'restlessly'}, in the wrong place."
    )
    return CauseVerdict(suspicion, "no" if calm else "yes", evidence)


def _timestep(record: Explanation, suspicion: str) -> CauseVerdict:
    share = closed_share(record, findings.BUDGET)
    by_noise, best = (", ".join(f"{k:.0f}" for k in record.chosen[name]) for name in _ADAPTED)
    evidence = (
        f"Its output lacks what the step needs, but not for want of adapting. Stopped for each t where it has taken "
        f"away as much as the noise ({by_noise} steps from low to high t, on the mean), as a denoiser told t would, "
        f"the loss is {record.loss(findings.DISCREPANCY):.3f} and not {record.loss(after(record.fixed)):.3f}. With the "
        f"steps dealt out over t as suits this loss best ({best}), as many in all, it is "
        f"{record.loss(findings.BUDGET):.3f}, which closes {share:.0%} of the distance to plain DDPM."
    )
    answer: Answer = "half" if share < MENDED else "yes"
    return CauseVerdict(suspicion, answer, evidence)


def _combination(record: Explanation, suspicion: str) -> CauseVerdict:
    share = closed_share(record, findings.BESIDE)
    x0 = [record.loss(name) for name in (findings.X0_FROM_XT, findings.X0_FROM_DIP)]
    evidence = (
        f"The same two models, with DIP's output beside xt and not in its place, have a loss of "
        f"{record.loss(findings.BESIDE):.3f}; plain DDPM has {record.loss(findings.XT):.3f}. And the same network "
        f"asked for x0 and not for eps has an error of {x0[1]:.3f} from DIP's output alone, {x0[0]:.3f} from xt: what "
        f"is left of the image is enough, what is left of the noise is not."
    )
    answer: Answer = "no" if share >= WHOLE else "half" if share >= MENDED else "yes"
    return CauseVerdict(suspicion, answer, evidence)


_ADAPTED = (findings.DISCREPANCY, findings.BUDGET)
