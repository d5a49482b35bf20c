//! What scripts are told where the store failed a port that they called, and the operator with it.

use picloud_executor::port::PortError;

use crate::repo::RepoError;
use crate::store::data_file::WriteFailed;

pub(crate) fn not_written(failure: WriteFailed) -> PortError {
    match failure {
        WriteFailed::NotMade(error) => failed(error),
        WriteFailed::Unknown(error) => unknown(error),
        WriteFailed::TooLate => PortError::TooLate,
        WriteFailed::Unsettled => PortError::Unsettled,
    }
}

/// A failure that changed nothing. What the store says of it is for the operator.
pub(crate) fn failed(error: RepoError) -> PortError {
    tell(&error);
    PortError::unavailable("the store cannot be reached or written; nothing was changed, try again")
}

pub(crate) fn unknown(error: RepoError) -> PortError {
    tell(&error);
    let message = "the store failed while the change was being kept; whether it was is not known".to_owned();
    PortError::Refused { code: "unknown", message }
}

fn tell(error: &RepoError) {
    let cause = error as &dyn std::error::Error;
    match error {
        RepoError::Unavailable(_) | RepoError::Contended(_) => {
            tracing::warn!(error = cause, "a script's call: the store failed");
        }
        _ => tracing::error!(error = cause, "a script's call: the store failed"),
    }
}
