"""What the activator's gRPC sides are made of: handlers of raw bytes, with types that the stubs alone know."""

from typing import TYPE_CHECKING

import grpc
from grpc import aio

if TYPE_CHECKING:
    Handler = grpc.GenericRpcHandler[bytes, bytes]
else:
    Handler = grpc.GenericRpcHandler

Context = aio.ServicerContext[bytes, bytes]
