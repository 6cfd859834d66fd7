"""What densities of vectors add up to where a theorem says it: of paraboloids, and of counts of one total."""

from __future__ import annotations

import sympy
from sympy import Expr, Symbol

from recon_cli.derivation.algebra import add, as_expr, substitute
from recon_cli.derivation.words import Words


def paraboloid(density: Expr, symbols: Words) -> Expr:
    """Return the integral over all vectors of a density whose logarithm is a polynomial of degree two: one component at a time.

    Of e^(-a x^2 + b x + c), a > 0, it is sqrt(pi/a) e^(b^2/(4 a) + c). Raises NotImplementedError for another density.
    """
    several = symbols.several
    rest = as_expr(sympy.expand_log(sympy.log(density), force=True))
    away = [Symbol(f"e_{k}", real=True) for k in range(1, len(symbols.xs) + 1)]
    rest = substitute(rest, {x: e + symbols.mus[several * k] for k, (x, e) in enumerate(zip(symbols.xs, away, strict=True))})
    constant, moving = as_expr(sympy.expand(rest)).as_independent(*away, as_Add=True)
    form = sympy.Poly(sympy.together(moving), *away)
    if form.total_degree() > 2:
        raise NotImplementedError("no paraboloid")
    hessian = sympy.Matrix([[as_expr(sympy.cancel(-sympy.diff(form.as_expr(), a, b))) for a in away] for b in away])
    if any(form.coeff_monomial(e) != 0 for e in away):
        raise NotImplementedError("its top is not at mu")
    determinant: Expr = sympy.Integer(1)
    for k in reversed(range(len(away))):  # what is left once a component is integrated out: Schur's complement
        pivot = as_expr(sympy.factor(hessian[k, k]))
        if not pivot.is_positive:
            raise NotImplementedError("not known to be positive definite")
        determinant = determinant * pivot
        hessian = sympy.Matrix(
            k, k, lambda i, j, at=k, p=pivot, h=hessian: sympy.cancel(entry(h, i, j) - entry(h, i, at) * entry(h, at, j) / p)
        )
    size = sympy.Integer(len(away))
    squared = sympy.simplify(sympy.exp(2 * constant) * (2 * sympy.pi) ** size / determinant)
    return sympy.Integer(1) if squared == 1 else sympy.sqrt(squared)


def entry(matrix: sympy.Matrix, i: int, j: int) -> Expr:
    """Return one of a matrix's numbers."""
    return as_expr(matrix[i, j])


def multinomial(density: Expr, symbols: Words) -> Expr:
    """Return the sum over all counts of one total n of c n! times the product of p_k^x_k/x_k!: c, where the p_k add up to one.

    By the multinomial theorem (DLMF 26.4.9). Raises NotImplementedError for another density.
    """
    of_one = add(symbols.xs)
    terms = sympy.Mul(sympy.factorial(of_one), *(p**x / sympy.factorial(x) for x, p in zip(symbols.xs, symbols.mus, strict=True)))
    constant = as_expr(sympy.powsimp(sympy.simplify(density / terms)))
    if constant.free_symbols:
        raise NotImplementedError("not of the multinomial theorem's form")
    return constant
