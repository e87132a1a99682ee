#!/usr/bin/env python3
"""Servers and clients that the packaged ones do not cover, from Python's own libraries.

    peers.py http-server PORT [CERT KEY]     http.server: HTTP/1.1 keep-alive, chunked answers, uploads of either framing
    peers.py http-client KEYLOG VERSION URL...     http.client over one connection; VERSION 1.2, 1.3 or - for any
    peers.py resume-client KEYLOG VERSION HOST PORT N    N connections, each resuming the one before
    peers.py pipeline-client HOST PORT       several requests in one write
    peers.py smtp-server PORT CERT KEY       just enough SMTP for STARTTLS
    peers.py smtp-client KEYLOG HOST PORT    smtplib: STARTTLS, then one message
    peers.py websocket-server PORT [CERT KEY]    the package websockets: echoes messages, pings once
    peers.py websocket-client KEYLOG URL...      one connection after the other, with and without permessage-deflate
"""

import http.client
import http.server
import smtplib
import socket
import socketserver
import ssl
import sys
import time
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.endswith("/late"):
            time.sleep(1)
        if self.path == "/until-close":
            self.protocol_version = "HTTP/1.0"
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(b"the end of the connection is the end of this\n" * 20)
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Trailer", "X-Checksum")
        self.end_headers()
        for chunk in (b"first chunk\n", b"x" * 1500, b"last chunk\n"):
            self.wfile.write(b"%x;name=value\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\nX-Checksum: none\r\n\r\n")

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            received = 0
            while size := int(self.rfile.readline().split(b";")[0], 16):
                received += len(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            received = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        answer = b'{"received":%d}\n' % received
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_POST


def http_server(port, cert=None, key=None):
    server = http.server.ThreadingHTTPServer(("0.0.0.0", int(port)), Handler)
    if cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


def client_context(keylog, version="-"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.keylog_filename = keylog
    if version != "-":
        context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, "TLSv" + version.replace(".", "_"))
    return context


def http_client(keylog, version, *urls):
    first = urllib.parse.urlsplit(urls[0])
    connection = http.client.HTTPSConnection(first.hostname, first.port, context=client_context(keylog, version))
    for url in urls:
        target = urllib.parse.urlsplit(url)
        path = target.path + ("?" + target.query if target.query else "")
        if target.path.startswith("/upload"):
            connection.request("PUT", path, body=iter([b"a" * 10, b"b" * 2000]), encode_chunked=True,
                               headers={"Transfer-Encoding": "chunked", "Content-Type": "text/plain"})
        else:
            connection.request("GET", path)
        response = connection.getresponse()
        print(response.status, len(response.read()))
    connection.close()


def resume_client(keylog, version, host, port, count):
    context, session = client_context(keylog, version), None
    for number in range(int(count)):
        with socket.create_connection((host, int(port))) as plain:
            with context.wrap_socket(plain, server_hostname="shop.example.test", session=session) as tls:
                tls.sendall(b"GET /v1/orders/%d HTTP/1.1\r\nHost: shop.example.test\r\nConnection: close\r\n\r\n" % number)
                while tls.recv(4096):
                    pass
                print(tls.version(), "resumed" if tls.session_reused else "full")
                session = tls.session


def pipeline_client(host, port):
    requests = [b"GET /%d HTTP/1.1\r\nHost: files.example.test\r\n\r\n" % number for number in range(3)]
    requests.append(b"POST /x HTTP/1.1\r\nHost: files.example.test\r\nContent-Length: 5\r\n\r\nhello")
    requests.append(b"GET /last HTTP/1.1\r\nHost: files.example.test\r\nConnection: close\r\n\r\n")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"".join(requests))
        while connection.recv(4096):
            pass


class SmtpHandler(socketserver.StreamRequestHandler):
    certificate = None

    def handle(self):
        self.wfile.write(b"220 mail.example.test ESMTP\r\n")
        while line := self.rfile.readline().strip().upper():
            if line == b"STARTTLS":
                self.wfile.write(b"220 go ahead\r\n")
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*self.certificate)
                self.connection = context.wrap_socket(self.connection, server_side=True)
                self.setup_files()
            elif line.startswith(b"EHLO"):
                self.wfile.write(b"250-mail.example.test\r\n250 STARTTLS\r\n")
            elif line == b"DATA":
                self.wfile.write(b"354 send it\r\n")
                while self.rfile.readline().strip() != b".":
                    pass
                self.wfile.write(b"250 kept\r\n")
            elif line == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                break
            else:
                self.wfile.write(b"250 ok\r\n")

    def setup_files(self):
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)


def smtp_server(port, cert, key):
    SmtpHandler.certificate = cert, key
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer(("0.0.0.0", int(port)), SmtpHandler).serve_forever()


def smtp_client(keylog, host, port):
    with smtplib.SMTP(host, int(port)) as connection:
        connection.starttls(context=client_context(keylog))
        connection.sendmail("a@example.test", ["b@example.test"], "Subject: hello\r\n\r\nInside of TLS.\r\n")


def websocket_server(port, cert=None, key=None):
    from websockets.sync.server import serve

    def echo(connection):
        connection.ping(b"still there?").wait()
        for message in connection:
            connection.send(message)

    context = None
    if cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
    serve(echo, "0.0.0.0", int(port), ssl=context).serve_forever()


def websocket_client(keylog, *urls):
    from websockets.sync.client import connect

    order = '{"order":42,"items":["lamp","chair","desk"],"note":"%s"}' % ("no hurry " * 20)
    messages = ["hello", order, order, bytes(range(200)), "", ["in ", "three ", "parts"], "\u20ac" * 20]
    for url in urls:
        for compression in "deflate", None:
            context = client_context(keylog) if url.startswith("wss:") else None
            with connect(url, ssl=context, compression=compression, proxy=None) as connection:
                for message in messages:
                    connection.send(message)
                    print(len(connection.recv()))
                connection.ping(b"and you?").wait()
                connection.close(1000, "that was all")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
