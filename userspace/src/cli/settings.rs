//! What a run is to do: the configuration file, and the command line over it.
//!
//! ```text
//! plaintap.toml -> File --.
//!                          +--> Settings --> SIGHUP: the same again; what may change in a run does, of the rest it is said
//! command line -----------'
//! ```

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use plaintap::config::{Config, seconds};
use plaintap::runtime::{Filters, RuntimeConfig};
use plaintap::source::af_xdp::RingConfig;
use plaintap_keystore::StoreConfig;
use plaintap_keystore::ingest::{AllowList, IntakeConfig, Limits, ServerIdentity};
use plaintap_xdp_common::maps::MAX_NETWORKS;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::observe::Metrics;
use super::run::Arguments;

/// What a run is to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// What is captured.
    pub(super) runtime: RuntimeConfig,
    /// Where keys come from.
    pub(super) keys: Keys,
    /// Who may send them.
    pub(super) allow: AllowList,
    /// Where transactions go; standard output without a path.
    pub(super) transactions: Option<PathBuf>,
    /// Where sessions go; nowhere without a path.
    pub(super) sessions: Option<PathBuf>,
    /// What is shown of it.
    pub(super) metrics: Metrics,
    /// Who the process becomes once all is set up.
    pub(super) user: Option<String>,
}

/// The configuration file. Every setting has a default; `deploy/plaintap.toml` lists them all.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    interfaces: Vec<String>,
    workers: Option<u32>,
    hash_addresses: bool,
    user: Option<String>,
    filters: FileFilters,
    keys: Keys,
    output: FileOutput,
    metrics: Metrics,
    rings: RingConfig,
    limits: Config,
}

#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct FileFilters {
    ports: Vec<u16>,
    vlans: Vec<u16>,
    networks: Vec<String>,
    drop_others: bool,
}

/// Where keys come from, and how many are kept.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Keys {
    listen: Vec<SocketAddr>,
    listen_plain: Vec<SocketAddr>,
    state: PathBuf,
    certificate: Option<PathBuf>,
    private_key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    allow: Vec<String>,
    /// Key logs to follow.
    pub(super) files: Vec<PathBuf>,
    #[serde(with = "seconds")]
    ttl: Duration,
    capacity: usize,
    resumption_capacity: usize,
    max_connections: usize,
    max_connections_per_source: usize,
    threads: usize,
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct FileOutput {
    transactions: Option<PathBuf>,
    sessions: Option<PathBuf>,
    body_limit: usize,
    redact: bool,
}

impl Settings {
    /// Reads the configuration file, if there is one, and puts the command line over it.
    pub(super) fn load(arguments: &Arguments) -> Result<Self, Failure> {
        let file = arguments.config.as_deref().map_or(Ok(File::default()), read_file).map_err(Failure::Usage)?;
        let settings = Self::of(arguments, file).map_err(|problem| {
            let place = arguments.config.as_deref().map(|path| format!("{}: ", path.display()));
            Failure::Usage(format!("{}{problem}", place.unwrap_or_default()))
        })?;
        if settings.runtime.interfaces.is_empty() {
            return Err(Failure::Usage("no interface to capture: --interface IF, or interfaces in --config".into()));
        }
        Ok(settings)
    }

    /// The key intake's configuration; `None` if it is not to listen.
    pub(super) fn intake(&self) -> Option<IntakeConfig> {
        let keys = &self.keys;
        if keys.listen.is_empty() && keys.listen_plain.is_empty() {
            return None;
        }
        let identity = match (&keys.certificate, &keys.private_key) {
            (Some(certificate), key) => ServerIdentity::Files {
                certificate: certificate.clone(),
                key: key.as_ref().unwrap_or(certificate).clone(),
            },
            (None, _) => ServerIdentity::SelfSigned { state_dir: keys.state.clone() },
        };
        Some(IntakeConfig {
            listen: keys.listen.clone(),
            listen_plain: keys.listen_plain.clone(),
            identity,
            client_ca: keys.client_ca.clone(),
            allow: self.allow.clone(),
            threads: keys.threads.max(1),
            limits: Limits {
                max_connections: keys.max_connections,
                max_connections_per_source: keys.max_connections_per_source,
                ..Limits::default()
            },
            ..IntakeConfig::default()
        })
    }

    /// Where the intake's certificate is made, if it makes one.
    pub(super) fn key_state(&self) -> Option<&Path> {
        let wanted = !self.keys.listen.is_empty() && self.keys.certificate.is_none();
        wanted.then_some(self.keys.state.as_path())
    }

    /// The caps of the key store.
    pub(super) fn store(&self) -> StoreConfig {
        let Keys { ttl, capacity, resumption_capacity, .. } = self.keys;
        let default = StoreConfig::default();
        let max_readers = default.max_readers.max(self.runtime.workers as usize);
        StoreConfig { ttl, capacity, resumption_capacity, max_readers, ..default }
    }

    /// Whether keys are taken on a port that only the privileged may bind.
    pub(super) fn has_low_port(&self) -> bool {
        self.keys.listen.iter().chain(&self.keys.listen_plain).any(|addr| addr.port() < 1_024)
    }

    /// These settings, but for what takes effect in a run: that as `new` has it. A new setting takes a restart until it stands here.
    pub(super) fn renewed(&self, new: &Self) -> Self {
        Self {
            runtime: RuntimeConfig { filters: new.runtime.filters.clone(), ..self.runtime.clone() },
            keys: Keys { allow: new.keys.allow.clone(), ..self.keys.clone() },
            allow: new.allow.clone(),
            transactions: new.transactions.clone(),
            sessions: new.sessions.clone(),
            ..self.clone()
        }
    }

    /// What differs in `new` and takes effect with a restart only.
    pub(super) fn fixed_changes(&self, new: &Self) -> Vec<&'static str> {
        let mut then = self.renewed(new);
        let (http, asked) = (&mut then.runtime.pipeline.http, &new.runtime.pipeline.http);
        // Limits to the pipeline, but set elsewhere.
        let body_limit = std::mem::replace(&mut http.body_limit, asked.body_limit) != asked.body_limit;
        let redact = std::mem::replace(&mut http.redact, asked.redact) != asked.redact;
        let changes = [
            ("interfaces, workers, rings or limits", then.runtime != new.runtime),
            ("output.body_limit", body_limit),
            ("output.redact", redact),
            ("keys", then.keys != new.keys),
            ("metrics", then.metrics != new.metrics),
            ("user", then.user != new.user),
        ];
        changes.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    fn of(arguments: &Arguments, file: File) -> Result<Self, String> {
        let File { interfaces, workers, hash_addresses, user, filters, mut keys, output, mut metrics, rings, limits } =
            file;
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let workers = arguments.workers.or(workers).unwrap_or((processors / 2).clamp(1, 256) as u32);
        if !(1..=256).contains(&workers) {
            return Err(format!("workers is {workers}: 1 to 256"));
        }
        let networks =
            filters.networks.iter().map(|text| network(text).map_err(|why| format!("network {text}: {why}")));
        let filters = Filters {
            ports: either(&arguments.ports, filters.ports),
            vlans: either(&arguments.vlans, filters.vlans),
            networks: either(&arguments.networks, networks.collect::<Result<_, _>>()?),
            drop_others: arguments.drop_others || filters.drop_others,
        };
        if let Some(vlan) = filters.vlans.iter().find(|vlan| !(1..=4_094).contains(*vlan)) {
            return Err(format!("VLAN {vlan}: 1 to 4094"));
        }
        if filters.networks.len() > MAX_NETWORKS as usize {
            return Err(format!("{} networks: at most 1,024", filters.networks.len()));
        }
        keys.listen = either(&arguments.key_listen, keys.listen);
        keys.files = either(&arguments.keys, keys.files);
        keys.state = arguments.key_state.clone().unwrap_or(keys.state);
        metrics.put_over(arguments);
        if keys.private_key.is_some() && keys.certificate.is_none() {
            return Err("private_key without certificate".into());
        }
        let allow = AllowList::parse(keys.allow.iter().map(String::as_str)).map_err(|error| error.to_string())?;
        let mut pipeline = limits;
        pipeline.http.body_limit = arguments.body_limit.unwrap_or(output.body_limit);
        pipeline.http.redact = output.redact && !arguments.no_redact;
        pipeline.tls.key_deadline.get_or_insert(KEY_DEADLINE);
        Ok(Self {
            runtime: RuntimeConfig {
                interfaces: either(&arguments.interfaces, interfaces),
                workers,
                // With more workers than processors the kernel divides better.
                pin: workers as usize <= processors,
                rings: RingConfig { busy_poll: rings.busy_poll || arguments.busy_poll, ..rings },
                force: arguments.force,
                filters,
                hash_addresses: arguments.hash_addresses || hash_addresses,
                pipeline,
            },
            keys,
            allow,
            transactions: arguments.out.clone().or(output.transactions),
            sessions: arguments.sessions.clone().or(output.sessions),
            metrics,
            user: arguments.user.clone().or(user),
        })
    }
}

impl Default for Keys {
    fn default() -> Self {
        let (store, limits) = (StoreConfig::default(), Limits::default());
        Self {
            listen: Vec::new(),
            listen_plain: Vec::new(),
            state: "/var/lib/plaintap".into(),
            certificate: None,
            private_key: None,
            client_ca: None,
            allow: Vec::new(),
            files: Vec::new(),
            ttl: store.ttl,
            capacity: store.capacity,
            resumption_capacity: store.resumption_capacity,
            max_connections: limits.max_connections,
            max_connections_per_source: limits.max_connections_per_source,
            threads: IntakeConfig::default().threads,
        }
    }
}

impl Default for FileOutput {
    fn default() -> Self {
        Self { transactions: None, sessions: None, body_limit: 0, redact: true }
    }
}

/// `ADDRESS/LENGTH`, or an address alone.
pub(super) fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let (addr, len) = text.split_once('/').unwrap_or((text, ""));
    let addr: IpAddr = addr.parse().map_err(|_| "not an address".to_owned())?;
    let most = if addr.is_ipv4() { 32 } else { 128 };
    let len = if len.is_empty() { most } else { len.parse().map_err(|_| "not a prefix length".to_owned())? };
    if len > most { Err(format!("a prefix has {most} bits at most")) } else { Ok((addr, len)) }
}

/// The configuration file; what is wrong with it, in a line.
fn read_file(path: &Path) -> Result<File, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(&text).map_err(|problem| format!("{}{problem}", path.display()))
}

fn parse(text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
        let place = line.map(|line| format!(", line {line}")).unwrap_or_default();
        format!("{place}: {}", error.message().lines().next().unwrap_or_default())
    })
}

/// The list of the command line, unless that has none.
fn either<T: Clone>(arguments: &[T], file: Vec<T>) -> Vec<T> {
    if arguments.is_empty() { file } else { arguments.to_vec() }
}

/// How long records wait for their key: mirror and key race, and after half a minute the key will not come.
const KEY_DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// The file that is shipped, each setting of which is a comment that tells its default.
    const SHIPPED: &str = include_str!("../../../deploy/plaintap.toml");

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn settings(arguments: &[&str], file: &str) -> Result<Settings, String> {
        let arguments = Command::parse_from([&["run"], arguments].concat()).arguments;
        Settings::of(&arguments, parse(file)?)
    }

    #[test]
    fn the_shipped_file_names_every_setting_with_its_default() {
        let said = |line: &&str| line.starts_with('[') || line.strip_prefix('#').is_some_and(is_setting);
        let lines = SHIPPED.lines().filter(said).map(|line| line.trim_start_matches('#'));
        let uncommented: String = lines.map(|line| format!("{line}\n")).collect();
        let shipped = parse(&uncommented).unwrap();
        // There is no default for what need not be; the file shows some value.
        let File { workers, ref user, ref output, ref keys, ref metrics, ref rings, ref limits, .. } = shipped;
        assert!(metrics.limits().max_key_age.is_some() && metrics.limits().max_heartbeat_age.is_some());
        assert!(workers.is_some() && user.is_some() && output.transactions.is_some() && output.sessions.is_some());
        assert!(keys.certificate.is_some() && keys.private_key.is_some() && keys.client_ca.is_some());
        assert_eq!(limits.tls.key_deadline, Some(KEY_DEADLINE));
        let mut default = File { workers, user: user.clone(), ..File::default() };
        default.output.transactions.clone_from(&output.transactions);
        default.output.sessions.clone_from(&output.sessions);
        default.keys = Keys {
            certificate: keys.certificate.clone(),
            private_key: keys.private_key.clone(),
            client_ca: keys.client_ca.clone(),
            ..default.keys
        };
        default.metrics.set_limits(metrics.limits());
        assert_eq!(rings.rx, Some(default.rings.rx_for(2)));
        default.rings.rx = rings.rx;
        default.limits.tls.key_deadline = limits.tls.key_deadline;
        assert_eq!(shipped, default);
        // And none is left out.
        fn names(at: &str, value: &toml::Value, all: &mut Vec<String>) {
            match value {
                toml::Value::Table(table) => {
                    table.iter().for_each(|(name, value)| names(&format!("{at}.{name}"), value, all));
                }
                _ => all.push(at.to_owned()),
            }
        }
        let [mut of_file, mut of_default] = [Vec::new(), Vec::new()];
        names("", &toml::from_str(&uncommented).unwrap(), &mut of_file);
        names("", &toml::Value::try_from(&default).unwrap(), &mut of_default);
        assert_eq!(of_file.iter().find(|name| !of_default.contains(name)), None);
        assert_eq!(of_default.iter().find(|name| !of_file.contains(name)), None);
    }

    fn is_setting(line: &str) -> bool {
        let name = line.split(" = ").next().unwrap_or_default();
        line.contains(" = ") && name.bytes().all(|octet| octet.is_ascii_lowercase() || b"_0123456789".contains(&octet))
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let file = "interfaces = ['a', 'b']\nworkers = 3\n[filters]\nports = [443]\nnetworks = ['10.0.0.0/8']\n\
                    [output]\nbody_limit = 10\nredact = false\n[limits.http]\nmax_fields = 7\n[limits.tls]\nkey_deadline = 1.5";
        let of_file = settings(&[], file).unwrap();
        assert_eq!(of_file.runtime.interfaces, ["a", "b"]);
        assert_eq!((of_file.runtime.workers, of_file.runtime.filters.ports.as_slice()), (3, &[443][..]));
        let http = &of_file.runtime.pipeline.http;
        assert_eq!((http.body_limit, http.redact, http.max_fields), (10, false, 7));
        assert_eq!(of_file.runtime.pipeline.tls.key_deadline, Some(Duration::from_millis(1_500)));
        assert!(of_file.runtime.pipeline.tls.wait_after_close);
        let both =
            settings(&["--interface", "c", "--workers", "2", "--port", "8443", "--body-limit", "0"], file).unwrap();
        assert_eq!(both.runtime.interfaces, ["c"]);
        assert_eq!((both.runtime.workers, both.runtime.filters.ports.as_slice()), (2, &[8443][..]));
        assert_eq!(both.runtime.pipeline.http.body_limit, 0);
        assert_eq!(both.runtime.filters.networks, [("10.0.0.0".parse().unwrap(), 8)]);
    }

    #[test]
    fn what_is_wrong_in_the_file_is_said_with_its_line() {
        for (file, wanted) in [
            ("interfaces = ['a']\nworker = 2\n", ", line 2: unknown field `worker`"),
            ("[filters]\nports = [70000]\n", ", line 2: "),
            ("[limits.flow]\nidle_timeout = -1\n", ", line 2: "),
            ("[filters]\nnetworks = ['10.0.0.0/33']\n", "network 10.0.0.0/33: a prefix has 32 bits at most"),
            ("[filters]\nvlans = [4095]\n", "VLAN 4095: 1 to 4094"),
            ("workers = 0\n", "workers is 0: 1 to 256"),
            ("[keys]\nallow = ['nobody']\n", "\"nobody\" is neither an address"),
            ("[keys]\nprivate_key = 'key.pem'\n", "private_key without certificate"),
            ("interfaces = [\n", ", line "),
        ] {
            let said = settings(&[], file).unwrap_err();
            assert!(said.starts_with(wanted) && said.lines().count() == 1, "{file}: {said}");
        }
    }

    #[test]
    fn only_filters_and_senders_change_without_a_restart() {
        let old = settings(&["--interface", "a"], "").unwrap();
        let change = |file: &str| old.fixed_changes(&settings(&["--interface", "a"], file).unwrap());
        assert!(change("[filters]\nports = [1]\n[keys]\nallow = ['10.0.0.1']").is_empty());
        assert_eq!(change("[keys]\nttl = 1"), ["keys"]);
        assert_eq!(
            change("user = 'nobody'\n[limits.flow]\nmax_flows = 5"),
            ["interfaces, workers, rings or limits", "user"]
        );
        assert_eq!(change("[output]\nbody_limit = 5"), ["output.body_limit"]);
        assert_eq!(change("[output]\nredact = false\n[limits.http]\nmax_fields = 5")[1..], ["output.redact"]);
    }

    #[test]
    fn what_takes_a_restart_is_not_in_effect_when_it_has_been_read() {
        let settings = |file: &str| settings(&["--interface", "a"], file).unwrap();
        let (old, new) = (settings(""), settings("workers = 7\n[filters]\nports = [1]\n[output]\nredact = false"));
        let now = old.renewed(&new);
        assert_eq!(now.runtime.filters, new.runtime.filters);
        assert!(now.runtime.pipeline.http.redact);
        let said = ["interfaces, workers, rings or limits", "output.redact"];
        assert_eq!((old.fixed_changes(&new), now.fixed_changes(&new)), (said.to_vec(), said.to_vec()));
        assert!(now.fixed_changes(&settings("[filters]\nports = [1]")).is_empty());
    }

    #[test]
    fn more_networks_than_the_program_takes_are_refused() {
        let list = |count: u32| {
            let networks = (0..count).map(|number| format!("'10.{}.{}.0/24',", number / 256, number % 256));
            format!("[filters]\nnetworks = [{}]", networks.collect::<String>())
        };
        assert!(settings(&[], &list(MAX_NETWORKS)).is_ok());
        assert_eq!(settings(&[], &list(MAX_NETWORKS + 1)).unwrap_err(), "1025 networks: at most 1,024");
    }
}
