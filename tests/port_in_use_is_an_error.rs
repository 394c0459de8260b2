//! A port that somebody else has is an error at start-up, with the address in it.

use crate::harness::node::{Node, fresh_dir};
use crate::harness::run_badly;

#[test]
fn the_second_one_is_told_and_the_first_one_goes_on() {
    let dir = fresh_dir();
    let first = Node::start(&dir.path().join("first"), &[]);
    let second = dir.path().join("second");
    let second = second.to_str().expect("a path");
    let errors = run_badly(&["serve", "--data", second, "--listen", &first.address], 3);
    assert!(errors.contains("trying again"), "it says what it waits for: {errors}");
    assert!(errors.contains(&first.address) && errors.contains("in use"), "{errors}");
    crate::harness::run_well(&["ping", "--count", "1", "--server", &first.address]);
    first.stop();
}
