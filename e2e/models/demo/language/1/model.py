"""Which of 97 languages a text is written in: py3langid's naive Bayes over byte n-grams, weights from its package."""

import numpy as np
import triton_python_backend_utils as pb_utils
from py3langid.langid import MODEL_FILE, LanguageIdentifier


class TritonPythonModel:
    """TEXT [n] strings -> LABEL [n] ISO 639-1 codes, SCORE [n] probabilities."""

    def initialize(self, args):
        """Read the weights, once a load."""
        self.identifier = LanguageIdentifier.from_pickled_model(MODEL_FILE, norm_probs=True)

    def execute(self, requests):
        """Answer each request by itself."""
        return [self.answer(request) for request in requests]

    def answer(self, request):
        """Classify every text of one request."""
        texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
        found = [self.identifier.classify(text.decode("utf-8", errors="replace")) for text in texts]
        labels = np.array([label.encode() for label, _ in found], dtype=np.object_)
        scores = np.array([score for _, score in found], dtype=np.float32)
        return pb_utils.InferenceResponse([pb_utils.Tensor("LABEL", labels), pb_utils.Tensor("SCORE", scores)])
