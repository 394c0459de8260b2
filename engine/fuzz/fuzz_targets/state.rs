#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../properties/mod.rs"]
mod properties;

fuzz_target!(|bytes: &[u8]| {
    properties::state::check(bytes);
});
