"""Export: the network as TorchScript and ONNX for other programs."""
