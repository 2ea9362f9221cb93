"""Runs the application with uvicorn; SIGTERM and Ctrl-C let the accepted requests finish."""

import asyncio
import logging
import socket
from types import FrameType

import uvicorn

from headrank.errors import ConfigError
from headrank.reranker import Reranker
from headrank.serving.app import make_app
from headrank.serving.service import Service
from headrank.serving.settings import ServingSettings

LAST_SECONDS = 10  # for writing the last answers

logger = logging.getLogger(__name__)


class DrainingServer(uvicorn.Server):
    """On the first signal new requests get 503 until the accepted ones are answered. A second signal ends at once."""

    service: Service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal. Unlike uvicorn's own method it does not raise the signal again: the exit code is 0."""
        if self.service.admission.draining:
            self.should_exit = self.force_exit = True
            return
        self.service.admission.draining = True
        logger.info("shutting down after %d accepted requests", self.service.admission.in_flight)

    async def on_tick(self, counter: int) -> bool:
        """End the main loop, which calls this every 0.1 s, when the accepted requests are answered."""
        if self.service.admission.draining and not self.service.admission.in_flight:
            self.should_exit = True
        return await super().on_tick(counter)


def bind(host: str, port: int) -> socket.socket:
    """A socket at this address, on which nothing listens yet; port 0 takes a free port.

    Raises `ConfigError` if the address cannot be used.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(0)  # another process may have bound the port too, but only one listens
    except OSError as error:
        listener.close()
        raise ConfigError(f"--host {host} --port {port}: {error}; expected a free address of this machine") from None
    return listener


def serve(reranker: Reranker, settings: ServingSettings, listener: socket.socket) -> None:
    """Serve a reranker at the address of `listener` until a signal, and log the address."""
    app = make_app(reranker, settings)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=LAST_SECONDS
    )
    server = DrainingServer(config)
    server.service = app.state.service
    host, port, *_ = listener.getsockname()
    logger.info("serving %r on http://%s:%d", reranker, f"[{host}]" if ":" in host else host, port)
    asyncio.run(server.serve(sockets=[listener]))
    logger.info("shut down")
