"""What has no answer yet: a loss that means one thing of images and another of rows."""

from __future__ import annotations

from dataclasses import replace

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.measurements import measure as measure_loss
from recon_cli.auditing.probes import benign, gradients
from recon_cli.auditing.reach.binding import matched
from recon_cli.auditing.result import Audit, audit_of
from recon_cli.errors import ReconError
from recon_cli.identity.shapes import spell


def both_ways(problem: Problem, chosen: Problem, result: Audit) -> Audit:
    """Return the audit, unless the code counts axes and means another thing of samples in one row. Raises ReconError then.

    Nobody said which shape it is called with, and neither a pass nor a defect may rest on a guess.
    """
    data_keys = {slot.key for slot in chosen.plan.slots() if slot.role in ("recon", "target", "spread")}
    if not problem.plan.trace.reduced & data_keys or len(problem.sizes.shape) == 1 or chosen.layout.recon != "image":
        return result
    rows = problem.at(plan=chosen.plan, sizes=replace(problem.sizes, shape=(problem.sizes.D,)))
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
