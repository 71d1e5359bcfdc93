"""The demo trains a small classifier of handwritten digits, and certifies and attacks its saliency maps."""

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
