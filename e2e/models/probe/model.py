"""The tests' model: adds one, and says who answered. What else it does is in its configuration's parameters.

| parameter | effect |
| --- | --- |
| load_seconds | `initialize` takes that long |
| ready_seconds | `initialize` ends so long after the model's process began, whatever its start took |
| execute_seconds | every request takes that long |
| memory_mib | allocated and touched by `initialize` |
| keep_mib | put into shared memory by `initialize`, where it stays after the unload |
| grow_mib | allocated and touched by every request whose INPUT0 is negative |
| blame_server | before it grows, the server is made the process that the kernel ends first |
| unload_seconds | its unload takes that long |
| fail_load | `initialize` raises this sentence |
| fail_on | a request whose first INPUT0 is this number raises |
"""

import json
import os
import socket
import time
import uuid
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

MIB = 1024 * 1024


def parameters(args):
    """Return the configuration's parameters as strings by name."""
    given = json.loads(args["model_config"]).get("parameters", {})
    return {name: value["string_value"] for name, value in given.items()}


def process_age_seconds():
    """Return how long ago this process was started."""
    after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    began_seconds = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began_seconds


class TritonPythonModel:
    """INPUT0 [n] int32 -> OUTPUT0 = INPUT0 + 1, MODEL and POD by name, LOAD of this load only, SINCE its time."""

    def initialize(self, args):
        """Take the time and the memory asked for, or fail as asked."""
        given = parameters(args)
        self.execute_seconds = float(given.get("execute_seconds", "0"))
        self.grow_mib = int(given.get("grow_mib", "0"))
        self.unload_seconds = float(given.get("unload_seconds", "0"))
        self.fail_on = given.get("fail_on")
        self.blame_server = "blame_server" in given
        self.says = {"MODEL": args["model_name"], "LOAD": uuid.uuid4().hex, "POD": socket.gethostname()}
        time.sleep(float(given.get("load_seconds", "0")))
        self.memory = [np.ones(int(given.get("memory_mib", "0")) * MIB, dtype=np.uint8)]
        time.sleep(max(0.0, float(given.get("ready_seconds", "0")) - process_age_seconds()))
        if "keep_mib" in given:
            Path("/dev/shm/kept").write_bytes(bytes(int(given["keep_mib"]) * MIB))
        if "fail_load" in given:
            raise RuntimeError(given["fail_load"])
        self.since = np.array([time.time()], dtype=np.float64)

    def finalize(self):
        """Take the time asked for."""
        time.sleep(self.unload_seconds)

    def execute(self, requests):
        """Answer each request by itself."""
        return [self.answer(request) for request in requests]

    def answer(self, request):
        """Add one, after the time and with the memory asked for."""
        numbers = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
        if self.fail_on is not None and numbers.size and int(numbers.flat[0]) == int(self.fail_on):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"asked to fail on {self.fail_on}"))
        if self.grow_mib and numbers.size and int(numbers.flat[0]) < 0:
            if self.blame_server:
                Path(f"/proc/{os.getppid()}/oom_score_adj").write_text("1000")
            self.memory.append(np.ones(self.grow_mib * MIB, dtype=np.uint8))
        time.sleep(self.execute_seconds)
        said = [pb_utils.Tensor(name, np.array([text.encode()], dtype=np.object_)) for name, text in self.says.items()]
        said.append(pb_utils.Tensor("SINCE", self.since))
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", (numbers + 1).astype(np.int32)), *said])
