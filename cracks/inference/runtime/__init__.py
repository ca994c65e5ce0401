"""Networks at run time: OpenVINO, quantization, latency, other formats."""
