//! What must hold, one rule a file. Each returns the first contradiction in words.

pub(crate) mod acked_is_there;
pub(crate) mod answered_once;
pub(crate) mod audit;
pub(crate) mod limits;
pub(crate) mod liveness;
pub(crate) mod nothing_half;
pub(crate) mod offsets;
pub(crate) mod order;
pub(crate) mod readers;
pub(crate) mod retention;
pub(crate) mod topics;
pub(crate) mod visible;

use crate::history::History;
use crate::survey::Survey;

/// All rules about what a restart found.
pub(crate) fn after_restart(history: &History, survey: &Survey) -> Result<(), String> {
    topics::check(history, survey)?;
    nothing_half::check(history, survey)?;
    order::check(history, survey)?;
    acked_is_there::check(history, survey)?;
    offsets::check(history, survey)?;
    visible::check(history, survey)
}
