"""Text to text. A decoupled one answers with the text's words, one by one; its word sleep=SECONDS is waited instead."""

import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """text_input -> text_output."""

    def initialize(self, args):
        """Read which of the two this is."""
        policy = json.loads(args["model_config"]).get("model_transaction_policy", {})
        self.decoupled = policy.get("decoupled", False)

    def execute(self, requests):
        """Answer each request."""
        texts = [pb_utils.get_input_tensor_by_name(r, "text_input").as_numpy().flat[0].decode() for r in requests]
        if not self.decoupled:
            return [self.response(text) for text in texts]
        for request, text in zip(requests, texts, strict=True):
            self.send(request.get_response_sender(), text.split())
        return None

    def send(self, sender, words):
        """Send a response for each word."""
        for word in words:
            if word.startswith("sleep="):
                time.sleep(float(word.removeprefix("sleep=")))
            else:
                sender.send(self.response(word))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def response(self, text):
        """One response."""
        return pb_utils.InferenceResponse([pb_utils.Tensor("text_output", np.array([text.encode()], dtype=np.object_))])
