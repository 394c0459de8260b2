//! A server as a child process: its CPU and memory are its own, and it never outlives its parent.
//!
//! Invariants: the drop kills exactly this child, by its pid, and waits for it; if the parent is
//! killed, the kernel kills the child (PR_SET_PDEATHSIG). That signal follows the *thread* that
//! spawned: spawn from one that lives as long as the child should.
//!
//! The child's standard output is kept open but not read after its ready line: a child that goes
//! on printing would block.
#![allow(unsafe_code)]

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child as Process, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use super::YardstickError;
use super::said::Said;
use super::server::LISTENING;

/// How a node's ready line says it.
const LISTENING_ON: &str = "listening on ";
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// What a child may print before its ready line.
const PREAMBLE_BYTES_MAX: usize = 64 * 1024;

/// A running child process that listens.
#[derive(Debug)]
pub struct Child {
    process: Process,
    addr: SocketAddr,
    said: Said,
    /// Open for as long as the child runs, so that printing does not kill it.
    _stdout: ChildStdout,
}

impl Child {
    /// Starts `exe` with `args` and waits for its line `listening ADDR` (a yardstick server), or one
    /// that says `... listening on ADDR, ...` (a node). A process group of its own: Ctrl-C reaches
    /// only the parent, which then ends the child.
    ///
    /// # Errors
    /// [`YardstickError::Child`] when it cannot be started, ends, or stays silent for 10 s.
    pub fn spawn<S: AsRef<str>>(exe: &Path, args: &[S]) -> Result<Self, YardstickError> {
        let failed = |reason: String| YardstickError::Child { exe: exe.to_path_buf(), reason };
        let mut command = Command::new(exe);
        command.args(args.iter().map(AsRef::as_ref));
        // What is measured is what the arguments say, not what somebody's shell says of nodes.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"URINGMQ_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        die_with_parent(&mut command);
        let mut process = command.spawn().map_err(|error| failed(error.to_string()))?;
        let stderr =
            process.stderr.take().ok_or_else(|| failed("it has no standard error".into()))?;
        let (said, listener) = Said::listen(stderr);
        match wait_ready(&mut process) {
            Ok((addr, stdout)) => Ok(Self { process, addr, said, _stdout: stdout }),
            Err(mut reason) => {
                reap(&mut process);
                // It has closed its end: this ends, with its last words.
                let _ = listener.join();
                said.lines().iter().for_each(|line| reason += &format!("\n  it said: {line}"));
                Err(failed(reason))
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it says on standard error.
    #[must_use]
    pub fn said(&self) -> &Said {
        &self.said
    }

    /// Its process id, for [`super::process::Usage`].
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        reap(&mut self.process);
    }
}

fn reap(process: &mut Process) {
    // A child that ended already is only waited for.
    let _ = process.kill();
    let _ = process.wait();
}

fn die_with_parent(command: &mut Command) {
    let parent = Pid::this();
    let hook = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the line above.
        if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: between fork and exec the hook makes two system calls, both async-signal-safe, and
    // neither allocates nor takes a lock.
    unsafe { command.pre_exec(hook) };
}

fn wait_ready(process: &mut Process) -> Result<(SocketAddr, ChildStdout), String> {
    let mut stdout = process.stdout.take().ok_or("it has no standard output")?;
    let deadline = Instant::now() + READY_TIMEOUT;
    let mut printed = Vec::new();
    let mut part = [0; 512];
    while printed.len() < PREAMBLE_BYTES_MAX {
        match read_until(&mut stdout, &mut part, deadline) {
            Ok(0) => return Err("it ended".to_owned()),
            Ok(n) => printed.extend_from_slice(&part[..n]),
            Err(error) => return Err(error.to_string()),
        }
        if let Some(addr) = ready_addr(&printed) {
            let addr = addr.parse().map_err(|_| format!("{addr:?} is not an address"))?;
            return Ok((addr, stdout));
        }
    }
    Err("it printed something else".to_owned())
}

fn read_until(stdout: &mut ChildStdout, part: &mut [u8], deadline: Instant) -> io::Result<usize> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return stdout.read(part),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The address in the first complete line that says where something listens.
fn ready_addr(printed: &[u8]) -> Option<String> {
    let printed = String::from_utf8_lossy(printed);
    let line = printed.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).find_map(
        |line| {
            let node = || line.split_once(LISTENING_ON).map(|(_, rest)| rest);
            line.strip_prefix(LISTENING).or_else(node)
        },
    )?;
    let addr = line.split_once(',').map_or(line, |(addr, _)| addr);
    Some(addr.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::kill;

    use super::*;

    fn shell(script: &str) -> Result<Child, YardstickError> {
        Child::spawn(Path::new("/bin/sh"), &["-c", script])
    }

    #[test]
    fn the_ready_line_is_found_among_others_and_the_drop_ends_the_child() {
        let child = shell("echo hello; echo listening 127.0.0.1:4321; exec sleep 600").unwrap();
        assert_eq!(child.addr(), "127.0.0.1:4321".parse().unwrap());
        let pid = Pid::from_raw(i32::try_from(child.pid()).unwrap());
        assert_eq!(kill(pid, None), Ok(()));
        drop(child);
        // Waited for as well: a zombie could still be signalled.
        assert_eq!(kill(pid, None), Err(Errno::ESRCH));
    }

    #[test]
    fn a_child_that_is_not_ready_is_an_error_that_says_why() {
        for (script, why) in [
            ("exit 3", "it ended"),
            ("echo no disk >&2; exit 3", "it said: no disk"),
            ("echo listening nowhere; exec sleep 600", "is not an address"),
            ("exec yes", "something else"),
        ] {
            let error = shell(script).unwrap_err().to_string();
            assert!(error.contains(why), "{script}: {error}");
        }
        assert!(Child::spawn(Path::new("/no/such/exe"), &["x"]).is_err());
    }

    #[test]
    fn half_a_line_is_not_a_ready_line() {
        assert_eq!(ready_addr(b"listening 127.0.0.1:1"), None);
        assert_eq!(ready_addr(b"listening 127.0.0.1:1\n").as_deref(), Some("127.0.0.1:1"));
        let node = b"uringmq ready: listening on 127.0.0.1:2, data in x, Sleep mode\n";
        assert_eq!(ready_addr(node).as_deref(), Some("127.0.0.1:2"));
    }

    /// The parent of the sleeper is a shell that we kill: the sleeper must go with it. A shell
    /// cannot set the signal itself, so the parent is this test in a thread that ends.
    #[test]
    fn the_child_dies_when_the_thread_that_spawned_it_does() {
        let spawned =
            std::thread::spawn(|| shell("echo listening 127.0.0.1:1; exec sleep 600").unwrap());
        let mut child = spawned.join().unwrap();
        // The wait returns only because the kernel sent the signal: nobody else does.
        let status = child.process.wait().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(Signal::SIGKILL as i32));
    }
}
