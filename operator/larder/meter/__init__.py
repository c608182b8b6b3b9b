"""The meter: a small process in every Triton pod without a GPU that says what memory the pod's processes take."""
