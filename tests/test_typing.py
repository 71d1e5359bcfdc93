"""The types that users of mypy see."""

import re

from mypy import api

PROGRAM = """
import torch
from captum.attr import Saliency
from captum_certified import Certifier, SparsifiedSmoothGrad

explainer = SparsifiedSmoothGrad(Saliency(torch.nn.Linear(2, 2)), tau=0.5)
one = torch.zeros(1, 2)
reveal_type(explainer.attribute(one, stdevs=0.1, target=0))
reveal_type(explainer.attribute((one, one), stdevs=0.1, target=0))
reveal_type(explainer.attribute(one, return_convergence_delta=True))
reveal_type(explainer.sample(one, nt_samples=8, stdevs=0.1).features)
reveal_type(Certifier(explainer).certify(one, k=1, radius=0.1, nt_samples=8, stdevs=0.1).overlap)
"""
TENSOR = "torch._tensor.Tensor"


def test_a_tensor_in_is_a_tensor_out(tmp_path):
    program, settings = tmp_path / "program.py", tmp_path / "mypy.ini"
    program.write_text(PROGRAM)
    settings.write_text("[mypy]\nstrict = true\n[mypy-captum.*]\nfollow_untyped_imports = true\nignore_errors = true\n")
    output, errors, _ = api.run(["--config-file", str(settings), "--cache-dir", str(tmp_path / "cache"), str(program)])
    assert "error:" not in output + errors
    revealed = re.findall(r'Revealed type is "(.*)"', output)
    whole = [revealed_type.replace("builtins.", "") for revealed_type in revealed]
    assert whole == [TENSOR, f"tuple[{TENSOR}, ...]", f"tuple[{TENSOR}, {TENSOR}]", TENSOR, TENSOR]
