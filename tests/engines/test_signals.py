"""A signal that comes after engines have come and gone is only a signal."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import gc, os, signal, sys
from vitpose.engines.openvino import OpenVinoEngine

engines = [OpenVinoEngine(sys.argv[1], precision=precision) for precision in ("fp32", "bf16", "int8-dynamic")]
while engines:
    engines.pop(0)  # in the order they came
    gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass
except KeyboardInterrupt:
    print("interrupted as one should be")
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_after_openvino_engines_were_closed(exported):
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", PROGRAM, str(exported("openvino", "fp32"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted as one should be\n"), done.stderr
