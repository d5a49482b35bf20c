//! What an authority wishes of renewal (RFC 9773), and what comes of it.

use std::time::Duration;

use instant_acme::CertificateIdentifier;
use picloud_shared::certificate::{Renewal, SaveError};
use picloud_shared::clock::Timestamp;

use super::failure::{Failure, patiently};
use super::round::Work;
use super::schedule::{ask_again, bounds, renew_by_window};

impl Work {
    /// Asks the authority when it wants the certificate renewed (RFC 9773). One that does not tell leaves it to its age.
    pub(super) async fn ask_about_renewal(&mut self) -> Result<(), SaveError> {
        let (Some(facts), Some(before)) = (self.record.facts.clone(), self.record.renewal.clone()) else {
            return self.rest_until(Some(self.now())).await;
        };
        let (now, life) = (self.now(), facts.not_after.since(facts.not_before));
        let told = self.renewal_window(&facts.authority, facts.renewal_id.as_deref()).await;
        let renewal = match told {
            Some((window, explanation, asked)) => {
                renew_by_window(&before, window, explanation, bounds(&facts, now), ask_again(now, Some(asked), life))
            }
            // Not later than its age has it, which a clock that stood wrong may have got wrong.
            None => Renewal { at: before.at.min(bounds(&facts, now).1), ask_at: ask_again(now, None, life), ..before },
        };
        self.record.last_error = None;
        self.rest(renewal).await
    }

    /// What it wishes; nothing while it is left alone.
    async fn renewal_window(
        &self,
        directory: &Option<String>,
        id: Option<&str>,
    ) -> Option<((Timestamp, Timestamp), Option<String>, Duration)> {
        let (key, serial) = id?.split_once('.')?;
        let id = CertificateIdentifier { authority_key_identifier: key.into(), serial: serial.into() };
        let mut authorities = self.shared.settings.authorities.iter();
        let authority = authorities.find(|one| Some(one.directory.as_str()) == directory.as_deref())?;
        if self.shared.pauses.left(&authority.directory, self.record.id, self.now()).is_some() {
            return None;
        }
        let opened = self.open(authority).await;
        let session = opened.inspect_err(|failure| self.note_away(authority, failure)).ok()?;
        let answered = patiently!(session.account.renewal_info(&id)).map_err(|error| Failure::of(error, &session.wire));
        let (told, asked) = answered.inspect_err(|failure| self.note_away(authority, failure)).ok()?;
        let moment = |at: time::OffsetDateTime| Timestamp::from_millis(at.unix_timestamp().saturating_mul(1000));
        let window = (moment(told.suggested_window.start), moment(told.suggested_window.end));
        // An end before its beginning is nonsense (RFC 9773, 4.2).
        (window.0 < window.1).then_some((window, told.explanation_url, asked))
    }
}
