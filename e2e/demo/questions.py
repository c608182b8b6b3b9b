"""What the demo asks its models, and the right answers."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Question:
    """One request: the content of the model's one input, the label that is right, and how to show it."""

    model: str
    content: bytes
    right: str
    shown: str


def _text(model: str, text: str, right: str) -> Question:
    return Question(model, text.encode(), right, f'"{text}"')


LANGUAGE: Final = (
    _text("language", "Der Fluss war breit und still, und die Nacht kam früh.", "de"),
    _text("language", "Le pain est encore chaud, asseyez-vous donc avec nous.", "fr"),
    _text("language", "¿Dónde está la biblioteca más cercana, por favor?", "es"),
    _text("language", "Wszystkie koty w tym mieście śpią na dachach.", "pl"),
    _text("language", "The larder is full, and nothing in it is wasted.", "en"),
    _text("language", "Talvi tuli varhain ja järvi jäätyi yhdessä yössä.", "fi"),
)
FILETYPE: Final = (
    Question(
        "filetype",
        b'#!/bin/sh\nset -e\nfor name in *.txt; do\n  echo "$name"\n  wc -l < "$name"\ndone\n',
        "shell",
        "#!/bin/sh ... for name in *.txt; do ...",
    ),
    Question(
        "filetype",
        b"import os\n\n\ndef names(folder: str) -> list[str]:\n    return sorted(os.listdir(folder))\n\n\n"
        b"print(names('.'))\n",
        "python",
        "import os ... def names(folder: str) ...",
    ),
    Question(
        "filetype",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
        + b"0 0 0 rg\n" * 40
        + b"%%EOF\n",
        "pdf",
        "%PDF-1.7 ... endobj ...",
    ),
)
SENTIMENT: Final = (
    _text("sentiment", "What a wonderful surprise, thank you so much!", "positive"),
    _text("sentiment", "The train was late, the coffee cold and the room horrible.", "negative"),
    _text("sentiment", "The parcel contains four bolts and a manual.", "neutral"),
)
BY_MODEL: Final = {"language": LANGUAGE, "filetype": FILETYPE, "sentiment": SENTIMENT}
INPUTS: Final = {"language": "TEXT", "filetype": "CONTENT", "sentiment": "TEXT"}
"""The name of each model's one input."""
WEIGHTS: Final = {
    "language": "py3langid: naive Bayes over byte n-grams in numpy, 97 languages",
    "filetype": "magika: a neural network in ONNX Runtime, about 200 file types",
    "sentiment": "vaderSentiment: a lexicon of 7,500 words and its rules",
}
"""Where each model's weights come from: Python packages in the Triton image; nothing is downloaded by the demo."""
