"""Model repositories as text files by path, and the ConfigMap and volume source that bring them into a pod.

A ConfigMap mounts on any cluster, needs no storage class and no image of ours. Its entries have no folders, so the
volume source names the path of each entry, below `SUB_PATH`; mounted with that subPath, the kubelet's own `..data`
stays outside what Triton takes for models.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
SUB_PATH: Final = "repository"
"""What `spec.repository.subPath` must be for a pool on a `Volume`."""

Files = Mapping[str, str]
"""The text of each file by its path inside the repository, such as `language/1/model.py`."""

TENSOR: Final = '{{ name: "{name}" data_type: {data_type} dims: [ {dims} ] }}'
PROBE_OUTPUTS: Final = {
    "OUTPUT0": ("TYPE_INT32", -1),
    "MODEL": ("TYPE_STRING", 1),
    "LOAD": ("TYPE_STRING", 1),
    "POD": ("TYPE_STRING", 1),
    "SINCE": ("TYPE_FP64", 1),
}


@dataclass(frozen=True, slots=True)
class Volume:
    """The ConfigMap to apply, and the value of `spec.repository.volume` that mounts it."""

    config_map: dict[str, Any]
    source: dict[str, Any]


def demo() -> dict[str, str]:
    """Return the demo's three models."""
    folder = HERE / "demo"
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.suffix in {".py", ".pbtxt"}
    }


def probe(name: str, **parameters: object) -> dict[str, str]:
    """Return one model of the tests; `parameters` are those of `probe/model.py`."""
    outputs = ", ".join(TENSOR.format(name=o, data_type=t, dims=d) for o, (t, d) in PROBE_OUTPUTS.items())
    lines = [
        'backend: "python"',
        "max_batch_size: 0",
        f"input [{TENSOR.format(name='INPUT0', data_type='TYPE_INT32', dims=-1)}]",
        f"output [{outputs}]",
        "instance_group [{ kind: KIND_CPU count: 1 }]",
        *(
            f'parameters {{ key: "{key}" value: {{ string_value: {json.dumps(str(value))} }} }}'
            for key, value in parameters.items()
        ),
    ]
    return {
        f"{name}/config.pbtxt": "\n".join(lines) + "\n",
        f"{name}/1/model.py": (HERE / "probe/model.py").read_text(),
    }


def text(name: str, *, decoupled: bool = False) -> dict[str, str]:
    """Return a model from text_input to text_output; a decoupled one answers word by word."""
    lines = [
        'backend: "python"',
        "max_batch_size: 0",
        f"input [{TENSOR.format(name='text_input', data_type='TYPE_STRING', dims=1)}]",
        f"output [{TENSOR.format(name='text_output', data_type='TYPE_STRING', dims=1)}]",
        "instance_group [{ kind: KIND_CPU count: 1 }]",
        *(["model_transaction_policy { decoupled: true }"] if decoupled else []),
    ]
    return {
        f"{name}/config.pbtxt": "\n".join(lines) + "\n",
        f"{name}/1/model.py": (HERE / "text/model.py").read_text(),
    }


def ensemble(name: str, first: str, second: str) -> dict[str, str]:
    """Return an ensemble that runs two probes one after the other: OUTPUT0 = INPUT0 + 2, MODEL from the second."""
    config = f"""platform: "ensemble"
max_batch_size: 0
input [{TENSOR.format(name="INPUT0", data_type="TYPE_INT32", dims=-1)}]
output [
  {TENSOR.format(name="OUTPUT0", data_type="TYPE_INT32", dims=-1)},
  {TENSOR.format(name="MODEL", data_type="TYPE_STRING", dims=1)}
]
ensemble_scheduling {{
  step [
    {{ model_name: "{first}" model_version: -1
      input_map {{ key: "INPUT0" value: "INPUT0" }} output_map {{ key: "OUTPUT0" value: "between" }} }},
    {{ model_name: "{second}" model_version: -1
      input_map {{ key: "INPUT0" value: "between" }} output_map {{ key: "OUTPUT0" value: "OUTPUT0" }}
      output_map {{ key: "MODEL" value: "MODEL" }} }}
  ]
}}
"""
    return {f"{name}/config.pbtxt": config, f"{name}/1/ensemble.txt": "Triton wants a version's folder.\n"}


def volume(name: str, files: Files) -> Volume:
    """Return the ConfigMap `name` and the volume source for these files; equal texts are stored once."""
    keys: dict[str, str] = {}
    for path, text in files.items():
        keys.setdefault(text, path.replace("/", "."))
    items = [{"key": keys[text], "path": f"{SUB_PATH}/{path}"} for path, text in files.items()]
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {key: text for text, key in keys.items()},
    }
    return Volume(config_map, {"configMap": {"name": name, "items": items}})
