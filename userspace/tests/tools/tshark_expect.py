#!/usr/bin/env python3
"""What tshark makes of a capture: the expectations of tests/corpus, from another implementation.

    tshark_expect.py CAPTURE [--keys KEYLOG] --out DIR

writes these tables (tab separated, `-` for nothing, first line the column names):

    expected.tsv        one line per HTTP request, response, 1xx, trailer section and push
    expected_plain.tsv  per TLS connection and direction: octets and SHA-256 of the decrypted application data
    expected_tls.tsv    per TLS connection: version, cipher suite and server name of the (last) handshake
    expected_websocket.tsv  where there are any: per WebSocket connection and direction, messages and octets as sent, close code

Two passes with out-of-order reassembly, bodies left as they were sent (transfer coding removed, content coding not).

Where tshark 4.0 is not a good witness, and what that means for a comparison:
  - `body_len` is `-` where it shows no body: none, or one of no octets.
  - It reads TLS only on known ports or where its heuristic takes the first segment; --tls PORT names more.
  - TLS_*_ARIA_* suites: not decrypted.
  - Early data that the server rejected is shown as if it had been taken. Left out here: the client sends it again.
  - Inside TLS it does not show a response that ends with the connection. It is taken here from a reading that does not join bodies,
    its size from the decrypted octets.
  - After a gap, what it shows is one defensible reading of several.
"""

import argparse
import collections
import hashlib
import pathlib
import re
import subprocess
import xml.etree.ElementTree as ElementTree

HTTP_COLUMNS = (
    "frame tcp_stream ver h2_stream kind method authority path status content_length body_len "
    "content_encoding transfer_encoding end client server"
).split()
PLAIN_COLUMNS = "tcp_stream server_port dir octets sha256 client server".split()
TLS_COLUMNS = "tcp_stream version cipher sni client server".split()
WEBSOCKET_COLUMNS = "tcp_stream side text_messages text_octets binary_messages binary_octets pings pongs close_code client server".split()
CONTENT_LAYERS = "frame ip ipv6 tcp tls http http2 websocket"
OPTIONS = {
    "tcp.reassemble_out_of_order": "TRUE",
    "tcp.desegment_tcp_streams": "TRUE",
    "tls.desegment_ssl_records": "TRUE",
    "tls.desegment_ssl_application_data": "TRUE",
    "http.desegment_body": "TRUE",
    "http.dechunk_body": "TRUE",
    "http.decompress_body": "FALSE",
}
EARLY_DATA = "42"
WEBSOCKET_CONTROL = {"9": "pings", "10": "pongs"}
VERSIONS = {"0x0300": "SSL 3.0", "0x0301": "1.0", "0x0302": "1.1", "0x0303": "1.2", "0x0304": "1.3"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("capture", type=pathlib.Path)
    parser.add_argument("--keys", type=pathlib.Path)
    parser.add_argument("--tls", type=int, action="append", default=[], metavar="PORT", help="also TLS on this port")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    expect(args.capture, args.keys, args.out, args.tls)


def expect(capture, keys, out, tls_ports=(), exchange=None):
    """Writes the tables for `capture` into the directory `out`.

    `exchange`: the one request and response in it, for a capture that tshark cannot decrypt.
    """
    command = ["tshark", "-2", "-n", "-r", str(capture)]
    for option, value in OPTIONS.items():
        command += ["-o", f"{option}:{value}"]
    if keys and keys.exists():
        command += ["-o", f"tls.keylog_file:{keys}"]
    for port in tls_ports:
        command += ["-d", f"tcp.port=={port},tls"]

    reading = Reading(run(command + ["-T", "pdml", "-J", CONTENT_LAYERS]))
    data = application_data(command, reading)
    unjoined = Reading(run(command + ["-o", "http.desegment_body:FALSE", "-T", "pdml", "-J", CONTENT_LAYERS]))
    rows = [row for row in reading.http if not reading.in_rejected_early_data(row)]
    rows += until_close(reading.http, unjoined.http, data)
    if exchange:
        (stream, ends), = reading.handshakes.items()
        request, response = exchange
        row = dict(tcp_stream=stream, ver="h1", client=ends["client"], server=ends["server"])
        method, path, _ = request.decode().split(None, 2)
        body_len = len(response) - response.index(b"\r\n\r\n") - 4
        rows = [{**row, "kind": "req", "method": method, "path": path}]
        rows += [{**row, "kind": "resp", "status": response.split()[1].decode(), "body_len": body_len}]
        data = {stream: {"c2s": request, "s2c": response}}
    write(out / "expected.tsv", HTTP_COLUMNS, rows)
    write(out / "expected_tls.tsv", TLS_COLUMNS, reading.handshakes.values())
    write(out / "expected_plain.tsv", PLAIN_COLUMNS, plain_rows(reading, data))
    if reading.websockets:
        write(out / "expected_websocket.tsv", WEBSOCKET_COLUMNS, reading.websockets.values())


def run(command):
    done = subprocess.run(command, capture_output=True, check=False)
    # Status 2 with output: the capture was cut short; what came before counts.
    if done.returncode not in (0, 2):
        raise SystemExit(f"{' '.join(command)}: {done.stderr.decode(errors='replace')}")
    return done.stdout


class Reading:
    """The rows that one pass over tshark's PDML gives."""

    def __init__(self, pdml):
        self.http = []  # rows, in capture order
        self.handshakes = {}  # tcp stream -> row
        self.servers = {}  # tcp stream -> server's (address, port)
        self.h2 = {}  # (tcp stream, HTTP/2 stream, from the server) -> its request or response row
        self.websockets = {}  # (tcp stream, from the server) -> row, and which message goes on
        self.early = {}  # tcp stream whose client offered early data -> records of it
        self.accepted = set()  # tcp streams whose server took it
        # tshark writes form fields as they come, whatever octets they are.
        text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "?", pdml.decode(errors="replace"))
        for packet in ElementTree.fromstring(text):
            self.packet(packet)

    def packet(self, packet):
        frame, addresses, layer = None, ("-", "-"), None
        stream, source, destination = None, None, None
        for proto in packet.findall("proto"):
            name = proto.get("name")
            if name == "geninfo":
                frame = value(proto, "num")
            elif name in ("ip", "ipv6"):
                addresses = value(proto, f"{name}.src"), value(proto, f"{name}.dst")
            elif name == "tcp":
                stream = value(proto, "tcp.stream")
                source = addresses[0], value(proto, "tcp.srcport")
                destination = addresses[1], value(proto, "tcp.dstport")
                self.servers.setdefault(stream, destination)
            elif stream is None:
                continue
            elif name == "tls":
                self.tls(proto, frame, stream, source, destination)
            elif name == "http":
                self.h1(proto, frame, stream, source, destination)
            elif name == "http2":
                self.http2(proto, frame, stream, source, destination)
            elif name == "websocket":
                self.websocket(proto, stream, source, destination)

    def in_rejected_early_data(self, row):
        stream = row["tcp_stream"]
        if stream not in self.early or stream in self.accepted:
            return False
        return int(row["frame"]) < int(self.handshakes[stream]["answered"])

    def tls(self, proto, frame, stream, source, destination):
        for hello in proto.iter("field"):
            if hello.get("name") != "tls.handshake":
                continue
            kind = value(hello, "tls.handshake.type")
            if kind == "1":
                self.servers[stream] = destination
                row = self.handshakes.setdefault(
                    stream, dict(tcp_stream=stream, client=endpoint(source), server=endpoint(destination))
                )
                row["sni"] = value(hello, "tls.handshake.extensions_server_name") or row.get("sni")
                if EARLY_DATA in extensions(hello):
                    self.early[stream] = 0
            elif kind == "2" and stream in self.handshakes:
                row = self.handshakes[stream]
                row["answered"] = frame
                version = raw(hello, "tls.handshake.extensions.supported_version") or raw(hello, "tls.handshake.version")
                row["version"] = VERSIONS.get("0x" + version[-4:], version)
                row["cipher"] = showname(hello, "tls.handshake.ciphersuite").split(" (")[0]
            elif kind == "8" and EARLY_DATA in extensions(hello):
                self.accepted.add(stream)
        if stream in self.early and "answered" not in self.handshakes[stream]:
            records = (value(record, "tls.record.opaque_type") for record in proto.iter("field") if record.get("name") == "tls.record")
            self.early[stream] += sum(kind == "23" for kind in records)

    def h1(self, proto, frame, stream, source, destination):
        row = dict(frame=frame, tcp_stream=stream, ver="h1")
        status = value(proto, "http.response.code")
        if value(proto, "http.request.method"):
            row.update(kind="req", method=value(proto, "http.request.method"), path=value(proto, "http.request.uri"))
            row["authority"] = value(proto, "http.host")
            client, server = source, destination
        elif status:
            row.update(kind="info" if status.startswith("1") else "resp", status=status)
            client, server = destination, source
        else:
            return
        encoded = (field for field in proto.iter("field") if (field.get("show") or "").startswith("Content-encoded entity"))
        body = next(encoded, find(proto, "http.file_data"))
        row.update(
            content_length=value(proto, "http.content_length_header"),
            content_encoding=value(proto, "http.content_encoding"),
            transfer_encoding=value(proto, "http.transfer_encoding"),
            body_len=None if body is None else int(body.get("size")),
            client=endpoint(client),
            server=endpoint(server),
        )
        self.http.append(row)

    def http2(self, proto, frame, stream, source, destination):
        from_server = self.servers[stream] == source
        client, server = (destination, source) if from_server else (source, destination)
        for part in proto.iter("field"):
            if part.get("name") != "http2.stream":
                continue
            h2_stream, kind = value(part, "http2.streamid"), value(part, "http2.type")
            key = stream, h2_stream, from_server
            method = value(part, "http2.headers.method")
            status = value(part, "http2.headers.status")
            if kind == "0" and key in self.h2:
                padded = value(part, "http2.flags.padded") in ("1", "True")
                padding = 1 + int(value(part, "http2.padding") or "0", 0) if padded else 0
                self.h2[key]["body_len"] += int(value(part, "http2.length")) - padding
            elif kind in ("1", "5", "9") and find(part, "http2.header") is not None:
                row = dict(frame=frame, tcp_stream=stream, ver="h2", h2_stream=h2_stream)
                row.update(client=endpoint(client), server=endpoint(server))
                row["content_length"] = value(part, "http2.headers.content_length")
                row["content_encoding"] = value(part, "http2.headers.content_encoding")
                if method:
                    row.update(kind="push" if from_server else "req", method=method)
                    if from_server:
                        row["h2_stream"] = str(int(value(part, "http2.push_promise.promised_stream_id"), 0))
                    row.update(authority=value(part, "http2.headers.authority"), path=value(part, "http2.headers.path"))
                elif status:
                    row.update(kind="info" if status.startswith("1") else "resp", status=status)
                elif kind == "9":
                    continue  # more of the header block before it
                else:
                    row.update(kind="trailers")
                if row["kind"] in ("req", "resp"):
                    row["body_len"] = 0
                    self.h2[key] = row
                self.http.append(row)
            if value(part, "http2.flags.end_stream") in ("1", "True") and key in self.h2:
                self.h2[key]["end"] = 1


    def websocket(self, proto, stream, source, destination):
        from_server = self.servers[stream] == source
        client, server = (destination, source) if from_server else (source, destination)
        row = self.websockets.setdefault(
            (stream, from_server),
            {**dict.fromkeys(WEBSOCKET_COLUMNS, 0), "tcp_stream": stream, "side": "server" if from_server else "client",
             "client": endpoint(client), "server": endpoint(server), "close_code": None},
        )
        opcode, length = value(proto, "websocket.opcode"), int(value(proto, "websocket.payload_length"))
        for field in ("payload_length_ext_16", "payload_length_ext_64"):
            length = int(value(proto, f"websocket.{field}") or length)
        if opcode in WEBSOCKET_CONTROL:
            row[WEBSOCKET_CONTROL[opcode]] += 1
        elif opcode == "8":
            row["close_code"] = value(proto, "websocket.payload.close.status_code")
        else:
            if opcode != "0":
                row["kind"] = {"1": "text", "2": "binary"}[opcode]
                row[f"{row['kind']}_messages"] += 1
            row[f"{row['kind']}_octets"] += length


def application_data(command, reading):
    """The decrypted application data of every TLS connection: {tcp stream: {"c2s": octets, "s2c": octets}}."""
    streams = sorted(reading.handshakes, key=int)
    if not streams:
        return {}
    follow = [word for stream in streams for word in ("-z", f"follow,tls,raw,{stream}")]
    sections = {}  # tshark gives them in an order of its own
    for text in run(command + ["-q"] + follow).decode().split("Follow: tls,raw")[1:]:
        sections[text.split("Filter: tcp.stream eq ", 1)[1].split("\n", 1)[0].strip()] = text
    data = {}
    for stream in streams:
        chunks = {"c2s": [], "s2c": []}
        lines = sections[stream].splitlines()
        first = next((line.split(": ", 1)[1] for line in lines if line.startswith("Node 0: ")), "")
        swapped = bool(first) and first.strip() == reading.handshakes[stream]["server"]
        for line in lines:
            digits = line.strip()
            if digits and all(digit in "0123456789abcdef" for digit in digits):
                chunks["s2c" if line.startswith("\t") != swapped else "c2s"].append(bytes.fromhex(digits))
        if stream not in reading.accepted:
            del chunks["c2s"][: reading.early.get(stream, 0)]
        data[stream] = {direction: b"".join(parts) for direction, parts in chunks.items()}
    return data


def plain_rows(reading, data):
    for stream, directions in data.items():
        row = reading.handshakes[stream]
        for direction, octets in directions.items():
            yield dict(
                tcp_stream=stream,
                server_port=row["server"].rsplit(":", 1)[1],
                dir=direction,
                octets=len(octets),
                sha256=hashlib.sha256(octets).hexdigest() if octets else None,
                client=row["client"],
                server=row["server"],
            )


def until_close(joined, unjoined, data):
    """The responses inside TLS that end with their connection."""
    seen = collections.Counter(row["tcp_stream"] for row in joined if row["kind"] == "resp")
    for row in unjoined:
        if row["ver"] != "h1" or row["kind"] != "resp" or row["tcp_stream"] not in data:
            continue
        if seen[row["tcp_stream"]]:
            seen[row["tcp_stream"]] -= 1
            continue
        octets = data[row["tcp_stream"]]["s2c"]
        # The last status line with that code: a body may quote the request.
        head = [match.start() for match in re.finditer(rb"HTTP/1\.[01] " + row["status"].encode(), octets)][-1]
        yield {**row, "body_len": len(octets) - octets.find(b"\r\n\r\n", head) - 4}


def extensions(hello):
    return {field.get("show") for field in hello.iter("field") if field.get("name") == "tls.handshake.extension.type"}


def find(element, name):
    return next((field for field in element.iter("field") if field.get("name") == name), None)


def value(element, name):
    field = find(element, name)
    return None if field is None else field.get("show")


def raw(element, name):
    field = find(element, name)
    return None if field is None else field.get("value")


def showname(element, name):
    field = find(element, name)
    return "-" if field is None else field.get("showname").split(": ", 1)[1]


def endpoint(pair):
    address, port = pair
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def write(path, columns, rows):
    lines = ["#" + "\t".join(columns)]
    for row in rows:
        cells = ("-" if row.get(column) in (None, "") else str(row[column]) for column in columns)
        lines.append("\t".join(cells))
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
