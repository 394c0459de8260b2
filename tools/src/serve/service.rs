//! What a service manager is told (sd_notify(3)): the node accepts connections, the node stops.
//! Without one (no `NOTIFY_SOCKET`) nothing happens.

use std::net::SocketAddr;

use sd_notify::NotifyState;

/// Clients may come.
pub(super) fn ready(address: SocketAddr) {
    let status = format!("listening on {address}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The node drains.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what was begun")]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
