"""Roles: which argument is the reconstruction, the target, the mean and the scale of the latents; by name, and said."""

from __future__ import annotations

import ast
import inspect
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recon_cli.auditing.limiting import Lacking
from recon_cli.auditing.reach.asking import SKIPPED, around, asked, filled, handed_on, keys_of, parameters_of
from recon_cli.auditing.reach.call_plans import OBJECT, BoundNumber, CallPlan, DecoderOutputs, Pair, Slot, Stacked, substitute
from recon_cli.auditing.reach.callables import Reached
from recon_cli.auditing.reach.expressions import Expression, resolved
from recon_cli.auditing.reach.objects import Stand, head_of
from recon_cli.auditing.reach.questions import Node
from recon_cli.auditing.reach.totals import given_in_file
from recon_cli.auditing.reach.vocabulary import (
    DATA,
    FLAGS,
    LATENT,
    NOISE,
    NUMBERS,
    OF_DATA,
    PRIOR_WORDS,
    RECORDS,
    ROLES,
    TENSOR_WORDS,
    TIME,
    meaning_of,
    role_of,
)
from recon_cli.errors import ReconError

__all__ = ["BoundNumber", "CallPlan", "Pair", "Slot", "is_setting", "needed", "plan"]


def plan(reached: Reached, bind: Mapping[str, object], order: str | None) -> CallPlan:
    """Match every argument to a role: as told by ``order``, else by what the code asks of it and by its name.

    What is bound to a part of an argument, ``out['beta']``, is passed in its place.

    Raises ReconError for what only the user knows, all of it at once. The unknown ones are left for a numerical test.
    """
    parameters, words = parameters_of(reached), roles_in(order)
    call = CallPlan(given=parts_given(bind, [parameter.name for parameter in parameters], reached))
    bind = {key: value for key, value in bind.items() if key not in {head_of(part) for part in call.given}}
    if reached.tree is not None:
        around(call, reached, reached.tree, bind)
    keys = {key: how for p in parameters if p.kind is p.VAR_KEYWORD for key, how in keys_of(reached.tree, p.name).items()}
    keys |= dict.fromkeys(handed_on(reached.tree, parameters, bind), True)
    call.trace = trace = asked(call, reached, parameters, bind, words, keys, call.given)
    missing: list[str] = []

    def value(name: str, word: str | None) -> object:
        return value_of(name, word, call, reached, bind, missing)

    def several(name: str, own: list[str]) -> list[object]:
        parts = [trace.nodes[key] for key in trace.nodes if re.fullmatch(rf"{name}\[\d+\]", key)]
        count = len(own) if words else max((i + 1 for i, part in enumerate(parts) if part.touched), default=0)
        return [shaped(part, call, own[i] if own else None, missing) for i, part in enumerate(parts[:count])]

    call.arguments, call.keywords, index = filled(parameters, bind, words, keys, reached.tree, value, several)
    if words[index:]:
        raise ReconError(f"--args names {len(words)} roles, and {reached.spelled} takes {index} arguments.", "Name one for each.")
    if made(trace.result):
        alone = [p for p in parameters if p.name not in bind and p.default is p.empty]
        missing = [p.name for p in alone if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if missing:
        raise needed(missing, call, reached)
    models(call)
    two_in_one(call)
    logits_of_latents(call)
    scale_of_data(call)
    time_of_a_diffusion(call)
    return call


def two_in_one(call: CallPlan) -> None:
    """Have a prediction that is taken apart in two halves be a mean and, in the other half, what spreads about it."""
    slots = call.slots()
    recons = [slot for slot in slots if slot.role == "recon"] or [slot for slot in slots if slot.role == "unknown"]
    if len(recons) != 1 or [slot.role for slot in slots].count("target") != 1 or any(slot.role in LATENT for slot in slots):
        return
    (slot,) = recons
    node = call.trace.nodes.get(slot.key, Node(slot.key))
    others = [call.trace.nodes[each.key] for each in slots if each.role == "target" and each.key in call.trace.nodes]
    columns = None if node.halves or any(each.columns for each in others) else node.columns  # of both they are the data's
    halves = {("joined", columns[0])} if columns else node.halves
    if halves == {("stacked", 0), ("stacked", 1)} or {kind for kind, _ in halves} == {"joined"} and len(halves) == 1:
        axis = next((axis for kind, axis in halves if kind == "joined"), None)
        call.columns = columns
        mean = Slot(slot.key, "recon", f"{slot.how}: its first half")
        call.halved[slot.key] = axis
        substitute(
            call, slot.key, Stacked((mean, Slot(f"{slot.key}'s other half", "spread", "taken apart from the first")), axis)
        )


def logits_of_latents(call: CallPlan) -> None:
    """Have what is called logits beside a reconstruction of the only target be the latents'."""
    slots = call.slots()
    recons = [slot.key for slot in slots if slot.role == "recon"]
    logits = [key for key in recons if re.search(r"(^|_)logits?$", key)]
    if len(recons) == 2 and len(logits) == 1 and [slot.role for slot in slots].count("target") == 1:
        (other,) = {*recons} - {*logits}
        substitute(call, logits[0], Slot(logits[0], "probs", f"by its name, beside {other}"))


def scale_of_data(call: CallPlan) -> None:
    """Have what is called logvar_x, beside mu_x and a logvar of the latents, be the noise of x."""
    slots = call.slots()
    means = [slot.key for slot in slots if slot.role == "recon" and OF_DATA.match(slot.key)]
    scales = [slot for slot in slots if slot.role == "scale"]
    of_x = [slot for slot in scales if re.match(r"x_|.*_?x$", slot.key, re.I)]
    if len(means) == len(of_x) == 1 and len(scales) == 2:
        (scale,) = of_x
        substitute(call, scale.key, Slot(scale.key, "spread", f"by its name, beside {means[0]}", scale.meaning))


def time_of_a_diffusion(call: CallPlan) -> None:
    """Have what is called t, beside a reconstruction and another target, be no data: its name says nothing then."""
    slots = call.slots()
    if len([slot for slot in slots if slot.role == "recon"]) == 1 and [slot.role for slot in slots].count("target") == 2:
        for slot in slots:
            if slot.role == "target" and TIME.match(slot.key):
                substitute(call, slot.key, Slot(slot.key, "unknown", "not matched"))


def parts_given(bind: Mapping[str, object], own: list[str], reached: Reached) -> dict[str, object]:
    """Return what is bound to parts of arguments, by their keys. Raises ReconError for items of what is no argument."""
    parts = {key: value for key, value in bind.items() if head_of(key) != key}
    if others := [key for key in parts if "[" in key and head_of(key) not in own]:
        head = head_of(others[0])
        raise ReconError(
            f"--bind {others[0]} is a part of {head}, which is no argument of {reached.spelled}.", f"Give all of {head}."
        )
    values = resolved(
        {ast.unparse(ast.parse(key, mode="eval")): value for key, value in parts.items() if head_of(key) in own},
        getattr(inspect.unwrap(reached.code), "__globals__", {}), "--bind",
    )  # fmt: skip
    return {key: value.value({}) if isinstance(value, Expression) else value for key, value in values.items()}


def roles_in(order: str | None) -> list[str]:
    """Return the words of ``--args``. Raises ReconError for one that is no role."""
    words = [word.strip() for word in order.split(",")] if order else []
    bad = [word for word in words if word not in ROLES and not meaning_of(word) and word not in ("", "-", "_")]
    if bad:
        roles = "; ".join(f"{role}: {what}" for role, what in ROLES.items())
        raise ReconError(f"{bad[0]!r} is no role.", f"In the order of the arguments, separated by commas. {roles}.")
    return words


def value_of(
    name: str, word: str | None, call: CallPlan, reached: Reached, bind: Mapping[str, Any], missing: list[str]
) -> object:
    """Return what the plan passes for an argument: what is bound, as ``word`` tells, else by what is asked of it and its name."""
    if name in bind:
        return BoundNumber(name, bind[name]) if type(bind[name]) is int else bind[name]
    if word in SKIPPED:
        return None
    role, node = role_of(name), call.trace.nodes.get(name, Node(name, [name]))
    if word is None and role is None:
        if name in FLAGS:
            call.taken.append(f"{name} = {FLAGS[name]!r} was assumed")
            return FLAGS[name]
        if RECORDS.match(name):
            return defaultdict(list)
        if call.trace.error is not None and not node.touched and mentioned(reached.tree, name) and NUMBERS.match(name):
            missing.append(name)
            return None
    if call.trace.error is not None and not node.touched and (reached.tree is None or mentioned(reached.tree, name)):
        return leaf(name, word, name)  # the call did not come so far
    return shaped(node, call, word, missing)


def shaped(node: Node, call: CallPlan, word: str | None, missing: list[str], fallback: str = "") -> object:
    """Return what the plan passes for a value: a structure of slots as the code takes it apart, None where it asks nothing."""
    if node.key in call.given:
        return call.given[node.key]
    name = fallback if not node.name or (role_of(fallback) and not role_of(node.name)) else node.name
    role = role_of(name)
    if role in ("posterior", "decoder") and not node.parts and node.uses - {"passed"}:
        name, role = "", None  # whatever its name, it is added and multiplied
    if word is not None and not node.is_tuple and not node.is_dictionary:
        return leaf(name, word, node.key)
    if not node.touched:
        others = [each for each in call.trace.nodes.values() if each.touched and role_of(each.name) == role]
        if word is None and role in LATENT and others:
            return Slot(node.key, "skip", "it is not read")
        return None if word is None and role not in (*DATA, *LATENT, "posterior") else leaf(name, word, node.key)
    if "loss" in node.uses and role not in ("posterior", "decoder"):
        missing.append(node.key)
        return None
    if ("call", "") in node.parts:
        answer = node.parts["call", ""]
        inside = None if not answer.touched else shaped(answer, call, None, missing, name if role == "recon" else "")
        return DecoderOutputs(inside, attributes_of(node, call, missing))
    if node.is_tuple:
        items = {i: part for i, part in node.of("item").items() if isinstance(i, int)}
        if min(items) < 0:
            items = {i % (1 - min(0, *items) + max(items)): part for i, part in items.items()}
        one = sum(part.touched for part in items.values()) == 1 or "looped" in node.uses
        none = Node("")
        return tuple(
            shaped(items.get(i, none), call, None, missing, name if one or i == 0 and role == "recon" else "")
            for i in range(max(items) + 1)
        )  # fmt: skip
    if node.is_dictionary:
        parts = [(key, part) for key, part in node.of("item").items() if isinstance(key, str)]
        alone = role == "recon" and not any(role_of(key) == "recon" for key, _ in parts)  # its image is the reconstruction

        def said(key: str) -> bool:
            return role_of(key) is not None and not (alone and role_of(key) == "target")

        return {key: shaped(part, call, None, missing, key if said(key) else name) for key, part in parts}
    if role not in ("posterior", "decoder") and (attributes := attributes_of(node, call, missing)):
        return Stand(name, **attributes)
    if role is None and (other := predicted(node, call)):
        return Slot(node.key, "target", f"by its name, beside {other}")
    if (role in (None, "scale", "mask") or name == fallback) and is_number(node, name, role):
        missing.append(node.key)
        call.wanted[node.key] = next((word for word in node.constants if isinstance(word, str)), None)
        return None
    return by_use(node, name, role, call) or leaf(name, None, node.key)


def predicted(node: Node, call: CallPlan) -> str | None:
    """Return what predicts a noise that a diffusion draws, ``eps`` beside ``eps_hat``; None of a number that is called so."""
    if not NOISE.match(node.key) or node.uses & {"number", "words"}:
        return None
    others = [
        each for each in call.trace.nodes.values() if each is not node and each.touched and {node.key, each.key} in call.trace.met
    ]
    names = [each.key for each in others if role_of(each.name) == "recon"]
    alone = not any(role_of(each.name) == "target" for each in call.trace.nodes.values() if each.touched)
    return next((name for name in names if alone or NOISE.match(re.sub(r"_?(hat|theta|pred\w*|model)_?", "", name))), None)


def by_use(node: Node, name: str, role: str | None, call: CallPlan) -> Slot | None:
    """Return the slot of a value whose role is what is done with it, whatever its name; None of any other."""
    if "steps" in node.uses and role not in ("recon", *LATENT):
        call.taken.append(f"{node.key} looks up weights in a table of constants: read at the step 1, of every sample")
        return Slot(node.key, "mask", "it looks up a table of constants, by which elements are weighed", "steps")
    if "posterior" in node.uses:
        return Slot(node.key, "posterior", OBJECT)
    if "prior" in node.uses or (role is None and ("attr", "log_prob") in node.parts and PRIOR_WORDS.match(name)):
        return Slot(node.key, "prior", OBJECT, "distribution")
    if role is None and "softmax" in node.uses and not of_data(node, call):
        return Slot(node.key, "probs", "a softmax of it is taken")
    if role is None and node.uses & {"index", "mask"} and "labels" not in node.uses:
        return Slot(node.key, "mask", "it selects elements")
    return None


def of_data(node: Node, call: CallPlan) -> bool:
    """Whether a value meets what a name says are data, or nothing else does."""
    others = [each for each in call.trace.nodes.values() if role_of(each.name) in DATA and each is not node]
    return len(others) < 2 or any({node.key, each.key} in call.trace.met for each in others)


def is_number(node: Node, name: str, role: str | None) -> bool:
    """Whether a value is a number or a word: it only multiplies sums, is called as numbers are, or is taken for one."""
    if role is None and (node.uses & {"number", "words"} or NUMBERS.match(name)) and "tensor" not in node.uses:
        return True
    return "weight" in node.uses and (not node.uses & {"tensor", "factor"} or role is None and NUMBERS.match(name) is not None)


def attributes_of(node: Node, call: CallPlan, missing: list[str]) -> dict[str, object]:
    """Return what an object has: attributes that are no tensor's; and all that are read, where one has a role."""
    parts = {name: part for name, part in node.of("attr").items() if part.touched}
    own = {name for name in parts if name not in TENSOR_WORDS and (not hasattr(Tensor, name) or role_of(name))}
    if role_of(node.name) == "recon" and not any(("call", "") in part.parts for part in parts.values()):
        own |= parts.keys()  # of what a model answered: its .mean, its .sample, and no distribution's
    if "tensor" in node.uses or not own:
        return {}
    return {name: shaped(part, call, None, missing, name) for name, part in parts.items()}


def mentioned(tree: ast.AST | None, name: str) -> bool:
    """Whether the body reads a name, or a key."""
    nodes = ast.walk(tree) if tree is not None else ()
    return tree is None or any(
        (isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load))
        or (isinstance(n, ast.Constant) and n.value == name)
        for n in nodes
    )


def leaf(name: str, word: str | None, key: str) -> object:
    """Return a slot by what was told, or by its name."""
    if word in SKIPPED or (not word and name and set(name) <= {"_"}):
        return None
    if word:
        return Slot(
            key,
            "scale" if meaning_of(word) else word,
            "given by --args",
            meaning_of(name) or (meaning_of(word) if word != "scale" else None),
        )
    role = role_of(name)
    if role is None:
        return Slot(key, "unknown", "not matched")
    return Slot(key, role, f"by its name, {name}", meaning_of(name), stem(name, role))


def needed(missing: list[str], call: CallPlan, reached: Reached) -> Lacking:
    """Return the error for numbers, words and attributes that only the user knows."""
    missing = list(dict.fromkeys([*missing, *(key for key in call.trace.nodes if is_setting(call, key, reached.tree))]))
    inside = {key: call.trace.nodes[key].of("attr") if key in call.trace.nodes else {} for key in missing}
    missing = [place for key in missing for place in ([f"{key}.{part}" for part in inside[key]] or [key])]
    options, several = list[str](), list[str]()
    of_file = given_in_file(reached, missing)
    for key in missing:
        node = call.trace.nodes.get(key) or next(
            (inside[root][key.removeprefix(f"{root}.")] for root in inside if key.startswith(f"{root}.")), Node(key)
        )
        word = call.wanted.get(key) or (criterion(key) if "loss" in node.uses else "WORD" if "words" in node.uses else 1)
        if word == 1 and "tensor" in node.uses and "number" not in node.uses:
            word = "torch.tensor(1.0)"
        if choices := compared(reached.tree, key):
            word = choices[0]
            several += [f"{key} may be {', '.join(choices[:-1])} or {choices[-1]}"] * bool(choices[1:])
        word = of_file.get(key, (word, 0))[0]
        option, where = ("--self", key[5:]) if key.startswith("self.") else ("--bind", key)
        text = f"{where}={word}"
        options.append(f"{option} {text}" if re.fullmatch(r"[\w.=,:+-]+", text) else f'{option} "{text}"')
    passed = " ".join(options)
    if made(call.trace.result):
        which = f"to make the function {getattr(call.trace.result, '__name__', 'of it')}, which is then audited"
        passed = " ".join(f"--bind {key}=VALUE" for key in missing)
        return Lacking(f"{reached.spelled} needs {spelled_out(missing)} {which}.", f"Give {passed}; expressions are fine.")
    which = "which has no default" if len(missing) == 1 else "which have no defaults"
    names = spelled_out(missing)
    them = "it" if len(missing) == 1 else "them"
    lines = [str(line) for line in sorted({line for _, line in of_file.values()})]
    whole = len(of_file) == len(missing)
    said = f"as line{'s' * (len(lines) > 1)} {spelled_out(lines)} {'have' if lines[1:] else 'has'} it" if whole else "say"
    several += [f"line {line} has {key}" for key, (_, line) in of_file.items() if not whole]
    return Lacking(f"{reached.spelled} needs {names}, {which}.", f"Pass {them}: {'; '.join([f'{passed}, {said}', *several])}.")


def criterion(key: str) -> str:
    """Return the loss of torch that the name of a criterion speaks of, else the square, for one."""
    own = key.rpartition(".")[2].replace("_", "").lower()
    classes = {name[:-4].lower(): f"nn.{name}(reduction='sum')" for name in dir(torch.nn) if name.endswith("Loss")}
    functions = {name.replace("_", ""): f"F.{name}" for name in dir(F) if "entropy" in name and name[0] != "_"}
    known = [(word, text) for word, text in (classes | functions).items() if word in own]
    return max(known, default=("", "nn.MSELoss(reduction='sum')"), key=lambda each: len(each[0]))[1]


def compared(tree: ast.AST | None, key: str) -> list[str]:
    """Return the words, or the members of an enumeration, that a function compares a value with, in their order."""
    words: list[str] = []
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Compare) and ast.unparse(node.left) == key and isinstance(node.ops[0], (ast.Eq, ast.In, ast.Is)):
            there = node.comparators[0]
            words += [n.value for n in ast.walk(there) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            words += [ast.unparse(there)] if isinstance(there, ast.Attribute) else []
    return list(dict.fromkeys(words))


def spelled_out(names: list[str]) -> str:
    """Return names in a row, the last after an "and"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def made(result: object) -> bool:
    """Whether what was returned is a function."""
    return callable(result) and not isinstance(result, (Tensor, type))


def is_setting(call: CallPlan, key: str, tree: ast.AST | None) -> bool:
    """Whether it is an attribute of self that is read as a value, and that is not there; it may be asked about alone."""
    node = call.trace.nodes[key]
    called = ("call", "") in node.parts and "loss" not in node.uses
    read = node.touched or bool(compared(tree, key))
    return key.startswith("self.") and read and not called and key[5:] not in call.inner


def stem(name: str, role: str) -> str:
    """Return what pairs ``tnf_in`` with ``tnf_out``."""
    match = re.match(r"(\w+?)_(in|out)$", name)
    return match[1] if match and role in DATA else ""


def models(call: CallPlan) -> None:
    """Give what models on self answer with, and those arguments that only they read, no role."""
    for key, node in call.trace.nodes.items():
        name = key[5:]
        if not key.startswith("self.") or not node.touched or "." in name or "loss" in node.uses:
            continue
        if ("call", "") in node.parts or node.of("attr") and any(("call", "") in part.parts for part in node.of("attr").values()):
            call.inner[name] = shaped(node, call, None, [])
        elif name in call.inner:
            del call.inner[name]
    for slot in [s for s in call.slots() if s.role in ("target", "unknown") and s.key in call.trace.nodes]:
        if not slot.how.startswith("given") and call.trace.nodes[slot.key].uses == {"passed"}:
            substitute(call, slot.key, Slot(slot.key, "skip", "only the model inside reads it", group=slot.group))
