"""What names mean beside one another: which of two scales, targets or reconstructions is which."""

from __future__ import annotations

import re

from recon_cli.auditing.call_plans import CallPlan, Slot, change, substitute
from recon_cli.auditing.vocabulary import DATA

MADE = "(?:recon|reconstruct(?:ed|ion)|rec|hat|pred(?:icted)?|out(?:put)?|dec(?:oded)?)"


def settled(call: CallPlan) -> CallPlan:
    """Settle names that mean one thing beside another: ``y`` is the data beside ``y_pred``, the reconstruction beside ``t``."""
    if not any(slot.role in ("mu", "posterior") for slot in call.slots()):
        for slot in [s for s in call.slots() if s.role == "scale" and s.how.startswith("by its name")]:
            change(call, slot, "spread", f"{slot.how}, with no mean of latents beside it")
    beside(call)
    partners(call)
    groups = {slot.group for slot in call.slots() if slot.role in DATA}
    for group in groups:
        recon = [s for s in call.slots() if s.role == "recon" and s.group == group]
        target = [s for s in call.slots() if s.role == "target" and s.group == group]
        if not recon and len(target) == 2:
            first, second = (slot.key.rpartition(".")[2].lower() for slot in target)
            as_recon = {"input": 0, "inputs": 0, "y": 0, "output": 0, "x": 1, "t": 1}
            if {first, second} in (
                {"input", "target"},
                {"y", "t"},
                {"y", "target"},
                {"input", "y"},
                {"x", "y"},
                {"input", "label"},
            ):
                chosen = target[min((0, 1), key=lambda i: (as_recon.get((first, second)[i], 1), i))]
                if {first, second} == {"x", "y"}:
                    chosen = target[(first, second).index("y")]
                change(
                    call,
                    chosen,
                    "recon",
                    f"by its name, {chosen.key} beside {(target[1] if chosen is target[0] else target[0]).key}",
                )
        if len(recon) > 1 and not target and not group:
            for slot in recon:
                if re.match(r"(out|outputs?|generated)$", slot.key):
                    change(call, slot, "target", f"by its name, {slot.key}")
                    break
    return call


def beside(call: CallPlan) -> None:
    """Give the latents' scale its role beside a decoder's: of two, it is the one after the latents' mean."""
    slots = call.slots()
    means = [i for i, slot in enumerate(slots) if slot.role == "mu"]
    scales = [i for i, slot in enumerate(slots) if slot.role == "scale" and slot.how.startswith("by its name")]
    if len(means) == 1 and len(scales) == 2 and scales[0] < means[0] < scales[1]:
        slot = slots[scales[0]]
        change(call, slot, "spread", f"{slot.how}, before the latents' mean and scale")


def partners(call: CallPlan) -> None:
    """Pair several reconstructions each with the argument whose name it bears: ``recon_a`` with ``a``, ``x_hat`` with ``x``."""
    recons = [slot for slot in call.slots() if slot.role == "recon" and not slot.group]
    for recon in recons if len(recons) > 1 else ():
        bare = re.sub(rf"^{MADE}_|_{MADE}$", "", recon.key)
        for slot in call.slots():
            if slot.role in ("target", "unknown") and slot.key in (bare, f"x_{bare}") and recon.key != bare:
                how = f"by its name, {slot.key} beside {recon.key}"
                substitute(call, slot.key, Slot(slot.key, "target", how, group=bare))
                substitute(call, recon.key, Slot(recon.key, "recon", recon.how, group=bare))
                call.unknown = [key for key in call.unknown if key != slot.key]
