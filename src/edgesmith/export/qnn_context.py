"""A context binary for HTP, compiled in a process of its own: the tools print, and load large libraries for good.

``python -m edgesmith.export.qnn_context MODEL CONTEXT [HTP_ARCH]``
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


def compile_file(model: str, context: str, htp_arch: str | None = None) -> None:
    """Writes an ONNX file whose only node is a context binary, which lies beside it.

    Args:
        model: quantized, with fixed shapes.
        context: the ONNX file to write.
        htp_arch: such as ``73``; None for the oldest that QNN knows.

    Raises:
        RuntimeError: a node is left that HTP does not take.
    """
    onnxruntime: Any = import_module("onnxruntime")
    qnn: Any = import_module("onnxruntime_qnn")
    onnxruntime.register_execution_provider_library(qnn.EP_NAME, qnn.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == qnn.EP_NAME]
    options = onnxruntime.SessionOptions()
    for key, value in {
        "ep.context_enable": "1",
        "ep.context_file_path": context,
        "ep.context_embed_mode": "0",
        "session.disable_cpu_ep_fallback": "1",
    }.items():
        options.add_session_config_entry(key, value)
    settings = {"backend_path": qnn.get_qnn_htp_path(), "offload_graph_io_quantization": "0"}
    if htp_arch is not None:
        settings["htp_arch"] = htp_arch
    options.add_provider_for_devices(devices, settings)
    onnxruntime.InferenceSession(model, sess_options=options)


if __name__ == "__main__":
    compile_file(*sys.argv[1:])
