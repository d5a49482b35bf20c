//! Who sends requests, with what it holds of what all share.

use std::sync::Arc;

use super::clients::Guest;
use crate::client::Client;

/// Who sends requests.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) client: Arc<Client>,
    pub(super) guest: Guest,
}
