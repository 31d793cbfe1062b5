"""The network of a tool, which has no sockets: the daemon connects for it, to public addresses only.

Each connection is one end of a pair of local sockets, whose other end the daemon has. It is asked for over a socket of its
own: a packet with host and port, and that other end beside it.
"""

import array
import errno
import os
import socket


class Network:
    def __init__(self, channel):
        self.asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        socket.send_fds(channel, [b"n"], [theirs.fileno()])
        theirs.close()
        self.names = {}
        self.addresses = {}

    def address_of(self, name):
        """An address that stands for a name: the daemon looks it up, and whoever asks here needs some address."""
        if name not in self.names:
            number = len(self.names) + 1
            address = f"198.18.{number >> 8 & 255}.{number & 255}"
            self.names[name], self.addresses[address] = address, name
        return self.names[name]

    def connect(self, pair, far, address, timeout):
        """Asks for a connection over `pair`, whose other end is `far`; returns when it stands."""
        host, port = address[0], address[1]
        host = self.addresses.get(host, host)
        ends = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [far.fileno()]))]
        self.asking.sendmsg([f"{port} {host}".encode()[:512]], ends)
        far.close()
        blocking = real.gettimeout(pair)
        real.settimeout(pair, timeout or 30)
        try:
            length = real.recv(pair, 1)
            told = b""
            while length and len(told) < length[0]:
                part = real.recv(pair, length[0] - len(told))
                if not part:
                    break
                told += part
        finally:
            real.settimeout(pair, blocking)
        if not length:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "the connection was refused")
        if told:
            raise ConnectionRefusedError(errno.ECONNREFUSED, told.decode("utf-8", "replace"))


real = socket.socket


def open_network(channel):
    network = Network(channel)
    internet = (socket.AF_INET, socket.AF_INET6)

    class Socket(real):
        def __init__(self, family=-1, type=-1, proto=-1, fileno=None):
            self._far = self._peer = None
            kind = socket.SOCK_STREAM if type == -1 else type
            stream = kind & 0xF == socket.SOCK_STREAM
            if fileno is None and family in (-1, *internet) and stream:
                mine, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                super().__init__(socket.AF_UNIX, socket.SOCK_STREAM, 0, mine.detach())
                self._far = far
                if kind & socket.SOCK_NONBLOCK:
                    self.setblocking(False)
            else:
                super().__init__(family, type, proto, fileno)

        def connect(self, address):
            if self._far is None:
                if self._peer is not None:
                    raise OSError(errno.EISCONN, os.strerror(errno.EISCONN))
                return super().connect(address)
            far, self._far = self._far, None
            network.connect(self, far, address, self.gettimeout())
            self._peer = (address[0], address[1])

        def connect_ex(self, address):
            try:
                self.connect(address)
            except OSError as error:
                return error.errno or errno.ECONNREFUSED
            return 0

        def bind(self, address):
            if self._far is not None:
                raise PermissionError(errno.EPERM, "tools cannot be called from outside")
            return super().bind(address)

        def setsockopt(self, level, *option):
            if level in (socket.IPPROTO_TCP, socket.IPPROTO_IP, socket.IPPROTO_IPV6):
                return None
            return super().setsockopt(level, *option)

        def getpeername(self):
            return self._peer or super().getpeername()

        def getsockname(self):
            return ("0.0.0.0", 0) if self._peer or self._far else super().getsockname()

        def close(self):
            if getattr(self, "_far", None) is not None:
                self._far.close()
                self._far = None
            super().close()

    def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
        if isinstance(host, bytes):
            host = host.decode()
        port = {"http": 80, "https": 443}.get(port, port)
        port = int(port or 0)
        kinds = [type] if type else [socket.SOCK_STREAM]
        try:
            socket.inet_pton(socket.AF_INET6, host)
            return [(socket.AF_INET6, kind, 6, "", (host, port, 0, 0)) for kind in kinds]
        except (OSError, TypeError):
            pass
        try:
            socket.inet_pton(socket.AF_INET, host)
            address = host
        except (OSError, TypeError):
            if not host:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
            address = network.address_of(host)
        return [(socket.AF_INET, kind, 6, "", (address, port)) for kind in kinds]

    socket.socket = socket.SocketType = Socket
    socket.getaddrinfo = getaddrinfo
    socket.gethostbyname = lambda host: getaddrinfo(host, 0)[0][4][0]
    socket.has_ipv6 = False


