"""Whether a text is friendly: the VADER lexicon and its rules, the lexicon from the vaderSentiment package."""

import numpy as np
import triton_python_backend_utils as pb_utils
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer


def label(compound):
    """Name a compound score as VADER's authors do."""
    if compound >= 0.05:
        return b"positive"
    return b"negative" if compound <= -0.05 else b"neutral"


class TritonPythonModel:
    """TEXT [n] strings -> LABEL [n] of positive, neutral, negative, SCORE [n] from -1 to 1."""

    def initialize(self, args):
        """Read the lexicon, once a load."""
        self.analyzer = SentimentIntensityAnalyzer()

    def execute(self, requests):
        """Answer each request by itself."""
        return [self.answer(request) for request in requests]

    def answer(self, request):
        """Score every text of one request."""
        texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
        scores = [self.analyzer.polarity_scores(text.decode("utf-8", errors="replace"))["compound"] for text in texts]
        labels = np.array([label(score) for score in scores], dtype=np.object_)
        outputs = [pb_utils.Tensor("LABEL", labels), pb_utils.Tensor("SCORE", np.array(scores, dtype=np.float32))]
        return pb_utils.InferenceResponse(outputs)
