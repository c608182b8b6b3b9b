"""What kopf runs: start-up and shutdown of the operator, and ModelPools, one module a kind.

Started with `kopf run --module larder.handlers --standalone`. Only event handlers are registered: kopf then writes
neither annotations nor finalizers, so that nothing of Larder ever blocks a deletion.
"""

from larder.handlers import modelpools, process

__all__ = ["modelpools", "process"]
