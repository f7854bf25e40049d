"""Export: the network as TorchScript and ONNX for other programs, and a TensorRT backbone for this one."""
