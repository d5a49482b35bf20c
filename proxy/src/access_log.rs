//! One line for each answered request, for operators who ask for it. Holds no header, no body and no query, since
//! those carry secrets.

use std::time::Instant;

use http::StatusCode;

use crate::client::Sender;
use crate::http::Head;

/// A request about to be answered.
#[derive(Debug)]
pub struct AccessLogEntry {
    began: Instant,
    sender: Sender,
    line: String,
}

impl AccessLogEntry {
    /// Notes what will be needed once the head is gone.
    pub fn begin(head: &Head, sender: Sender) -> Self {
        let host = head.authority().or_else(|| head.headers.get(http::header::HOST)?.to_str().ok());
        let path = head.target().split('?').next().unwrap_or_default();
        Self { began: Instant::now(), sender, line: format!("{} {}{path}", head.method, host.unwrap_or("-")) }
    }

    /// Writes the line.
    pub fn end(self, status: Option<StatusCode>) {
        tracing::info!(
            target: "picloud::access",
            remote_ip = %self.sender.remote_ip,
            scheme = self.sender.scheme.as_str(),
            status = status.map(|status| status.as_u16()),
            duration_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            "{}", self.line,
        );
    }
}
