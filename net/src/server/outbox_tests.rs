use std::io::Read;
use std::os::unix::net::UnixStream;

use engine::io::block::Budget;

use super::*;

const CONN: ConnId = ConnId { slot: 2, generation: 5 };

fn pair() -> (OwnedFd, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    (near.into(), far)
}

fn read_some(from: &mut UnixStream, into: &mut Vec<u8>) {
    let mut buffer = [0; 3000];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        into.extend_from_slice(&buffer[..n]);
    }
}

/// Bytes and slices, far beyond the socket's buffer, keep their order over partial sends.
#[test]
fn order_survives_partial_sends() {
    let (fd, mut far) = pair();
    let mut block = Budget::new(1 << 20).block(1 << 20).unwrap();
    let mut outbox = Outbox::default();
    outbox.open(CONN);
    let mut expected = Vec::new();
    for n in 0..400u32 {
        let head = vec![n as u8; (n % 7 * 100) as usize];
        outbox.bytes(CONN).unwrap().extend_from_slice(&head);
        expected.extend_from_slice(&head);
        let range = block.append(&vec![!n as u8; (n % 5 * 500) as usize]);
        expected.extend_from_slice(&block.slice(range.clone()));
        assert!(outbox.slice(CONN, block.slice(range)));
    }
    assert_eq!(outbox.unsent(CONN), expected.len() as u64);
    let (mut got, mut blocked) = (Vec::new(), 0);
    loop {
        outbox.writable(CONN);
        match outbox.flush(CONN, &fd) {
            Flushed::Empty => break,
            Flushed::Blocked => blocked += 1,
            Flushed::Failed(errno) => panic!("{errno}"),
        }
        // More is queued behind what is stuck.
        outbox.bytes(CONN).unwrap().extend_from_slice(b"tail");
        expected.extend_from_slice(b"tail");
        read_some(&mut far, &mut got);
    }
    read_some(&mut far, &mut got);
    assert!(blocked > 0, "the socket was never full");
    assert!(got == expected);
    assert!(block.is_unshared(), "slices are given back");
    assert_eq!(outbox.outputs[2].bytes.capacity(), 0, "an idle connection holds no buffer");
}

#[test]
fn a_gone_connection_takes_nothing() {
    let mut outbox = Outbox::default();
    assert!(outbox.bytes(CONN).is_none());
    outbox.open(CONN);
    outbox.bytes(CONN).unwrap().push(1);
    outbox.close(CONN);
    assert!(outbox.bytes(CONN).is_none());
    assert_eq!(outbox.unsent(CONN), 0);
    let next = ConnId { generation: 6, ..CONN };
    outbox.open(next);
    assert!(outbox.bytes(CONN).is_none(), "the slot has another guest");
    assert!(outbox.bytes(next).is_some());
}
