"""What has no answer yet: a KL without a reconstruction, a loss that means one thing of images and another of rows."""

from __future__ import annotations

from dataclasses import replace

from recon_cli.auditing.calling import Layout, Problem, picker
from recon_cli.auditing.formulas import number
from recon_cli.auditing.latents import measure
from recon_cli.auditing.measurements import measure as measure_loss
from recon_cli.auditing.probes import benign, gradients
from recon_cli.auditing.reach.binding import matched
from recon_cli.auditing.result import Audit, audit_of
from recon_cli.auditing.scaling import power
from recon_cli.errors import ReconError
from recon_cli.identity.shapes import spell

WHOLE = "Audit the whole loss, or write one that adds the reconstruction: def loss(recon, x, mu, logvar)."


def is_kl_alone(problem: Problem) -> bool:
    """Whether all that the function takes is of the latents."""
    roles = [slot.role for slot in problem.plan.slots()]
    whole = "posterior" in roles or (roles.count("mu") == 1 and "scale" in roles)
    return whole and not problem.plan.unknown and {*roles} <= {"mu", "scale", "posterior", "z", "mask", "skip", "extra"}


def kl_alone(problem: Problem) -> ReconError:
    """Return in words which KL it is, of how much weight, as an error: there is no reconstruction to set beside it."""
    spelled = problem.reached.spelled
    for layout in (Layout(), Layout(latent="one"), Layout(posterior="object")):
        there = problem.at(layout=layout)
        try:
            values = benign(there)
            live = {key: value.clone().requires_grad_() for key, value in values.items()}
            pick, how = picker(there, [live])
            there = there.at(pick=pick, picked=how)
            latent = measure(there)
            wide = there.at(sizes=replace(there.sizes, latent=(2 * there.sizes.latent[0], *there.sizes.latent[1:])))
            others = measure(there.at(sizes=replace(there.sizes, batch=2 * there.sizes.batch))), measure(wide)
        except Exception as error:
            fault = error
            continue
        if latent is None:
            return ReconError(f"{spelled} takes latents, and depends on none of them.", WHOLE)
        if latent.wrong or not latent.weight:
            return ReconError(
                f"{spelled} is no KL to a standard normal: {latent.wrong}.", "Write 0.5 * (mu**2 + v - v.log() - 1)."
            )
        powers = [power(abs(each.weight or 0.0) if each else 0.0, abs(latent.weight), 2) for each in others]
        ways = {0.0: "summed over the {}", -1.0: "averaged over the {}"}
        words = [ways.get(by if by is not None else 9.0, "neither summed nor averaged over the {}") for by in powers]
        weight = latent.weight * there.sizes.batch ** -(powers[0] or 0.0) * there.sizes.K ** -(powers[1] or 0.0)
        scale = f", whose scale is a {latent.meaning.replace('_', ' ')}" if latent.meaning else ""
        whose = "the KL to a standard normal alone" if weight > 0 else "minus the KL to a standard normal, alone"
        how = f"{words[0].format('batch')}, {words[1].format('latents')}, weight {number(abs(weight))}"
        return ReconError(
            f"{spelled} is {whose}{scale}: {how}. There is no reconstruction, so there is nothing that it is weighed against.",
            WHOLE,
        )
    return ReconError(f"{spelled} takes latents alone, and raises {type(fault).__name__}: {fault}.", WHOLE)


def both_ways(problem: Problem, chosen: Problem, result: Audit) -> Audit:
    """Return the audit, unless the code counts axes and means another thing of samples in one row. Raises ReconError then.

    Nobody said which shape it is called with, and neither a pass nor a defect may rest on a guess.
    """
    data_keys = {slot.key for slot in chosen.plan.slots() if slot.role in ("recon", "target", "spread")}
    if not problem.plan.trace.reduced & data_keys or len(problem.sizes.shape) == 1 or chosen.layout.recon != "image":
        return result
    rows = problem.at(sizes=replace(problem.sizes, shape=(problem.sizes.D,)))
    try:
        in_rows, odd = matched(rows)
        keys = [slot.key for slot in chosen.plan.role("recon")]
        one, other = (gradients(each, benign(each), keys)[1] for each in (chosen, in_rows))
        same = all(one[key].shape == other[key].shape for key in keys)
        if same and all(bool((one[key] - other[key]).abs().max() <= 1e-9 * one[key].abs().max()) for key in keys):
            return result
        second = audit_of(measure_loss(in_rows, odd, {}))
    except Exception:
        return result  # it takes images alone
    if not (result.holds or second.holds):
        return result  # it passes as neither
    if [(row.family, row.verdict, row.tradeoff) for row in result.rows] == [
        (r.family, r.verdict, r.tradeoff) for r in second.rows
    ]:
        return result
    flat, image = spell((problem.sizes.D,)), spell(problem.sizes.shape)
    raise ReconError(
        f"{problem.reached.spelled} counts axes, and means two things. Of rows of {flat}: {second.verdict}. {second.sentence} "
        f"Of images of {image}: {result.verdict}. {result.sentence}",
        f"Say which it is called with: --shape {flat} or --shape {image}.",
    )
