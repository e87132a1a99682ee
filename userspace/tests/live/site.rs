//! A web site with clients, whose traffic is mirrored.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{Lab, run, within, without_ipv6};

/// Requests of each client.
pub(crate) const REQUESTS: usize = 3;

/// nginx in the namespace `wire` and clients in a third one; what passes between them is mirrored.
pub(crate) struct Site {
    client: String,
    nginx: Child,
}

impl Site {
    /// `wires`: where what the clients send is mirrored to, and what they get. `None`, with the reason printed, where a program is
    /// missing.
    pub(crate) fn new(lab: &Lab, mtu: u32, wires: [&str; 2]) -> Option<Self> {
        for program in ["nginx", "curl", "openssl", "tc"] {
            if Command::new(program).arg("-V").output().is_err() {
                println!("skipped: needs {program}");
                return None;
            }
        }
        let (wire, client) = (&lab.wire, format!("{}-client", lab.wire));
        run(&format!("ip netns add {client}"));
        without_ipv6(&client);
        run(&format!("ip -n {wire} link add s0 mtu {mtu} type veth peer name c0 mtu {mtu} netns {client}"));
        for (namespace, device, address) in [(wire, "s0", "10.9.0.1/24"), (&client, "c0", "10.9.0.2/24")] {
            run(&format!("ip netns exec {namespace} ethtool -K {device} tx off tso off gso off gro off"));
            run(&format!("ip -n {namespace} address add {address} dev {device}"));
            run(&format!("ip -n {namespace} link set {device} up"));
        }
        run(&format!("tc -n {wire} qdisc add dev s0 clsact"));
        for (direction, mirror) in ["ingress", "egress"].into_iter().zip(wires) {
            let matched = "protocol all u32 match u32 0 0 action mirred egress mirror dev";
            run(&format!("tc -n {wire} filter add dev s0 {direction} {matched} {mirror}"));
        }
        let directory = lab.directory.display();
        run(&format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=shop.test \
             -keyout {directory}/key.pem -out {directory}/cert.pem"
        ));
        let config = format!(
            "daemon off; user root; pid {directory}/nginx.pid; error_log {directory}/error.log; events {{}} http {{
                access_log off;
                server {{
                    listen 10.9.0.1:443 ssl; ssl_protocols TLSv1.2 TLSv1.3;
                    ssl_certificate {directory}/cert.pem; ssl_certificate_key {directory}/key.pem;
                    keepalive_requests 1000000;
                    location / {{ return 200 \"$request_uri\\n\"; }}
                    location /files/ {{ root {directory}; dav_methods PUT; create_full_put_path on; }}
                }}
            }}"
        );
        fs::write(lab.path("nginx.conf"), config).unwrap();
        let nginx = (Command::new("ip").args(["netns", "exec", wire, "nginx", "-c"]).arg(lab.path("nginx.conf")))
            .spawn()
            .unwrap();
        let site = Self { client, nginx };
        within(Duration::from_secs(20), "nginx listens", || lab.path("nginx.pid").exists());
        Some(site)
    }

    /// A client that asks for its pages one after another: on one connection, or on one each. The answers are its output.
    pub(crate) fn visit(&self, number: usize, keys: &Path) -> Child {
        self.curl(keys)
            .args(["--retry-connrefused", "--retry", "5", "--tlsv1.2", "--tls-max", version(number)])
            .args(if is_one_shot(number) { &["-H", "Connection: close"][..] } else { &[] })
            .args((0..REQUESTS).map(|request| format!("https://10.9.0.1/{number}/{request}")))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// curl, which writes its keys to that file.
    pub(crate) fn curl(&self, keys: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.client, "curl", "-sk", "--http1.1"]).env("SSLKEYLOGFILE", keys);
        command
    }

    /// A client that keeps one connection of that version.
    pub(crate) fn stay(&self, version: &str, keys: &Path) -> Stayer {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.client, "python3", "-c", STAYER, version])
            .arg(keys)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, mut output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut port = String::new();
        output.read_line(&mut port).unwrap();
        Stayer { child, input, output, port: port.trim().parse().unwrap() }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Asked, not killed: its worker would outlive it.
        let _ = kill_process(Pid::from_child(&self.nginx), Signal::TERM);
        let _ = self.nginx.wait();
        let _ = Command::new("ip").args(["netns", "delete", &self.client]).output();
    }
}

/// A client that keeps its connection.
pub(crate) struct Stayer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Its port.
    pub(crate) port: u16,
}

impl Stayer {
    /// Asks for a path, and gets what is there.
    pub(crate) fn ask(&mut self, path: &str) {
        writeln!(self.input, "{path}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim_end(), path);
    }
}

impl Drop for Stayer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The version of TLS that a client speaks.
pub(crate) fn version(number: usize) -> &'static str {
    if number.is_multiple_of(2) { "1.2" } else { "1.3" }
}

/// Whether a client makes a connection for each request.
fn is_one_shot(number: usize) -> bool {
    number % 4 >= 2
}

/// Asks for the paths on its standard input, over one connection; tells its port first.
const STAYER: &str = "
import http.client, ssl, sys
context = ssl._create_unverified_context()
context.keylog_filename = sys.argv[2]
context.minimum_version = context.maximum_version = ssl.TLSVersion['TLSv' + sys.argv[1].replace('.', '_')]
connection = http.client.HTTPSConnection('10.9.0.1', context=context)
connection.connect()
print(connection.sock.getsockname()[1], flush=True)
for path in sys.stdin:
    connection.request('GET', path.strip())
    print(connection.getresponse().read().decode(), end='', flush=True)
";
