"""transformers knows p5t5's models after `import p5t5`, in whatever order a program imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Each has failed once: transformers' modules import each other in circles, and ours are imported amid them.
ORDERS = {
    "a pipeline": "import p5t5; assert not {'torch', 'transformers'} & set(sys.modules); from transformers import pipeline",
    "transformers": "import transformers.pipelines; import p5t5",
}
KNOWN = """
from transformers import AutoConfig, AutoModelForSeq2SeqLM
config = AutoConfig.for_model("p5t5", d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=16)
assert type(AutoModelForSeq2SeqLM.from_config(config)).__name__ == "P5T5ForConditionalGeneration"
from transformers.pipelines import PIPELINE_REGISTRY
assert "recommendation" in PIPELINE_REGISTRY.get_supported_tasks()
"""


@pytest.mark.parametrize("order", ORDERS)
def test_whatever_is_imported_first(order):
    program = f"import sys\n{ORDERS[order]}\n{KNOWN}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
