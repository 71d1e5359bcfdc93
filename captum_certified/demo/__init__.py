"""The demo: a small classifier of handwritten digits, whose saliency maps are certified and attacked."""

from captum_certified.demo.attacked import AttackedDigit
from captum_certified.demo.digits import Digits, load_digits, train_classifier
from captum_certified.demo.experiment import DemoReport, DemoSettings, DigitResult, run_demo

__all__ = [
    "AttackedDigit",
    "DemoReport",
    "DemoSettings",
    "DigitResult",
    "Digits",
    "load_digits",
    "run_demo",
    "train_classifier",
]
