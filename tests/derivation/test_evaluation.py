"""Values of an expression at many points: what float64 gives, and NaN where there is none."""

import numpy as np
import sympy

from recon_cli.derivation.evaluation import Function

x, k = sympy.symbols("x k", positive=True)


def test_a_pole_of_a_function_of_mpmaths_is_nan_and_its_neighbours_are_values() -> None:
    values = Function(sympy.zeta(x), {})({x: np.array([0.5, 1.0, 2.0])})
    assert np.isnan(values[1])
    np.testing.assert_allclose(values[[0, 2]], [float(sympy.zeta(0.5)), np.pi**2 / 6], rtol=1e-14)


def test_conditions_choose_the_piece() -> None:
    inside = sympy.And(x > 1, sympy.Or(x <= 2, sympy.Ne(k, 3)))
    function = Function(sympy.Piecewise((x, inside), (-x, sympy.Not(x > 5)), (0, True), evaluate=False), {k: 3.0})
    np.testing.assert_allclose(function({x: np.array([1.0, 1.5, 2.0, 2.5, 6.0])}), [-1, 1.5, 2, -2.5, 0])


def test_gamma_functions_do_not_overflow() -> None:
    function = Function(sympy.gamma(x + k) / sympy.gamma(x) * k**-x, {k: 1.0})
    np.testing.assert_allclose(function({x: np.array([0.5, 1e6])}), [0.5, 1e6], rtol=1e-8)
