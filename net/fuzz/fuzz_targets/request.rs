//! Request frames, as the node reads them: no panic, nothing believed that is not there, and what
//! can be read is written as the same request again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net::wire::limits::FRAME_BYTES_MAX;
use net::wire::{Request, decode_request, encode_request, frame_length, peek_request};

#[path = "../with_length.rs"]
mod with_length;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&with_length::with_length(bytes));
});

fn check(frame: &[u8]) {
    if let Ok(Some(length)) = frame_length(frame, FRAME_BYTES_MAX) {
        assert!(length <= FRAME_BYTES_MAX as usize);
    }
    let _ = peek_request(frame);
    let Ok((header, request)) = decode_request(frame) else { return };
    if let Request::Metadata(names) = &request {
        assert_eq!(names.iter().count(), usize::from(names.count()));
    }
    let mut again = Vec::new();
    // A request may say what this version of the client does not (a reserved bit).
    if encode_request(&mut again, &header, &request).is_ok() {
        assert_eq!(decode_request(&again), Ok((header, request)));
    }
}
