"""Whose loss is this? Somebody's function or training step, run and measured: which likelihood, which sigma, which beta.

Reach, measure once, judge, say. ``reach`` comes by a loss: a function with what each of its arguments is, or a step's loss cut
out of it; ``limiting`` holds it to a time. ``calling`` is the one place that calls it (under the eyes of ``watching``);
``matching``, ``probes``, ``measuring``, ``families``, ``latents`` and ``normalisation`` take its numbers, and ``measurements``
holds them all, as plain data. ``judgement`` makes rows and verdicts of these with the registry ``defects``, one a file, and
``sentences``, ``formulas`` and ``mending`` the words: none of them calls anything. ``worker`` is all of it from plain words, for
the process in which the command has it done.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from recon_cli.auditing.limiting import Made, failure, is_bug, limited
from recon_cli.auditing.reach import refusing
from recon_cli.auditing.reach.callables import around, batch_number, from_word, live
from recon_cli.auditing.reach.expressions import resolved
from recon_cli.auditing.reach.objects import Stand, assign
from recon_cli.errors import ReconError

if TYPE_CHECKING:
    from recon_cli.auditing.result import Audit

SHAPE, LATENT = (1, 28, 28), 20


def audit(
    loss: Any,
    shape: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    latent: int | Sequence[int] = LATENT,
    *,
    batch: int | None = None,
    args: str | None = None,
    total: str | None = None,
    bind: Mapping[str, object] | None = None,
    attributes: Mapping[str, object] | None = None,
    make: str | None = None,
    data: str | None = None,
    scale: float | str | None = None,
    timeout: float | None = None,
) -> Audit:
    """Run a loss on tensors made for it and say what it assumes. The loss is copied, seeds and defaults are put back.

    loss
        any callable, an ``nn.Module`` or torch loss, or a word as on the command line (``FILE.py:function``).
    shape, latent
        the sizes of one sample (unless given those of the data, else 1x28x28) and how many latents; a mapping gives
        arguments shapes of their own (under "" the rest).
    args
        roles in the order of the arguments, where names do not tell: ``recon,target,mu,logvar``.
    total
        how the parts of a result are added: ``r[0] + r[1]``, ``r['rec'] + 0.1 * r['kl']``.
    bind, attributes
        values for arguments and for names that the function reads; for attributes of ``self``. A word that calls something,
        or reads something of torch, is an expression, in which arguments may be named: ``"torch.ones_like(x).bool()"``.
    make
        how the object is made whose method it is, an expression: ``"Elbo(nn.BCELoss(reduction='sum'))"``.
    data
        a source whose values are the targets: is the likelihood one of theirs, and how many latents survive?
    timeout
        seconds after which it is given up (where the system has signals, on the main thread).

    It runs in this process, which a crash in C ends with it; ``recon audit`` runs it in one of its own. Raises ReconError
    where it cannot be audited, saying why and what to pass, whatever the function itself raises.

    >>> import torch
    >>> audit(torch.nn.MSELoss()).verdict
    'reconstruction-only'
    >>> audit(lambda y, t: torch.square(y - t).mean()).rows[0].family
    'gaussian'
    """
    from recon_cli.auditing.families import candidates
    from recon_cli.auditing.restoring import undisturbed

    for event in (0, 1):
        candidates(event)  # kept, so before anybody's code could change what is found
    try:
        with undisturbed(), limited(timeout), around(loss):
            settings = dict(bind or {}), dict(attributes or {}), make
            return _audit(loss, shape, latent, batch, args, total, *settings, data, scale)
    except (ReconError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if is_bug(error):
            raise
        named = type(loss) in (FunctionType, MethodType)  # an object's own attributes may raise
        raise failure(error, loss if type(loss) is str else loss.__qualname__ if named else type(loss).__name__) from error


def _audit(
    loss: object, shape: Any, latent: Any, batch: int | None, args: str | None, total: str | None,
    bind: dict[str, object], attributes: dict[str, object], make: str | None, data: str | None, scale: Any,
) -> Audit:  # fmt: skip
    from recon_cli.auditing.calling import Problem, Sizes
    from recon_cli.auditing.measurements import measure
    from recon_cli.auditing.reach import doubts, roles, user_settings
    from recon_cli.auditing.reach.binding import matched
    from recon_cli.auditing.restoring import lent
    from recon_cli.auditing.result import audit_of
    from recon_cli.auditing.watching import seed

    shapes = {key: tuple(value) for key, value in shape.items()} if isinstance(shape, Mapping) else {}
    own = shapes.pop("", None) or (tuple(shape) if shape and not shapes else None)
    if data:
        from recon_cli import sources

        own = own or sources.read(data, scale).shape[1:] or (1,)
    nested = dotted(bind)
    seed()
    if isinstance(loss, str):
        refusing.check_word(loss)
        with lent():
            reached = from_word(loss, nested, attributes, make)
    elif make is not None:
        raise ReconError("make goes with a word for a method.", "Give the object's own method: audit(Elbo(...).forward).")
    else:
        reached = live(loss, resolved(nested, {}, "bind"), resolved(attributes, {}, "--self"))
    user_settings.check(reached, bind, attributes)
    for _ in range(3):
        refusing.check_runnable(reached)
        plan = roles.plan(reached, {**bind, **nested, **reached.names}, args)
        B, shapes = batch or batch_number(reached) or 4, plan.of_halves(shapes)
        of_data = [shapes[slot.key] for role in ("recon", "target") for slot in plan.role(role) if slot.key in shapes]
        sizes = Sizes(B, own or next(iter(of_data), plan.cut_to(SHAPE)), (latent,) if isinstance(latent, int) else tuple(latent))
        matrices = [slot.key for slot in plan.role("spread") if slot.meaning == "matrix"]
        shapes = {**dict.fromkeys(matrices, (sizes.D, sizes.D)), **shapes}
        problem = Problem(reached, plan, sizes, shapes=shapes, total=total)
        if not plan.slots() and not (plan.keywords or plan.arguments):
            try:
                problem.raw({})
            except Made as made:
                inner = live(made.function, dict(reached.names), {})
                notes = (*reached.notes, f"made by {reached.spelled}()", *inner.notes)
                reached = replace(inner, notes=notes, spelled=inner.spelled.rpartition(".")[2])
                continue
            except Exception as error:
                raise ReconError(
                    f"{reached.spelled} raises {type(error).__name__}: {error}.", "Give the function that takes the tensors."
                ) from error
        break
    chosen, odd = matched(problem, given=bool(shape or data))
    measured = measure(chosen, odd, files_of(loss), data, scale)
    if measured.latent is not None and measured.latent.classes and sizes.latent == (LATENT,):  # whose log the code has
        problem = problem.at(sizes=replace(sizes, latent=(measured.latent.classes,)))
        chosen, odd = matched(problem, given=bool(shape or data))
        measured = measure(chosen, odd, files_of(loss), data, scale)
    result = audit_of(measured)
    return result if shape or data else doubts.both_ways(problem, chosen, result)


def files_of(loss: object) -> dict[str, str]:
    """Return the files whose lines are the loss's own, by the names under which Python runs them, as the user calls them."""
    place = loss.rpartition(":")[0].replace("\\", "/") if isinstance(loss, str) else ""
    if not place.endswith(".py"):
        return {}
    return {f"<recon {place.rpartition('/')[2]}>": place, os.path.abspath(place): place}


def dotted(bind: Mapping[str, object]) -> dict[str, object]:
    """Return ``args.batch_size=128`` as an object ``args`` that has it."""
    names: dict[str, object] = {}
    for name, value in bind.items():
        head, _, rest = name.partition(".")
        if rest:
            assign(names.setdefault(head, Stand(head)), {rest: value})
        else:
            names[name] = value
    return names
