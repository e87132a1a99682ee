#!/usr/bin/env python3
"""Makes captures of real servers and clients, with their keys and with what tshark reads in them.

    make_corpus.py --out DIR [CASE...]     as root; all cases, or those named
    make_corpus.py --list

Each case becomes DIR/CASE/ with capture.pcapng (or .pcap, .pcap.gz, several), keys.log, README.md and the tables of
tshark_expect.py. The programs run in two network namespaces (lab.py) that are removed afterwards. The keys are of connections that
nobody but these programs ever had. What it takes: deploy/packages.txt.
"""

import argparse
import gzip
import importlib.util
import pathlib
import random
import re
import shutil
import subprocess
import sys

import tshark_expect
from lab import CLIENTS, NAMES, SERVER, SERVER6, Lab, Unavailable
from rewrite import drop_host, wrap

TOOLS = pathlib.Path(__file__).resolve().parent
PEERS = sys.executable, TOOLS / "peers.py"
CASES = {}
UNAVAILABLE = 77  # exit status: this machine cannot make captures
SHOP = "https://shop.example.test"

NGINX = """daemon off; master_process off; user root; pid nginx.pid; error_log stderr;
events {{}}
http {{
    access_log off; ssl_protocols TLSv1.2 TLSv1.3; client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    types {{ application/json json; text/plain txt; text/html html; }}
    default_type application/json;
    gzip on; gzip_types text/plain application/json; gzip_min_length 100;
    {servers}
}}
"""
NGINX_SERVER = """server {{
        {settings}
        ssl_certificate {certificate}.pem; ssl_certificate_key {certificate}.key;
        location = /v1/products {{ return 200 '[{{"id":1,"name":"lamp"}},{{"id":2,"name":"chair"}},{{"id":3,"name":"desk"}}]'; }}
        location = /v1/orders {{ return 201 '{{"id":42,"status":"created"}}'; }}
        location /v1/orders/ {{ return 200 '{{"id":42,"status":"paid"}}'; }}
        location = /v1/empty {{ return 204; }}
        location = /v1/broken {{ return 500 '{{"error":"database is away"}}'; }}
        location /files/ {{ alias www/; }}
        location /upload {{ client_max_body_size 1m; proxy_pass http://127.0.0.1:8000; }}
        location /socket {{ proxy_pass http://127.0.0.1:8001; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}
    }}
"""


def case(function):
    CASES[function.__name__.replace("_", "-")] = function
    return function


def needs(*names):
    """Programs and Python packages that a case takes and that are not in deploy/packages.txt: without them it is not made."""

    def mark(function):
        function.needs = names
        return function

    return mark


def lacking(function):
    names = getattr(function, "needs", ())
    return [name for name in names if not shutil.which(name) and not importlib.util.find_spec(name)]


# --- HTTP/1 inside TLS 1.2: suites, keep-alive, resumption, renegotiation ---------------------------------------------------------


@case
def tls12_aes128gcm_keepalive(c):
    """Six requests over one connection: GET, HEAD, POST, 204, 404, a gzipped body."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.2; ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;")
    with c.capture():
        c.curl(f"{SHOP}/v1/products", *c.then("--head", f"{SHOP}/files/page.html"),
               *c.then("--json", '{"product":2}', f"{SHOP}/v1/orders"), *c.then(f"{SHOP}/v1/empty"),
               *c.then(f"{SHOP}/nothing?here=1&there=2"), *c.then("--compressed", f"{SHOP}/files/text.txt"))


@case
def tls12_aes256gcm_client_certificate(c):
    """The server asks for a certificate and gets one."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-AES256-GCM-SHA384; ssl_verify_client optional_no_ca;", "ecdsa")
    with c.capture():
        c.curl("--cert", "rsa.pem", "--key", "rsa.key", f"{SHOP}/v1/products")


@case
def tls12_chacha20(c):
    """ChaCha20-Poly1305, and a body that takes many segments."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305;", "ecdsa")
    with c.capture():
        c.curl(f"{SHOP}/files/random.bin")


@case
def tls12_dhe_aes128ccm8(c):
    """DHE key exchange, AES-CCM with an 8-octet tag."""
    c.serve("openssl", "s_server", "-www", "-accept", 443, "-cert", "rsa.pem", "-key", "rsa.key", "-tls1_2", "-dhparam", c.dhparam(), port=443)
    with c.capture():
        c.s_client("-tls1_2", "-cipher", "DHE-RSA-AES128-CCM8", text=GET_10)


@case
def tls12_aes128ccm(c):
    """AES-CCM with a 16-octet tag."""
    c.serve("openssl", "s_server", "-www", "-accept", 443, "-cert", "ecdsa.pem", "-key", "ecdsa.key", "-tls1_2", port=443)
    with c.capture():
        c.s_client("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-CCM", text=GET_10)


@case
def tls12_cbc_sha384_encrypt_then_mac(c):
    """AES-256-CBC with SHA-384 and encrypt-then-mac (RFC 7366), which OpenSSL negotiates by itself."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.2; ssl_ciphers ECDHE-RSA-AES256-SHA384;")
    with c.capture():
        c.curl(f"{SHOP}/v1/products", f"{SHOP}/files/random.bin")


@case
def tls12_cbc_sha1_mac_then_encrypt(c):
    """RSA key exchange, AES-128-CBC with SHA-1, mac then encrypt."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.2; ssl_ciphers AES128-SHA;")
    with c.capture():
        c.curl(f"{SHOP}/v1/products", f"{SHOP}/files/random.bin", openssl="Options = -EncryptThenMac")


@case
def tls12_cbc_sha256_gnutls_no_etm(c):
    """GnuTLS at both ends: AES-128-CBC with SHA-256, mac then encrypt."""
    c.gnutls(priority="NORMAL:%NO_ETM:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC:-MAC-ALL:+SHA256:-SIGN-RSA-PSS-RSAE-SHA256")


@case
def tls12_camellia256gcm(c):
    """GnuTLS at both ends: Camellia-256-GCM."""
    c.gnutls(priority="NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+CAMELLIA-256-GCM")


@case
def tls12_camellia128cbc(c):
    """GnuTLS at both ends: Camellia-128-CBC with SHA-1 and encrypt-then-mac."""
    c.gnutls(priority="NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+CAMELLIA-128-CBC")


@case
def tls12_3des(c):
    """GnuTLS at both ends: 3DES-CBC with SHA-1."""
    c.gnutls(priority="LEGACY:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+3DES-CBC")


@case
def tls12_rc4(c):
    """GnuTLS at both ends: RC4 with SHA-1, the one stream cipher."""
    c.gnutls(priority="NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+ARCFOUR-128")


@case
def tls12_aria256gcm(c):
    """ARIA-256-GCM between OpenSSL's programs. tshark 4.0 cannot decrypt ARIA: the tables are from what the client sent and printed."""
    c.serve("openssl", "s_server", "-www", "-accept", 443, "-cert", "ecdsa.pem", "-key", "ecdsa.key", "-tls1_2", port=443)
    with c.capture():
        page = c.s_client("-quiet", "-tls1_2", "-cipher", "ECDHE-ECDSA-ARIA256-GCM-SHA384", text=GET_10)
    c.known(GET_10, page[page.index("HTTP/1.0 200") :])


@case
def tls12_psk(c):
    """A pre-shared key, no certificate."""
    c.serve("openssl", "s_server", "-www", "-accept", 443, "-nocert", "-psk", "c0ffee", "-tls1_2", port=443)
    with c.capture():
        c.s_client("-tls1_2", "-psk", "c0ffee", "-cipher", "PSK-AES256-CBC-SHA384", text=GET_10)


@case
def tls12_resumed_by_session_id(c):
    """Three connections, the second and third resumed by session id. The key log has the first one's line alone."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.2; ssl_session_tickets off; ssl_session_cache shared:a:1m;")
    with c.capture():
        c.client(*PEERS, "resume-client", c.keys, "1.2", SERVER, 443, 3)
    c.keep_keys(1)


@case
def tls12_resumed_by_ticket(c):
    """Three connections, the second and third resumed by ticket. The key log has the first one's line alone."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.2; ssl_session_tickets on;")
    with c.capture():
        c.client(*PEERS, "resume-client", c.keys, "1.2", SERVER, 443, 3)
    c.keep_keys(1)


@case
def tls12_renegotiation(c):
    """The client renegotiates before its request: the second handshake is encrypted with the first one's keys."""
    c.serve("openssl", "s_server", "-www", "-accept", 443, "-cert", "rsa.pem", "-key", "rsa.key", "-tls1_2", "-client_renegotiation", port=443)
    with c.capture():
        c.s_client("-tls1_2", text=[(0.3, "R\n"), (0.3, GET_10)])


@case
def tls12_renegotiation_gnutls(c):
    """GnuTLS at both ends, AES-GCM: a rehandshake before the request."""
    c.gnutls("--rehandshake", priority="NORMAL:-VERS-ALL:+VERS-TLS1.2")


@case
def tls12_max_fragment_length(c):
    """Records of at most 512 octets, by the max_fragment_length extension (RFC 6066)."""
    c.serve("openssl", "s_server", "-www", "-accept", 443, "-cert", "rsa.pem", "-key", "rsa.key", "-tls1_2", port=443)
    with c.capture():
        c.s_client("-tls1_2", "-maxfraglen", 512, text=GET_10)


@case
def tls12_nss_server(c):
    """NSS's server, curl as the client."""
    c.selfserv("tls1.2:tls1.2")


@case
def tls12_nss_client(c):
    """NSS's client, OpenSSL's server (which logs the keys: Debian's NSS does not)."""
    c.tstclnt("tls1.2:tls1.2")


@case
def tls11_cbc(c):
    """TLS 1.1: AES-256-CBC with SHA-1, an explicit IV."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.1; ssl_ciphers AES256-SHA:@SECLEVEL=0;")
    with c.capture():
        c.curl("--tls-max", "1.1", f"{SHOP}/v1/products", f"{SHOP}/files/page.html", openssl="Options = -EncryptThenMac")


@case
def tls10_cbc(c):
    """TLS 1.0: the IV is the last block of the record before; OpenSSL splits each write into 0 and n octets."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1; ssl_ciphers ECDHE-RSA-AES128-SHA:@SECLEVEL=0;")
    with c.capture():
        c.curl("--tlsv1.0", "--tls-max", "1.0", f"{SHOP}/v1/products", f"{SHOP}/files/page.html", openssl="Options = -EncryptThenMac")


# --- TLS 1.3 ----------------------------------------------------------------------------------------------------------------------


@case
def tls13_aes256gcm(c):
    """OpenSSL's first choice; a POST, a query, and a body over many segments."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.3;", "ecdsa")
    with c.capture():
        c.curl("--json", '{"product":1,"count":3}', f"{SHOP}/v1/orders?dry-run=no",
               *c.then(f"{SHOP}/files/random.bin"), *c.then(f"{SHOP}/v1/broken"))


@case
def tls13_aes128gcm(c):
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;", "ecdsa")
    with c.capture():
        c.curl(f"{SHOP}/v1/products")


@case
def tls13_chacha20(c):
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;", "ecdsa")
    with c.capture():
        c.curl(f"{SHOP}/v1/products")


@case
def tls13_aes128ccm(c):
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_CCM_SHA256;", "ecdsa")
    with c.capture():
        c.curl("--tls13-ciphers", "TLS_AES_128_CCM_SHA256", f"{SHOP}/v1/products")


@case
def tls13_aes128ccm8(c):
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_CCM_8_SHA256;", "ecdsa")
    with c.capture():
        c.curl("--tls13-ciphers", "TLS_AES_128_CCM_8_SHA256", f"{SHOP}/v1/products")


@case
def tls13_hello_retry_request(c):
    """The client guesses X25519, the server wants P-384."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.3; ssl_ecdh_curve secp384r1;", "ecdsa")
    with c.capture():
        c.curl("--curves", "X25519:P-384", f"{SHOP}/v1/products")


@case
def tls13_key_update(c):
    """The client updates its keys, asks the server to do the same, and updates again, with requests between."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.3;", "ecdsa")
    with c.capture():
        c.s_client(text=[(0.3, GET), (0.2, "k\n"), (0.2, GET), (0.2, "K\n"), (0.2, GET), (0.2, "K\n"), (0.2, GET_CLOSE)])


@case
def tls13_early_data(c):
    """A first connection for the ticket; the second sends its request as early data, and the server takes it."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.3; ssl_early_data on;", "ecdsa")
    (c.dir / "early").write_text(GET)
    with c.capture():
        c.s_client("-sess_out", "session", text=[(0.3, GET_CLOSE)])
        c.s_client("-sess_in", "session", "-early_data", "early", text=[(0.3, GET_CLOSE)])


@case
def tls13_early_data_rejected(c):
    """As before, but the second server does not take early data: the request is sent again after the handshake."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.3; ssl_early_data on; ssl_session_ticket_key ticket.key;", "ecdsa",
            more="listen 8443 ssl; ssl_protocols TLSv1.3; ssl_session_ticket_key ticket.key;")
    (c.dir / "early").write_text(GET)
    with c.capture():
        c.s_client("-sess_out", "session", text=[(0.3, GET_CLOSE)])
        c.s_client("-sess_in", "session", "-early_data", "early", text=[(0.3, GET_CLOSE)], port=8443)
    c.tls_ports = [8443]


@case
def tls13_resumed(c):
    """Three connections, the second and third resumed by ticket: each has secrets of its own all the same."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.3;", "ecdsa")
    with c.capture():
        c.client(*PEERS, "resume-client", c.keys, "1.3", SERVER, 443, 3)


@case
def tls13_application_secrets_only(c):
    """The key log has the application traffic secrets and not the handshake's, as some iRules send them."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.3;", "ecdsa")
    with c.capture():
        c.curl(f"{SHOP}/v1/products", f"{SHOP}/v1/orders/42")
    c.keep_keys(lambda line: "TRAFFIC_SECRET_0" in line, expect_with_all=True)


@case
def tls13_client_certificate(c):
    """A client certificate in the handshake."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.3; ssl_verify_client optional_no_ca;", "ecdsa")
    with c.capture():
        c.curl("--cert", "ecdsa.pem", "--key", "ecdsa.key", f"{SHOP}/v1/products")


@case
def tls13_padding(c):
    """The server pads its records to multiples of 512 octets."""
    c.serve("openssl", "s_server", "-www", "-accept", 443, "-cert", "ecdsa.pem", "-key", "ecdsa.key", "-tls1_3", "-record_padding", 512, port=443)
    with c.capture():
        c.s_client(text=GET_10)


@case
def tls13_psk(c):
    """An external pre-shared key."""
    c.serve("openssl", "s_server", "-www", "-accept", 443, "-nocert", "-psk", "c0ffee", "-tls1_3", port=443)
    with c.capture():
        c.s_client("-tls1_3", "-psk", "c0ffee", text=GET_10)


@case
def tls13_record_size_limit_gnutls(c):
    """GnuTLS at both ends, records of at most 512 octets by record_size_limit (RFC 8449)."""
    c.gnutls("--recordsize", "512", priority="NORMAL:-VERS-ALL:+VERS-TLS1.3")


@case
def tls13_gnutls_early_data(c):
    """GnuTLS at both ends: resumption with early data."""
    (c.dir / "early").write_text(GET_10)
    c.gnutls("--resume", "--earlydata", "early", "--waitresumption", priority="NORMAL:-VERS-ALL:+VERS-TLS1.3", server=["--earlydata", "--maxearlydata", "4096"])


@case
def tls13_nss_server(c):
    """NSS's server, curl as the client."""
    c.selfserv("tls1.3:tls1.3")


@case
def tls13_nss_client(c):
    """NSS's client, OpenSSL's server (which logs the keys: Debian's NSS does not)."""
    c.tstclnt("tls1.3:tls1.3")


@case
def tls13_no_middlebox_compatibility(c):
    """No change_cipher_spec records and no session id."""
    c.serve("openssl", "s_server", "-www", "-accept", 443, "-cert", "ecdsa.pem", "-key", "ecdsa.key", "-tls1_3", "-no_middlebox", port=443)
    with c.capture():
        c.s_client("-no_middlebox", text=GET_10)


@case
def tls13_hello_over_two_segments(c):
    """A ClientHello of 2 KB (a long ALPN list), as post-quantum key shares make them."""
    c.serve("openssl", "s_server", "-www", "-accept", 443, "-cert", "ecdsa.pem", "-key", "ecdsa.key", port=443)
    with c.capture():
        c.s_client("-alpn", ",".join(f"protocol-number-{number:03}" for number in range(100)), text=GET_10)


@case
def tls_handshake_failure(c):
    """No suite in common: an alert, and nothing to decrypt."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.2; ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;")
    with c.capture():
        c.s_client("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384", text=GET_10, check=False)


@case
def tls_without_key(c):
    """Two connections; the key log has the line of the second alone."""
    c.nginx("listen 443 ssl; ssl_protocols TLSv1.2;")
    with c.capture():
        c.curl(f"{SHOP}/v1/products", keys=False)
        c.curl(f"{SHOP}/v1/orders/42")


# --- HTTP framing -------------------------------------------------------------------------------------------------------------------


@case
def http1_chunked_both_ways(c):
    """Python's http.client and http.server: chunked uploads and answers with extensions and a trailer, and read until close."""
    c.serve(*PEERS, "http-server", 443, "rsa.pem", "rsa.key", port=443)
    with c.capture():
        base = f"https://{SERVER}"
        c.client(*PEERS, "http-client", c.keys, "-", f"{base}/report?day=1", f"{base}/upload", f"{base}/report", f"{base}/until-close")


@case
def http1_expect_continue(c):
    """A 100 (Continue) before the upload's body; then a chunked upload."""
    c.serve(*PEERS, "http-server", 443, "rsa.pem", "rsa.key", port=443)
    with c.capture():
        c.curl("-H", "Expect: 100-continue", "--data-binary", "@www/text.txt", f"{SHOP}/upload",
               *c.then("-T", "-", f"{SHOP}/upload"), text="from standard input\n" * 50)


@case
def http1_pipelined(c):
    """Five requests in one write, no TLS."""
    c.serve(*PEERS, "http-server", 80, port=80)
    with c.capture():
        c.client(*PEERS, "pipeline-client", SERVER, 80)


@case
def http1_clear(c):
    """nginx without TLS: 304, ranges, gzip, HTTP/1.0."""
    c.nginx("listen 80;")
    base = "http://files.example.test"
    with c.capture():
        c.curl(f"{base}/files/page.html", *c.then("-r", "100-199", f"{base}/files/random.bin"),
               *c.then("-z", "@tomorrow", "-H", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", f"{base}/files/page.html"),
               *c.then("--compressed", f"{base}/files/text.txt"))
        c.curl("--http1.0", f"{base}/v1/products")


@case
def http1_haproxy(c):
    """HAProxy ends TLS 1.3 in front of a chunking server; the client's side of it."""
    c.serve(*PEERS, "http-server", 8000, port=8000)
    c.haproxy("frontend f\n mode http\n bind :443 ssl crt rsa.both.pem alpn http/1.1\n default_backend b\n"
              "backend b\n mode http\n server s 127.0.0.1:8000\n", port=443)
    with c.capture("tcp port 443"):
        c.curl(f"{SHOP}/report", *c.then("--data", "a=1&b=2", f"{SHOP}/upload"))


@case
def http2_curl(c):
    """curl and nginx, HTTP/2 over TLS 1.3: GET, POST, HEAD, gzip, over one connection."""
    c.serve(*PEERS, "http-server", 8000, port=8000)
    c.nginx("listen 443 ssl http2; ssl_protocols TLSv1.3;", "ecdsa")
    with c.capture():
        c.curl("--http2", f"{SHOP}/v1/products?page=1", *c.then("--http2", "--json", '{"product":2}', f"{SHOP}/upload"),
               *c.then("--http2", "--head", f"{SHOP}/files/page.html"), *c.then("--http2", "--compressed", f"{SHOP}/files/text.txt"))


@case
def http2_h2load(c):
    """h2load: two connections, forty requests, ten at a time on each, over TLS 1.2."""
    c.nginx("listen 443 ssl http2; ssl_protocols TLSv1.2;", "ecdsa")
    with c.capture():
        c.client("h2load", "-n", 40, "-c", 2, "-m", 10, f"https://{SERVER}/v1/products", keys=c.keys)


@case
def http2_trailers_padding_push(c):
    """nghttp and nghttpd: padded frames, CONTINUATION, trailers both ways, an upload, a pushed answer."""
    c.nghttpd("--padding=20", "--trailer=x-checksum: none", "--push=/page.html=/text.txt", "--echo-upload")
    with c.capture():
        c.nghttp("-ny", "--padding=10", "--continuation", f"https://{SERVER}/page.html")
        c.nghttp("-ny", "--trailer=x-sum: 1", "-d", "www/page.html", f"https://{SERVER}/upload")


@case
def http2_expect_continue(c):
    """nghttp and nghttpd: 100 (Continue) as an interim header block."""
    c.nghttpd("--echo-upload")
    with c.capture():
        c.nghttp("-ny", "--expect-continue", "-d", "www/page.html", f"https://{SERVER}/upload")


@case
def http2_clear_prior_knowledge(c):
    """HTTP/2 without TLS, by prior knowledge."""
    c.nghttpd("--no-tls", port=80)
    with c.capture():
        c.client("nghttp", "-n", f"http://{SERVER}/page.html", f"http://{SERVER}/text.txt")


@case
def http2_clear_upgrade(c):
    """HTTP/1.1 that becomes HTTP/2 by an Upgrade header: stream 1 is the answer to the HTTP/1.1 request."""
    c.serve(*PEERS, "http-server", 8000, port=8000)
    c.serve("nghttpx", "--frontend=*,80;no-tls", "--backend=127.0.0.1,8000", "--workers=1", port=80)
    with c.capture("tcp port 80"):
        c.client("nghttp", "-nu", f"http://{SERVER}/first", f"http://{SERVER}/second")


@case
def http2_answered_early(c):
    """curl and nginx, which answers uploads to what takes none without waiting for them, and resets the stream with NO_ERROR: the body may be
    under way then, or curl ends it before it has begun."""
    c.nginx("listen 443 ssl http2; ssl_protocols TLSv1.3;", "ecdsa")
    (c.dir / "body").write_bytes(b"x" * 1_000)
    with c.capture():
        for path in ("/v1/orders", "/files/page.html", "/v1/broken", "/v1/empty"):
            # curl calls it an error when the answer has no body.
            c.curl("--http2", "--data-binary", "@body", SHOP + path, check=False)


@case
@needs("chromium")
def http2_chromium(c):
    """Chromium and nginx: a page whose parts are asked for at once, uploads, HEAD, DELETE,
    204, 304."""
    c.serve(*PEERS, "http-server", 8000, port=8000)
    c.nginx("listen 443 ssl http2; ssl_protocols TLSv1.3;", "ecdsa")
    (c.dir / "www/app.html").write_text(APP)
    with c.capture():
        c.chromium(f"{SHOP}/files/app.html")


@case
@needs("chromium", "websockets")
def websocket_chromium(c):
    """Chromium and nginx with the package websockets behind it: a page that opens a WebSocket, compressed messages both ways."""
    c.serve(*PEERS, "http-server", 8000, port=8000)
    c.serve(*PEERS, "websocket-server", 8001, port=8001)
    c.nginx("listen 443 ssl http2; ssl_protocols TLSv1.3;", "ecdsa")
    (c.dir / "www/chat.html").write_text(CHAT)
    with c.capture():
        c.chromium(f"{SHOP}/files/chat.html")


@case
@needs("websockets")
def websocket_python(c):
    """The package websockets with itself, in TLS and in clear, directly and through nginx, with and without permessage-deflate: text,
    binary, empty and fragmented messages, pings, a close with a reason."""
    c.serve(*PEERS, "websocket-server", 8001, port=8001)
    c.serve(*PEERS, "websocket-server", 8443, "ecdsa.pem", "ecdsa.key", port=8443)
    c.nginx("listen 80; listen 443 ssl;", "ecdsa")
    with c.capture():
        c.client(*PEERS, "websocket-client", c.keys, f"ws://{SERVER}/socket", f"wss://{SERVER}/socket", f"ws://{SERVER}:8001/", f"wss://{SERVER}:8443/")
    c.tls_ports = [8443]


# --- What comes before TLS, and what is around it ---------------------------------------------------------------------------------


@case
def proxy_protocol_v1(c):
    """HAProxy puts a PROXY v1 line before the client's TLS 1.2."""
    c.proxy_protocol("send-proxy", "TLSv1.2")


@case
def proxy_protocol_v2(c):
    """HAProxy puts a binary PROXY v2 header before the client's TLS 1.3."""
    c.proxy_protocol("send-proxy-v2", "TLSv1.3")


@case
def starttls_smtp(c):
    """SMTP that becomes TLS by STARTTLS: nothing of HTTP, but a session to decrypt."""
    c.serve(*PEERS, "smtp-server", 25, "rsa.pem", "rsa.key", port=25)
    with c.capture():
        c.client(*PEERS, "smtp-client", c.keys, SERVER, 25)


@case
def ipv6(c):
    """Over IPv6."""
    c.nginx("listen [::]:443 ssl;", "ecdsa")
    with c.capture("ip6"):
        c.curl(f"{SHOP}/v1/products", address=f"[{SERVER6}]")


@case
def keys_in_capture(c):
    """The keys are in a Decryption Secrets Block of the capture; there is no key log."""
    c.nginx("listen 443 ssl;", "ecdsa")
    with c.capture():
        c.curl(f"{SHOP}/v1/products")
    c.inject_keys()


@case
def pcap_gzipped(c):
    """A classic pcap file, gzipped."""
    c.nginx("listen 443 ssl;", "ecdsa")
    with c.capture(form="pcap"):
        c.curl(f"{SHOP}/files/text.txt")
    c.gzip()


@case
def two_taps(c):
    """Each direction in a file of its own, as two taps give them."""
    c.nginx("listen 443 ssl;", "ecdsa")
    with c.capture(f"dst host {SERVER}", name="capture-a"), c.capture(f"src host {SERVER}", name="capture-b"):
        c.curl(f"{SHOP}/v1/products", f"{SHOP}/files/text.txt")


def encapsulated(kind, what):
    def make(c):
        c.nginx("listen 443 ssl;", "ecdsa")
        with c.capture(form="pcap"):
            c.curl(f"{SHOP}/v1/products")
        c.wrap(kind)

    make.__doc__ = f"A mirror's frames: {what}."
    CASES[f"mirror-{kind}"] = make


encapsulated("vlan", "a VLAN tag")
encapsulated("qinq", "two VLAN tags (802.1ad)")
encapsulated("mpls", "two MPLS labels")
encapsulated("vxlan", "VXLAN, network 42")
encapsulated("geneve", "GENEVE with an option, network 42")
encapsulated("gre", "GRE around IP")
encapsulated("gretap", "GRE around Ethernet, with a key")
encapsulated("erspan2", "ERSPAN type II")


@case
def demo(c):
    """What `make demo` shows: five clients of an API over HTTP/1.1 and HTTP/2, TLS 1.2 and 1.3, one of them without a key, one in clear."""
    c.nginx("listen 443 ssl http2; ssl_session_tickets on;", "ecdsa", more="listen 80;")
    api, shop = "https://api.example.test", SHOP
    app, token = ["-A", "shop-app/2.1 (Android 14)"], "Authorization: Bearer 3k9-not-a-real-token"
    with c.capture():
        c.curl(*app, f"{api}/v1/products?category=lighting&limit=3", *c.then(*app, "-H", token, "--json", '{"product":1,"count":2}', f"{api}/v1/orders"),
               *c.then(*app, "-H", token, f"{api}/v1/orders/42"), source=CLIENTS[0])
        c.curl("--tls-max", "1.2", f"{shop}/files/page.html", *c.then("--compressed", f"{shop}/files/text.txt"),
               *c.then(f"{shop}/favicon.ico"), source=CLIENTS[1])
        c.client(*PEERS, "resume-client", c.keys, "1.2", SERVER, 443, 2)
        c.curl(f"{shop}/v1/products", source=CLIENTS[2], keys=False)
        c.curl("http://files.example.test/files/page.html", source=CLIENTS[3])
        c.curl("--http2", f"{api}/v1/products", *c.then("--http2", "-X", "DELETE", f"{api}/v1/orders/42"), source=CLIENTS[4])
        c.curl("-T", "www/text.txt", f"{api}/v1/orders", *c.then(f"{api}/v1/broken"), *c.then(f"{api}/v1/empty"), source=CLIENTS[4])


@case
def differential(c):
    """Not of the corpus: drawn anew from a seed. Servers on ports of their own, a random client with random requests for each."""
    draw = c.random
    suites12 = "ECDHE-RSA-AES128-GCM-SHA256 ECDHE-RSA-AES256-GCM-SHA384 ECDHE-RSA-CHACHA20-POLY1305 AES256-SHA256 ECDHE-RSA-AES128-SHA".split()
    suites13 = "TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256".split()
    blocks = []
    for port in range(4431, 4437):
        http2 = draw.choice(["", " http2"])
        if draw.random() < 0.5:
            blocks.append(f"listen {port} ssl{http2}; ssl_protocols TLSv1.2; ssl_ciphers {draw.choice(suites12)};")
        else:
            blocks.append(f"listen {port} ssl{http2}; ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites {draw.choice(suites13)};")
    c.nginx(blocks[0], more=[*blocks[1:], "listen 80;", "listen 4437 ssl; ssl_session_tickets on;"])
    # nginx answers from its own files without waiting for a body; this one, behind it, reads all of it first.
    c.serve(*PEERS, "http-server", 8000, port=8000)
    c.serve(*PEERS, "http-server", 4438, "rsa.pem", "rsa.key", port=4438)
    c.serve("gnutls-serv", "--http", "--quiet", "--disable-client-cert", "--port", 4439, "--x509certfile", "rsa.pem", "--x509keyfile", "rsa.key", port=4439)

    def requests():
        for number in range(draw.randint(2, 6)):
            size = draw.choice([0, 1, 1_000, 1_400, 16_383, 16_384, 16_385, 50_000])
            (c.dir / f"body-{size}").write_bytes(draw.randbytes(size))
            words = draw.choice([
                ["/v1/products"], [f"/v1/orders/{number}?q={draw.randint(0, 999)}"], ["/files/random.bin"], ["--compressed", "/files/text.txt"],
                ["--head", "/files/page.html"], ["/nothing"], ["/v1/empty"], ["-X", "DELETE", "/v1/orders/1"],
                ["--data-binary", f"@body-{size}", "/upload"], ["--data-binary", f"@body-{size}", draw.choice(["/v1/orders", "/nothing"])], ["-H", "Expect:", "-T", f"body-{size}", "/upload"],
                ["-r", "10-5000", "/files/random.bin"],
            ])
            yield [*words[:-1], "https://shop.example.test" + words[-1]]

    with c.capture():
        for port in (*range(4431, 4437), 80):
            lines = [["--connect-to", f"::{SERVER}:{port}", *draw.choice([["--http1.1"], ["--http2"]]), *words] for words in requests()]
            if port == 80:
                lines = [["--http1.1" if word == "--http2" else word.replace("https:", "http:") for word in words] for words in lines]
            c.curl(*lines[0], *(word for words in lines[1:] for word in ["--next", "-sk", "-o", "/dev/null", *words]), resolve=False)
        c.client(*PEERS, "resume-client", c.keys, draw.choice(["1.2", "1.3"]), SERVER, 4437, 3)
        base = f"https://{SERVER}:4438"
        c.client(*PEERS, "http-client", c.keys, "-", *draw.sample([f"{base}/a", f"{base}/upload", f"{base}/b?c=d", f"{base}/upload?again"], 4))
        c.client("gnutls-cli", "--insecure", "--port", 4439, "--priority", draw.choice(["NORMAL", "NORMAL:-VERS-TLS1.3"]), SERVER,
                 keys=c.keys, text=[(0.3, GET_10), (0.3, "")], check=False)
    c.tls_ports = list(range(4431, 4440))


# --- The workings -------------------------------------------------------------------------------------------------------------------

REQUEST = "GET /v1/products HTTP/1.1\r\nHost: shop.example.test\r\n{more}\r\n"
GET, GET_CLOSE = REQUEST.format(more=""), REQUEST.format(more="Connection: close\r\n")
GET_10 = "GET / HTTP/1.0\r\n\r\n"

# What a page asks for synchronously comes one after the other, and before the browser leaves.
APP = """<!DOCTYPE html><html><head><title>app</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="text.txt"><script src="/v1/products?callback=1"></script></head><body>
<img src="random.bin?1"><img src="/v1/orders/7"><img src="/nothing.png"><img src="/v1/broken">
<script>
function ask(method, path, body, fields) {
  const request = new XMLHttpRequest();
  request.open(method, path, false);
  for (const name in fields || {}) request.setRequestHeader(name, fields[name]);
  request.send(body);
  return request;
}
ask('POST', '/upload?json', JSON.stringify({product: 2}), {'content-type': 'application/json'});
ask('POST', '/v1/orders', 'x'.repeat(3000));
ask('POST', '/files/page.html', 'x'.repeat(4000));
ask('PUT', '/upload', new Uint8Array(5000));
ask('HEAD', '/files/page.html');
const since = ask('GET', '/files/page.html').getResponseHeader('last-modified');
ask('GET', '/files/page.html', null, {'if-modified-since': since});
ask('DELETE', '/v1/orders/1');
ask('GET', '/v1/empty', null, {'x-long': 'y'.repeat(1500), 'authorization': 'Bearer of-nothing'});
</script></body></html>
"""
# The image comes late, and the browser stays for it.
CHAT = """<!DOCTYPE html><html><head><link rel="icon" href="data:,"></head><body>
<img src="/upload/late">
<script>
const socket = new WebSocket('wss://shop.example.test/socket');
const messages = ['hello', 'order '.repeat(100), new Uint8Array(300), 'order '.repeat(100), '\u20ac'];
let at = 0;
socket.onopen = () => socket.send(messages[at]);
socket.onmessage = () => ++at < messages.length ? socket.send(messages[at]) : socket.close(4000, 'done');
socket.onclose = () => document.title = 'closed';
</script></body></html>
"""


class Case:
    """One capture in the making."""

    def __init__(self, lab, name, out, seed):
        self.lab, self.name, self.out = lab, name, out
        self.random = random.Random(seed)
        self.dir = lab.dir
        self.keys = out / "keys.log"
        self.tls_ports = []
        self.servers, self.clients = [], []
        self.expect_keys = self.keys
        self.exchange = None

    # What cases are written in.

    def capture(self, what="tcp", form="pcapng", name="capture"):
        return self.lab.capture(self.out / f"{name}.{form}", what, form=form)

    def serve(self, *command, **options):
        self.servers.append(command)
        return self.lab.serve(*command, **options)

    def client(self, *command, **options):
        self.clients.append(command)
        return self.lab.client(*command, **options)

    def nginx(self, settings, certificate="rsa", more=()):
        settings, *more = [settings, more] if isinstance(more, str) else [settings, *more]
        blocks = [NGINX_SERVER.format(settings=block, certificate=certificate) for block in (settings, *more)]
        (self.dir / "nginx.conf").write_text(NGINX.format(servers="".join(blocks)))
        port = int(re.search(r"listen (?:\[::\]:)?(\d+)", settings)[1])
        self.lab.serve("nginx", "-p", self.dir, "-c", "nginx.conf", port=port, openssl="")
        self.servers += [("nginx:", block) for block in (settings, *more)]

    def haproxy(self, text, port, side="server"):
        text = f"defaults\n timeout client 5s\n timeout server 5s\n timeout connect 5s\n{text}"
        (self.dir / "haproxy.cfg").write_text(text)
        self.serve("haproxy", "-db", "-f", "haproxy.cfg", port=port, side=side)

    def proxy_protocol(self, how, version):
        self.nginx(f"listen 443 ssl proxy_protocol; ssl_protocols {version};", "ecdsa")
        self.haproxy(f"listen l\n mode tcp\n bind 127.0.0.1:8443\n server s {SERVER}:443 {how}\n", port=8443, side="client")
        with self.capture():
            self.curl("--connect-to", "shop.example.test:443:127.0.0.1:8443", f"{SHOP}/v1/products", f"{SHOP}/v1/orders/42", resolve=False)

    def nghttpd(self, *options, port=443):
        certificate = [] if "--no-tls" in options else ["ecdsa.key", "ecdsa.pem"]
        self.serve("nghttpd", "--htdocs=www", *options, port, *certificate, port=port)

    def chromium(self, url):
        """One page, by a browser that has never been anywhere."""
        # Root in a namespace: it cannot have its sandbox. Everything that it does of its own accord is off.
        flags = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update disable-sync"
        flags = [f"--{flag}" for flag in [*flags.split(), "ignore-certificate-errors", "virtual-time-budget=4000", "dump-dom"]]
        profile = self.dir / f"profile-{self.name}"
        self.client("chromium", *flags, f"--user-data-dir={profile}", f"--host-resolver-rules=MAP *.example.test {SERVER}", url, keys=self.keys)

    def nghttp(self, *words):
        self.client("nghttp", *words, keys=self.keys, preload=True)

    def curl(self, *words, keys=True, openssl="", address=SERVER, source=None, text="", resolve=True, check=True):
        command = ["curl", "-sk", "-o", "/dev/null"]
        first = words[: words.index("--next")] if "--next" in words else words
        if not any(word.startswith("--http") for word in first):
            command += ["--http1.1"]
        if source:
            words = [part for word in ("--interface", *words) for part in ((word, "--interface") if word == "--next" else (word,))]
            words = [part for word in words for part in ((word, source) if word == "--interface" else (word,))]
        if resolve:
            command += [word for name in NAMES for port in (80, 443) for word in ("--resolve", f"{name}:{port}:{address}")]
        # One -o for each URL: curl would write the others to standard output, which is no harm.
        self.clients.append(("curl", *words))
        return self.lab.client(*command, *words, keys=self.keys if keys else None, openssl=openssl, text=text, check=check)

    def then(self, *words):
        """Another request of the same curl, with options of its own."""
        http = [] if any(word.startswith("--http") for word in words) else ["--http1.1"]
        resolve = [word for name in NAMES for port in (80, 443) for word in ("--resolve", f"{name}:{port}:{SERVER}")]
        return ["--next", "-sk", "-o", "/dev/null", *http, *resolve, *words]

    def s_client(self, *words, text, port=443, check=True):
        command = ["openssl", "s_client", "-connect", f"{SERVER}:{port}", "-keylogfile", self.keys, "-servername", NAMES[0]]
        if isinstance(text, str):
            text = [(0.3, text)]
        # s_client leaves when its input ends: leave it open until the answer is there.
        return self.client(*command, *words, text=[*text, (0.4, "")], check=check)

    def gnutls(self, *words, priority, server=()):
        self.serve("gnutls-serv", "--http", "--quiet", "--disable-client-cert", "--port", 443, "--x509certfile", "rsa.pem", "--x509keyfile", "rsa.key",
                   "--priority", priority, *server, port=443)
        with self.capture():
            self.client("gnutls-cli", "--insecure", "--port", 443, "--priority", priority, "--sni-hostname", NAMES[0], *words, SERVER,
                        keys=self.keys, text=[(0.4, GET_10), (0.4, "")], check=False)

    def selfserv(self, versions):
        database = self.dir / "nss"
        if not database.exists():
            database.mkdir()
            for command in (
                ["certutil", "-N", "-d", database, "--empty-password"],
                ["openssl", "pkcs12", "-export", "-in", "rsa.pem", "-inkey", "rsa.key", "-name", "rsa", "-passout", "pass:", "-out", "rsa.p12"],
                ["pk12util", "-i", "rsa.p12", "-d", database, "-W", ""],
            ):
                subprocess.run(command, cwd=self.dir, check=True, capture_output=True)
        self.serve("selfserv", "-n", "rsa", "-p", 443, "-d", database, "-w", "", "-V", versions, port=443)
        with self.capture():
            self.curl(f"{SHOP}/one", check=False)

    def tstclnt(self, versions):
        (self.dir / "request").write_text(GET_10)
        self.serve("openssl", "s_server", "-www", "-accept", 443, "-cert", "rsa.pem", "-key", "rsa.key", "-keylogfile", self.keys, port=443)
        with self.capture():
            self.client("tstclnt", "-h", SERVER, "-p", 443, "-D", "-o", "-V", versions, "-a", NAMES[0], "-A", "request")

    def dhparam(self):
        path = self.dir / "dh.pem"
        if not path.exists():
            subprocess.run(["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", path], check=True)
        return path

    # What is done to a capture afterwards.

    def keep_keys(self, which, expect_with_all=False):
        """Leaves the lines that `which` (a number of lines, or a predicate) says; tshark may be given them all."""
        lines = self.keys.read_text().splitlines(keepends=True)
        if expect_with_all:
            self.expect_keys = self.dir / "all-keys.log"
            self.expect_keys.write_text("".join(lines))
        kept = [line for line in lines if line.startswith("CLIENT_RANDOM")][:which] if isinstance(which, int) else filter(which, lines)
        self.keys.write_text("".join(kept))

    def known(self, request, response):
        """The tables come from this request and response (GET / HTTP/1.0, until close), the only ones of the capture."""
        self.exchange = request.encode(), response.encode()

    def inject_keys(self):
        plain = self.dir / "plain.pcapng"
        (self.out / "capture.pcapng").rename(plain)
        subprocess.run(["editcap", "--inject-secrets", f"tls,{self.keys}", plain, self.out / "capture.pcapng"], check=True)
        self.keys.unlink()

    def gzip(self):
        path = self.out / "capture.pcap"
        (self.out / "capture.pcap.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()

    def wrap(self, kind):
        plain = self.dir / "plain.pcap"
        (self.out / "capture.pcap").rename(plain)
        wrap(plain, self.out / "capture.pcap", kind)

    def finish(self, text):
        if self.keys.exists():
            lines = [line for line in self.keys.read_text().splitlines(keepends=True) if not line.startswith("#")]
            self.keys.write_text("".join(lines))
            if not lines:
                self.keys.unlink()
        captures = sorted(self.out.glob("capture*"))
        for path in captures:
            path.chmod(0o644)
            if path.suffix == ".pcapng":
                drop_host(path)
        capture = captures[0]
        if len(captures) > 1:
            capture = self.dir / "merged.pcapng"
            subprocess.run(["mergecap", "-w", capture, *captures], check=True)
        tshark_expect.expect(capture, self.expect_keys, self.out, self.tls_ports, self.exchange)

        def line(command):
            words = [str(word).replace(str(self.dir) + "/", "").replace(str(self.out) + "/", "").replace(str(TOOLS) + "/", "") for word in command]
            words = ["python3" if word == sys.executable else word for word in words]
            hide = {"-sk", "-o", "/dev/null", "--http1.1"}
            words = [word for word in words if word not in hide and not re.fullmatch(r"--resolve|\w+\.example\.test:\d+:\S+", word)]
            return "    " + " ".join(f"'{word}'" if " " in word and not word.endswith(";") else word for word in words)

        readme = [f"# {self.name}", "", text or "One request.", "", "Server:", "", *map(line, self.servers), "", "Client:", "", *map(line, self.clients), ""]
        (self.out / "README.md").write_text("\n".join(readme))


def www(directory):
    """What the servers serve: the same octets every time."""
    (directory / "www").mkdir()
    (directory / "tmp").mkdir()
    (directory / "www/page.html").write_text("<html><body>" + "<p>A page of a shop.</p>" * 40 + "</body></html>\n")
    (directory / "www/text.txt").write_text("".join(f"line {number} of a text that compresses well\n" for number in range(100)))
    (directory / "www/random.bin").write_bytes(random.Random(2).randbytes(20_000))
    (directory / "www/upload").write_text("")
    (directory / "ticket.key").write_bytes(random.Random(3).randbytes(80))


def make(lab, name, out, seed):
    directory = out / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    one = Case(lab, name, directory.resolve(), seed)
    try:
        CASES[name](one)
    finally:
        lab.stop_servers()
    one.finish(CASES[name].__doc__)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1, help="what the case `differential` is drawn from")
    parser.add_argument("--list", action="store_true", help="name the cases")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    args = parser.parse_args()
    if args.list:
        for name, function in CASES.items():
            print(f"{name:36} {function.__doc__ or ''}")
        return
    if not args.out:
        parser.error("--out DIR is missing")
    if unknown := set(args.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))} (--list names them)")
    try:
        with Lab() as lab:
            www(lab.dir)
            for name in args.cases or [name for name in CASES if name != "differential"]:
                if missing := lacking(CASES[name]):
                    print(f"{name}: skipped: not installed: {' '.join(missing)}")
                    continue
                make(lab, name, args.out, args.seed)
                print(f"{name}: {len((args.out / name / 'expected.tsv').read_text().splitlines()) - 1} HTTP messages")
    except Unavailable as reason:
        print(reason)
        sys.exit(UNAVAILABLE)


if __name__ == "__main__":
    main()
