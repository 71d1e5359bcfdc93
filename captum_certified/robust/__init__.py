"""Attacks on explanations, for use with captum.robust, and the parts from which these attacks are built.

An attack searches for a *point* (a perturbed input, as a vector) with a large *objective* D. In shapes, N is the number
of examples, R the number of points, d the number of entries of a point, and n the number of features of a map.
"""

from captum_certified.robust.black_box_attack import BlackBoxAttack
from captum_certified.robust.challenge import Challenge, challenge_certificate
from captum_certified.robust.differentiable import differentiable
from captum_certified.robust.fast_gradient_attack import FastGradientAttack
from captum_certified.robust.ghorbani_attack import GhorbaniAttack
from captum_certified.robust.interpretation_attack import InterpretationAttack
from captum_certified.robust.result import AttackResult
from captum_certified.robust.surrogate import Surrogate, softplus_surrogate

__all__ = [
    "AttackResult",
    "BlackBoxAttack",
    "Challenge",
    "FastGradientAttack",
    "GhorbaniAttack",
    "InterpretationAttack",
    "Surrogate",
    "challenge_certificate",
    "differentiable",
    "softplus_surrogate",
]
