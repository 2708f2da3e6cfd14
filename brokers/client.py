"""The official NATS client, and the two things that we need it to do besides."""

import nats.aio.client
import nats.errors


class Client(nats.aio.client.Client):
    """A connection that keeps to TLS where its URL says so, and lets go when told."""

    def cut_if_stuck(self) -> None:
        """Drop at once a connection that was given up and waits to be closed.

        It is closed in order: first all that waits is to be written. A frozen server
        reads nothing any more, and the way to another one would be barred for as
        long as it is frozen.
        """
        # There is none over WebSockets.
        writer = getattr(self._transport, "_io_writer", None)
        if self.is_reconnecting and writer is not None:
            writer.transport.abort()

    def _connect_command(self) -> bytes:
        """Refuse to log in over an open line; else anybody in between could open it.

        Raises:
            SecureConnWantedError: The URL begins with `tls:`, the server has no TLS.
        """
        server = self._current_server
        wanted = server is not None and server.uri.scheme == "tls"
        if wanted and not self._server_info.get("tls_required"):
            raise nats.errors.SecureConnWantedError
        return super()._connect_command()
