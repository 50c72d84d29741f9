"""Noticing within moments that another process is gone, instead of waiting for ever in a reduction.

Every process keeps a connection to the main one. A connection that closes without a goodbye is a death: the main
process names it to the others, and all end with exit code 1. MindSpore's own heartbeat stays as the second line of
defence, for machines that vanish without closing anything.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
import threading
from contextlib import suppress

from .group import Group

LOG = logging.getLogger("mindloom")
GOODBYE = b"bye\n"
SECONDS = 30.0  # for all connections to be made


class Watch:
    """Connections between the main process and the others, each watched by a thread."""

    def __init__(self, group: Group) -> None:
        self.group, self.closing = group, False
        self.peers: dict[int, socket.socket] = {}
        host = os.environ.get("MS_SCHED_HOST", "127.0.0.1")
        server = socket.create_server((host if group.is_main else "127.0.0.1", 0)) if group.is_main else None
        here = [host, server.getsockname()[1], secrets.token_hex(8)] if server else []
        host, port, token = json.loads(group.share(json.dumps(here)))
        if server:
            self._welcome(server, token)
        else:
            self.peers[0] = socket.create_connection((host, port), SECONDS)
            self.peers[0].sendall(f"{token} {group.rank}\n".encode())
        for rank, peer in self.peers.items():
            peer.settimeout(None)
            threading.Thread(target=self._listen, args=(rank, peer), daemon=True).start()

    def _welcome(self, server: socket.socket, token: str) -> None:
        server.settimeout(SECONDS)
        with server:
            while len(self.peers) < self.group.size - 1:
                peer, _ = server.accept()
                peer.settimeout(SECONDS)
                words = peer.makefile("r").readline().split()
                if len(words) == 2 and words[0] == token:  # a stranger is not a process of this run
                    self.peers[int(words[1])] = peer
                else:
                    peer.close()

    def _listen(self, rank: int, peer: socket.socket) -> None:
        line = b""
        with suppress(OSError):
            line = peer.makefile("rb").readline()
        if self.closing or line == GOODBYE:
            return
        lost = int(line) if line.strip().isdigit() else rank
        for other in self.peers.values():
            with suppress(OSError):
                other.sendall(f"{lost}\n".encode())
        LOG.error("process %d is gone: this one (%d) ends too; go on with --resume latest", lost, self.group.rank)
        for handler in [*LOG.handlers, *logging.getLogger().handlers]:
            handler.flush()
        sys.stderr.flush()
        os._exit(1)  # the main thread waits inside a reduction that will never end

    def close(self) -> None:
        """Say goodbye, or fall silent when this process fails: then the others shall know."""
        self.closing = True
        for peer in self.peers.values():
            with suppress(OSError):
                if sys.exc_info()[0] is None:
                    peer.sendall(GOODBYE)
                peer.close()
