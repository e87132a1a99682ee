"""Two network namespaces joined by a wire, with a capture on the wire: where the test traffic is made.

    client namespace                         server namespace
    10.77.0.2 .. .6  fd77::2 ---- veth ---- 10.77.0.1  fd77::1
                                   |
                                dumpcap

Nothing of it touches the host's network. Everything that was started or made is gone when the `Lab` is left, by whatever way.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

SERVER, SERVER6 = "10.77.0.1", "fd77::1"
CLIENTS = [f"10.77.0.{host}" for host in range(2, 7)]
NAMES = ["shop.example.test", "api.example.test", "files.example.test"]
# Old protocol versions and short keys are wanted here; the distribution's defaults refuse them.
OPENSSL_CONF = """openssl_conf = init
[init]
ssl_conf = ssl
[ssl]
system_default = defaults
[defaults]
MinProtocol = TLSv1
CipherString = ALL:@SECLEVEL=0
{extra}
"""


PROGRAMS = "ip ss ethtool dumpcap tshark mergecap editcap openssl gcc nginx haproxy gnutls-serv gnutls-cli curl h2load nghttp nghttpd".split()


class Unavailable(Exception):
    """Captures cannot be made on this machine."""


class Lab(contextlib.ExitStack):
    """Namespaces, certificates, and a working directory; a context manager."""

    def __enter__(self):
        super().__enter__()
        try:
            return self.make()
        except BaseException:
            self.close()
            raise

    def make(self):
        if os.geteuid() != 0:
            raise Unavailable("network namespaces need root")
        if missing := [program for program in PROGRAMS if not shutil.which(program)]:
            raise Unavailable(f"not installed: {' '.join(missing)}")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="plaintap-lab-"))
        self.callback(shutil.rmtree, self.dir, ignore_errors=True)
        self.names = {side: f"plaintap-{os.getpid()}-{side}" for side in ("client", "server")}
        for name in self.names.values():
            self.callback(subprocess.run, ["ip", "netns", "del", name], stderr=subprocess.DEVNULL)
            if subprocess.run(["ip", "netns", "add", name], stderr=subprocess.DEVNULL, check=False).returncode:
                raise Unavailable("this root may not make network namespaces")
        self.processes = contextlib.ExitStack()
        self.callback(self.stop_servers)
        client, server = self.names["client"], self.names["server"]
        self.ip(client, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", server)
        for address in CLIENTS:
            self.ip(client, "address", "add", f"{address}/24", "dev", "wire")
        self.ip(client, "address", "add", "fd77::2/64", "dev", "wire", "nodad")
        self.ip(server, "address", "add", f"{SERVER}/24", "dev", "wire")
        self.ip(server, "address", "add", f"{SERVER6}/64", "dev", "wire", "nodad")
        for name in (client, server):
            # As on a real wire: no segments larger than the MTU, checksums filled in.
            offloads = [word for what in ("rx", "tx", "sg", "tso", "gso", "gro") for word in (what, "off")]
            self.within(name, "ethtool", "-K", "wire", *offloads, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.ip(name, "link", "set", "lo", "up")
            self.ip(name, "link", "set", "wire", "up")
        self.certificates()
        self.preload = self.dir / "keylog.so"
        source = pathlib.Path(__file__).with_name("keylog.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", self.preload, source, "-ldl"], check=True)
        return self

    def ip(self, name, *words):
        subprocess.run(["ip", "-n", name, *words], check=True)

    def within(self, name, *command, **options):
        return subprocess.run(["ip", "netns", "exec", name, *command], **options)

    def certificates(self):
        """rsa.pem and ecdsa.pem, each with its rsa.key and ecdsa.key: self-signed, for `NAMES`."""
        names = ",".join(f"DNS:{name}" for name in NAMES)
        for kind, key in ("rsa", ["rsa:2048"]), ("ecdsa", ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]):
            subprocess.run(
                ["openssl", "req", "-x509", "-nodes", "-days", "3650", "-subj", f"/CN={NAMES[0]}", "-addext"]
                + [f"subjectAltName={names}", "-newkey", *key]
                + ["-keyout", self.dir / f"{kind}.key", "-out", self.dir / f"{kind}.pem"],
                check=True,
                capture_output=True,
            )
            both = (self.dir / f"{kind}.pem").read_bytes() + (self.dir / f"{kind}.key").read_bytes()
            (self.dir / f"{kind}.both.pem").write_bytes(both)

    def environment(self, keys=None, openssl=""):
        path = self.dir / f"openssl-{abs(hash(openssl))}.cnf"
        path.write_text(OPENSSL_CONF.format(extra=openssl))
        extra = {"OPENSSL_CONF": str(path), **({"SSLKEYLOGFILE": str(keys)} if keys else {})}
        return {**{key: text for key, text in os.environ.items() if key != "SSLKEYLOGFILE"}, **extra}

    def serve(self, *command, port, side="server", openssl="", stdin=subprocess.DEVNULL):
        """Starts a server and returns once it listens on `port`."""
        log = open(self.dir / f"server-{port}.log", "wb")
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.names[side], *map(str, command)],
            cwd=self.dir,
            env=self.environment(openssl=openssl),
            stdin=stdin,
            stdout=log,
            stderr=log,
        )
        self.processes.callback(stop, process)
        for _ in range(250):
            listening = self.within(
                self.names[side], "ss", "-Hltn", f"sport = :{port}", capture_output=True, check=True
            ).stdout
            if listening:
                return process
            if process.poll() is not None:
                break
            time.sleep(0.02)
        raise SystemExit(f"{command}: no listener on {port}: {(self.dir / log.name).read_text(errors='replace')}")

    def stop_servers(self):
        self.processes.close()

    def client(self, *command, keys=None, openssl="", text="", check=True, side="client", timeout=20, preload=False):
        """Runs a client to its end. `text`: its standard input, or a list of (seconds to wait, input) steps.

        `preload`: it has no key log of its own (keylog.c).
        """
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.names[side], *map(str, command)],
            cwd=self.dir,
            env={**self.environment(keys, openssl), **({"LD_PRELOAD": str(self.preload)} if preload else {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with contextlib.suppress(BrokenPipeError):
            for wait, line in [(0, text)] if isinstance(text, str) else text:
                time.sleep(wait)
                process.stdin.write(line.encode())
                process.stdin.flush()
        try:
            out, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            raise SystemExit(f"{command}: still running after {timeout} s: {out.decode(errors='replace')}") from None
        if check and process.returncode != 0:
            raise SystemExit(f"{command}: exit {process.returncode}: {out.decode(errors='replace')}")
        return out.decode(errors="replace")

    @contextlib.contextmanager
    def capture(self, path, what="tcp", interface="wire", side="server", form="pcapng"):
        """Captures while the `with` block runs, and until its connections have closed."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.names[side], "dumpcap", "-q", "-i", interface, "-f", what, "-w", path]
            + (["-P"] if form == "pcap" else []),
            stderr=subprocess.PIPE,
        )
        try:
            for line in process.stderr:
                if line.startswith(b"File:"):
                    break
            else:
                raise SystemExit("dumpcap did not start")
            yield
            self.settle()
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=10)

    def settle(self):
        """Waits for connections to close (a second at most), then for dumpcap's buffer."""
        for _ in range(50):
            states = ["established", "fin-wait-1", "fin-wait-2", "close-wait", "last-ack", "closing"]
            query = ["ss", "-Htn", *(word for state in states for word in ("state", state))]
            if not any(self.within(name, *query, capture_output=True).stdout for name in self.names.values()):
                break
            time.sleep(0.02)
        time.sleep(0.4)


def stop(process):
    process.terminate()
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
