"""What kind of file some bytes are: magika's neural network in ONNX Runtime, weights from its package."""

import numpy as np
import triton_python_backend_utils as pb_utils
from magika import Magika


class TritonPythonModel:
    """CONTENT [n] bytes -> LABEL [n] content types such as `python` or `pdf`, SCORE [n] probabilities."""

    def initialize(self, args):
        """Make the ONNX Runtime session, once a load."""
        self.magika = Magika()

    def execute(self, requests):
        """Answer each request by itself."""
        return [self.answer(request) for request in requests]

    def answer(self, request):
        """Classify every content of one request."""
        contents = pb_utils.get_input_tensor_by_name(request, "CONTENT").as_numpy()
        found = [self.magika.identify_bytes(content) for content in contents]
        labels = np.array([str(result.output.label).encode() for result in found], dtype=np.object_)
        scores = np.array([result.score for result in found], dtype=np.float32)
        return pb_utils.InferenceResponse([pb_utils.Tensor("LABEL", labels), pb_utils.Tensor("SCORE", scores)])
