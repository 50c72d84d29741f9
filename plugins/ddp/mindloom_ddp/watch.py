"""Noticing within moments that another process is gone, instead of waiting for ever in a reduction.

Every process keeps a connection to the main one. A connection that closes without a last word is a death: the main
process names it to the others, and all end with exit code 1. Machines that vanish without closing anything are found
by TCP's keep-alive. MindSpore's own heartbeat stays as the second line of defence.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import BinaryIO

from .group import Group

LOG = logging.getLogger("mindloom")
GOODBYE, FAILED = b"bye\n", b"failed"
"""Last words: everything is done; or an error ended this process, or the one whose number follows."""
CONNECT = 30.0
"""Seconds for all connections to be made."""
GRACE = 3.0
"""Seconds that a process has to end by an error of its own, before it ends because of another one's."""
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
"""Asked after 15 quiet seconds, and given up 20 later."""


class Peer:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.lines: BinaryIO = connection.makefile("rb")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def send(self, line: bytes) -> None:
        with suppress(OSError):
            self.connection.sendall(line)

    def read(self) -> bytes:
        """A line, or nothing when the connection is lost."""
        with suppress(OSError):
            return self.lines.readline()
        return b""

    def close(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)  # wakes up who is reading
        with suppress(OSError):
            self.lines.close()
            self.connection.close()


def own_address() -> str:
    """This machine's address as the scheduler's machine sees it. Nothing is sent for it."""
    target = os.environ.get("MS_SCHED_HOST") or socket.gethostname()
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((target, 9))
        return str(probe.getsockname()[0])
    return "127.0.0.1"


class Watch:
    """Connections between the main process and the others, each watched by a thread."""

    def __init__(self, group: Group) -> None:
        self.group, self.closing = group, False
        self.peers: dict[int, Peer] = {}
        server = socket.create_server((own_address(), 0)) if group.is_main else None
        here = [*server.getsockname()[:2], secrets.token_hex(8)] if server else []
        host, port, token = json.loads(group.share(json.dumps(here)))
        try:
            if server:
                self._welcome(server, token)
            else:
                self._introduce(host, port, token)
        except OSError as error:
            # A firewall between machines, for example: MindSpore's heartbeat has to do then.
            LOG.warning("ddp cannot watch all processes (%s:%s: %s): the loss of one shows late", host, port, error)
        for rank, peer in self.peers.items():
            threading.Thread(target=self._listen, args=(rank, peer), daemon=True).start()

    def _introduce(self, host: str, port: int, token: str) -> None:
        connection = socket.create_connection((host, port), CONNECT)
        connection.settimeout(None)
        self.peers[0] = Peer(connection)
        self.peers[0].send(f"{token} {self.group.rank}\n".encode())

    def _welcome(self, server: socket.socket, token: str) -> None:
        deadline = time.monotonic() + CONNECT
        with server:
            while len(self.peers) < self.group.size - 1:
                server.settimeout(max(0.01, deadline - time.monotonic()))
                connection, _ = server.accept()
                connection.settimeout(CONNECT)
                peer = Peer(connection)
                words = peer.read().decode(errors="replace").split()
                if len(words) == 2 and words[0] == token:  # a stranger is not a process of this run
                    connection.settimeout(None)
                    self.peers[int(words[1])] = peer
                else:
                    peer.close()

    def _listen(self, rank: int, peer: Peer) -> None:
        line = peer.read()
        if self.closing or line == GOODBYE:
            return
        word, _, number = line.decode(errors="replace").strip().partition(" ")
        lost = int(number) if number.isdigit() else rank
        failed = word == FAILED.decode()
        for other in list(self.peers.values()):
            other.send((f"{word} {lost}" if failed else f"lost {lost}").encode() + b"\n")
        # At once: a launcher may kill this process within a second of the other one's end.
        LOG.error(
            "process %d %s, so this one (%d) ends too; --resume latest goes on from the last checkpoint",
            lost,
            "failed (see its log)" if failed else "is gone",
            self.group.rank,
        )
        for handler in [*LOG.handlers, *logging.getLogger().handlers]:
            handler.flush()
        if failed:
            time.sleep(GRACE)
            if self.closing:
                return
        sys.stderr.flush()
        os._exit(1)  # the main thread waits inside a reduction that will never end

    def close(self, failed: bool) -> None:
        """Leave with a last word, so that the others do not take it for a death."""
        self.closing = True
        for peer in self.peers.values():
            peer.send(FAILED + b"\n" if failed else GOODBYE)
            peer.close()
