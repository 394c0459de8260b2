//! Where a yardstick server runs: in this process' main thread ([`serve`], called by the hidden
//! subcommand of a child process) or in a thread of a test ([`InThread`]).
//!
//! A benchmark always uses a child, so that the server's CPU is its own.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use net::loopback::do_not_pace;
use net::server::bare::Bare;
use net::server::{Reactor, ReactorConfig, ReactorError, WaitMode, bind};

use super::YardstickError;
use super::echo::serve_connections;
use super::echo_durable::DurableWriter;
use super::probe::{Wait, pin};

/// What the line starts with that says where a server listens.
pub const LISTENING: &str = "listening ";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// E: replies at once.
    Echo,
    /// ED: replies after a durable write.
    EchoDurable,
    /// The broker's own stack (glommio, io_uring, many connections) around an echo.
    Bare,
}

/// A server and how it runs. Travels to the child as arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSpec {
    /// Which server.
    pub kind: Kind,
    /// How it waits for a frame.
    pub wait: Wait,
    /// The CPU it is pinned to.
    pub cpu: Option<usize>,
    /// Where ED writes.
    pub dir: Option<PathBuf>,
}

impl ServerSpec {
    /// E(mode).
    #[must_use]
    pub fn echo(wait: Wait, cpu: Option<usize>) -> Self {
        Self { kind: Kind::Echo, wait, cpu, dir: None }
    }

    /// ED(mode), writing to a file of its own in `dir`.
    #[must_use]
    pub fn echo_durable(wait: Wait, cpu: Option<usize>, dir: &Path) -> Self {
        Self { kind: Kind::EchoDurable, wait, cpu, dir: Some(dir.to_path_buf()) }
    }

    /// The broker's stack around an echo.
    #[must_use]
    pub fn bare(wait: Wait, cpu: Option<usize>) -> Self {
        Self { kind: Kind::Bare, wait, cpu, dir: None }
    }

    /// The arguments from which [`ServerSpec::from_args`] makes the same spec.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let kind = match self.kind {
            Kind::Echo => "echo",
            Kind::EchoDurable => "echo-durable",
            Kind::Bare => "bare",
        };
        let mut args = vec![kind.to_owned(), "--wait".to_owned(), self.wait.word().to_owned()];
        if let Some(cpu) = self.cpu {
            args.extend(["--cpu".to_owned(), cpu.to_string()]);
        }
        if let Some(dir) = &self.dir {
            args.extend(["--dir".to_owned(), dir.to_string_lossy().into_owned()]);
        }
        args
    }

    /// Reads what [`ServerSpec::to_args`] wrote.
    ///
    /// # Errors
    /// [`YardstickError::BadArgument`] names the one that is wrong.
    pub fn from_args<S: AsRef<str>>(args: &[S]) -> Result<Self, YardstickError> {
        let mut args = args.iter().map(AsRef::as_ref);
        let kind = match args.next().unwrap_or_default() {
            "echo" => Kind::Echo,
            "echo-durable" => Kind::EchoDurable,
            "bare" => Kind::Bare,
            other => return Err(bad("not a server (echo, echo-durable, bare)", other)),
        };
        let mut spec = Self { kind, wait: Wait::Sleeping, cpu: None, dir: None };
        while let Some(option) = args.next() {
            let value = args.next().ok_or_else(|| bad("a value is missing after", option))?;
            match option {
                "--wait" => spec.wait = wait_of(value)?,
                "--cpu" => {
                    spec.cpu = Some(value.parse().map_err(|_| bad("not a CPU number", value))?);
                }
                "--dir" => spec.dir = Some(PathBuf::from(value)),
                other => return Err(bad("not an option", other)),
            }
        }
        if kind == Kind::EchoDurable && spec.dir.is_none() {
            return Err(bad("needs --dir", "echo-durable"));
        }
        Ok(spec)
    }
}

fn wait_of(word: &str) -> Result<Wait, YardstickError> {
    [Wait::Sleeping, Wait::Spinning]
        .into_iter()
        .find(|wait| wait.word() == word)
        .ok_or_else(|| bad("not a way to wait (sleeping, spinning)", word))
}

fn bad(reason: &'static str, argument: &str) -> YardstickError {
    YardstickError::BadArgument { reason, argument: argument.to_owned() }
}

/// Serves on a free loopback port until the process is killed, after a line on `stdout` that says
/// `listening ADDR`.
///
/// # Errors
/// When the server cannot start, or its disk fails.
pub fn serve(spec: &ServerSpec) -> Result<(), YardstickError> {
    if spec.kind == Kind::Bare {
        return serve_bare(spec);
    }
    let ready = Ready::prepare(spec)?;
    say_listening(ready.addr)?;
    ready.run(&AtomicBool::new(false))
}

fn say_listening(addr: SocketAddr) -> Result<(), YardstickError> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{LISTENING}{addr}")
        .and_then(|()| stdout.flush())
        .map_err(YardstickError::socket("saying where the server listens"))
}

fn serve_bare(spec: &ServerSpec) -> Result<(), YardstickError> {
    let failed = |error: ReactorError| {
        YardstickError::socket("the bare server's reactor")(io::Error::other(error.to_string()))
    };
    let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .map_err(YardstickError::socket("binding a loopback port"))?;
    let addr = listener.local_addr().map_err(YardstickError::socket("binding a loopback port"))?;
    let wait = match spec.wait {
        Wait::Sleeping => WaitMode::Sleep,
        Wait::Spinning => WaitMode::Poll,
    };
    let config = ReactorConfig { cpu: spec.cpu, wait, ..ReactorConfig::default() };
    let reactor = Reactor::spawn(config, listener, |_ring| Ok(Bare::echo())).map_err(failed)?;
    say_listening(addr)?;
    reactor.join().map_err(failed)
}

/// A server that can be started without a further error of the set-up kind.
struct Ready {
    listener: TcpListener,
    addr: SocketAddr,
    wait: Wait,
    cpu: Option<usize>,
    writer: Option<DurableWriter>,
}

impl Ready {
    fn prepare(spec: &ServerSpec) -> Result<Self, YardstickError> {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr().map(|addr| (listener, addr)));
        let (listener, addr) = bound.map_err(YardstickError::socket("binding a loopback port"))?;
        do_not_pace(&listener, addr);
        let writer = match (spec.kind, &spec.dir) {
            (Kind::Echo, _) => None,
            (Kind::EchoDurable, Some(dir)) => Some(DurableWriter::new(dir)?),
            (Kind::EchoDurable, None) => return Err(bad("needs --dir", "echo-durable")),
            (Kind::Bare, _) => return Err(bad("runs in a process of its own only", "bare")),
        };
        Ok(Self { listener, addr, wait: spec.wait, cpu: spec.cpu, writer })
    }

    fn run(mut self, stop: &AtomicBool) -> Result<(), YardstickError> {
        if let Some(cpu) = self.cpu {
            pin(cpu)?;
        }
        match self.writer.as_mut() {
            None => serve_connections(&self.listener, self.wait, stop, |_| Ok(())),
            Some(writer) => {
                serve_connections(&self.listener, self.wait, stop, |frame| writer.write(frame))
            }
        }
    }
}

/// A server in a thread of this process. The drop ends it; drop its clients first.
pub struct InThread {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), YardstickError>>>,
}

impl InThread {
    /// Starts the server and returns when it listens.
    ///
    /// # Errors
    /// When it cannot listen, or cannot write where it should.
    pub fn start(spec: &ServerSpec) -> Result<Self, YardstickError> {
        let ready = Ready::prepare(spec)?;
        let addr = ready.addr;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("yardstick".to_owned())
            .spawn(move || ready.run(&seen))
            .map_err(YardstickError::socket("starting the server's thread"))?;
        Ok(Self { addr, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for InThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread if it waits for a connection.
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_survives_its_arguments() {
        let specs = [
            ServerSpec::echo(Wait::Sleeping, None),
            ServerSpec::echo(Wait::Spinning, Some(1)),
            ServerSpec::bare(Wait::Spinning, None),
            ServerSpec::echo_durable(Wait::Spinning, Some(0), Path::new("/data/a dir")),
        ];
        for spec in specs {
            assert_eq!(ServerSpec::from_args(&spec.to_args()).unwrap(), spec);
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        let wrong: [(&[&str], &str); 7] = [
            (&[], ""),
            (&["telnet"], "telnet"),
            (&["echo", "--wait"], "--wait"),
            (&["echo", "--wait", "dozing"], "dozing"),
            (&["echo", "--cpu", "-1"], "-1"),
            (&["echo", "--speed", "11"], "--speed"),
            (&["echo-durable"], "echo-durable"),
        ];
        for (args, named) in wrong {
            match ServerSpec::from_args(args) {
                Err(YardstickError::BadArgument { argument, .. }) => assert_eq!(argument, named),
                other => panic!("{args:?}: {other:?}"),
            }
        }
    }
}
