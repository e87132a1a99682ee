//! A real server, real clients, and between them a proxy that keeps what it passes on.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use super::walk::Walked;
use super::{ALL, NSS, PSK, TLS13};

/// What the server sends back for a line.
#[derive(Clone, Copy)]
enum Answer {
    Same,
    Reversed,
}

/// A running server and a directory for keys; both go when this is dropped.
pub(crate) struct Peers {
    server: Child,
    port: u16,
    dir: PathBuf,
    answer: Answer,
}

/// One connection: what went over the wire, the key log, and what was sent.
pub(crate) struct Recording {
    pub(crate) client: Vec<u8>,
    pub(crate) server: Vec<u8>,
    pub(crate) key_log: String,
    request: Vec<u8>,
    response: Vec<u8>,
}

impl Peers {
    /// OpenSSL's server with every suite it has; `None`, and a word why, where OpenSSL is missing.
    pub(crate) fn openssl() -> Option<Self> {
        if !present("openssl") {
            return None;
        }
        let dir = certificates();
        let mut server = Command::new("openssl")
            .args(["s_server", "-rev", "-accept", "127.0.0.1:0", "-cipher", ALL, "-psk", PSK])
            .args(["-ciphersuites", &TLS13.join(":")])
            .args(["-cert", "rsa.pem", "-key", "rsa.key", "-dcert", "ec.pem", "-dkey", "ec.key"])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        let line = wait_for(&mut server, "ACCEPT");
        let port = line.rsplit(':').next().and_then(|port| port.trim().parse().ok()).expect("a port after ACCEPT");
        Some(Self { server, port, dir, answer: Answer::Reversed })
    }

    /// GnuTLS's server with every suite it has up to TLS 1.2.
    pub(crate) fn gnutls() -> Option<Self> {
        if !present("openssl") || !present("gnutls-serv") || !present("gnutls-cli") {
            return None;
        }
        let dir = certificates();
        fs::write(dir.join("psk"), format!("test:{PSK}\n")).expect("the directory is ours");
        // It cannot choose a port by itself.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("loopback");
        let priority = "NORMAL:+VERS-TLS1.0:+VERS-TLS1.1:+ARCFOUR-128:+3DES-CBC:+NULL:+CAMELLIA-128-GCM:+CAMELLIA-256-GCM\
            :+CAMELLIA-128-CBC:+CAMELLIA-256-CBC:+AES-128-CCM:+AES-256-CCM:+AES-128-CCM-8:+AES-256-CCM-8\
            :+MD5:+SHA1:+SHA256:+SHA384:+RSA:+DHE-RSA:+PSK:+RSA-PSK:+DHE-PSK:+ECDHE-PSK:+ANON-DH:+ANON-ECDH";
        let script = format!(
            "exec gnutls-serv --echo --port {} --x509certfile rsa.pem --x509keyfile rsa.key --x509certfile ec.pem \
             --x509keyfile ec.key --pskpasswd psk --priority '{priority}' 2>&1",
            free.port()
        );
        let mut server = Command::new("sh")
            .args(["-c", &script])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        wait_for(&mut server, "listening on IPv4");
        Some(Self { server, port: free.port(), dir, answer: Answer::Same })
    }

    /// NSS's server with its oldest suites and versions. It answers an HTTP request with itself.
    pub(crate) fn nss() -> Option<Self> {
        if !["openssl", "certutil", "pk12util", "selfserv", "tstclnt"].into_iter().all(present) {
            return None;
        }
        let dir = certificates();
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("loopback");
        let suites: String = NSS.iter().map(|suite| format!(":{suite:04X}")).collect();
        let script = format!(
            "openssl pkcs12 -export -in rsa.pem -inkey rsa.key -name rsa -out rsa.p12 -passout pass: >&2 &&
             mkdir db && certutil -N -d db --empty-password >&2 && pk12util -i rsa.p12 -d db -W '' -K '' >&2 &&
             exec selfserv -d db -n rsa -p {} -V ssl3:tls1.2 -c '{suites}' -G -v 2>&1",
            free.port()
        );
        let mut server = Command::new("sh")
            .args(["-c", &script])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        wait_for(&mut server, "About to call accept");
        Some(Self { server, port: free.port(), dir, answer: Answer::Same })
    }

    /// The premaster secret in hexadecimal, by the server's private key.
    pub(crate) fn decrypt_premaster(&self, encrypted: &[u8]) -> String {
        fs::write(self.dir.join("premaster"), encrypted).expect("the directory is ours");
        let output = Command::new("openssl")
            .args(["pkeyutl", "-decrypt", "-inkey", "rsa.key", "-in", "premaster"])
            .current_dir(&self.dir)
            .output()
            .expect("openssl runs");
        output.stdout.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// Where clients put their keys; GnuTLS is told by the environment.
    pub(crate) fn key_log(&self) -> PathBuf {
        self.dir.join("keys.log")
    }

    /// Sends lines of these lengths through the client that `client` makes for a port, and waits for the answers.
    pub(crate) fn exchange(&self, lines: &[usize], client: impl FnOnce(u16) -> Command) -> Recording {
        let (request, response) = conversation(lines, self.answer);
        let mut recording = self.converse(request, Some(response.len()), client);
        recording.response = response;
        recording
    }

    /// Has the client send one HTTP request from the file that it is told; the response that counts is what it printed.
    pub(crate) fn request(&self, client: impl FnOnce(u16, &Path) -> Command) -> Recording {
        let (filler, _) = conversation(&[1_000], self.answer);
        let request = [b"GET / HTTP/1.0\r\nx: ".as_slice(), filler.trim_ascii_end(), b"\r\n\r\n"].concat();
        let file = self.dir.join("request");
        fs::write(&file, &request).expect("the directory is ours");
        self.converse(request, None, |port| client(port, &file))
    }

    /// Sends the request and waits for so many octets in answer; or lets the client do it, and waits for its end.
    fn converse(
        &self,
        request: Vec<u8>,
        response_len: Option<usize>,
        client: impl FnOnce(u16) -> Command,
    ) -> Recording {
        let _ = fs::remove_file(self.key_log());
        let proxy = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let proxy_address = proxy.local_addr().expect("it is bound");
        let over = Arc::new(AtomicBool::new(false));
        let recorder = {
            let (server, over) = (self.port, Arc::clone(&over));
            thread::spawn(move || {
                let (client, _) = proxy.accept().expect("loopback");
                drop(proxy);
                match over.load(Ordering::Acquire) {
                    true => (Vec::new(), Vec::new()),
                    false => pass_on(&client, &TcpStream::connect(("127.0.0.1", server)).expect("it listens")),
                }
            })
        };

        // `timeout` ends a client that waits for an answer that will not come.
        let wanted = client(proxy_address.port());
        let mut child = Command::new("timeout")
            .arg("60")
            .arg(wanted.get_program())
            .args(wanted.get_args())
            .env("SSLKEYLOGFILE", self.key_log())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("timeout runs");
        let mut stdin = child.stdin.take().expect("piped");
        let stdout = child.stdout.take().expect("piped");
        let mut response = Vec::new();
        thread::scope(|scope| {
            // The writer gives the client's input back, which ends the client when it is closed.
            let writer = scope.spawn(|| response_len.map(|_| (stdin.write_all(&request), stdin)));
            // A client that could not connect ends without an answer; the records then say so.
            let _ = stdout.take(response_len.map_or(u64::MAX, |len| len as u64)).read_to_end(&mut response);
            drop(writer.join());
        });
        let _ = child.wait();
        // Release: pairs with Acquire in the recorder, which may still wait for a client.
        over.store(true, Ordering::Release);
        drop(TcpStream::connect(proxy_address));
        let (client, server) = recorder.join().expect("the recorder does not panic");
        let key_log = fs::read_to_string(self.key_log()).unwrap_or_default();
        Recording { client, server, key_log, request, response }
    }
}

impl Recording {
    pub(crate) fn assert_plaintext(&self, walked: &Walked, what: &str) {
        assert_same(&walked.client, &self.request, &format!("{what}: client's"));
        assert_same(&walked.server, &self.response, &format!("{what}: server's"));
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Whether a program can be run; says so if not.
pub(crate) fn present(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: needs {program}");
    }
    found
}

fn assert_same(opened: &[u8], sent: &[u8], what: &str) {
    let differs = opened.iter().zip(sent).position(|(opened, sent)| opened != sent);
    assert!(
        opened == sent,
        "{what} plaintext differs at {:?}; {} octets opened, {} sent",
        differs,
        opened.len(),
        sent.len()
    );
}

/// Lines whose octets are a function of their offset, and the answers.
fn conversation(lines: &[usize], answer: Answer) -> (Vec<u8>, Vec<u8>) {
    let (mut request, mut response) = (Vec::new(), Vec::new());
    for len in lines {
        let start = request.len();
        request.extend((start..start + len).map(|offset| b'a' + ((offset * 7 + offset / 251) % 26) as u8));
        match answer {
            Answer::Same => response.extend_from_slice(&request[start..]),
            Answer::Reversed => response.extend(request[start..].iter().rev()),
        }
        request.push(b'\n');
        response.push(b'\n');
    }
    (request, response)
}

/// Passes both directions on until both have ended; returns what the client and what the server sent.
fn pass_on(client: &TcpStream, server: &TcpStream) -> (Vec<u8>, Vec<u8>) {
    fn one_way(mut from: &TcpStream, mut to: &TcpStream) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), [0; 16_384]);
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            all.extend_from_slice(&buffer[..len]);
            // One side may be gone already; the other's last words are kept all the same.
            let _ = to.write_all(&buffer[..len]);
        }
        let _ = to.shutdown(Shutdown::Write);
        all
    }
    thread::scope(|scope| {
        let from_server = scope.spawn(|| one_way(server, client));
        let from_client = one_way(client, server);
        (from_client, from_server.join().expect("it does not panic"))
    })
}

/// Reads a server's output up to the line that says it listens; the rest is read and dropped.
fn wait_for(server: &mut Child, word: &str) -> String {
    let mut output = BufReader::new(server.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert_ne!(output.read_line(&mut line).expect("a line"), 0, "the server ended before it listened");
    }
    thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    line
}

/// A directory of its own with an RSA and an ECDSA certificate.
fn certificates() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cipher-suites-{}-{number}", std::process::id()));
    fs::create_dir_all(&dir).expect("the target directory can be written");
    for (kind, name) in [("rsa:2048", "rsa"), ("ec", "ec")] {
        let mut request = Command::new("openssl");
        request.args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-newkey", kind]);
        if kind == "ec" {
            request.args(["-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        }
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        request.args(["-keyout", &key, "-out", &certificate]).current_dir(&dir);
        assert!(request.stderr(Stdio::null()).status().expect("openssl runs").success());
    }
    dir
}
