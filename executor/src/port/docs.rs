//! The port of the documents.

use picloud_shared::docs::{DocPage, DocPlace, DocQuery, DocWrite, DocWritten, Document};

use super::{PortCaller, PortError};

/// The documents of all apps. What a call names is always the caller's.
pub trait DocStore: Send + Sync {
    /// A document, if it is there.
    ///
    /// # Errors
    /// See [`PortError`].
    fn get(&self, caller: &PortCaller, place: &DocPlace) -> Result<Option<Document>, PortError>;

    /// A page of documents, unless too many would have to be looked at: then the page says so, and what was looked at.
    ///
    /// # Errors
    /// See [`PortError`].
    fn find(&self, caller: &PortCaller, query: &DocQuery) -> Result<DocPage, PortError>;

    /// Changes a document. Once it returns the change is kept, whatever happens.
    ///
    /// # Errors
    /// See [`PortError`].
    fn write(&self, caller: &PortCaller, place: DocPlace, write: DocWrite) -> Result<DocWritten, PortError>;
}
