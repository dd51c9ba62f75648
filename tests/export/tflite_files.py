"""Convert imported modules to TFLite, look into the files and run them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edge_vseg.export.quiet import quiet

os.environ.setdefault("LITERT_TORCH_SHOW_PROGRESS", "n")

_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def convert(module: torch.nn.Module, inputs: Sequence[NDArray[Any]]) -> bytes:
    """The module as a float TFLite file."""
    with quiet():
        import litert_torch

        edge = litert_torch.convert(module, tuple(torch.from_numpy(np.array(array)) for array in inputs))
        return bytes(edge.model_content())


def operators(file: bytes) -> list[str]:
    """Names of the file's operators in order."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file, 0))
    codes = [_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes]
    return [codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators]


def run(file: bytes, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """The file's outputs, in the order of the module's."""
    interpreter = Interpreter(model_content=file, num_threads=1)
    runner = interpreter.get_signature_runner()
    made = runner(**{f"args_{index}": array for index, array in enumerate(inputs)})
    return [np.array(made[f"output_{index}"]) for index in range(len(made))]
