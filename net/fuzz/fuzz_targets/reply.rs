//! Reply frames and the entries in them, as a client reads them: no panic, nothing believed that is
//! not there, and what can be read is written as the same reply again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net::wire::limits::REPLY_BYTES_MAX;
use net::wire::{Entries, Reply, decode_reply, encode_reply, frame_length, peek_reply};

#[path = "../with_length.rs"]
mod with_length;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&with_length::with_length(bytes));
    let _ = Entries::new(bytes).count();
});

fn check(frame: &[u8]) {
    if let Ok(Some(length)) = frame_length(frame, REPLY_BYTES_MAX) {
        assert!(length <= REPLY_BYTES_MAX as usize);
    }
    let _ = peek_reply(frame);
    let Ok((header, reply)) = decode_reply(frame) else { return };
    if let Reply::Fetch(fetch) = &reply {
        let entries = Entries::new(fetch.entries).take_while(Result::is_ok).count();
        // An entry is 40 bytes at least.
        assert!(entries <= fetch.entries.len() / 40);
    }
    let mut again = Vec::new();
    encode_reply(&mut again, &header, &reply);
    let (second_header, second) = decode_reply(&again).expect("it was just written");
    assert_eq!((second_header, second), (header, reply));
}
