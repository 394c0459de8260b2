//! `/readyz` and `/healthz` while the node itself says nothing: it is starting, or one of its reactors
//! is stuck. The admin server has a thread of its own, and answers.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::harness::http::{Page, admin_address, get, request};
use crate::harness::node::{Node, fresh_dir, own_address};

const SOON: Duration = Duration::from_secs(20);

fn until(admin: &str, is_it: impl Fn(&Page) -> bool) -> Page {
    let begun = Instant::now();
    loop {
        let page = request(admin, "GET", "/readyz");
        if let Some(page) = page.as_ref().filter(|page| is_it(page)) {
            return Page { status: page.status, head: page.head.clone(), body: page.body.clone() };
        }
        assert!(begun.elapsed() < SOON, "{page:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A node whose port somebody still has waits for it a while, as after a restart.
#[test]
fn while_it_starts() {
    let dir = fresh_dir();
    let (address, admin) = (own_address(), own_address());
    let before = TcpListener::bind(&address).expect("its port is free");
    let options = ["--listen", &*address, "--admin", &*admin];
    let node = std::thread::scope(|scope| {
        let starting = scope.spawn(|| Node::start(&dir.path().join("data"), &options));
        let page = until(&admin, |_| true);
        assert!(page.status == 503 && page.body.contains("starting: "), "{page:?}");
        assert_eq!(get(&admin, "/healthz").status, 200, "it must not be killed for that");
        drop(before);
        starting.join().expect("it starts")
    });
    assert_eq!(get(&admin, "/readyz").status, 200);
    node.stop();
}

/// One thread of another process, stopped; it goes on when this is dropped.
struct Stuck(Pid);

impl Stuck {
    /// `None`: not allowed here.
    fn new(thread: Pid) -> Option<Self> {
        ptrace::seize(thread, ptrace::Options::empty()).ok()?;
        ptrace::interrupt(thread).expect("it is traced");
        waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it stops");
        Some(Self(thread))
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        if let Err(errno) = ptrace::detach(self.0, None) {
            eprintln!("{} stays stopped: {errno}", self.0);
        }
    }
}

#[test]
fn while_a_reactor_is_stuck() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &["--admin", "0"]);
    let admin = admin_address(&node);
    assert_eq!(get(&admin, "/readyz").status, 200);
    let reactor = node.thread("reactor 0");
    let Some(stuck) = Stuck::new(reactor) else {
        node.stop();
        return crate::harness::skip("a thread of a child cannot be stopped here (ptrace)");
    };
    // What it said just before may be said again for a moment.
    let page = until(&admin, |page| page.status == 503);
    assert!(page.body.contains("the node does not answer: no answer within 2 s"), "{page:?}");
    assert_eq!(get(&admin, "/healthz").status, 503, "a restart may help");
    drop(stuck);
    until(&admin, |page| page.status == 200);
    node.stop();
}
