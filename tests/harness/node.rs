//! A node as a child process on a free port, with a data directory of its own.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use net::client::{Client, ClientConfig, NewTopic};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::{NamedTempFile, TempDir};

use super::uringmq;

/// A directory on the file system of the build directory (not a tmpfs), gone when dropped.
pub(crate) fn fresh_dir() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the test")
}

/// An address that nobody else comes by, so that clients find a node again: below the ports that the
/// kernel gives to connections (one of those could connect to itself).
pub(crate) fn own_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut ports = std::iter::from_fn(|| {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        (next < 10_000).then(|| 20_000 + (std::process::id() + next) % 10_000)
    });
    let free = |port: &u32| std::net::TcpListener::bind(format!("127.0.0.1:{port}")).is_ok();
    format!("127.0.0.1:{}", ports.find(free).expect("a free port"))
}

/// Whether the machine has room for two reactors.
pub(crate) fn has_two_cpus() -> bool {
    std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() >= 2)
}

/// A running node; killed when dropped.
pub(crate) struct Node {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
    /// What it says after that.
    said: RefCell<BufReader<ChildStdout>>,
    log: NamedTempFile,
}

impl Node {
    /// Starts a node on this data directory and waits until it is ready.
    pub(crate) fn start(data: &Path, options: &[&str]) -> Self {
        Self::spawn(uringmq(), data, options)
    }

    /// Starts a node that may open so many files.
    pub(crate) fn start_with_files(data: &Path, options: &[&str], files: u32) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("ulimit -n {files} && exec \"$0\" \"$@\""));
        shell.arg(uringmq().get_program());
        Self::spawn(shell, data, options)
    }

    fn spawn(mut command: Command, data: &Path, options: &[&str]) -> Self {
        // Elsewhere: a test may fill the file system of the data directory.
        let log = NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a log");
        let free_port = ["--listen", "127.0.0.1:0"];
        let listen = if options.contains(&"--listen") { &[][..] } else { &free_port[..] };
        let no_admin = ["--admin", "off"];
        let admin = if options.contains(&"--admin") { &[][..] } else { &no_admin[..] };
        let mut child = command
            .args(["serve", "--data"])
            .arg(data)
            .args(listen)
            .args(admin)
            .args(options)
            .stdout(Stdio::piped())
            .stderr(log.reopen().expect("the same log"))
            .spawn()
            .expect("the node starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it was asked for");
        let mut said = BufReader::new(stdout);
        said.read_line(&mut line).expect("a ready line");
        let address = line
            .split_once("listening on ")
            .and_then(|(_, rest)| rest.split_once(','))
            .map(|(address, _)| address.to_owned());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("no ready line but {line:?}; log: {}", read(log.path()));
        };
        Self { child, address, said: RefCell::new(said), log }
    }

    /// The line after the one that says that it is ready.
    pub(crate) fn second_line(&self) -> String {
        let mut line = String::new();
        self.said.borrow_mut().read_line(&mut line).expect("another line");
        line
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&*self.address).await.expect("the node takes connections")
    }

    /// A client of one connection, on the reactor of a shard.
    pub(crate) async fn client_at(&self, shard_wish: u16) -> Client {
        let config =
            ClientConfig { shard_wish, connection_per_shard: false, ..ClientConfig::default() };
        let client = Client::connect_with(&*self.address, config).await;
        client.expect("the node takes connections")
    }

    /// Its resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that was ever resident, in bytes.
    pub(crate) fn highest_resident_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the node is running");
        let line = status.lines().find(|line| line.starts_with(what)).expect("a line");
        let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
        kib << 10
    }

    /// How long its threads have been on a CPU.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("the node is running");
        // Behind the name, which may have anything in it: the 12th and 13th field, in 1/100 s.
        let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
        let fields = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.map(|field| field.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(10 * ticks)
    }

    /// The thread whose name begins like this.
    pub(crate) fn thread(&self, name: &str) -> Pid {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let mut tasks = tasks.expect("the node is running").filter_map(Result::ok);
        let has_name = |task: &std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("comm"))
                .is_ok_and(|comm| comm.starts_with(name))
        };
        let task = tasks.find(has_name).unwrap_or_else(|| panic!("no thread {name}"));
        let number = task.file_name().to_str().and_then(|number| number.parse().ok());
        Pid::from_raw(number.expect("a thread has a number"))
    }

    /// The files in a directory that it has open.
    pub(crate) fn open_files(&self, dir: &Path) -> usize {
        let all = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        let all = all.expect("the node is running");
        // A descriptor may be gone before it is looked at.
        let targets = all.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        targets.filter(|target| target.parent() == Some(dir)).count()
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        read(self.log.path())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("the node is running");
    }

    /// Waits for the node's end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end; log: {}", read(self.log.path()));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks the node to stop and expects it to do so well.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "log: {}", read(self.log.path()));
    }

    /// Kills the node as nothing else can.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the node: {}", read(self.log.path()));
        }
    }
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// Makes a topic with the default level.
pub(crate) async fn create_topic(client: &Client, name: &str, queues: u16) -> u32 {
    let topic = NewTopic {
        name,
        queues,
        ack: None,
        deep_validation: false,
        key_index: false,
        retention: Default::default(),
    };
    client.create_topic(&topic).await.expect("the topic can be made")
}
